//! `corelog consume`: the records of a topic become lines.

mod group;
mod printer;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use corelog_client::{
    Admin, ClientConfig, ConnectError, Consumer, ConsumerRecord, Offset, PartitionIndex,
    TopicPartition,
};

use crate::args::{ConsumeArguments, Global};
use crate::interrupt::Interrupt;
use printer::Printer;

/// How long one poll waits before the ends are looked at again.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(arguments: &ConsumeArguments, global: &Global) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    if let Some(group) = &arguments.group {
        return group::consume(group, arguments, global, &mut interrupt).await;
    }
    let mut printer = Printer::new(arguments, global.format);
    let done = tokio::select! {
        done = consume(arguments, global, &mut printer) => done,
        () = interrupt.came() => Ok(ExitCode::SUCCESS),
    };
    printer.settle().await;
    done
}

async fn consume(
    arguments: &ConsumeArguments,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    let config = global.config(&[
        ("auto.offset.reset", "none".to_owned()),
        ("max.poll.records", "10000".to_owned()),
        ("default.api.timeout.ms", "30000".to_owned()),
    ]);
    // First: it gives up sooner than the consumer, which also waits for a broker that restarts.
    let partitions = partitions(arguments, &admin(&config).await?).await?;
    let mut consumer = Consumer::new(&config).await?;
    consumer.assign(&partitions).await?;
    for partition in &partitions {
        consumer.seek(partition, arguments.from.0).await?;
    }
    let ends = if arguments.exit_at_end {
        Some(consumer.end_offsets(&partitions).await?)
    } else {
        None
    };
    let mut left = arguments.max_messages.unwrap_or(u64::MAX);
    while left > 0 && !is_at_end(&consumer, ends.as_ref())? {
        for record in consumer.poll(POLL).await? {
            let beyond = ends
                .as_ref()
                .and_then(|ends| ends.get(&partition_of(&record)))
                .is_some_and(|end| record.offset >= *end);
            if left == 0 || beyond {
                continue;
            }
            printer.print(&record)?;
            left -= 1;
        }
        printer.flush().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives up sooner than a consumer.
async fn admin(config: &ClientConfig) -> Result<Admin, ConnectError> {
    let config = config
        .of_connections()
        .set("default.api.timeout.ms", 10_000);
    Admin::new(&config).await
}

/// The partitions asked for, or all of the topic.
async fn partitions(
    arguments: &ConsumeArguments,
    admin: &Admin,
) -> anyhow::Result<Vec<TopicPartition>> {
    let indexes: Vec<PartitionIndex> = if arguments.partition.is_empty() {
        let described = admin.describe_topics(&[&arguments.topic]).await?;
        let topic = described
            .into_iter()
            .next()
            .context("the broker described no topic")??;
        topic
            .partitions
            .iter()
            .map(|partition| partition.index)
            .collect()
    } else {
        arguments
            .partition
            .iter()
            .map(|index| PartitionIndex::new(*index))
            .collect()
    };
    Ok(indexes
        .into_iter()
        .map(|index| TopicPartition::new(arguments.topic.as_str(), index))
        .collect())
}

fn is_at_end(
    consumer: &Consumer,
    ends: Option<&HashMap<TopicPartition, Offset>>,
) -> anyhow::Result<bool> {
    let Some(ends) = ends else {
        return Ok(false);
    };
    for (partition, end) in ends {
        let position = consumer.position(partition)?;
        if position.is_none_or(|position| position < *end) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn partition_of(record: &ConsumerRecord) -> TopicPartition {
    TopicPartition::new(std::sync::Arc::clone(&record.topic), record.partition)
}
