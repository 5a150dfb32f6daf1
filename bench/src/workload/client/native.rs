//! Corelog's own client.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corelog_client::{
    Admin, ClientConfig, Consumer, Delivery, NewTopic, Offset, PartitionIndex, Producer,
    ProducerRecord, SeekTo, TopicPartition,
};

use super::{LEAST_MESSAGE, Received, SenderOptions, Standing, TopicOptions};

use crate::latency::Latencies;
use crate::plan::IN_FLIGHT;

/// Bytes of batches that a producer may hold, at least: Kafka's default.
const LEAST_BUFFER: usize = 32 << 20;

/// Records of one poll, at most.
pub(crate) const MAX_POLL_RECORDS: usize = 5_000;

/// Batches of one poll, at most.
const BATCHES: usize = 64;

/// How long a producer may take to end.
const CLOSING: Duration = Duration::from_secs(30);

/// Sends records, and knows what became of each.
pub(crate) struct NativeSender<'a> {
    producer: Producer,
    /// The acknowledgements awaited, in the order of sending.
    pending: VecDeque<Delivery>,
    acknowledged: u64,
    /// Records that are timed: how many were sent before each, and when it was.
    timed: VecDeque<(u64, Instant)>,
    latencies: Latencies,
    progress: &'a AtomicU64,
    record_bytes: u64,
}

impl<'a> NativeSender<'a> {
    /// `progress` counts the bytes acknowledged.
    pub(crate) async fn new(
        config: ClientConfig,
        options: &SenderOptions,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let config = config
            .set("acks", options.acks)
            .set("compression.type", options.compression)
            .set("batch.size", options.batch_size)
            .set("linger.ms", options.linger_ms)
            .set("buffer.memory", LEAST_BUFFER.max(16 * options.largest))
            .set("max.request.size", options.largest.max(1 << 20))
            .set("max.in.flight.requests.per.connection", IN_FLIGHT);
        let producer = Producer::new(&config).await;
        Ok(Self {
            producer: producer.context("cannot start a producer")?,
            pending: VecDeque::new(),
            acknowledged: 0,
            timed: VecDeque::new(),
            latencies: Latencies::new(),
            progress,
            record_bytes: options.record_size as u64,
        })
    }

    /// Learns where the topic's partitions are, so that the first record need not wait for that.
    pub(crate) async fn prepare(&self, topic: &str) -> Result<()> {
        let known = self.producer.partitions_for(topic).await;
        known.context("no metadata of the topic")?;
        Ok(())
    }

    /// Hands a record over, once there is room for it. `None`: to a partition of the producer's choice.
    pub(crate) async fn send(
        &mut self,
        topic: &str,
        partition: Option<PartitionIndex>,
        value: &[u8],
    ) -> Result<()> {
        let mut record = ProducerRecord::to(topic).value(value);
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        let delivery = self.producer.send(record).await;
        let delivery = delivery.with_context(|| format!("record {} was refused", self.sent()))?;
        self.pending.push_back(delivery);
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.acknowledged + self.pending.len() as u64
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Times the record that is sent next.
    pub(crate) fn time_next(&mut self, now: Instant) {
        self.timed.push_back((self.sent(), now));
    }

    /// Takes the acknowledgements that are there, up to the first that is not.
    pub(crate) async fn take_ready(&mut self) -> Result<()> {
        let before = self.acknowledged;
        while let Some(delivery) = self.pending.front_mut() {
            let mut delivery = Pin::new(delivery);
            let polled = poll_fn(|context| Poll::Ready(delivery.as_mut().poll(context))).await;
            let Poll::Ready(outcome) = polled else { break };
            outcome.context("a record was not acknowledged")?;
            self.pending.pop_front();
            self.acknowledged += 1;
        }
        self.settle(before);
        Ok(())
    }

    /// Waits for the acknowledgement of everything that was sent.
    pub(crate) async fn take_all(&mut self) -> Result<()> {
        let before = self.acknowledged;
        while let Some(delivery) = self.pending.pop_front() {
            delivery.await.context("a record was not acknowledged")?;
            self.acknowledged += 1;
        }
        self.settle(before);
        Ok(())
    }

    /// As [`NativeSender::take_all`], without waiting for batches to fill.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let flushed = self.producer.flush().await;
        flushed.context("the last records were not acknowledged")?;
        self.take_all().await
    }

    /// Ends, and fails if any record did. Returns how long those took that were timed.
    pub(crate) async fn close(self) -> Result<Latencies> {
        let closed = self.producer.close(CLOSING).await;
        closed.context("cannot close a producer")?;
        match self.producer.metrics().errors {
            0 => Ok(self.latencies),
            errors => bail!("{errors} records were not acknowledged"),
        }
    }

