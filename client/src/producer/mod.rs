//! Sends records.
//!
//! `send` copies a record into the open batch of its partition (a *lane*) and returns at once. A batch leaves when it is
//! full or has lingered. One task per (broker, shard) takes finished batches from its lanes, puts batches of several
//! partitions into one request and keeps several requests under way; a clock task ends lingering and times out
//! deliveries; a router task keeps the lanes pointed at their leaders.

mod batch;
mod clock;
mod delivery;
mod identity;
mod lane;
mod latency;
mod memory;
mod node;
mod partitioner;
mod router;
mod sequences;
mod settle;
mod shared;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use corelog_protocol::{PartitionIndex, Timestamp};
use futures_util::future::join_all;
use tokio::time::Instant;

pub use delivery::Delivery;
pub use latency::DeliveryLatency;

use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::config::{ClientConfig, ProducerSettings};
use crate::error::{ConnectError, ProduceError};
use crate::metadata::PartitionInfo;
use crate::record::ProducerRecord;
use delivery::Settled;
use lane::Appended;
use memory::Reservation;
use partitioner::CustomPartitioner;
use shared::{Shared, TopicLanes};

/// Sends records to topics. Clones share batches, connections and memory; a program needs one.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use corelog_client::{ClientConfig, Producer, ProducerRecord};
///
/// let config = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9190");
/// let producer = Producer::new(&config).await?;
/// let delivery = producer
///     .send(ProducerRecord::to("orders").key("customer-7").value("2 apples"))
///     .await?;
/// println!("written at offset {:?}", delivery.await?.offset);
/// producer.close(std::time::Duration::from_secs(30)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Settings
///
/// Those of connections, in [`ClientConfig`], and:
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `acks` | `all` | when a record counts as written: `0` once sent, `1` by the leader, `all` by every in-sync replica |
/// | `enable.idempotence` | `true` | whether a batch that is sent again is written once; it needs `acks=all`, `retries` above 0 and at most 5 in flight, and is off by itself where one of them says otherwise |
/// | `max.in.flight.requests.per.connection` | 5 | requests to one core of a broker that wait for their answers |
/// | `delivery.timeout.ms` | 120000 | from `send` to the acknowledgement, at least `linger.ms` and `request.timeout.ms` together |
/// | `retries` | 2147483647 | how often a batch is sent again within that time |
/// | `linger.ms` | 5 | how long a batch waits to be filled |
/// | `batch.size` | 131072 | bytes of a batch, before compression |
/// | `buffer.memory` | 33554432 | bytes of all batches; `send` waits while they are in use |
/// | `max.block.ms` | 60000 | how long `send` waits for that, and for a topic's metadata |
/// | `max.request.size` | 1048576 | bytes of a request, and so of a record |
/// | `compression.type` | `none` | of batches: `none`, `gzip`, `snappy`, `lz4`, `zstd` |
/// | `partitioner` | `default` | where records without a key go: `default`, the same partition until its batch is full; `round_robin`, the next one each time; or see [`Producer::with_partitioner`] |
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// The last one to go ends the tasks. Records not acknowledged by then fail as closed: call [`Producer::close`] first.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

/// Counts since the producer was built. A batch is `bytes / batches` full on average, and its records wait in
/// `buffered_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerMetrics {
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Bytes of batches acknowledged, compressed.
    pub bytes: u64,
    /// Requests sent.
    pub requests: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Records that failed for good.
    pub errors: u64,
    /// Bytes of `buffer.memory` in use: the queue.
    pub buffered_bytes: usize,
    /// How long the records that are acknowledged took.
    pub latency: DeliveryLatency,
}

