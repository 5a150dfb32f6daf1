//! What this machine can do: the figures that Corelog's are a share of.
//!
//! All are measured in the same run, on the same cores and the same file
//! system as the broker, with raw io_uring and nothing of Corelog in between.

pub(crate) mod bare_loop;
pub(crate) mod disk;
mod generator;
pub(crate) mod loopback;
pub(crate) mod ring;
pub(crate) mod target;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::interrupt;
use crate::latency::LatencySummary;

/// Bytes moved in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

impl Transfer {
    /// Megabytes (10^6 bytes) a second.
    pub(crate) fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// The machine's own figures; `None` where one could not be measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ceilings {
    pub(crate) loopback_stream_mb_per_s: f64,
    pub(crate) loopback_round_trip: LatencySummary,
    pub(crate) sequential_write_mb_per_s: f64,
    pub(crate) sequential_read_mb_per_s: f64,
    pub(crate) write_round_trip: LatencySummary,
    pub(crate) synced_write_round_trip: LatencySummary,
}

/// When a measurement ends: at its time, or as soon as the user interrupts.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    fn passed(self) -> bool {
        interrupt::requested() || Instant::now() >= self.0
    }
}
