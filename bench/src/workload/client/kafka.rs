//! librdkafka, for any broker that speaks Kafka's protocol.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_client::{Offset, PartitionIndex, TopicPartition};
use futures_util::FutureExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientContext, Message, TopicPartitionList};
use tokio::sync::Notify;

use super::{LEAST_MESSAGE, Received, SenderOptions, Standing, TopicOptions};
use crate::latency::Latencies;
use crate::plan::IN_FLIGHT;

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Records of one poll, at most.
const POLL_RECORDS: usize = 5_000;
/// How long to wait for room where the client's queue is full.
const ROOM: Duration = Duration::from_millis(1);
/// Of the queue of a producer: KiB of records.
const QUEUE_KIB: usize = 64 << 10;

/// What the callbacks of a producer tell.
#[derive(Default)]
struct Told {
    acknowledged: AtomicU64,
    /// Those of timed records, in the order in which they came.
    timed: Mutex<VecDeque<(usize, Instant)>>,
    failed: Mutex<Option<KafkaError>>,
    news: Notify,
}

#[derive(Clone, Default)]
struct Acknowledgements(Arc<Told>);

impl ClientContext for Acknowledgements {}

impl ProducerContext<NoCustomPartitioner> for Acknowledgements {
    /// 0, or the number of a timed record.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, timed: usize) {
        let told = &self.0;
        if let Err((error, _)) = result {
            let mut failed = told.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error.clone());
        }
        if timed > 0 {
            let now = Instant::now();
            let mut seen = told.timed.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push_back((timed, now));
        }
        told.acknowledged.fetch_add(1, Ordering::Release);
        told.news.notify_one();
    }
}

/// Sends records, and knows what became of each.
pub(crate) struct KafkaSender<'a> {
    producer: ThreadedProducer<Acknowledgements>,
    told: Arc<Told>,
    sent: u64,
    acknowledged: u64,
    /// Numbers the timed records, from 1 on.
    timed: usize,
    times_next: Option<Instant>,
    sent_at: HashMap<usize, Instant>,
    latencies: Latencies,
    progress: &'a AtomicU64,
    record_bytes: u64,
}

impl<'a> KafkaSender<'a> {
    pub(crate) fn new(
        servers: &str,
        options: &SenderOptions,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let mut config = config(servers);
        config
            .set("acks", options.acks.name())
            .set("compression.type", options.compression.name())
            .set("batch.size", options.batch_size.to_string())
            .set("batch.num.messages", "1000000")
            .set("message.max.bytes", options.largest.to_string())
            .set("linger.ms", options.linger_ms.to_string())
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", QUEUE_KIB.to_string())
            // With idempotence it sends a batch only when the one before is out, whatever may be in flight.
            .set("enable.idempotence", "false")
            .set("queue.buffering.backpressure.threshold", "10")
            .set(
                "max.in.flight.requests.per.connection",
                IN_FLIGHT.to_string(),
            );
        let context = Acknowledgements::default();
        let told = Arc::clone(&context.0);
        let producer = config.create_with_context(context);
        Ok(Self {
            producer: producer.context("cannot start a producer")?,
            told,
            sent: 0,
            acknowledged: 0,
            timed: 0,
            times_next: None,
            sent_at: HashMap::new(),
            latencies: Latencies::new(),
            progress,
            record_bytes: options.record_size as u64,
        })
    }

    pub(crate) async fn prepare(&self, topic: &str) -> Result<()> {
        let known = self.producer.client().fetch_metadata(Some(topic), ANSWER);
        known.context("no metadata of the topic")?;
        Ok(())
    }

    pub(crate) async fn send(
        &mut self,
        topic: &str,
        partition: Option<PartitionIndex>,
        value: &[u8],
    ) -> Result<()> {
        let timed = match self.times_next.take() {
            Some(now) => {
                self.timed += 1;
                self.sent_at.insert(self.timed, now);
                self.timed
            }
            None => 0,
        };
        let mut record = BaseRecord::<(), [u8], usize>::with_opaque_to(topic, timed).payload(value);
        if let Some(partition) = partition {
            record = record.partition(partition.get());
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    tokio::time::sleep(ROOM).await;
                }
                Err((error, _)) => {
                    let number = self.sent;
                    return Err(error).with_context(|| format!("record {number} was refused"));
                }
            }
        }
        self.sent += 1;
        Ok(())
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn time_next(&mut self, now: Instant) {
        self.times_next = Some(now);
    }

    pub(crate) async fn take_ready(&mut self) -> Result<()> {
        let acknowledged = self.told.acknowledged.load(Ordering::Acquire);
        let news = acknowledged - self.acknowledged;
        self.acknowledged = acknowledged;
        self.progress
            .fetch_add(news * self.record_bytes, Ordering::Relaxed);
        let mut timed = self
            .told
            .timed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (number, at) in timed.drain(..) {
            if let Some(sent_at) = self.sent_at.remove(&number) {
                self.latencies.record(at.saturating_duration_since(sent_at));
            }
        }
        drop(timed);
        let failed = self
            .told
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some(error) => Err(error.clone()).context("a record was not acknowledged"),
            None => Ok(()),
        }
    }

    pub(crate) async fn take_all(&mut self) -> Result<()> {
        let told = Arc::clone(&self.told);
        loop {
            let news = told.news.notified();
            self.take_ready().await?;
            if self.acknowledged == self.sent {
                return Ok(());
            }
            let waited = tokio::time::timeout(ANSWER, news).await;
            waited.with_context(|| {
                format!(
                    "{} records were not acknowledged",
                    self.sent - self.acknowledged
                )
            })?;
        }
    }

    /// It sends what it has by itself, once the linger time is over.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.take_all().await
    }

    pub(crate) async fn close(mut self) -> Result<Latencies> {
        self.take_ready().await?;
        Ok(self.latencies)
    }
}

