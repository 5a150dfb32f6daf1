//! `corelog group`: who reads in groups, how far they have come, and letting them go on elsewhere.

pub(crate) mod arguments;
mod describe;
mod reset;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use corelog_client::{Admin, AdminError, GroupKind, GroupState, TopicPartition};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::output;
use crate::table::Table;
use arguments::{GroupCommand, Scope};

/// The states as the command line names them.
pub(crate) const STATES: [(&str, GroupState); 7] = [
    ("empty", GroupState::Empty),
    ("assigning", GroupState::Assigning),
    ("reconciling", GroupState::Reconciling),
    ("stable", GroupState::Stable),
    ("preparing-rebalance", GroupState::PreparingRebalance),
    ("completing-rebalance", GroupState::CompletingRebalance),
    ("dead", GroupState::Dead),
];

pub(crate) async fn run(command: &GroupCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config(&[("default.api.timeout.ms", "5000".to_owned())]);
    let admin = Admin::new(&config).await?;
    let format = global.format;
    match command {
        GroupCommand::List { state } => list(&admin, state, format).await,
        GroupCommand::Describe { names } => describe::run(&admin, names, format).await,
        GroupCommand::Delete { names } => delete(&admin, names, format).await,
        GroupCommand::DeleteOffsets { group, topics } => {
            delete_offsets(&admin, group, topics, format).await
        }
        GroupCommand::ResetOffsets(arguments) => reset::run(&admin, arguments, format).await,
    }
}

fn state_name(state: GroupState) -> &'static str {
    STATES
        .iter()
        .find_map(|(name, named)| (*named == state).then_some(*name))
        .unwrap_or_else(|| unreachable!("every state has a name"))
}

fn kind_name(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Consumer => "consumer",
        GroupKind::Classic => "classic",
    }
}

#[derive(Serialize)]
struct Listed {
    group: String,
    kind: &'static str,
    state: &'static str,
}

async fn list(admin: &Admin, states: &[String], format: Format) -> anyhow::Result<ExitCode> {
    let mut groups: Vec<Listed> = admin
        .list_groups()
        .await?
        .into_iter()
        .map(|group| Listed {
            group: group.group,
            kind: kind_name(group.kind),
            state: state_name(group.state),
        })
        .collect();
    if !states.is_empty() {
        groups.retain(|group| states.iter().any(|state| state == group.state));
    }
    output::print(format, &groups, |out| {
        let mut table = Table::new(&["GROUP", "KIND", "STATE"]);
        for group in &groups {
            table.row([
                group.group.clone(),
                group.kind.to_owned(),
                group.state.to_owned(),
            ]);
        }
        table.write(out, "")
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn delete(admin: &Admin, names: &[String], format: Format) -> anyhow::Result<ExitCode> {
    let mut seen = BTreeSet::new();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| seen.insert(*name))
        .collect();
    let results = admin.delete_groups(&names).await;
    let results = names.into_iter().zip(results);
    let (deleted, failures) = output::split(results.map(|(name, result)| result.map(|()| name)));
    let code = output::report(&failures, format);
    let printed = output::print(format, &deleted, |out| {
        for name in &deleted {
            writeln!(out, "deleted {name}")?;
        }
        Ok(())
    });
    output::finish(printed, code)
}

#[derive(Serialize)]
struct Forgotten<'a> {
    topic: &'a str,
    partition: i32,
}

async fn delete_offsets(
    admin: &Admin,
    group: &str,
    topics: &[Scope],
    format: Format,
) -> anyhow::Result<ExitCode> {
    // A name that is mistyped is told as such.
    for described in admin.describe_groups(&[group]).await {
        described?;
    }
    let committed = admin.group_offsets(group).await?;
    let mut partitions: BTreeSet<TopicPartition> = BTreeSet::new();
    for scope in topics {
        let wanted: Vec<TopicPartition> = match scope.named() {
            Some(named) => named.collect(),
            None => {
                let committed = committed.keys();
                committed
                    .filter(|partition| *partition.topic == *scope.topic)
                    .cloned()
                    .collect()
            }
        };
        for partition in &wanted {
            if !committed.contains_key(partition) {
                bail!("group {group} has committed nothing of {partition}");
            }
        }
        if wanted.is_empty() {
            bail!(
                "group {group} has committed nothing of topic {}",
                scope.topic
            );
        }
        partitions.extend(wanted);
    }
    let outcomes = admin.delete_group_offsets(group, &partitions).await?;
    let (forgotten, failures) = output::split(partitions.iter().map(|partition| {
        outcomes[partition].clone().map(|()| Forgotten {
            topic: &partition.topic,
            partition: partition.partition.get(),
        })
    }));
    let code = output::report(&failures, format);
    let printed = output::print(format, &forgotten, |out| {
        for it in &forgotten {
            writeln!(out, "forgot {}-{}", it.topic, it.partition)?;
        }
        Ok(())
    });
    output::finish(printed, code)
}

/// True for a group that the cluster does not know.
fn is_unknown(error: &AdminError) -> bool {
    matches!(error, AdminError::Group { code, .. }
        if *code == corelog_client::ErrorCode::GroupIdNotFound)
}
