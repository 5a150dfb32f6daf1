//! `corelog topic`: create, list, describe, delete, and more partitions.

use std::io::{self, Write};
use std::process::ExitCode;

use corelog_client::{
    Admin, AdminError, ConfigEntry, ConfigSource, CreatedTopic, DeleteUntil, ErrorCode,
    MorePartitions, NewTopic, PartitionDescription, PartitionIndex, TopicDescription, TopicListing,
    TopicPartition,
};
use serde::Serialize;

use crate::args::{Format, Global, TopicCommand};
use crate::output;
use crate::table::Table;

pub(crate) async fn run(command: &TopicCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config(&[("default.api.timeout.ms", "5000".to_owned())]);
    let admin = Admin::new(&config).await?;
    let format = global.format;
    match command {
        TopicCommand::Create {
            name,
            partitions,
            replication_factor,
            configs,
            if_not_exists,
        } => {
            let topic = NewTopic {
                name: name.clone(),
                partitions: *partitions,
                replication_factor: *replication_factor,
                configs: configs
                    .iter()
                    .map(|config| (config.name.clone(), config.value.clone()))
                    .collect(),
            };
            create(&admin, topic, *if_not_exists, format).await
        }
        TopicCommand::List => list(&admin, format).await,
        TopicCommand::Describe { names } => describe(&admin, names, format).await,
        TopicCommand::Delete { names } => delete(&admin, names, format).await,
        TopicCommand::DeleteRecords {
            name,
            before,
            partition,
        } => delete_records(&admin, name, before.0, partition, format).await,
        TopicCommand::AddPartitions {
            name,
            count,
            dry_run,
        } => add_partitions(&admin, name, *count, *dry_run, format).await,
    }
}

#[derive(Serialize)]
struct Created {
    name: String,
    id: String,
    partitions: i32,
    replication_factor: i16,
    configs: Vec<Config>,
}

