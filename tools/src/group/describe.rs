//! `corelog group describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;

use corelog_client::{
    Admin, AdminError, CommittedOffset, ConsumeError, GroupDescription, GroupMember, Offset,
    OffsetQuery, TopicPartition,
};
use serde::Serialize;

use super::{kind_name, state_name};
use crate::args::Format;
use crate::output;
use crate::table::Table;

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
    /// Of all partitions whose lag is known.
    lag: u64,
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
    let mut results = Vec::with_capacity(names.len());
    for described in admin.describe_groups(&names).await {
        results.push(match described {
            Ok(group) => progress_of(admin, group).await,
            Err(error) => Err(error),
        });
    }
    let (described, failures) = output::split(results);
    output::print(format, &described, |out| {
        described.iter().try_for_each(|group| group.write(out))
    })?;
    Ok(output::report(&failures, format))
}

async fn progress_of(admin: &Admin, group: GroupDescription) -> Result<Described, AdminError> {
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
    for partition in partitions {
        let end = match ends.remove(partition) {
            Some(Ok(end)) => end.map(|end| end.offset),
            // Deleted a moment ago.
            Some(Err(ConsumeError::NoSuchPartition { .. })) => continue,
            // The rest can be told all the same.
            Some(Err(_)) | None => None,
        };
        let committed = committed.get(partition);
        let owner = owners.get(partition).copied();
        offsets.push(Progress::new(partition, committed, end, owner));
    }
    Ok(Described {
        kind: kind_name(group.kind),
        state: state_name(group.state),
        epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor: group.assignor,
        coordinator_broker: group.coordinator.0.get(),
        coordinator_shard: group.coordinator.1.get(),
        lag: offsets.iter().filter_map(|it| it.lag).sum(),
        offsets,
        members: group.members.into_iter().map(Member::from).collect(),
        group: group.group,
    })
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
            self.coordinator_broker, self.coordinator_shard, self.lag
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
