//! The cluster under test: its topics, and clients with the run's settings.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corelog_client::{ClientConfig, GroupConsumer, TopicPartition};
use corelog_protocol::{Durability, PartitionIndex};

#[cfg(feature = "kafka")]
use super::client::kafka::{KafkaAdmin, KafkaReceiver, KafkaSender};
use super::client::native::{MAX_POLL_RECORDS, NativeAdmin, NativeReceiver, NativeSender};
use super::client::{Admin, Receiver, Sender, SenderOptions, TopicOptions};
use super::consume::Stretch;
use crate::interrupt;
use crate::plan::Plan;
use crate::servers::Servers;

/// How often members of a group commit by themselves: several times in a slice,
/// which Kafka's own five seconds would not be.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// What a batch may need beyond the values of its records.
const BATCH_OVERHEAD: usize = 4 << 10;

/// How long brokers may take to answer the first call.
const FIRST_CONTACT: Duration = Duration::from_secs(3);

/// How long they may take to create or delete a topic.
const ANSWER: Duration = Duration::from_secs(60);

/// How long records may take from the socket to the end of their partition.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Between two looks at the ends.
const ARRIVAL_STEP: Duration = Duration::from_millis(5);

pub(crate) struct Session<'a> {
    plan: &'a Plan,
    servers: Servers,
    /// Numbers the topics created.
    topics: AtomicU32,
    groups: AtomicU32,
    /// Keeps the topics and groups of two runs on one cluster apart.
    run: u32,
}