async fn create(
    admin: &Admin,
    topic: NewTopic,
    if_not_exists: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let results = admin.create_topics(std::slice::from_ref(&topic)).await?;
    for result in results {
        match result {
            Ok(created) => {
                let created = Created::from(created);
                output::print(format, &created, |out| {
                    writeln!(
                        out,
                        "created {} with {} partitions, id {}",
                        created.name, created.partitions, created.id
                    )
                })?;
            }
            Err(AdminError::Topic {
                code: ErrorCode::TopicAlreadyExists,
                ..
            }) if if_not_exists => {
                let exists = serde_json::json!({ "name": topic.name, "exists": true });
                output::print(format, &exists, |out| {
                    writeln!(out, "{} exists", topic.name)
                })?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl From<CreatedTopic> for Created {
    fn from(topic: CreatedTopic) -> Self {
        Self {
            name: topic.name,
            id: topic.id.to_string(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: configs_of(topic.configs),
        }
    }
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: String,
    partitions: usize,
    durability: String,
    internal: bool,
}

async fn list(admin: &Admin, format: Format) -> anyhow::Result<ExitCode> {
    let topics: Vec<Listed> = admin
        .list_topics()
        .await?
        .into_iter()
        .map(|topic: TopicListing| Listed {
            name: topic.name,
            id: topic.id.to_string(),
            partitions: topic.partitions,
            durability: topic.durability.to_string(),
            internal: topic.internal,
        })
        .collect();
    output::print(format, &topics, |out| {
        let mut table = Table::new(&["TOPIC", "PARTITIONS", "DURABILITY", "ID"]);
        for topic in &topics {
            table.row([
                topic.name.clone(),
                topic.partitions.to_string(),
                topic.durability.clone(),
                topic.id.clone(),
            ]);
        }
        table.write(out, "")
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    internal: bool,
    partitions: Vec<Partition>,
    configs: Vec<Config>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_shard: u16,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync_replicas: Vec<i32>,
    log_start_offset: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    log_end_offset: i64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct Config {
    name: String,
    value: String,
    source: &'static str,
    read_only: bool,
}

async fn describe(admin: &Admin, names: &[String], format: Format) -> anyhow::Result<ExitCode> {
    let all: Vec<String>;
    let names = if names.is_empty() {
        let topics = admin.list_topics().await?;
        all = topics.into_iter().map(|topic| topic.name).collect();
        &all
    } else {
        names
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (described, failures) = output::split(admin.describe_topics(&names).await?);
    let described: Vec<Described> = described.into_iter().map(Described::from).collect();
    output::print(format, &described, |out| {
        for topic in &described {
            topic.write(out)?;
        }
        Ok(())
    })?;
    Ok(output::report(&failures, format))
}

impl Described {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}  id {}", self.name, self.id)?;
        let mut table = Table::new(&[
            "PARTITION",
            "LEADER",
            "SHARD",
            "EPOCH",
            "REPLICAS",
            "IN SYNC",
            "START",
            "END",
            "BYTES",
        ]);
        for partition in &self.partitions {
            table.row([
                partition.partition.to_string(),
                partition
                    .leader
                    .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                partition.leader_shard.to_string(),
                partition.leader_epoch.to_string(),
                join(&partition.replicas),
                join(&partition.in_sync_replicas),
                partition.log_start_offset.to_string(),
                partition.high_watermark.to_string(),
                partition.size_bytes.to_string(),
            ]);
        }
        table.write(out, "  ")?;
        let mut table = Table::new(&["CONFIG", "VALUE", "SOURCE"]);
        for config in &self.configs {
            table.row([
                config.name.clone(),
                config.value.clone(),
                config.source.to_owned(),
            ]);
        }
        table.write(out, "  ")
    }
}

impl From<TopicDescription> for Described {
    fn from(topic: TopicDescription) -> Self {
        Self {
            name: topic.name,
            id: topic.id.to_string(),
            internal: topic.internal,
            partitions: topic.partitions.into_iter().map(Partition::from).collect(),
            configs: configs_of(topic.configs),
        }
    }
}

impl From<PartitionDescription> for Partition {
    fn from(partition: PartitionDescription) -> Self {
        Self {
            partition: partition.index.get(),
            leader: partition.leader.map(|broker| broker.get()),
            leader_shard: partition.leader_shard.get(),
            leader_epoch: partition.leader_epoch.get(),
            replicas: partition.replicas.iter().map(|it| it.get()).collect(),
            in_sync_replicas: partition
                .in_sync_replicas
                .iter()
                .map(|it| it.get())
                .collect(),
            log_start_offset: partition.log_start_offset.get(),
            high_watermark: partition.high_watermark.get(),
            last_stable_offset: partition.last_stable_offset.get(),
            log_end_offset: partition.log_end_offset.get(),
            size_bytes: partition.size_bytes,
        }
    }
}

fn configs_of(configs: Vec<ConfigEntry>) -> Vec<Config> {
    configs
        .into_iter()
        .map(|config| Config {
            name: config.name,
            value: config.value,
            source: source_name(config.source),
            read_only: config.read_only,
        })
        .collect()
}

pub(crate) fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Default => "default",
        ConfigSource::Broker => "broker",
        ConfigSource::Topic => "topic",
    }
}

async fn delete(admin: &Admin, names: &[String], format: Format) -> anyhow::Result<ExitCode> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let results = admin.delete_topics(&names).await?;
    let results = names.into_iter().zip(results);
    let (deleted, failures) = output::split(results.map(|(name, result)| result.map(|()| name)));
    output::print(format, &deleted, |out| {
        for name in &deleted {
            writeln!(out, "deleted {name}")?;
        }
        Ok(())
    })?;
    Ok(output::report(&failures, format))
}

#[derive(Serialize)]
struct Shortened {
    partition: i32,
    log_start_offset: i64,
}

async fn delete_records(
    admin: &Admin,
    name: &str,
    until: DeleteUntil,
    partitions: &[i32],
    format: Format,
) -> anyhow::Result<ExitCode> {
    let mut wanted: Vec<PartitionIndex> = partitions
        .iter()
        .map(|partition| PartitionIndex::new(*partition))
        .collect();
    if wanted.is_empty() {
        let (described, failures) = output::split(admin.describe_topics(&[name]).await?);
        if !failures.is_empty() {
            return Ok(output::report(&failures, format));
        }
        let partitions = described.into_iter().flat_map(|topic| topic.partitions);
        wanted = partitions.map(|partition| partition.index).collect();
    }
    wanted.sort_unstable();
    wanted.dedup();
    let deletions: Vec<(TopicPartition, DeleteUntil)> = wanted
        .iter()
        .map(|partition| (TopicPartition::new(name, *partition), until))
        .collect();
    let mut results = admin.delete_records(&deletions).await;
    let mut shortened = Vec::with_capacity(deletions.len());
    let mut failed = false;
    for (partition, _) in deletions {
        match results.remove(&partition) {
            Some(Ok(offset)) => shortened.push(Shortened {
                partition: partition.partition.get(),
                log_start_offset: offset.get(),
            }),
            Some(Err(error)) => {
                output::print_error(format, &anyhow::Error::new(error));
                failed = true;
            }
            None => unreachable!("every partition asked about has a result"),
        }
    }
    output::print(format, &shortened, |out| {
        for partition in &shortened {
            writeln!(
                out,
                "{name}-{} starts at {}",
                partition.partition, partition.log_start_offset
            )?;
        }
        Ok(())
    })?;
    Ok(ExitCode::from(u8::from(failed)))
}

#[derive(Serialize)]
struct Grown<'a> {
    name: &'a str,
    partitions: i32,
    dry_run: bool,
}

async fn add_partitions(
    admin: &Admin,
    name: &str,
    count: i32,
    dry_run: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let wanted = [MorePartitions {
        name: name.to_owned(),
        count,
    }];
    let results = if dry_run {
        admin.validate_create_partitions(&wanted).await?
    } else {
        admin.create_partitions(&wanted).await?
    };
    for result in results {
        result?;
    }
    let grown = Grown {
        name,
        partitions: count,
        dry_run,
    };
    output::print(format, &grown, |out| {
        let has = if dry_run { "would have" } else { "has" };
        writeln!(out, "{name} {has} {count} partitions")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn join(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}
