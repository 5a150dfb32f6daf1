//! Reads a topic together with every other process that runs this with the same group.
//!
//! ```text
//! cargo run -p corelog-client --example consume_in_a_group -- 127.0.0.1:9190 billing orders
//! ```
//!
//! Positions are committed by themselves: what was printed when `poll` is called again counts as processed. Ctrl-C leaves
//! the group, so that the others take over at once.

use std::future::Future;
use std::time::Duration;

use corelog_client::{
    ClientConfig, ConsumerRecord, GroupConsumer, GroupError, Listening, Rebalance,
    RebalanceListener, TopicPartition,
};

/// Says which partitions come and go.
struct Announce;

impl RebalanceListener for Announce {
    fn assigned<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        eprintln!("mine now: {}", list(partitions));
        Box::pin(std::future::ready(()))
    }

    fn revoked<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        eprintln!("given up: {}", list(partitions));
        Box::pin(std::future::ready(()))
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        eprintln!("lost: {}", list(partitions));
        Box::pin(std::future::ready(()))
    }
}

fn list(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, group, topic] = &arguments[..] else {
        anyhow::bail!("usage: consume_in_a_group HOST:PORT GROUP TOPIC");
    };
    let print = |record: &ConsumerRecord| {
        let value = record.value.as_deref().unwrap_or_default();
        println!(
            "{}-{} {}: {}",
            record.topic,
            record.partition,
            record.offset,
            String::from_utf8_lossy(value)
        );
    };
    let pressed = async {
        // Without a handler for it, Ctrl-C would have ended the program.
        let _ = tokio::signal::ctrl_c().await;
    };
    consume(servers, group, topic, print, pressed).await
}

/// Shows every record that this member gets, until it is told to leave.
pub(crate) async fn consume(
    servers: &str,
    group: &str,
    topic: &str,
    mut show: impl FnMut(&ConsumerRecord),
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest");
    let mut consumer = GroupConsumer::new(&config).await?;
    consumer.set_rebalance_listener(Announce);
    consumer.subscribe([topic])?;
    tokio::select! {
        ended = show_records(&mut consumer, &mut show) => ended?,
        () = until => {}
    }
    consumer.close().await?;
    Ok(())
}

/// Goes on until something goes wrong for good.
async fn show_records(
    consumer: &mut GroupConsumer,
    show: &mut impl FnMut(&ConsumerRecord),
) -> Result<(), GroupError> {
    loop {
        match consumer.poll(Duration::from_secs(1)).await {
            Ok(records) => records.iter().for_each(&mut *show),
            Err(error) if error.is_retriable() => eprintln!("{error}: trying on"),
            Err(error) => return Err(error),
        }
    }
}
