//! `corelog group describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use corelog_client::{
    Admin, AdminError, CommittedOffset, ConsumeError, GroupDescription, GroupMember, Offset,
    OffsetQuery, TopicPartition,
};
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{kind_name, state_name};
use crate::args::Format;
use crate::output;
use crate::table::Table;

/// Groups whose progress is asked for at the same time.
const GROUPS_AT_ONCE: usize = 32;

#[derive(Serialize)]
struct Described {
    group: String,
    kind: &'static str,
    state: &'static str,
    epoch: i32,
    assignment_epoch: i32,
    assignor: String,
    coordinator_broker: i32,
    coordinator_shard: u16,
    members: Vec<Member>,
    offsets: Vec<Progress>,
    /// Of all partitions; none if that of one is not known: its end was not to be had, or nothing is committed of it.
    lag: Option<u64>,
}

#[derive(Serialize)]
struct Member {
    member_id: String,
    instance_id: Option<String>,
    rack_id: Option<String>,
    client_id: String,
    client_host: String,
    epoch: i32,
    topics: Vec<String>,
    topic_pattern: Option<String>,
    assigned: Vec<String>,
    target: Vec<String>,
}

/// How far the group has come with one partition.
#[derive(Serialize)]
struct Progress {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    leader_epoch: Option<i32>,
    metadata: Option<String>,
    /// The end of what is readable; none while the partition has no leader.
    end: Option<i64>,
    lag: Option<u64>,
    member_id: Option<String>,
}

pub(super) async fn run(
    admin: &Admin,
    names: &[String],
    format: Format,
) -> anyhow::Result<ExitCode> {
    let all: Vec<String>;
    let names = if names.is_empty() {
        let groups = admin.list_groups().await?;
        all = groups.into_iter().map(|group| group.group).collect();
        &all
    } else {
        names
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let results = stream::iter(admin.describe_groups(&names).await)
        .map(async |described| progress_of(admin, described?).await)
        .buffered(GROUPS_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (described, failures) = output::split(results);
    let (described, unknown): (Vec<Described>, Vec<_>) = described.into_iter().unzip();
    let mut code = output::report(&failures, format);
    for unknown in unknown.into_iter().flatten() {
        output::print_error(format, &unknown);
        code = ExitCode::FAILURE;
    }
    let printed = output::print(format, &described, |out| {
        described.iter().try_for_each(|group| group.write(out))
    });
    output::finish(printed, code)
}

/// How far a group has come, and why some of that is not known.
async fn progress_of(
    admin: &Admin,
    group: GroupDescription,
) -> Result<(Described, Option<anyhow::Error>), AdminError> {
    let committed = admin.group_offsets(&group.group).await?;
    let owners: BTreeMap<&TopicPartition, &str> = group
        .members
        .iter()
        .flat_map(|member| {
            let assigned = member.assigned.iter();
            assigned.map(|partition| (partition, member.member_id.as_str()))
        })
        .collect();
    let partitions: BTreeSet<&TopicPartition> =
        committed.keys().chain(owners.keys().copied()).collect();
    let queries: Vec<(TopicPartition, OffsetQuery)> = partitions
        .iter()
        .map(|partition| ((*partition).clone(), OffsetQuery::Latest))
        .collect();
    let mut ends = admin.list_offsets_each(&queries).await;
    let mut offsets = Vec::with_capacity(partitions.len());
    let mut unknown = Vec::new();
    for partition in partitions {
        let end = match ends.remove(partition) {
            Some(Ok(end)) => end.map(|end| end.offset),
            // Deleted a moment ago.
            Some(Err(ConsumeError::NoSuchPartition { .. })) => continue,
            // The rest can be told all the same.
            Some(Err(error)) => {
                unknown.push(error);
                None
            }
            None => None,
        };
        let committed = committed.get(partition);
        let owner = owners.get(partition).copied();
        offsets.push(Progress::new(partition, committed, end, owner));
    }
    let described = Described {
        kind: kind_name(group.kind),
        state: state_name(group.state),
        epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor: group.assignor,
        coordinator_broker: group.coordinator.0.get(),
        coordinator_shard: group.coordinator.1.get(),
        lag: offsets.iter().map(|it| it.lag).sum(),
        offsets,
        members: group.members.into_iter().map(Member::from).collect(),
        group: group.group,
    };
    let unknown = unknown.first().map(|first| {
        let (group, count) = (&described.group, unknown.len());
        anyhow!("group {group}: the end of {count} partitions is not known: {first}")
    });
    Ok((described, unknown))
}

impl Progress {
    fn new(
        partition: &TopicPartition,
        committed: Option<&CommittedOffset>,
        end: Option<Offset>,
        owner: Option<&str>,
    ) -> Self {
        let offset = committed.map(|committed| committed.offset.get());
        let end = end.map(Offset::get);
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition.get(),
            committed: offset,
            leader_epoch: committed.and_then(|it| it.leader_epoch).map(|it| it.get()),
            metadata: committed.map(|it| it.metadata.clone()),
            end,
            lag: offset
                .zip(end)
                .map(|(offset, end)| u64::try_from(end - offset).unwrap_or(0)),
            member_id: owner.map(str::to_owned),
        }
    }
}

impl From<GroupMember> for Member {
    fn from(member: GroupMember) -> Self {
        Self {
            assigned: shown(&member.assigned),
            target: shown(&member.target),
            member_id: member.member_id,
            instance_id: member.instance_id,
            rack_id: member.rack_id,
            client_id: member.client_id,
            client_host: member.client_host,
            epoch: member.epoch,
            topics: member.topic_names,
            topic_pattern: member.topic_pattern,
        }
    }
}

fn shown(partitions: &[TopicPartition]) -> Vec<String> {
    partitions.iter().map(ToString::to_string).collect()
}

impl Described {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(
            out,
            "{}  {}, {}, epoch {}",
            self.group, self.kind, self.state, self.epoch
        )?;
        if !self.assignor.is_empty() {
            write!(out, ", assignor {}", self.assignor)?;
        }
        writeln!(
            out,
            ", coordinator: broker {} shard {}, lag {}",
            self.coordinator_broker,
            self.coordinator_shard,
            self.lag
                .map_or_else(|| "unknown".to_owned(), |lag| lag.to_string())
        )?;
        if !self.members.is_empty() {
            let mut table = Table::new(&[
                "MEMBER",
                "INSTANCE",
                "CLIENT",
                "HOST",
                "EPOCH",
                "PARTITIONS",
            ]);
            for member in &self.members {
                table.row([
                    member.member_id.clone(),
                    dash(member.instance_id.as_ref()),
                    member.client_id.clone(),
                    member.client_host.clone(),
                    member.epoch.to_string(),
                    member.assigned.len().to_string(),
                ]);
            }
            table.write(out, "  ")?;
        }
        if !self.offsets.is_empty() {
            let mut table =
                Table::new(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"]);
            for offset in &self.offsets {
                table.row([
                    offset.topic.clone(),
                    offset.partition.to_string(),
                    dash(offset.committed),
                    dash(offset.end),
                    dash(offset.lag),
                    dash(offset.member_id.as_ref()),
                ]);
            }
            table.write(out, "  ")?;
        }
        Ok(())
    }
}

/// What is not there, in a column.
pub(super) fn dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
