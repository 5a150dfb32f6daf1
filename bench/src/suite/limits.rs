//! The machine's own figures, and the bare loop's slices.

use std::time::Duration;

use anyhow::{Context, Result};
use corelog_protocol::Durability;

use super::Suite;
use crate::ceilings::bare_loop::{self, AckAt, Frames};
use crate::ceilings::disk::ZeroFilled;
use crate::ceilings::target::Target;
use crate::ceilings::{Ceilings, Transfer, loopback};
use crate::embedded;
use crate::interrupt;
use crate::plan::{IN_FLIGHT, Part, SLICE_BYTES};
use crate::scratch::Scratch;

/// Zero-filled bytes for all cores together, and for each at least.
const ZERO_FILLED: u64 = 512 << 20;
const ZERO_FILLED_LEAST: u64 = 32 << 20;

/// By how much the broker extends a segment at a time, at most.
const SEGMENT_STEP: u64 = 16 << 20;

impl Suite<'_> {
    pub(super) fn measure_ceilings(&mut self, scratch: &Scratch) -> Result<()> {
        let (cores, time) = (&self.plan.cores, self.plan.times.ceiling);
        let (server, client) = (cores.broker_core(0), cores.client_core(0));
        self.progress.step("loopback stream", time);
        let stream = self.loopback_stream(time)?;
        self.progress.step("loopback round trip", time);
        let round_trip = loopback::round_trip(server, client, time)?;

        self.progress.step("filling a file with zeros", time);
        let length = ZERO_FILLED / cores.broker.len().max(1) as u64;
        let length = length.max(ZERO_FILLED_LEAST) >> 20 << 20;
        for index in 0..cores.broker.len().max(1) {
            let file = ZeroFilled::create(scratch, &format!("zeros-{index}"), length)?;
            self.zero_filled.push(file);
        }
        let file = &self.zero_filled[0];
        let on_broker_core = |what: &str| format!("cannot measure the {what}");
        self.progress.step("direct sequential write", time);
        let write = on_core(server, || file.sequential_write(time))
            .with_context(|| on_broker_core("sequential write"))?;
        self.progress.step("direct sequential read", time);
        let read = on_core(server, || file.sequential_read(time))
            .with_context(|| on_broker_core("sequential read"))?;
        self.progress.step("4 KiB writes", time);
        let write_round_trip = on_core(server, || file.round_trips(time, false))
            .with_context(|| on_broker_core("4 KiB write"))?;
        self.progress.step("4 KiB writes with fdatasync", time);
        let synced_write_round_trip = on_core(server, || file.round_trips(time, true))
            .with_context(|| on_broker_core("4 KiB write with fdatasync"))?;

        self.ceilings = Some(Ceilings {
            loopback_stream_mb_per_s: stream,
            loopback_round_trip: round_trip,
            sequential_write_mb_per_s: write.mb_per_s(),
            sequential_read_mb_per_s: read.mb_per_s(),
            write_round_trip,
            synced_write_round_trip,
        });
        Ok(())
    }

    /// Megabytes a second from the broker's first core to the clients' first one.
    pub(super) fn loopback_stream(&self, time: Duration) -> Result<f64> {
        let cores = &self.plan.cores;
        let stream = loopback::stream(cores.broker_core(0), cores.client_core(0), time)?;
        Ok(stream.mb_per_s())
    }

    /// One slice of the bare loop under the load of `part`. `None` where it
    /// says nothing about the broker: at `memory`, which waits for no disk,
    /// and for brokers elsewhere.
    pub(super) fn bare_loop_slice(&self, part: &Part) -> Result<Option<Transfer>> {
        let ack_at = match part.durability {
            Durability::Memory => return Ok(None),
            Durability::Written => AckAt::Written,
            Durability::Sync => AckAt::Synced,
        };
        let Some(scratch) = self.scratch.filter(|_| !interrupt::requested()) else {
            return Ok(None);
        };
        let cores = &self.plan.cores;
        let bytes = part.batch_size.0.max(self.plan.record_size);
        let frames = Frames::new(bytes, IN_FLIGHT, self.plan.producers);
        let name = |core: usize| format!("segment-{core}");
        let mut targets = Vec::new();
        for core in 0..cores.broker.len().max(1) {
            targets.push(if bytes < embedded::journal_bypass_bytes() {
                Target::zero_filled(&self.zero_filled[core])
            } else {
                let step = SEGMENT_STEP.max(2 * frames.length as u64);
                Target::extended(scratch, &name(core), step)?
            });
        }
        let limit = match part.slice.time {
            Some(_) => SLICE_BYTES,
            None => part.slice.records * self.plan.record_size as u64,
        };
        scratch.settle()?;
        self.progress.step(
            format!("bare loop, {}, {}", part.durability, part.batch_size),
            part.slice.expected(),
        );
        // At least one frame for each connection, however small the slice.
        let least = (frames.length * frames.connections * targets.len()) as u64;
        let time = part.slice.longest();
        let transfer = bare_loop::run(cores, targets, frames, ack_at, time, limit.max(least))?;
        for core in 0..cores.broker.len().max(1) {
            scratch.remove_file(&name(core))?;
        }
        Ok(Some(transfer))
    }
}

/// Runs `measure` on a thread of that core.
fn on_core<T: Send>(core: Option<usize>, measure: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            crate::cores::pin_this_thread(core);
            measure()
        });
        match measuring.join() {
            Ok(measured) => measured,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
