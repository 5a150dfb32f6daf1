//! The clients that carry the load. What a target is measured by is the same for all of them: records sent and
//! acknowledged in order, records read from where one says.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod native;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_client::{Offset, PartitionIndex, TopicPartition};
use corelog_protocol::{Acks, Compression, Durability};

use crate::latency::Latencies;

/// How a sender is to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderOptions {
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) batch_size: usize,
    /// The largest record with all that is around it, at least the batch.
    pub(crate) largest: usize,
    pub(crate) linger_ms: u32,
    /// Bytes of each record's value.
    pub(crate) record_size: usize,
}

/// Bytes of the largest batch of a topic, at least: Kafka's default.
const LEAST_MESSAGE: usize = 1_048_588;

/// A topic that is to be created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicOptions<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    /// Another broker than Corelog knows none: there it is what that one's settings make it.
    pub(crate) durability: Durability,
    /// Bytes of the largest batch.
    pub(crate) largest: usize,
}

/// A topic that stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) partitions: usize,
    /// `None` where the broker does not say.
    pub(crate) durability: Option<Durability>,
}

/// What came with one poll.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Sends records, and knows what became of each.
pub(crate) enum Sender<'a> {
    Native(native::NativeSender<'a>),
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaSender<'a>),
}

/// Does the same to whichever client it is.
macro_rules! each {
    ($self:expr, $client:ident => $done:expr) => {
        match $self {
            Self::Native($client) => $done,
            #[cfg(feature = "kafka")]
            Self::Kafka($client) => $done,
        }
    };
}

impl Sender<'_> {
    /// Learns where the topic's partitions are, so that the first record need not wait for that.
    pub(crate) async fn prepare(&self, topic: &str) -> Result<()> {
        each!(self, client => client.prepare(topic).await)
    }

    /// Hands a record over, once there is room for it. `None`: to a partition of the producer's choice.
    pub(crate) async fn send(
        &mut self,
        topic: &str,
        partition: Option<PartitionIndex>,
        value: &[u8],
    ) -> Result<()> {
        each!(self, client => client.send(topic, partition, value).await)
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        each!(self, client => client.acknowledged())
    }

    /// Times the record that is sent next.
    pub(crate) fn time_next(&mut self, now: Instant) {
        each!(self, client => client.time_next(now))
    }

    /// Takes the acknowledgements that are there.
    pub(crate) async fn take_ready(&mut self) -> Result<()> {
        each!(self, client => client.take_ready().await)
    }

    /// Waits for the acknowledgement of everything that was sent.
    pub(crate) async fn take_all(&mut self) -> Result<()> {
        each!(self, client => client.take_all().await)
    }

    /// As [`Sender::take_all`], without waiting for batches to fill.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        each!(self, client => client.flush().await)
    }

    /// Ends, and fails if any record did. Returns how long those took that were timed.
    pub(crate) async fn close(self) -> Result<Latencies> {
        each!(self, client => client.close().await)
    }
}

/// Reads records, from where it is told on.
#[cfg_attr(
    feature = "kafka",
    expect(
        clippy::large_enum_variant,
        reason = "there are few, and each lives long"
    )
)]
pub(crate) enum Receiver {
    Native(native::NativeReceiver),
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaReceiver),
}

impl Receiver {
    /// Reads these partitions from now on, each from its offset.
    pub(crate) async fn start_at(&mut self, places: &[(TopicPartition, Offset)]) -> Result<()> {
        each!(self, client => client.start_at(places).await)
    }

    /// Gives each record's partition and value to `take`. Waits so long for the first.
    pub(crate) async fn poll(
        &mut self,
        patience: Duration,
        take: impl FnMut(PartitionIndex, &[u8]),
    ) -> Result<Received> {
        each!(self, client => client.poll(patience, take).await)
    }

    /// Reads without looking at records: whole batches where the client gives them, their CRC checked, whose bytes are
    /// counted then.
    pub(crate) async fn poll_batches(&mut self, patience: Duration) -> Result<Received> {
        each!(self, client => client.poll_batches(patience).await)
    }

    /// The offset of what comes next, once that is known.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        each!(self, client => client.position(partition))
    }

    /// The offset behind the last record of each partition.
    pub(crate) async fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        each!(self, client => client.ends(partitions).await)
    }
}

/// Creates and deletes topics.
pub(crate) enum Admin {
    Native(native::NativeAdmin),
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaAdmin),
}

impl Admin {
    pub(crate) async fn topic(&self, name: &str) -> Result<Option<Standing>> {
        let found = each!(self, client => client.topic(name).await);
        found.context("cannot list the topics")
    }

    pub(crate) async fn create_topic(&self, topic: TopicOptions<'_>) -> Result<()> {
        let created = each!(self, client => client.create_topic(topic).await);
        created.with_context(|| format!("cannot create topic {}", topic.name))
    }

    pub(crate) async fn delete_topic(&self, name: &str) -> Result<()> {
        let deleted = each!(self, client => client.delete_topic(name).await);
        deleted.with_context(|| format!("cannot delete topic {name}"))
    }
}