/// A topic to send to.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// It stood before the run and stays after it.
    existing: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn new(plan: &'a Plan, servers: Servers) -> Self {
        Self {
            plan,
            servers,
            topics: AtomicU32::new(0),
            groups: AtomicU32::new(0),
            run: rand::random(),
        }
    }

    /// `progress` counts the bytes of records acknowledged.
    pub(crate) async fn sender<'p>(
        &self,
        batch_size: usize,
        linger_ms: u32,
        progress: &'p AtomicU64,
    ) -> Result<Sender<'p>> {
        let options = SenderOptions {
            acks: self.plan.acks,
            compression: self.plan.compression,
            batch_size,
            largest: batch_size.max(self.plan.record_size) + BATCH_OVERHEAD,
            linger_ms,
            record_size: self.plan.record_size,
        };
        Ok(match &self.servers {
            Servers::Native(_) => {
                let sender = NativeSender::new(self.config(), &options, progress);
                Sender::Native(sender.await?)
            }
            #[cfg(feature = "kafka")]
            Servers::Kafka(servers) => {
                Sender::Kafka(KafkaSender::new(servers, &options, progress)?)
            }
        })
    }

    pub(crate) async fn receiver(&self) -> Result<Receiver> {
        Ok(match &self.servers {
            Servers::Native(_) => Receiver::Native(NativeReceiver::new(self.config()).await?),
            #[cfg(feature = "kafka")]
            Servers::Kafka(servers) => Receiver::Kafka(KafkaReceiver::new(servers)?),
        })
    }

    /// The name of a group that nobody has used.
    pub(crate) fn new_group(&self) -> String {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        format!("corelog-bench-{:08x}-{number}", self.run)
    }

    /// A member of the group that reads as [`Session::receiver`] does, and
    /// commits by itself.
    pub(crate) async fn group_consumer(&self, group: &str) -> Result<GroupConsumer> {
        let config = self
            .config()
            .set("group.id", group)
            .set("group.remote.assignor", "uniform")
            .set("max.poll.records", MAX_POLL_RECORDS)
            .set("enable.auto.commit", true)
            .set("auto.commit.interval.ms", COMMIT_INTERVAL.as_millis())
            .set("auto.offset.reset", "earliest");
        GroupConsumer::new(&config)
            .await
            .context("cannot start a member of a group")
    }

    /// Deletes a group that all members have left.
    pub(crate) async fn delete_group(&self, group: &str) -> Result<()> {
        let admin = NativeAdmin::new(self.config(), ANSWER).await?;
        admin.delete_group(group).await
    }

    /// The topic of `--topic` if it stands already, with its durability, if that is told. Being
    /// the first to speak to the brokers, it does not wait long for them.
    pub(crate) async fn existing_topic(&self) -> Result<Option<(Topic, Option<Durability>)>> {
        let admin = self.admin(FIRST_CONTACT).await?;
        let (Some(name), Some(_)) = (&self.plan.topic, &self.plan.brokers) else {
            return Ok(None);
        };
        let standing = admin.topic(name).await?;
        Ok(standing.map(|standing| {
            let existing = Topic {
                name: name.clone(),
                partitions: i32::try_from(standing.partitions).unwrap_or(i32::MAX),
                existing: true,
            };
            (existing, standing.durability)
        }))
    }

    pub(crate) async fn create_topic(
        &self,
        durability: Durability,
        partitions: i32,
    ) -> Result<Topic> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = match &self.plan.topic {
            Some(name) => format!("{name}-{number}"),
            None => format!("corelog-bench-{:08x}-{number}", self.run),
        };
        let largest = self.plan.largest_batch().max(self.plan.record_size) + BATCH_OVERHEAD;
        let admin = self.admin(ANSWER).await?;
        let created = admin.create_topic(TopicOptions {
            name: &name,
            partitions,
            durability,
            largest,
        });
        created.await?;
        Ok(Topic {
            name,
            partitions,
            existing: false,
        })
    }

    /// Deletes a topic that this run created.
    pub(crate) async fn delete_topic(&self, topic: &Topic) -> Result<()> {
        if topic.existing {
            return Ok(());
        }
        let admin = self.admin(ANSWER).await?;
        admin.delete_topic(&topic.name).await
    }

    /// Each partition's end, as a stretch that ends where it starts.
    pub(crate) async fn ends(&self, topic: &Topic) -> Result<Vec<Stretch>> {
        let name = &topic.name;
        let partitions: Vec<TopicPartition> = (0..topic.partitions)
            .map(|index| TopicPartition::new(name.as_str(), PartitionIndex::new(index)))
            .collect();
        ends_of(&self.receiver().await?, partitions).await
    }

    /// What came to each partition since its end was that of `before`, once
    /// that is at least as many records as were `sent`. The records of a
    /// producer that waits for no acknowledgement may be on their way still.
    pub(crate) async fn written_since(
        &self,
        before: &[Stretch],
        sent: u64,
    ) -> Result<Vec<Stretch>> {
        let receiver = self.receiver().await?;
        let partitions: Vec<TopicPartition> = before
            .iter()
            .map(|stretch| stretch.partition.clone())
            .collect();
        let deadline = Instant::now() + ARRIVAL;
        loop {
            let ends = ends_of(&receiver, partitions.clone()).await?;
            let written = between(before, ends);
            let arrived: u64 = written.iter().map(Stretch::length).sum();
            if arrived >= sent || interrupt::requested() {
                return Ok(written);
            }
            ensure!(
                Instant::now() < deadline,
                "{arrived} of the {sent} records sent were in the topic {} s later",
                ARRIVAL.as_secs()
            );
            tokio::time::sleep(ARRIVAL_STEP).await;
        }
    }

    async fn admin(&self, patience: Duration) -> Result<Admin> {
        Ok(match &self.servers {
            Servers::Native(_) => Admin::Native(NativeAdmin::new(self.config(), patience).await?),
            #[cfg(feature = "kafka")]
            Servers::Kafka(servers) => Admin::Kafka(KafkaAdmin::new(servers, patience)?),
        })
    }

    /// Of a client in Corelog's own protocol.
    fn config(&self) -> ClientConfig {
        ClientConfig::new()
            .set("bootstrap.servers", self.servers.list())
            .set("client.id", "corelog-bench")
    }
}

async fn ends_of(receiver: &Receiver, partitions: Vec<TopicPartition>) -> Result<Vec<Stretch>> {
    let ends = receiver.ends(&partitions).await?;
    let stretches = partitions.into_iter().zip(ends);
    Ok(stretches
        .map(|(partition, end)| Stretch {
            partition,
            start: end,
            end,
        })
        .collect())
}

/// From the ends of `before` to those of `after`.
fn between(before: &[Stretch], mut after: Vec<Stretch>) -> Vec<Stretch> {
    for (after, before) in after.iter_mut().zip(before) {
        after.start = before.end;
    }
    after
}
