//! A producer of the load, and the acknowledgements that it waits for.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corelog_client::{Delivery, PartitionIndex, Producer, ProducerRecord};

use crate::latency::Latencies;

/// How long a producer may take to end.
const CLOSING: Duration = Duration::from_secs(30);

/// Sends records, and knows what became of each.
pub(crate) struct Sender<'a> {
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

impl<'a> Sender<'a> {
    /// `progress` counts the bytes acknowledged: so many for each record.
    pub(crate) fn new(producer: Producer, progress: &'a AtomicU64, record_bytes: usize) -> Self {
        Self {
            producer,
            pending: VecDeque::new(),
            acknowledged: 0,
            timed: VecDeque::new(),
            latencies: Latencies::new(),
            progress,
            record_bytes: record_bytes as u64,
        }
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

    /// As [`Sender::take_all`], without waiting for batches to fill.
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
