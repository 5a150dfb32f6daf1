//! Counts records by key, in a group, and commits by hand what was counted.
//!
//! ```text
//! cargo run -p corelog-client --example keyed_processing -- 127.0.0.1:9190 counting orders
//! ```
//!
//! All records of one key are in one partition, and a partition has one member at a time: so a count per partition and key
//! needs no lock and no other process. When a partition goes to another member, its counts go along: here they are shown
//! and forgotten, a real program would store them where the next member finds them, before the commit.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corelog_client::{
    ClientConfig, CommittedOffset, ConsumerRecord, GroupConsumer, GroupError, Listening, Rebalance,
    RebalanceListener, TopicPartition,
};

/// How many records are processed between two commits. After a crash so many may be counted twice.
const COMMIT_EVERY: usize = 1_000;

/// What was counted of one partition.
#[derive(Default)]
struct Counted {
    by_key: BTreeMap<String, u64>,
    /// Where the group goes on if all this is kept.
    next: Option<CommittedOffset>,
}

/// What was counted, by partition. The listener and the loop both run within the consumer's own calls, never at once.
#[derive(Clone, Default)]
struct Counts {
    partitions: Arc<Mutex<HashMap<TopicPartition, Counted>>>,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicPartition, Counted>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, record: &ConsumerRecord) {
        let partition = TopicPartition::new(Arc::clone(&record.topic), record.partition);
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let mut partitions = self.lock();
        let counted = partitions.entry(partition).or_default();
        *counted.by_key.entry(key).or_default() += 1;
        counted.next = Some(CommittedOffset::after(record));
    }

    /// What is to be committed of these partitions, or of all.
    fn offsets(&self, of: Option<&[TopicPartition]>) -> Vec<(TopicPartition, CommittedOffset)> {
        self.lock()
            .iter()
            .filter(|(partition, _)| of.is_none_or(|of| of.contains(partition)))
            .filter_map(|(partition, counted)| Some((partition.clone(), counted.next.clone()?)))
            .collect()
    }

    fn forget(&self, partitions: &[TopicPartition]) {
        let mut counts = self.lock();
        for partition in partitions {
            if let Some(counted) = counts.remove(partition) {
                println!("{partition}: {:?}", counted.by_key);
            }
        }
    }
}

impl RebalanceListener for Counts {
    fn revoked<'a>(
        &'a mut self,
        mut rebalance: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        Box::pin(async move {
            let offsets = self.offsets(Some(partitions));
            if let Err(error) = rebalance.commit_offsets(&offsets).await {
                eprintln!("not committed, the next member counts again: {error}");
            }
            self.forget(partitions);
        })
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        // Another member counts on from the last commit: what came after it is counted there.
        self.lock()
            .retain(|partition, _| !partitions.contains(partition));
        Box::pin(std::future::ready(()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, group, topic] = &arguments[..] else {
        anyhow::bail!("usage: keyed_processing HOST:PORT GROUP TOPIC");
    };
    let pressed = async {
        // Without a handler for it, Ctrl-C would have ended the program.
        let _ = tokio::signal::ctrl_c().await;
    };
    count(servers, group, topic, pressed).await
}

/// Counts until it is told to leave.
pub(crate) async fn count(
    servers: &str,
    group: &str,
    topic: &str,
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", false);
    let counts = Counts::default();
    let mut consumer = GroupConsumer::new(&config).await?;
    consumer.set_rebalance_listener(counts.clone());
    consumer.subscribe([topic])?;
    tokio::select! {
        ended = process(&mut consumer, &counts) => ended?,
        () = until => {}
    }
    // The listener commits what is left.
    consumer.close().await?;
    Ok(())
}

async fn process(consumer: &mut GroupConsumer, counts: &Counts) -> Result<(), GroupError> {
    let mut uncommitted = 0;
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        for record in &records {
            counts.count(record);
        }
        uncommitted += records.len();
        if uncommitted < COMMIT_EVERY {
            continue;
        }
        match consumer.commit_offsets(&counts.offsets(None)).await {
            Ok(()) => uncommitted = 0,
            // A partition went meanwhile: the next poll tells the listener.
            Err(error @ (GroupError::NotOwned { .. } | GroupError::Fenced { .. })) => {
                eprintln!("{error}");
            }
            Err(error) if error.is_retriable() => eprintln!("{error}: the next commit will do"),
            Err(error) => return Err(error),
        }
    }
}
