//! `corelog group reset-offsets`: a plan, and on demand its execution.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use corelog_client::{
    Admin, CommittedOffset, ConsumeError, ListedOffset, Offset, OffsetQuery, PartitionIndex,
    Timestamp, TopicPartition,
};
use serde::Serialize;

use super::arguments::{ResetArguments, ResetScope, Target};
use super::describe::dash;
use super::is_unknown;
use crate::args::Format;
use crate::output;
use crate::table::Table;

#[derive(Serialize)]
struct Plan<'a> {
    group: &'a str,
    /// False: nobody has joined it or committed for it, and `--execute` makes it.
    exists: bool,
    dry_run: bool,
    offsets: Vec<Reset>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reset {
    topic: String,
    partition: i32,
    /// What is committed so far.
    committed: Option<i64>,
    /// Where the group goes on.
    offset: i64,
    /// True if the log does not hold what was asked for.
    clamped: bool,
}

pub(super) async fn run(
    admin: &Admin,
    arguments: &ResetArguments,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let group = arguments.group.as_str();
    let members = members_of(admin, group).await?;
    if let Some(members @ 1..) = members
        && arguments.execute
    {
        bail!(
            "group {group} has {}: stop them first, offsets are reset of a group without members",
            count(members, "member")
        );
    }
    let committed = admin.group_offsets(group).await?;
    let partitions = partitions_of(admin, group, &arguments.of, &committed).await?;
    let target = arguments.to.target();
    let bounds = Bounds::ask(admin, &partitions, target).await?;
    let mut offsets = Vec::with_capacity(partitions.len());
    for partition in &partitions {
        let committed = committed.get(partition).map(|committed| committed.offset);
        let wanted = bounds.wanted(partition, target, committed)?;
        let offset = bounds.clamp(partition, wanted);
        offsets.push(Reset {
            topic: partition.topic.to_string(),
            partition: partition.partition.get(),
            committed: committed.map(Offset::get),
            offset: offset.get(),
            clamped: offset.get() != wanted,
        });
    }
    let mut failures = Vec::new();
    if arguments.execute {
        let wanted: BTreeMap<TopicPartition, CommittedOffset> = partitions
            .into_iter()
            .zip(&offsets)
            .map(|(partition, reset)| (partition, CommittedOffset::from(Offset::new(reset.offset))))
            .collect();
        let outcomes = admin.alter_group_offsets(group, &wanted).await?;
        // Both are in the order of the partitions.
        let mut done = wanted.keys().map(|partition| match &outcomes[partition] {
            Ok(()) => true,
            Err(error) => {
                failures.push(error.clone());
                false
            }
        });
        offsets.retain(|_| done.next().unwrap_or(false));
    }
    let plan = Plan {
        group,
        exists: members.is_some(),
        dry_run: !arguments.execute,
        offsets,
    };
    let code = output::report(&failures, format);
    output::finish(plan.print(members.unwrap_or(0), format), code)
}

impl Plan<'_> {
    fn print(&self, members: usize, format: Format) -> anyhow::Result<()> {
        output::print(format, self, |out| {
            let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "NEW"]);
            for reset in &self.offsets {
                let clamped = if reset.clamped {
                    " (the nearest in the log)"
                } else {
                    ""
                };
                table.row([
                    reset.topic.clone(),
                    reset.partition.to_string(),
                    dash(reset.committed),
                    format!("{}{clamped}", reset.offset),
                ]);
            }
            table.write(out, "")?;
            if !self.dry_run {
                return Ok(());
            }
            if !self.exists {
                writeln!(
                    out,
                    "group {} does not exist, --execute makes it",
                    self.group
                )?;
            }
            writeln!(out, "dry run: nothing was committed, --execute does it")?;
            if members > 0 {
                let members = count(members, "member");
                writeln!(out, "group {} has {members}: stop them before", self.group)?;
            }
            Ok(())
        })
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// How many members a group has; `None` if there is no such group.
async fn members_of(admin: &Admin, group: &str) -> anyhow::Result<Option<usize>> {
    let described = admin.describe_groups(&[group]).await;
    match described.into_iter().next() {
        Some(Ok(group)) => Ok(Some(group.members.len())),
        Some(Err(error)) if is_unknown(&error) => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None => bail!("the broker described no group"),
    }
}