/// Reads records, from where it is told on.
pub(crate) struct KafkaReceiver {
    consumer: StreamConsumer,
    /// What is read, and how far it has come.
    places: Vec<(TopicPartition, Offset)>,
    /// The place of the last record: the next one is mostly there as well.
    last: usize,
}

impl KafkaReceiver {
    pub(crate) fn new(servers: &str) -> Result<Self> {
        let mut config = config(servers);
        config
            // Needed, and never joined.
            .set("group.id", "corelog-bench")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.queue.backoff.ms", "1")
            // A fetch that waits at the end of a partition holds up those that a seek brings.
            .set("fetch.wait.max.ms", "10")
            .set("fetch.message.max.bytes", "8388608")
            .set("queued.max.messages.kbytes", QUEUE_KIB.to_string());
        let consumer = config.create().context("cannot start a consumer")?;
        Ok(Self {
            consumer,
            places: Vec::new(),
            last: 0,
        })
    }

    pub(crate) async fn start_at(&mut self, places: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (place, offset) in places {
            let offset = rdkafka::Offset::Offset(offset.get());
            list.add_partition_offset(&place.topic, place.partition.get(), offset)?;
        }
        let are_assigned = places.len() == self.places.len()
            && places
                .iter()
                .zip(&self.places)
                .all(|(new, old)| new.0 == old.0);
        if are_assigned {
            // An assignment takes librdkafka much longer.
            let sought = self.consumer.seek_partitions(list, ANSWER);
            sought.context("cannot seek")?;
        } else {
            let assigned = self.consumer.assign(&list);
            assigned.context("cannot assign partitions")?;
        }
        self.places = places.to_vec();
        Ok(())
    }

    pub(crate) async fn poll(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(PartitionIndex, &[u8]),
    ) -> Result<Received> {
        let mut received = Received::default();
        let mut next = tokio::time::timeout(patience, self.consumer.recv())
            .await
            .ok();
        while let Some(message) = next {
            let message = message.context("a consumer failed")?;
            let partition = PartitionIndex::new(message.partition());
            let value = message.payload().unwrap_or_default();
            take(partition, value);
            received.records += 1;
            received.bytes += value.len() as u64;
            let is_here = |(place, _): &(TopicPartition, Offset)| {
                place.partition == partition && &*place.topic == message.topic()
            };
            if !self.places.get(self.last).is_some_and(is_here) {
                let found = self.places.iter().position(is_here);
                self.last = found.context("a record came that nobody asked for")?;
            }
            self.places[self.last].1 = Offset::new(message.offset() + 1);
            next = match received.records < POLL_RECORDS as u64 {
                true => self.consumer.recv().now_or_never(),
                false => None,
            };
        }
        Ok(received)
    }

    /// It gives records, no batches.
    pub(crate) async fn poll_batches(&mut self, patience: Duration) -> Result<Received> {
        self.poll(patience, |_, _| ()).await
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        let found = self.places.iter().find(|(place, _)| place == partition);
        Ok(found.map(|(_, offset)| *offset))
    }

    pub(crate) async fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        let end = |place: &TopicPartition| {
            let (topic, partition) = (&place.topic, place.partition.get());
            let marks = self.consumer.fetch_watermarks(topic, partition, ANSWER);
            let (_, end) = marks.with_context(|| format!("cannot tell the end of {place}"))?;
            Ok(Offset::new(end))
        };
        partitions.iter().map(end).collect()
    }
}

/// Creates and deletes topics.
pub(crate) struct KafkaAdmin(AdminClient<DefaultClientContext>);

impl KafkaAdmin {
    pub(crate) fn new(servers: &str, patience: Duration) -> Result<Self> {
        let admin: AdminClient<DefaultClientContext> =
            config(servers).create().context("cannot start a client")?;
        let answered = admin.inner().fetch_metadata(None, patience);
        answered.context("cannot reach the brokers")?;
        Ok(Self(admin))
    }

    pub(crate) async fn topic(&self, name: &str) -> Result<Option<Standing>> {
        let told = self.0.inner().fetch_metadata(None, ANSWER)?;
        let found = told.topics().iter().find(|it| it.name() == name);
        Ok(found.map(|it| Standing {
            partitions: it.partitions().len(),
            durability: None,
        }))
    }

    pub(crate) async fn create_topic(&self, topic: TopicOptions<'_>) -> Result<()> {
        let largest = topic.largest.max(LEAST_MESSAGE).to_string();
        let durability = topic.durability.to_string();
        let theirs = || {
            NewTopic::new(topic.name, topic.partitions, TopicReplication::Fixed(1))
                .set("max.message.bytes", &largest)
        };
        let ours = theirs().set("durability", &durability);
        match self.create(&ours).await? {
            // It is another broker's.
            Err(RDKafkaErrorCode::InvalidConfig) => Ok(self.create(&theirs()).await??),
            outcome => Ok(outcome?),
        }
    }

    async fn create(&self, topic: &NewTopic<'_>) -> Result<Result<(), RDKafkaErrorCode>> {
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let created = self.0.create_topics([topic], &options).await;
        let created = created?.pop();
        let created = created.context("the broker says nothing of the topic")?;
        Ok(created.map(drop).map_err(|(_, code)| code))
    }

    pub(crate) async fn delete_topic(&self, name: &str) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let deleted = self.0.delete_topics(&[name], &options).await;
        for outcome in deleted? {
            outcome.map_err(|(_, code)| code)?;
        }
        Ok(())
    }
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("client.id", "corelog-bench")
        .set("socket.nagle.disable", "true");
    config
}
