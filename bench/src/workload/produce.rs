//! One producer under full load: as fast as acknowledgements make room.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::{Context, Result};
use corelog_client::{Producer, ProducerRecord};

use super::deliveries::Deliveries;
use super::payload::{Epoch, Payloads, Stamp};
use crate::interrupt;
use crate::latency::Latencies;

/// Records between two looks at the clock and at the deliveries.
const STRIDE: u64 = 64;

/// What a producer shall send.
pub(crate) struct Load<'a> {
    pub(crate) topic: &'a str,
    /// The producer's number, in its records' stamps.
    pub(crate) number: u32,
    pub(crate) epoch: Epoch,
    pub(crate) until: Option<Instant>,
    pub(crate) records: u64,
    /// Record bytes after which the broker's replies get their turn.
    pub(crate) breath: usize,
    /// Record bytes acknowledged so far, for the progress bar.
    pub(crate) progress: &'a AtomicU64,
}

/// What became of it.
pub(crate) struct Produced {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// From `send` to the acknowledgement, of one record in [`STRIDE`].
    pub(crate) latencies: Latencies,
}

/// Sends records until the load is done, then waits for every acknowledgement.
pub(crate) async fn produce(
    producer: &Producer,
    payloads: &mut Payloads,
    load: Load<'_>,
) -> Result<Produced> {
    let started = Instant::now();
    let mut deliveries = Deliveries::new(load.progress, payloads.size() as u64);
    let mut sent = 0;
    let mut unsettled_bytes = 0;
    let mut due = load.epoch.elapsed();
    while sent < load.records {
        if sent.is_multiple_of(STRIDE) {
            let now = Instant::now();
            if interrupt::requested() || load.until.is_some_and(|until| now >= until) {
                break;
            }
            deliveries.time_next(now);
            due = load.epoch.elapsed();
        }
        let value = payloads.stamped(Stamp {
            producer: load.number,
            sequence: sent,
            due,
        });
        unsettled_bytes += value.len();
        let record = ProducerRecord::to(load.topic).value(value);
        let delivery = producer
            .send(record)
            .await
            .with_context(|| format!("producer {}: record {sent} was refused", load.number))?;
        deliveries.push(delivery);
        sent += 1;
        if unsettled_bytes >= load.breath {
            unsettled_bytes = 0;
            deliveries.take_ready().await?;
            tokio::task::yield_now().await;
        }
    }
    producer
        .flush()
        .await
        .context("the last records were not acknowledged")?;
    deliveries.take_all().await?;
    Ok(Produced {
        sent,
        acknowledged: deliveries.acknowledged(),
        started,
        ended: Instant::now(),
        latencies: deliveries.into_latencies(),
    })
}