/// In order, each once.
async fn partitions_of(
    admin: &Admin,
    group: &str,
    scope: &ResetScope,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> anyhow::Result<Vec<TopicPartition>> {
    if scope.all_topics {
        if committed.is_empty() {
            bail!("group {group} has committed nothing, if it exists: name topics with --topic");
        }
        return Ok(committed.keys().cloned().collect());
    }
    let topics: BTreeSet<&str> = scope.topics.iter().map(|it| it.topic.as_str()).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let mut counts = HashMap::new();
    for described in admin.describe_topics(&topics).await? {
        let topic = described?;
        counts.insert(topic.name, topic.partitions.len());
    }
    let mut partitions = BTreeSet::new();
    for scope in &scope.topics {
        let count = counts[&scope.topic];
        match scope.named() {
            None => {
                let indexes = (0..).take(count).map(PartitionIndex::new);
                partitions
                    .extend(indexes.map(|index| TopicPartition::new(scope.topic.as_str(), index)));
            }
            Some(named) => {
                for partition in named {
                    if usize::try_from(partition.partition.get()).is_ok_and(|index| index >= count)
                    {
                        bail!(
                            "{partition} does not exist: topic {} has {count} partitions",
                            scope.topic
                        );
                    }
                    partitions.insert(partition);
                }
            }
        }
    }
    Ok(partitions.into_iter().collect())
}

/// What the logs hold.
struct Bounds {
    starts: HashMap<TopicPartition, Offset>,
    ends: HashMap<TopicPartition, Offset>,
    /// The ends before it was asked for a time: where there was no record of that time, a group goes on here.
    ends_before: HashMap<TopicPartition, Offset>,
    /// The first records of a time, if one was asked for. None: there is no record that young.
    by_time: HashMap<TopicPartition, Option<Offset>>,
}

impl Bounds {
    async fn ask(
        admin: &Admin,
        partitions: &[TopicPartition],
        target: Target,
    ) -> anyhow::Result<Self> {
        let offset = |found: Option<ListedOffset>| found.map(|found| found.offset);
        let starts = list(admin, partitions, OffsetQuery::Earliest).await?;
        // Before the question for the time: what is appended in between is not skipped.
        let ends_before = list(admin, partitions, OffsetQuery::Latest).await?;
        let by_time = match target {
            Target::Timestamp(millis) => Some(millis),
            Target::Age(age) => {
                let then = SystemTime::now().checked_sub(age);
                let since_1970 = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok());
                let millis = since_1970.map_or(0, |since| since.as_millis());
                Some(i64::try_from(millis).unwrap_or(i64::MAX))
            }
            Target::Earliest
            | Target::Latest
            | Target::Current
            | Target::Offset(_)
            | Target::Shift(_) => None,
        };
        let by_time = match by_time {
            Some(millis) => {
                let query = OffsetQuery::Timestamp(Timestamp::new(millis));
                list(admin, partitions, query).await?
            }
            None => HashMap::new(),
        };
        // Last: what is found by time lies before it.
        let ends = list(admin, partitions, OffsetQuery::Latest).await?;
        let known = |listed: HashMap<TopicPartition, Option<ListedOffset>>| {
            listed
                .into_iter()
                .map(|(partition, found)| (partition, offset(found).unwrap_or(Offset::ZERO)))
                .collect()
        };
        Ok(Self {
            starts: known(starts),
            ends_before: known(ends_before),
            ends: known(ends),
            by_time: by_time
                .into_iter()
                .map(|(partition, found)| (partition, offset(found)))
                .collect(),
        })
    }

    /// The place asked for, which the log need not hold.
    fn wanted(
        &self,
        partition: &TopicPartition,
        target: Target,
        committed: Option<Offset>,
    ) -> anyhow::Result<i64> {
        let end = self.ends[partition].get();
        Ok(match target {
            Target::Earliest => self.starts[partition].get(),
            Target::Latest => end,
            Target::Current => committed.map_or(end, Offset::get),
            Target::Offset(offset) => offset,
            Target::Timestamp(_) | Target::Age(_) => self.by_time[partition]
                .unwrap_or(self.ends_before[partition])
                .get(),
            Target::Shift(by) => committed
                .with_context(|| {
                    format!("nothing is committed of {partition}: there is nothing to shift")
                })?
                .get()
                .saturating_add(by),
        })
    }

    fn clamp(&self, partition: &TopicPartition, wanted: i64) -> Offset {
        let start = self.starts[partition].get();
        let end = self.ends[partition].get();
        Offset::new(wanted.min(end).max(start))
    }
}

async fn list(
    admin: &Admin,
    partitions: &[TopicPartition],
    query: OffsetQuery,
) -> Result<HashMap<TopicPartition, Option<ListedOffset>>, ConsumeError> {
    let queries: Vec<(TopicPartition, OffsetQuery)> = partitions
        .iter()
        .map(|partition| (partition.clone(), query))
        .collect();
    admin.list_offsets(&queries).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new("orders", PartitionIndex::new(0))
    }

    /// A log that holds offsets 100 to 200, and a time before which 150 are.
    fn bounds(by_time: Option<i64>) -> Bounds {
        let at = |offset| HashMap::from([(partition(), Offset::new(offset))]);
        Bounds {
            starts: at(100),
            ends: at(200),
            ends_before: at(190),
            by_time: HashMap::from([(partition(), by_time.map(Offset::new))]),
        }
    }

    fn reset(target: Target, committed: Option<i64>, by_time: Option<i64>) -> anyhow::Result<i64> {
        let bounds = bounds(by_time);
        let wanted = bounds.wanted(&partition(), target, committed.map(Offset::new))?;
        Ok(bounds.clamp(&partition(), wanted).get())
    }

    #[test]
    fn every_target_lies_within_the_log() {
        for (target, committed, expected) in [
            (Target::Earliest, Some(160), 100),
            (Target::Latest, Some(160), 200),
            (Target::Current, Some(160), 160),
            (Target::Current, Some(40), 100),
            (Target::Current, None, 200),
            (Target::Offset(170), None, 170),
            (Target::Offset(0), None, 100),
            (Target::Offset(900), None, 200),
            (Target::Shift(-10), Some(160), 150),
            (Target::Shift(-1_000), Some(160), 100),
            (Target::Shift(i64::MAX), Some(160), 200),
            (Target::Shift(i64::MIN), Some(160), 100),
        ] {
            let found = reset(target, committed, None).unwrap();
            assert_eq!(found, expected, "{target:?} from {committed:?}");
        }
    }

    #[test]
    fn a_time_without_records_after_it_is_the_end_there_was_when_it_was_asked_for() {
        let time = Target::Timestamp(1);
        assert_eq!(reset(time, None, Some(150)).unwrap(), 150);
        assert_eq!(reset(time, None, None).unwrap(), 190);
    }

    #[test]
    fn what_was_never_committed_cannot_be_shifted() {
        let error = reset(Target::Shift(1), None, None).unwrap_err();
        assert!(error.to_string().contains("orders-0"), "{error}");
    }
}