impl Producer {
    /// Reads the settings and connects to the cluster, trying for up to `max.block.ms`. The producer's tasks run on the
    /// tokio runtime of this call.
    ///
    /// # Errors
    /// A setting that is unknown or out of range; no bootstrap server that answers.
    pub async fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        Self::start(config, None).await
    }

    /// As [`new`](Self::new), with a rule of the program's own in the place of `partitioner` and of the key's hash: of a
    /// record that names no partition, and the number of its topic's partitions, the partition. `send` refuses a partition
    /// that the topic does not have. It may ask more than once for one record, where it has to wait for memory.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use corelog_client::{ClientConfig, PartitionIndex, Producer};
    ///
    /// let config = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9190");
    /// // The large customers have partition 0 to themselves.
    /// let producer = Producer::with_partitioner(&config, |record, partitions| {
    ///     let key = record.key.unwrap_or_default();
    ///     if key.starts_with(b"large-") || partitions == 1 {
    ///         return PartitionIndex::ZERO;
    ///     }
    ///     let hash: usize = key.iter().map(|byte| usize::from(*byte)).sum();
    ///     PartitionIndex::new(1 + i32::try_from(hash % (partitions - 1)).unwrap_or(0))
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn with_partitioner(
        config: &ClientConfig,
        partitioner: impl Fn(&ProducerRecord<'_>, usize) -> PartitionIndex + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        Self::start(config, Some(Box::new(partitioner))).await
    }

    async fn start(
        config: &ClientConfig,
        partitioner: Option<CustomPartitioner>,
    ) -> Result<Self, ConnectError> {
        let settings = ProducerSettings::read(config)?;
        let cluster = Cluster::connect(settings.connection.clone(), settings.max_block).await?;
        let shared = Arc::new(Shared::new(settings, partitioner, cluster));
        shared.keep_task(shared.spawn(clock::run(Arc::clone(&shared))));
        shared.keep_task(shared.spawn(router::run(Arc::clone(&shared))));
        Ok(Self {
            handle: Arc::new(Handle { shared }),
        })
    }

    /// Copies a record into a batch. Waits, for up to `max.block.ms`, only while the topic's metadata is unknown or
    /// `buffer.memory` is full. The returned [`Delivery`] resolves when the broker has answered.
    ///
    /// Records of one partition are written in the order of these calls, and each of them once, however often connections
    /// break or the broker starts anew: `enable.idempotence`, which is on unless another setting contradicts it. A record
    /// whose delivery failed leaves those behind it in their order. Without idempotence a retry may write a record twice,
    /// and one batch may be refused while a later one is already under way; `max.in.flight.requests.per.connection=1`
    /// excludes the latter. A call that is cancelled before it returns has not taken the record.
    ///
    /// # Errors
    /// A record that can never be sent, metadata or memory that did not come in time, a closed producer.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, ProduceError> {
        let shared = &self.handle.shared;
        // Before the record is taken, so that a call that is cancelled here has taken nothing.
        if shared.yield_due.load(Ordering::Relaxed)
            && shared.yield_due.swap(false, Ordering::Relaxed)
        {
            tokio::task::yield_now().await;
        }
        let timestamp = record.timestamp.unwrap_or_else(Timestamp::now);
        let mut granted = None;
        if let Some(topic) = shared.topic(record.topic) {
            match append(shared, &topic, &record, timestamp, &mut granted) {
                Ok(Attempt::Batched(delivery)) => return Ok(delivery),
                // The partition may have been added since the metadata was fetched.
                Ok(Attempt::WantsMemory(_)) | Err(ProduceError::NoSuchPartition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.send_when_possible(record, timestamp).await
    }

    /// The slow path: waits for metadata, then for memory.
    async fn send_when_possible(
        &self,
        record: ProducerRecord<'_>,
        timestamp: Timestamp,
    ) -> Result<Delivery, ProduceError> {
        let shared = &self.handle.shared;
        let start = Instant::now();
        shared.ensure_identity().await?;
        let topic = self.topic(record.topic, record.partition).await?;
        let mut granted: Option<Reservation> = None;
        loop {
            // It may have been made again with other partitions while this one waited.
            let topic = shared.topic(record.topic).unwrap_or(Arc::clone(&topic));
            match append(shared, &topic, &record, timestamp, &mut granted)? {
                Attempt::Batched(delivery) => return Ok(delivery),
                Attempt::WantsMemory(bytes) => {
                    // Held bytes must not wait for more bytes: two waiters could starve each other.
                    drop(granted.take());
                    shared.lingering.end_all(shared);
                    let left = shared.settings.max_block.saturating_sub(start.elapsed());
                    granted = shared.memory.reserve(bytes, left).await;
                    if granted.is_none() {
                        return Err(ProduceError::BufferFull {
                            limit: shared.memory.limit(),
                            waited: start.elapsed(),
                        });
                    }
                }
            }
        }
    }

    /// The lanes of a topic, once its metadata is there; of new metadata, if the present one lacks the partition.
    async fn topic(
        &self,
        name: &str,
        partition: Option<PartitionIndex>,
    ) -> Result<Arc<TopicLanes>, ProduceError> {
        let shared = &self.handle.shared;
        if let Some(topic) = shared.topic(name)
            && partition.is_none_or(|partition| topic.lane(partition).is_some())
        {
            return Ok(topic);
        }
        let name: Arc<str> = name.into();
        shared.cluster.track_topic(&name);
        let start = Instant::now();
        let mut backoff = Backoff::new(shared.settings.connection.retry_backoff);
        let mut seen = shared.cluster.image().version;
        let mut reason = "no broker answered".to_owned();
        loop {
            if shared.closed.load(Ordering::Acquire) {
                return Err(ProduceError::Closed);
            }
            let left = shared.settings.max_block.saturating_sub(start.elapsed());
            let refreshed = tokio::time::timeout(left, shared.cluster.refresh(seen)).await;
            reason = match refreshed {
                Ok(Ok(image)) => {
                    seen = image.version;
                    if let Some(topic) = image.topics.get(&name)
                        && !topic.partitions.is_empty()
                    {
                        return Ok(shared.learn_topic(topic, image.version));
                    }
                    match image.missing.get(&name) {
                        Some(code) => format!("{code}: {}", code.message()),
                        None => "the broker does not mention it".to_owned(),
                    }
                }
                Ok(Err(error)) => error.to_string(),
                // What was heard before says more than that the time is over.
                Err(_elapsed) => reason,
            };
            let wait = backoff.next_wait();
            if start.elapsed() + wait >= shared.settings.max_block {
                return Err(ProduceError::NoMetadata {
                    topic: name.to_string(),
                    waited: start.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The partitions of a topic and where they are led, waiting up to `max.block.ms`.
    ///
    /// # Errors
    /// [`ProduceError::NoMetadata`].
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, ProduceError> {
        self.handle.shared.ensure_identity().await?;
        self.topic(topic, None).await?;
        let image = self.handle.shared.cluster.image();
        Ok(image
            .topics
            .get(topic)
            .map(|topic| PartitionInfo::list(topic))
            .unwrap_or_default())
    }

    /// Sends what is buffered without lingering, and waits until all of it is settled. What becomes of each record is its
    /// [`Delivery`]'s to tell.
    ///
    /// # Errors
    /// [`ProduceError::Closed`].
    pub async fn flush(&self) -> Result<(), ProduceError> {
        let shared = &self.handle.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(ProduceError::Closed);
        }
        join_all(self.start_flush()).await;
        Ok(())
    }

    fn start_flush(&self) -> Vec<Settled> {
        let shared = &self.handle.shared;
        let mut outcomes = Vec::new();
        for lane in shared.lanes() {
            lane.flush(&mut outcomes);
            shared.list(&lane);
        }
        outcomes.iter().map(Settled::of).collect()
    }

    /// Refuses further records, flushes for up to `timeout`, and ends. Records still unacknowledged then fail as closed;
    /// they may have been written.
    ///
    /// # Errors
    /// [`ProduceError::FlushTimeout`] if the time did not suffice.
    pub async fn close(&self, timeout: Duration) -> Result<(), ProduceError> {
        let shared = &self.handle.shared;
        shared.closed.store(true, Ordering::Release);
        let start = Instant::now();
        let mut waiting = self.start_flush();
        let flushed = tokio::time::timeout(timeout, join_all(waiting.iter_mut())).await;
        let batches = waiting.iter().filter(|batch| !batch.is_settled()).count();
        shared.shut_down();
        match flushed {
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(ProduceError::FlushTimeout {
                batches,
                waited: start.elapsed(),
            }),
        }
    }

    /// What this producer has done so far.
    #[must_use]
    pub fn metrics(&self) -> ProducerMetrics {
        let shared = &self.handle.shared;
        let counters = &shared.metrics;
        ProducerMetrics {
            records: counters.records.get(),
            batches: counters.batches.get(),
            bytes: counters.bytes.get(),
            requests: counters.requests.get(),
            retries: counters.retries.get(),
            errors: counters.errors.get(),
            buffered_bytes: shared.memory.in_use(),
            latency: counters.latencies.summary(),
        }
    }
}

/// What became of an attempt to send.
enum Attempt {
    Batched(Delivery),
    WantsMemory(usize),
}

/// Puts a record into the batch of the partition that it goes to.
fn append(
    shared: &Arc<Shared>,
    topic: &TopicLanes,
    record: &ProducerRecord<'_>,
    timestamp: Timestamp,
    granted: &mut Option<Reservation>,
) -> Result<Attempt, ProduceError> {
    if shared.closed.load(Ordering::Acquire) {
        return Err(ProduceError::Closed);
    }
    let settings = &shared.settings;
    let choice = partitioner::choose(
        record,
        topic,
        settings.partitioner,
        shared.partitioner.as_ref(),
    )?;
    let mut index = choice.index;
    let mut may_open = !choice.sticky;
    loop {
        let lane = &topic.lanes[index];
        let memory = &shared.memory;
        let (appended, full) = lane.append(record, timestamp, settings, memory, granted, may_open);
        for full in full.into_iter().flatten() {
            lane.finish(full);
            shared.list(lane);
            shared.yield_due.store(true, Ordering::Relaxed);
        }
        match appended? {
            Appended::WantsNewBatch => {
                index = partitioner::move_on(topic, index);
                may_open = true;
            }
            Appended::WantsMemory(bytes) => return Ok(Attempt::WantsMemory(bytes)),
            Appended::Done { delivery, opened } => {
                match opened {
                    Some(_) if settings.linger.is_zero() => shared.list(lane),
                    Some(number) => shared.lingering.note(lane, number),
                    None => {}
                }
                return Ok(Attempt::Batched(delivery));
            }
        }
    }
}
