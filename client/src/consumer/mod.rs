//! Reads records.
//!
//! A coordinator task looks up positions and leaders; one fetcher task per (broker, shard) fills a bounded buffer, by
//! asking or by subscribing; `poll` takes from the buffer, decodes, and moves the positions. All of them work on one
//! [`Assignment`](assignment::Assignment).

mod assignment;
mod batch;
mod buffer;
mod coordinator;
mod fetcher;
mod poll;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::Offset;
use corelog_protocol::native::OffsetQuery;
use futures_util::stream::{self, Stream};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use assignment::SeekTo;
pub(crate) use assignment::{Beginning, Progress};
pub use batch::ConsumerBatch;

use crate::cluster::Cluster;
use crate::config::{ClientConfig, ConsumerSettings};
use crate::error::{ConnectError, ConsumeError};
use crate::offsets::{each_once, list_offsets};
use crate::record::{ConsumerRecord, TopicPartition};
use poll::Poller;
use shared::Shared;

/// Reads records of the partitions that it is given.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use corelog_client::{ClientConfig, Consumer, PartitionIndex, SeekTo, TopicPartition};
///
/// let config = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9190");
/// let mut consumer = Consumer::new(&config).await?;
/// let partition = TopicPartition::new("orders", PartitionIndex::new(0));
/// consumer.assign(&[partition.clone()]).await?;
/// consumer.seek(&partition, SeekTo::Beginning).await?;
/// for record in consumer.poll(Duration::from_secs(1)).await? {
///     println!("{}: {:?}", record.offset, record.value);
/// }
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
/// | `auto.offset.reset` | `latest` | where a partition begins that has no position, or one that its log does not hold: `earliest`, `latest`, `by_duration:PT1H`, or `none`, which is an error of `poll` |
/// | `fetch.mode` | `subscribe` | how records come: `subscribe`, the broker sends them as they are written; `fetch`, they are asked for |
/// | `fetch.max.bytes` | 52428800 | bytes fetched ahead from one core of a broker |
/// | `max.partition.fetch.bytes` | 1048576 | bytes of one partition in an answer |
/// | `fetch.min.bytes` | 1 | an answer waits for so many |
/// | `fetch.max.wait.ms` | 500 | but no longer than this |
/// | `max.poll.records` | 500 | most records of one `poll` |
/// | `isolation.level` | `read_uncommitted` | `read_committed` leaves out what a transaction has not committed |
/// | `check.crcs` | `true` | whether the checksum of each batch is compared |
/// | `default.api.timeout.ms` | 60000 | how long offsets are asked for |
pub struct Consumer {
    shared: Arc<Shared>,
    poller: Poller,
    coordinator: AbortHandle,
}

/// What one `poll` returns, in order within each partition.
pub type ConsumerRecords = Vec<ConsumerRecord>;

