//! The acknowledgements that a producer of the load waits for.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context, Result};
use corelog_client::Delivery;

use crate::latency::Latencies;

/// The acknowledgements awaited, in the order of sending.
pub(crate) struct Deliveries<'a> {
    pending: VecDeque<Delivery>,
    acknowledged: u64,
    /// Records that are timed: how many were sent before each, and when it was.
    timed: VecDeque<(u64, Instant)>,
    latencies: Latencies,
    progress: &'a AtomicU64,
    record_bytes: u64,
}

impl<'a> Deliveries<'a> {
    pub(crate) fn new(progress: &'a AtomicU64, record_bytes: u64) -> Self {
        Self {
            pending: VecDeque::new(),
            acknowledged: 0,
            timed: VecDeque::new(),
            latencies: Latencies::new(),
            progress,
            record_bytes,
        }
    }

    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.pending.push_back(delivery);
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// From the moments given to [`Deliveries::time_next`] to the acknowledgements.
    pub(crate) fn into_latencies(self) -> Latencies {
        self.latencies
    }

    /// Times the record that is sent next.
    pub(crate) fn time_next(&mut self, now: Instant) {
        let before = self.acknowledged + self.pending.len() as u64;
        self.timed.push_back((before, now));
    }

    /// Takes the deliveries that are ready, up to the first that is not.
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

    pub(crate) async fn take_all(&mut self) -> Result<()> {
        let before = self.acknowledged;
        while let Some(delivery) = self.pending.pop_front() {
            delivery.await.context("a record was not acknowledged")?;
            self.acknowledged += 1;
        }
        self.settle(before);
        Ok(())
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
