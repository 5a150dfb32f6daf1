//! `corelog produce`: the lines of stdin become records.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use corelog_client::{Admin, ClientConfig, Delivery, PartitionIndex, Producer, ProducerRecord};
use tokio::sync::mpsc;

use crate::acknowledgements::Acknowledgements;
use crate::args::{Global, ProduceArguments};
use crate::interrupt::Interrupt;
use crate::lines::{Portion, read_stdin};

/// Lines sent and not yet reported: a bound on memory apart from the producer's own.
const MAX_WAITING: usize = 200_000;
/// How long the end waits for what was sent; the producer itself gives up earlier.
const LAST_WAIT: Duration = Duration::from_millis(DELIVERY_TIMEOUT_MS + 10_000);
/// A broker that restarts, and replays its journal, is waited for this long.
const DELIVERY_TIMEOUT_MS: u64 = 300_000;

pub(crate) async fn run(arguments: &ProduceArguments, global: &Global) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let config = global.config(&[
        ("acks", arguments.acks.clone()),
        ("compression.type", arguments.compression.to_string()),
        ("delivery.timeout.ms", DELIVERY_TIMEOUT_MS.to_string()),
        ("max.block.ms", DELIVERY_TIMEOUT_MS.to_string()),
        ("request.timeout.ms", "10000".to_owned()),
    ]);
    let producer = tokio::select! {
        producer = open(arguments, &config) => producer?,
        () = interrupt.came() => return Ok(ExitCode::from(1)),
    };
    let mut lines = read_stdin().context("cannot read stdin")?;
    let mut sent = Acknowledgements::new(arguments.quiet, global.format);
    let sending = tokio::select! {
        sending = send_all(&producer, arguments, &mut lines, &mut sent) => sending,
        () = interrupt.came() => {
            crate::output::tell(format_args!("corelog: interrupted: waiting for what was sent"));
            Ok(())
        }
    };
    // A signal that comes now ends the wait.
    tokio::select! {
        finished = tokio::time::timeout(LAST_WAIT, finish(&producer, &mut sent)) => {
            if let Ok(finished) = finished {
                finished?;
            }
        }
        () = interrupt.came() => {}
    }
    let code = sent.end()?;
    sending.map(|()| code)
}

/// Sends line after line until the input ends, and reports meanwhile what is acknowledged.
async fn send_all(
    producer: &Producer,
    arguments: &ProduceArguments,
    lines: &mut mpsc::Receiver<Portion>,
    sent: &mut Acknowledgements,
) -> anyhow::Result<()> {
    let mut line = 0;
    loop {
        sent.report_settled()?;
        let portion = tokio::select! {
            portion = lines.recv(), if sent.waiting() < MAX_WAITING => portion,
            () = sent.oldest_settled(), if sent.waiting() > 0 => continue,
        };
        let Some(portion) = portion else {
            return Ok(());
        };
        for text in portion.context("cannot read stdin")? {
            line += 1;
            let delivery = send(producer, arguments, line, &text).await?;
            sent.wait_for(line, delivery);
        }
    }
}

/// Waits until everything sent is settled.
async fn finish(producer: &Producer, sent: &mut Acknowledgements) -> anyhow::Result<()> {
    producer.flush().await?;
    sent.report_all().await
}

/// Looks for a broker and for the topic first: the producer would wait for either for as long as for a
/// broker that restarts.
async fn open(arguments: &ProduceArguments, config: &ClientConfig) -> anyhow::Result<Producer> {
    let admin_config = config
        .of_connections()
        .set("default.api.timeout.ms", 10_000);
    let admin = Admin::new(&admin_config).await?;
    for described in admin.describe_topics(&[&arguments.topic]).await? {
        let partitions = described?.partitions.len();
        if let Some(partition) = arguments.partition
            && usize::try_from(partition).is_ok_and(|partition| partition >= partitions)
        {
            bail!(
                "{} has no partition {partition}; it has {partitions}",
                arguments.topic
            );
        }
    }
    Ok(Producer::new(config).await?)
}

async fn send(
    producer: &Producer,
    arguments: &ProduceArguments,
    line: u64,
    text: &Bytes,
) -> anyhow::Result<Delivery> {
    let mut record = ProducerRecord::to(&arguments.topic);
    match &arguments.key_separator {
        Some(separator) => {
            let Some((key, value)) = split_key(text, separator.as_bytes()) else {
                bail!("line {line} has no key: {separator:?} is not in it");
            };
            record = record.key(key).value(value);
        }
        None => record = record.value(text),
    }
    if let Some(partition) = arguments.partition {
        record = record.partition(PartitionIndex::new(partition));
    }
    producer
        .send(record)
        .await
        .with_context(|| format!("line {line} was not sent"))
}

fn split_key<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if separator.is_empty() {
        return None;
    }
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(
            split_key(b"a::b::c", b"::"),
            Some((&b"a"[..], &b"b::c"[..]))
        );
        assert_eq!(split_key(b"::b", b"::"), Some((&b""[..], &b"b"[..])));
        assert_eq!(split_key(b"a:b", b"::"), None);
        assert_eq!(split_key(b"ab", b""), None);
    }
}
