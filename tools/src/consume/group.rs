//! `corelog consume --group`: reads as a member of a group, and commits what was printed.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use corelog_client::{ClientConfig, GroupConsumer, Offset, OffsetQuery, SeekTo, TopicPartition};

use super::printer::Printer;
use super::{POLL, admin, partition_of, partitions};
use crate::args::{ConsumeArguments, Global};
use crate::interrupt::Interrupt;
use crate::output;

pub(super) async fn consume(
    group: &str,
    arguments: &ConsumeArguments,
    global: &Global,
    interrupt: &mut Interrupt,
) -> anyhow::Result<ExitCode> {
    let reset = match arguments.from.0 {
        SeekTo::Beginning => "earliest",
        SeekTo::End => "latest",
        SeekTo::Offset(_) | SeekTo::Timestamp(_) => bail!(
            "--from is `beginning` or `end` with --group: `corelog group reset-offsets {group}` \
             lets a group go on elsewhere"
        ),
    };
    for name in ["group.id", "auto.offset.reset"] {
        if global.client_settings.iter().any(|it| it.name == name) {
            bail!("-X {name} contradicts --group and --from, which say the same: leave it out");
        }
    }
    let config = global.config(&[
        ("group.id", group.to_owned()),
        ("auto.offset.reset", reset.to_owned()),
        ("max.poll.records", "10000".to_owned()),
        ("default.api.timeout.ms", "30000".to_owned()),
    ]);
    let opened = tokio::select! {
        opened = open(arguments, &config) => opened?,
        () = interrupt.came() => return Ok(ExitCode::SUCCESS),
    };
    let (mut consumer, ends) = opened;
    let mut reading = Reading {
        left: arguments.max_messages.unwrap_or(u64::MAX),
        ends,
        printer: Printer::new(arguments, global.format),
        unwritten: BTreeMap::new(),
        without_partitions_since: None,
    };
    let read = tokio::select! {
        read = reading.read(&mut consumer) => read,
        () = interrupt.came() => Ok(()),
    };
    // Also after a failure: what was printed is committed, and the others need not wait for a time-out.
    let leave = async {
        reading.printer.settle().await;
        reading.give_back(&mut consumer).await;
        consumer.close().await
    };
    let left = tokio::select! {
        left = leave => left,
        () = interrupt.came() => bail!("interrupted before the last lines were committed: the group prints them again"),
    };
    read?;
    left?;
    Ok(ExitCode::SUCCESS)
}

/// A member that subscribes to the topic, and where to end.
async fn open(
    arguments: &ConsumeArguments,
    config: &ClientConfig,
) -> anyhow::Result<(GroupConsumer, Option<HashMap<TopicPartition, Offset>>)> {
    // It also says when the topic does not exist; a group would wait for it.
    let admin = admin(config).await?;
    let partitions = partitions(arguments, &admin).await?;
    let ends = if arguments.exit_at_end {
        let queries: Vec<(TopicPartition, OffsetQuery)> = partitions
            .into_iter()
            .map(|partition| (partition, OffsetQuery::Latest))
            .collect();
        let listed = admin.list_offsets(&queries).await?.into_iter();
        Some(
            listed
                .filter_map(|(partition, end)| Some((partition, end?.offset)))
                .collect(),
        )
    } else {
        None
    };
    let mut consumer = GroupConsumer::new(config).await?;
    consumer.subscribe([arguments.topic.as_str()])?;
    Ok((consumer, ends))
}

struct Reading {
    /// How many lines may still be printed.
    left: u64,
    ends: Option<HashMap<TopicPartition, Offset>>,
    printer: Printer,
    /// Where the records begin that were polled and are not known to have left the process.
    unwritten: BTreeMap<TopicPartition, Offset>,
    without_partitions_since: Option<Instant>,
}

/// A member to which nothing is assigned for so long gets nothing: others of its group have it all.
const ASSIGNED_WITHIN: Duration = Duration::from_secs(15);

impl Reading {
    async fn read(&mut self, consumer: &mut GroupConsumer) -> anyhow::Result<()> {
        while self.left > 0 && !self.is_at_end(consumer)? {
            // What was polled and not printed is another reader's, or this group's next time.
            let mut given_back: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
            for record in consumer.poll(POLL).await? {
                let partition = partition_of(&record);
                self.unwritten
                    .entry(partition.clone())
                    .or_insert(record.offset);
                if self.left == 0 || self.is_beyond(&partition, record.offset) {
                    given_back.entry(partition).or_insert(record.offset);
                    continue;
                }
                self.printer.print(&record)?;
                self.left -= 1;
            }
            self.printer.flush().await?;
            self.unwritten.clear();
            for (partition, offset) in given_back {
                consumer.pause(&partition)?;
                consumer.seek(&partition, SeekTo::Offset(offset)).await?;
            }
        }
        Ok(())
    }

    /// Goes back to what was polled and not printed: who closes commits its positions.
    async fn give_back(&mut self, consumer: &mut GroupConsumer) {
        for (partition, offset) in std::mem::take(&mut self.unwritten) {
            // One that was revoked meanwhile is somebody else's, who starts where it was committed.
            let _ = consumer.seek(&partition, SeekTo::Offset(offset)).await;
        }
    }

    fn is_beyond(&self, partition: &TopicPartition, offset: Offset) -> bool {
        let end = self.ends.as_ref().and_then(|ends| ends.get(partition));
        end.is_some_and(|end| offset >= *end)
    }

    fn is_at_end(&mut self, consumer: &GroupConsumer) -> anyhow::Result<bool> {
        let Some(ends) = &self.ends else {
            return Ok(false);
        };
        let assigned = consumer.assignment();
        if !assigned.is_empty() {
            self.without_partitions_since = None;
        }
        for partition in &assigned {
            let position = consumer.position(partition)?;
            let end = ends.get(partition);
            if end.is_some_and(|end| position.is_none_or(|position| position < *end)) {
                return Ok(false);
            }
        }
        if !assigned.is_empty() {
            return Ok(true);
        }
        let since = *self
            .without_partitions_since
            .get_or_insert_with(Instant::now);
        if since.elapsed() < ASSIGNED_WITHIN {
            return Ok(false);
        }
        output::tell(
            "corelog: no partition is assigned to this member: others of its group have them",
        );
        Ok(true)
    }
}
