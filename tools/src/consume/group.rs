//! `corelog consume --group`: reads as a member of a group, and commits what was printed.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use anyhow::bail;
use corelog_client::{ClientConfig, GroupConsumer, Offset, OffsetQuery, SeekTo, TopicPartition};

use super::printer::Printer;
use super::{POLL, admin, partition_of, partitions};
use crate::args::{ConsumeArguments, Global};
use crate::interrupt::Interrupt;

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
    };
    let read = tokio::select! {
        read = reading.read(&mut consumer) => read,
        // Records were printed as soon as they were polled.
        () = interrupt.came() => Ok(()),
    };
    // Also after a failure: what was printed is committed, and the others need not wait for a time-out.
    let left = tokio::select! {
        left = consumer.close() => left,
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
}

impl Reading {
    async fn read(&mut self, consumer: &mut GroupConsumer) -> anyhow::Result<()> {
        while self.left > 0 && !self.is_at_end(consumer)? {
            // What was polled and not printed is another reader's, or this group's next time.
            let mut given_back: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
            for record in consumer.poll(POLL).await? {
                let partition = partition_of(&record);
                if self.left == 0 || self.is_beyond(&partition, record.offset) {
                    given_back.entry(partition).or_insert(record.offset);
                    continue;
                }
                self.printer.print(&record)?;
                self.left -= 1;
            }
            self.printer.flush()?;
            for (partition, offset) in given_back {
                consumer.pause(&partition)?;
                consumer.seek(&partition, SeekTo::Offset(offset)).await?;
            }
        }
        Ok(())
    }

    fn is_beyond(&self, partition: &TopicPartition, offset: Offset) -> bool {
        let end = self.ends.as_ref().and_then(|ends| ends.get(partition));
        end.is_some_and(|end| offset >= *end)
    }

    fn is_at_end(&self, consumer: &GroupConsumer) -> anyhow::Result<bool> {
        let Some(ends) = &self.ends else {
            return Ok(false);
        };
        let assigned = consumer.assignment();
        for partition in &assigned {
            let position = consumer.position(partition)?;
            let end = ends.get(partition);
            if end.is_some_and(|end| position.is_none_or(|position| position < *end)) {
                return Ok(false);
            }
        }
        Ok(!assigned.is_empty())
    }
}