impl Consumer {
    /// Reads the settings and connects to the cluster, trying for up to `default.api.timeout.ms`. The consumer's tasks
    /// run on the tokio runtime of this call.
    ///
    /// # Errors
    /// A setting that is unknown or out of range; no bootstrap server that answers.
    pub async fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        let settings = ConsumerSettings::read(config)?;
        let cluster = Cluster::connect(settings.connection.clone(), settings.api_timeout).await?;
        Ok(Self::start(settings, cluster))
    }

    /// A consumer without partitions.
    pub(crate) fn start(settings: ConsumerSettings, cluster: Arc<Cluster>) -> Self {
        let shared = Arc::new(Shared::new(settings, cluster));
        let coordinator = tokio::spawn(coordinator::run(Arc::clone(&shared))).abort_handle();
        Self {
            shared,
            poller: Poller::default(),
            coordinator,
        }
    }

    /// Replaces the partitions to read. Those that stay keep their position; new ones begin where `auto.offset.reset`
    /// says, until a [`seek`](Self::seek).
    ///
    /// # Errors
    /// [`ConsumeError::NoSuchPartition`], or no metadata within `default.api.timeout.ms`.
    pub async fn assign(&mut self, partitions: &[TopicPartition]) -> Result<(), ConsumeError> {
        self.check_exist(partitions).await?;
        let start = poll::start_of(self.shared.settings.auto_offset_reset);
        let new = self.shared.assignment().assign(partitions, start);
        self.poller.drop_stale(&self.shared);
        if start.is_none() {
            for (partition, generation) in new {
                poll::report_no_position(&self.shared, partition, generation);
            }
        }
        self.shared.changed();
        Ok(())
    }

    pub(crate) async fn check_exist(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<(), ConsumeError> {
        let cluster = &self.shared.cluster;
        let mut image = cluster.image();
        for partition in partitions {
            cluster.track_topic(&partition.topic);
        }
        let start = Instant::now();
        let within = self.shared.settings.api_timeout;
        let mut backoff = crate::backoff::Backoff::new(cluster.settings().retry_backoff);
        let mut reason = "no broker answered".to_owned();
        // A partition that the metadata lacks may have been added since it was fetched.
        while partitions.iter().any(|partition| !image.has(partition)) {
            let left = within.saturating_sub(start.elapsed());
            let refreshed = tokio::time::timeout(left, cluster.refresh(image.version)).await;
            reason = match refreshed {
                Ok(Ok(newer)) => {
                    image = newer;
                    for partition in partitions {
                        crate::leaders::check_exists(&image, partition)?;
                    }
                    "the brokers do not tell all topics".to_owned()
                }
                Ok(Err(error)) if error.is_retriable() => error.to_string(),
                Ok(Err(error)) => return Err(error.into()),
                // What was heard before says more than that the time is over.
                Err(_elapsed) => reason,
            };
            let wait = backoff.next_wait();
            if start.elapsed() + wait >= within {
                return Err(ConsumeError::Timeout {
                    action: "asking for topics",
                    waited: start.elapsed(),
                    reason,
                });
            }
            if !partitions.iter().all(|partition| image.has(partition)) {
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }

    /// The partitions assigned, in order.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.assignment().partitions()
    }

    /// Moves a partition. A place that must be asked for is looked up while `poll` waits.
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub async fn seek(
        &mut self,
        partition: &TopicPartition,
        to: SeekTo,
    ) -> Result<(), ConsumeError> {
        self.change(partition, |assignment| assignment.seek(partition, to))?;
        self.poller.drop_stale(&self.shared);
        Ok(())
    }

    /// Stops fetching a partition and returning its records, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), ConsumeError> {
        self.change(partition, |assignment| {
            assignment.set_paused(partition, true)
        })
    }

    /// Goes on with a partition that was paused.
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), ConsumeError> {
        self.change(partition, |assignment| {
            assignment.set_paused(partition, false)
        })
    }

    fn change(
        &self,
        partition: &TopicPartition,
        change: impl FnOnce(&mut assignment::Assignment) -> bool,
    ) -> Result<(), ConsumeError> {
        if !change(&mut self.shared.assignment()) {
            return Err(ConsumeError::NotAssigned {
                partition: partition.clone(),
            });
        }
        self.shared.changed();
        Ok(())
    }

    /// The offset of the next record that `poll` returns; `None` while it is being looked up.
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>, ConsumeError> {
        let assignment = self.shared.assignment();
        if assignment.contains(partition) {
            Ok(assignment.position(partition))
        } else {
            Err(ConsumeError::NotAssigned {
                partition: partition.clone(),
            })
        }
    }

    /// Returns up to `max.poll.records` records, as soon as there are any; none if `timeout` passes first.
    ///
    /// # Errors
    /// A partition that cannot be read on: it is set aside until a seek, and the others go on with the next call.
    pub async fn poll(&mut self, timeout: Duration) -> Result<ConsumerRecords, ConsumeError> {
        let limit = self.shared.settings.max_poll_records;
        self.poll_records(timeout, limit).await
    }

    async fn poll_records(
        &mut self,
        timeout: Duration,
        limit: usize,
    ) -> Result<ConsumerRecords, ConsumeError> {
        let mut records = Vec::new();
        let shared = Arc::clone(&self.shared);
        let poller = &mut self.poller;
        wait_for(&shared, timeout, || {
            poller.take_records(&shared, limit, &mut records)?;
            Ok(!records.is_empty())
        })
        .await?;
        Ok(records)
    }

    /// Like [`poll`](Self::poll), with whole batches that are not decoded: up to `limit` of them. The two may be mixed: a
    /// batch of which `poll` has returned some records comes with its [`position`](ConsumerBatch::position) at the first
    /// of the others, where [`ConsumerBatch::records`] begins.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub async fn poll_batches(
        &mut self,
        timeout: Duration,
        limit: usize,
    ) -> Result<Vec<ConsumerBatch>, ConsumeError> {
        let mut batches = Vec::new();
        let shared = Arc::clone(&self.shared);
        let poller = &mut self.poller;
        wait_for(&shared, timeout, || {
            poller.take_batches(&shared, limit, &mut batches)?;
            Ok(!batches.is_empty())
        })
        .await?;
        Ok(batches)
    }

    /// The records as a stream without end. After an error the stream goes on with the other partitions. What the stream has
    /// not returned when it is dropped comes with the next `poll`.
    pub fn stream(
        &mut self,
    ) -> impl Stream<Item = Result<ConsumerRecord, ConsumeError>> + Send + '_ {
        stream::unfold(self, |consumer| async move {
            let item = consumer.next_record().await;
            Some((item, consumer))
        })
    }

    /// Like [`stream`](Self::stream), owning the consumer.
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = Result<ConsumerRecord, ConsumeError>> + Send + 'static {
        stream::unfold(self, |mut consumer| async move {
            let item = consumer.next_record().await;
            Some((item, consumer))
        })
    }

    async fn next_record(&mut self) -> Result<ConsumerRecord, ConsumeError> {
        loop {
            let mut records = self.poll_records(Duration::from_secs(3600), 1).await?;
            if let Some(record) = records.pop() {
                return Ok(record);
            }
        }
    }

    /// Where the log of each partition starts.
    ///
    /// # Errors
    /// A partition that does not exist, or no answer within `default.api.timeout.ms`.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, ConsumeError> {
        self.offsets(partitions, OffsetQuery::Earliest).await
    }

    /// Where what is readable of each partition ends: the offset that the next record will have.
    ///
    /// # Errors
    /// A partition that does not exist, or no answer within `default.api.timeout.ms`.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, ConsumeError> {
        self.offsets(partitions, OffsetQuery::Latest).await
    }

    async fn offsets(
        &self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
    ) -> Result<HashMap<TopicPartition, Offset>, ConsumeError> {
        let settings = &self.shared.settings;
        let found = list_offsets(
            &self.shared.cluster,
            &each_once(partitions, query),
            settings.isolation,
            settings.api_timeout,
        )
        .await?;
        Ok(found
            .into_iter()
            .filter_map(|(partition, listed)| Some((partition, listed?.offset)))
            .collect())
    }

    /// Adds partitions of a group, each where the group left off or where `auto.offset.reset` says.
    pub(crate) fn take_in(&mut self, partitions: Vec<(TopicPartition, Beginning)>) {
        let start = poll::start_of(self.shared.settings.auto_offset_reset);
        for (partition, mut beginning) in partitions {
            self.shared.cluster.track_topic(&partition.topic);
            beginning.at = beginning.at.or(start);
            let generation = self.shared.assignment().add(&partition, &beginning);
            if beginning.at.is_none() {
                poll::report_no_position(&self.shared, partition, generation);
            }
        }
        self.poller.drop_stale(&self.shared);
        self.shared.changed();
    }

    /// Returns nothing of these partitions any more.
    pub(crate) fn withhold(&self, partitions: &[TopicPartition]) {
        let mut assignment = self.shared.assignment();
        for partition in partitions {
            assignment.withhold(partition);
        }
        drop(assignment);
        self.shared.changed();
    }

    /// Forgets partitions.
    pub(crate) fn give_up(&mut self, partitions: &[TopicPartition]) {
        let mut assignment = self.shared.assignment();
        for partition in partitions {
            assignment.remove(partition);
        }
        drop(assignment);
        self.poller.drop_stale(&self.shared);
        self.shared.changed();
    }

    /// How far every partition that has a position was polled.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        self.shared.assignment().progress()
    }

    /// What there is now, up to `limit` records.
    pub(crate) fn take_records(
        &mut self,
        limit: usize,
        records: &mut ConsumerRecords,
    ) -> Result<(), ConsumeError> {
        self.poller.take_records(&self.shared, limit, records)
    }

    /// What there is now, up to `limit` batches.
    pub(crate) fn take_batches(
        &mut self,
        limit: usize,
        batches: &mut Vec<ConsumerBatch>,
    ) -> Result<(), ConsumeError> {
        self.poller.take_batches(&self.shared, limit, batches)
    }

    /// Resolves once something may have arrived since the last time.
    pub(crate) async fn arrived(&self) {
        self.shared.buffer.arrived().await;
    }

    /// Ends the consumer's tasks and connections. Dropping it does the same.
    pub fn close(self) {}
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.coordinator.abort();
        self.shared.stop_fetchers();
    }
}

/// Calls `look` now and whenever something arrived, until it finds something or the time is over.
async fn wait_for(
    shared: &Shared,
    timeout: Duration,
    mut look: impl FnMut() -> Result<bool, ConsumeError>,
) -> Result<(), ConsumeError> {
    let deadline = Instant::now() + timeout;
    loop {
        if look()? {
            return Ok(());
        }
        let arrived = shared.buffer.arrived();
        if tokio::time::timeout_at(deadline, arrived).await.is_err() {
            return Ok(());
        }
    }
}
