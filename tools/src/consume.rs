//! `corelog consume`: the records of a topic become lines.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use corelog_client::{
    Admin, ClientConfig, Consumer, ConsumerRecord, Offset, PartitionIndex, TopicPartition,
};
use serde::Serialize;

use crate::args::{ConsumeArguments, Format, Global};
use crate::interrupt::Interrupt;

/// How long one poll waits before the ends are looked at again.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(arguments: &ConsumeArguments, global: &Global) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    tokio::select! {
        done = consume(arguments, global) => done,
        // Every line was written as a whole: nothing is left to do.
        () = interrupt.came() => Ok(ExitCode::SUCCESS),
    }
}

async fn consume(arguments: &ConsumeArguments, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config(&[
        ("auto.offset.reset", "none".to_owned()),
        ("max.poll.records", "10000".to_owned()),
        ("default.api.timeout.ms", "30000".to_owned()),
    ]);
    // First: it gives up sooner than the consumer, which also waits for a broker that restarts.
    let partitions = partitions(arguments, &config).await?;
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
    let mut printer = Printer::new(arguments, global.format);
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
        printer.out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The partitions asked for, or all of the topic.
async fn partitions(
    arguments: &ConsumeArguments,
    config: &ClientConfig,
) -> anyhow::Result<Vec<TopicPartition>> {
    let indexes: Vec<PartitionIndex> = if arguments.partition.is_empty() {
        let config = config
            .of_connections()
            .set("default.api.timeout.ms", 10_000);
        let admin = Admin::new(&config).await?;
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

struct Printer {
    out: BufWriter<io::StdoutLock<'static>>,
    format: Format,
    print_key: bool,
}

/// One record. Bytes that are not UTF-8 come as hexadecimal digits under another name.
#[derive(Serialize)]
struct Printed<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

impl Printer {
    fn new(arguments: &ConsumeArguments, format: Format) -> Self {
        Self {
            out: BufWriter::with_capacity(256 << 10, io::stdout().lock()),
            format,
            print_key: arguments.print_key,
        }
    }

    fn print(&mut self, record: &ConsumerRecord) -> anyhow::Result<()> {
        match self.format {
            Format::Text => {
                if self.print_key {
                    self.out
                        .write_all(record.key.as_deref().unwrap_or_default())?;
                    self.out.write_all(b"\t")?;
                }
                self.out
                    .write_all(record.value.as_deref().unwrap_or_default())?;
                self.out.write_all(b"\n")?;
            }
            Format::Json => {
                let key = record.key.as_deref().filter(|_| self.print_key);
                let value = record.value.as_deref();
                let printed = Printed {
                    topic: &record.topic,
                    partition: record.partition.get(),
                    offset: record.offset.get(),
                    timestamp: record.timestamp.get(),
                    key: key.and_then(text),
                    key_hex: key.and_then(hex),
                    value: value.and_then(text),
                    value_hex: value.and_then(hex),
                };
                serde_json::to_writer(&mut self.out, &printed)?;
                self.out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Only for what is no text.
fn hex(bytes: &[u8]) -> Option<String> {
    if text(bytes).is_some() {
        return None;
    }
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