    /// Enters what was acknowledged since `before`.
    fn settle(&mut self, before: u64) {
        let bytes = (self.acknowledged - before) * self.record_bytes;
        self.progress.fetch_add(bytes, Ordering::Relaxed);
        let now = Instant::now();
        while let Some(&(record, sent_at)) = self.timed.front()
            && record < self.acknowledged
        {
            self.latencies.record(now - sent_at);
            self.timed.pop_front();
        }
    }
}

/// Reads records, from where it is told on.
pub(crate) struct NativeReceiver(Consumer);

impl NativeReceiver {
    pub(crate) async fn new(config: ClientConfig) -> Result<Self> {
        let config = config
            .set("max.poll.records", MAX_POLL_RECORDS)
            .set("auto.offset.reset", "none");
        let consumer = Consumer::new(&config).await;
        Ok(Self(consumer.context("cannot start a consumer")?))
    }

    /// Reads these partitions from now on, each from its offset.
    pub(crate) async fn start_at(&mut self, places: &[(TopicPartition, Offset)]) -> Result<()> {
        let partitions: Vec<_> = places.iter().map(|(it, _)| it.clone()).collect();
        let assigned = self.0.assign(&partitions).await;
        assigned.context("cannot assign partitions")?;
        for (partition, offset) in places {
            let sought = self.0.seek(partition, SeekTo::Offset(*offset)).await;
            sought.with_context(|| format!("cannot seek in {partition}"))?;
        }
        Ok(())
    }

    /// Gives each record's partition and value to `take`. Waits so long for the first.
    pub(crate) async fn poll(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(PartitionIndex, &[u8]),
    ) -> Result<Received> {
        let records = self.0.poll(patience).await.context("a consumer failed")?;
        let mut received = Received::default();
        for record in records {
            let value = record.value.as_deref().unwrap_or_default();
            received.records += 1;
            received.bytes += value.len() as u64;
            take(record.partition, value);
        }
        Ok(received)
    }

    /// Takes whole batches: validates them, their CRC included, and counts the records in them. The bytes are those of
    /// the batches.
    pub(crate) async fn poll_batches(&mut self, patience: Duration) -> Result<Received> {
        let batches = self.0.poll_batches(patience, BATCHES).await;
        let mut received = Received::default();
        for batch in batches.context("a consumer failed")? {
            received.records += u64::from(batch.view().record_count());
            received.bytes += batch.bytes.len() as u64;
        }
        Ok(received)
    }

    /// The offset of what comes next, once that is known.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        Ok(self.0.position(partition)?)
    }

    /// The offset behind the last record of each partition.
    pub(crate) async fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        let ends = self.0.end_offsets(partitions).await;
        let ends = ends.context("cannot tell the ends of the partitions")?;
        let end = |partition: &TopicPartition| {
            let end = ends.get(partition).copied();
            end.with_context(|| format!("the broker did not tell the end of {partition}"))
        };
        partitions.iter().map(end).collect()
    }
}

/// Creates and deletes topics.
pub(crate) struct NativeAdmin(Admin);

impl NativeAdmin {
    /// `patience`: how long brokers may take to answer each call.
    pub(crate) async fn new(config: ClientConfig, patience: Duration) -> Result<Self> {
        let config = config.set("default.api.timeout.ms", patience.as_millis());
        let admin = Admin::new(&config).await;
        Ok(Self(admin.context("cannot reach the brokers")?))
    }

    pub(crate) async fn topic(&self, name: &str) -> Result<Option<Standing>> {
        let topics = self.0.list_topics().await?;
        let found = topics.into_iter().find(|topic| topic.name == name);
        Ok(found.map(|topic| Standing {
            partitions: topic.partitions,
            durability: Some(topic.durability),
        }))
    }

    pub(crate) async fn create_topic(&self, topic: TopicOptions<'_>) -> Result<()> {
        let largest = topic.largest.max(LEAST_MESSAGE).to_string();
        let topic = NewTopic {
            name: topic.name.to_owned(),
            partitions: Some(topic.partitions),
            replication_factor: None,
            configs: vec![
                ("durability".to_owned(), topic.durability.to_string()),
                ("max.message.bytes".to_owned(), largest),
            ],
        };
        for outcome in self.0.create_topics(&[topic]).await? {
            outcome?;
        }
        Ok(())
    }

    pub(crate) async fn delete_topic(&self, name: &str) -> Result<()> {
        for outcome in self.0.delete_topics(&[name]).await? {
            outcome?;
        }
        Ok(())
    }

    /// Deletes a group that all members have left.
    pub(crate) async fn delete_group(&self, group: &str) -> Result<()> {
        for outcome in self.0.delete_groups(&[group]).await {
            outcome.with_context(|| format!("cannot delete group {group}"))?;
        }
        Ok(())
    }
}
