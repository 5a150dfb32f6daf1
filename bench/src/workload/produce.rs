//! One producer under full load: as fast as acknowledgements make room.

use std::time::Instant;

use anyhow::{Context, Result};

use super::client::Sender;
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
    mut sender: Sender<'_>,
    payloads: &mut Payloads,
    load: Load<'_>,
) -> Result<Produced> {
    let started = Instant::now();
    let mut sent = 0;
    let mut unsettled_bytes = 0;
    let mut due = load.epoch.elapsed();
    while sent < load.records {
        if sent.is_multiple_of(STRIDE) {
            let now = Instant::now();
            if interrupt::requested() || load.until.is_some_and(|until| now >= until) {
                break;
            }
            sender.time_next(now);
            due = load.epoch.elapsed();
        }
        let value = payloads.stamped(Stamp {
            producer: load.number,
            sequence: sent,
            due,
        });
        unsettled_bytes += value.len();
        let handed_over = sender.send(load.topic, None, value).await;
        handed_over.with_context(|| format!("producer {}", load.number))?;
        sent += 1;
        if unsettled_bytes >= load.breath {
            unsettled_bytes = 0;
            sender.take_ready().await?;
            tokio::task::yield_now().await;
        }
    }
    sender.flush().await?;
    let (acknowledged, ended) = (sender.acknowledged(), Instant::now());
    Ok(Produced {
        sent,
        acknowledged,
        started,
        ended,
        latencies: sender.close().await?,
    })
}
