//! Compaction: of the records with one key only the newest stays (`cleanup.policy=compact`).
//!
//! One log of a shard is compacted at a time, the dirtiest first. `plan` decides which and what
//! becomes one segment, `rewrite` which records stay; both are plain code. `source`, `cleaned` and
//! `swap` move the bytes, `clean` puts it together. `broker/docs/compaction.md` tells the rules and
//! the order on disk.
//!
//! - Only closed segments are touched that lie wholly below the last checkpoint that was *written*:
//!   they have their exact length, are synced, and no replay reads them. And below the offset that
//!   the caller gives, which is the high watermark.
//! - Memory comes from the shard's pool: the key map, two steps to read, two to write, and room for
//!   one batch decompressed. Each is bounded by a part of the pool, however small that is.
//! - A batch that cannot be read stops the compaction of its log, once and for all, and nothing else.
//! - A full disk ends a compaction; it is tried again. Every other failed write stops the log
//!   directory.
//!
//! This module knows nothing of leaders; when there is work is asked by the shard.

mod clean;
mod cleaned;
pub(super) mod first_dirty;
mod key_hash;
mod key_map;
mod pace;
mod plan;
mod rewrite;
mod scratch;
mod source;
mod stop;
pub(super) mod swap;

pub use plan::CompactionConfig;

use std::cell::Cell;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use corelog_protocol::Offset;
use corelog_protocol::record::BATCH_HEADER_BYTES;

use super::partition_log::PartitionLog;
use super::segment::Segment;
use super::shard_log::Shared;
use super::{LogError, LogFailure, ShardLog, TopicPartition};
use crate::runtime::{BLOCK, Semaphore, now, random_u64, unix_millis};
use clean::Job;
use key_hash::HashKey;
use pace::Pace;
use plan::{ClosedSegment, Dirtiness, is_too_young};
use stop::Stop;

/// What compaction may use of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionOptions {
    /// Bytes of the key map; never more than a quarter of the shard's memory is taken. Default 64 MiB.
    pub map_bytes: usize,
    /// How full the map may become, from 0 to 1. Default 0.9.
    pub map_load_factor: f64,
    /// Bytes of one read or write, whole blocks; less while records are appended. Default 512 KiB.
    pub io_bytes: usize,
    /// Bytes read and written in a second. `None`, the default: no bound.
    pub bytes_per_second: Option<u64>,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            map_bytes: 64 << 20,
            map_load_factor: 0.9,
            io_bytes: 512 << 10,
            bytes_per_second: None,
        }
    }
}

/// What the compactions of a shard share.
pub(super) struct Compaction {
    /// Held by the one under way.
    only_one: Semaphore,
    /// Nothing new is begun, and what is under way ends at its next step.
    pub(super) stopped: Cell<bool>,
    /// Keys the hashes of the key maps.
    key: HashKey,
    pace: Pace,
    map_fill_percent: Cell<u64>,
    dirtiest_percent: Cell<u64>,
}

impl Compaction {
    pub(super) fn new(options: &CompactionOptions) -> Compaction {
        Compaction {
            only_one: Semaphore::new(1),
            stopped: Cell::new(false),
            key: HashKey(random_u64(), random_u64()),
            pace: Pace::new(options.bytes_per_second),
            map_fill_percent: Cell::new(0),
            dirtiest_percent: Cell::new(0),
        }
    }

    /// Has the compaction under way end, and waits until it has.
    pub(super) async fn stop(&self) {
        self.stopped.set(true);
        drop(self.only_one.acquire(1).await);
    }

    /// How full the last key map became.
    pub(super) fn map_fill_percent(&self) -> u64 {
        self.map_fill_percent.get()
    }

    /// The dirty share of the dirtiest log, when last looked.
    pub(super) fn dirtiest_percent(&self) -> u64 {
        self.dirtiest_percent.get()
    }
}

/// What a log knows of its compaction.
pub(super) struct LogCompaction {
    /// Held while the log is compacted.
    running: Semaphore,
    /// Below it, every key has one record, of the closed segments.
    pub(super) first_dirty: Cell<Offset>,
    /// Files and the list of segments do not agree: nobody else may add or remove closed ones.
    pub(super) exchanging: Cell<bool>,
    /// A batch could not be read.
    uncleanable: Cell<bool>,
}

impl LogCompaction {
    pub(super) fn new(first_dirty: Offset) -> LogCompaction {
        LogCompaction {
            running: Semaphore::new(1),
            first_dirty: Cell::new(first_dirty),
            exchanging: Cell::new(false),
            uncleanable: Cell::new(false),
        }
    }

    /// Waits until no compaction of this log is under way. It ends soon when the log is marked
    /// deleted.
    pub(super) async fn ended(&self) {
        drop(self.running.acquire(1).await);
    }
}

impl PartitionLog {
    /// The log was cut back into the segment that begins at `base`; what grows there now was not
    /// compacted. Durably, before the cut is. By whoever holds `rearranging`.
    pub(super) async fn compacted_only_below(
        &self,
        shared: &Shared,
        base: Offset,
    ) -> Result<(), LogFailure> {
        let first_dirty = &self.compaction.first_dirty;
        if base >= first_dirty.get() {
            return Ok(());
        }
        first_dirty.set(base);
        let written = first_dirty::write(&shared.storage, self.folder(), base).await;
        written.map_err(|error| LogFailure::new("write", self.folder(), &error))
    }
}

/// The most bytes of one read or write: what is configured, and little of a small memory, because six
/// of them are held at times.
fn io_bytes(shared: &Shared) -> usize {
    let affordable = shared.memory.compaction.budget() / 32;
    let bytes = shared.options.compaction.io_bytes.min(affordable);
    (bytes / BLOCK * BLOCK).max(BLOCK)
}

/// Bytes of the next read or write.
fn step_bytes(shared: &Shared) -> usize {
    let pace = &shared.compaction.pace;
    pace.step(io_bytes(shared), appended(shared))
}

/// Waits for as long as is due behind so many bytes read or written, or until `is_over`.
async fn spend(shared: &Shared, bytes: u64, is_over: impl Fn() -> bool) {
    let pace = &shared.compaction.pace;
    pace.spend(bytes, appended(shared), is_over).await;
}

/// Bytes appended to the logs of the shard since its start.
fn appended(shared: &Shared) -> u64 {
    let stats = shared.stats.get();
    stats.journal_bytes + stats.bypass_bytes
}

/// Whether a compaction of this log is to end.
fn is_over(shared: &Shared, log: &PartitionLog) -> bool {
    shared.compaction.stopped.get()
        || shared.closing.get()
        || shared.check().is_err()
        || log.state.borrow().deleted
}

/// A log that may be compacted.
struct Candidate {
    log: Rc<PartitionLog>,
    config: CompactionConfig,
    segments: Vec<Rc<Segment>>,
    closed: Vec<ClosedSegment>,
    first_dirty: Offset,
    cuts: u64,
    dirtiness: Dirtiness,
    /// Segments follow that a checkpoint would let be compacted.
    waits_for_checkpoint: bool,
}

impl ShardLog {
    /// Compacts the log that needs it most, of those for which `readable` gives an offset: everything
    /// below it is committed. `false` when no log needs it.
    ///
    /// # Errors
    /// The log directory has stopped.
    pub async fn compact_next(
        &self,
        readable: impl Fn(TopicPartition) -> Option<Offset>,
    ) -> Result<bool, LogError> {
        let shared = self.shared();
        let compaction = &shared.compaction;
        let _only_one = compaction.only_one.acquire(1).await;
        if compaction.stopped.get() {
            return Ok(false);
        }
        shared.check()?;
        let Some(candidate) = most_in_need(shared, readable).await else {
            return Ok(false);
        };
        let log = Rc::clone(&candidate.log);
        let _running = log.compaction.running.acquire(1).await;
        if log.state.borrow().deleted {
            return Ok(true);
        }
        let started = now();
        let job = Job {
            shared,
            log: &log,
            config: candidate.config,
            segments: candidate.segments,
            closed: candidate.closed,
            first_dirty: candidate.first_dirty,
            cuts: candidate.cuts,
        };
        let ended = job.run().await;
        let micros = u64::try_from((now() - started).as_micros()).unwrap_or(u64::MAX);
        shared.count(|stats| {
            stats.compaction_micros += micros;
            match ended {
                Ok(()) => stats.compactions += 1,
                Err(Stop::Ended) => {}
                Err(_) => stats.compaction_failures += 1,
            }
        });
        match ended {
            Ok(()) => Ok(true),
            Err(stop) => self.stopped_by(&log, stop),
        }
    }

    fn stopped_by(&self, log: &PartitionLog, stop: Stop) -> Result<bool, LogError> {
        let shared = self.shared();
        match stop {
            Stop::Ended => {
                shared.check()?;
                Ok(false)
            }
            Stop::Uncleanable {
                path,
                position,
                reason,
            } => {
                tracing::error!(
                    partition = %log.folder().display(),
                    path = %path.display(),
                    position,
                    "a partition cannot be compacted, and is not until the broker is restarted: \
                     {reason}"
                );
                log.compaction.uncleanable.set(true);
                Ok(true)
            }
            Stop::DiskFull(path) => {
                shared.removal.hurry();
                tracing::warn!(
                    path = %path.display(),
                    "no space left for a compaction; it is tried again later"
                );
                Ok(false)
            }
            Stop::Failed(failure) => {
                shared.fail(failure.clone());
                Err(failure.into())
            }
        }
    }

    /// Logs that are not compacted any more because a batch could not be read.
    pub fn uncleanable_partitions(&self) -> u64 {
        let logs = self.shared().logs.borrow();
        let uncleanable = logs.values().filter(|log| log.compaction.uncleanable.get());
        uncleanable.count() as u64
    }
}

/// The dirtiest of the logs that are due.
async fn most_in_need(
    shared: &Shared,
    readable: impl Fn(TopicPartition) -> Option<Offset>,
) -> Option<Candidate> {
    let logs: Vec<_> = {
        // While no checkpoint is under way, what a log says of its last one was written.
        let _written = shared.write_out.checkpointing.acquire(1).await;
        let logs = shared.logs.borrow();
        let logs = logs.values().filter_map(|log| {
            let checkpointed = log.checkpointed_segment_base();
            Some((Rc::clone(log), checkpointed, readable(log.id())?))
        });
        logs.collect()
    };
    let now = unix_millis();
    let (mut best, mut dirtiest): (Option<Candidate>, f64) = (None, 0.0);
    for (log, checkpointed, readable) in logs {
        let Some(candidate) = examine(shared, log, checkpointed, readable, now).await else {
            continue;
        };
        dirtiest = dirtiest.max(candidate.dirtiness.ratio());
        let oldest = oldest_dirty(shared, &candidate).await;
        if !candidate.dirtiness.is_due(&candidate.config, oldest, now) {
            if candidate.waits_for_checkpoint {
                shared.write_out.ask_for_checkpoint();
            }
            continue;
        }
        let is_dirtier = |other: &Candidate| candidate.dirtiness.ratio() > other.dirtiness.ratio();
        if best.as_ref().is_none_or(is_dirtier) {
            best = Some(candidate);
        }
    }
    shared
        .compaction
        .dirtiest_percent
        .set((dirtiest * 100.0) as u64);
    best
}

/// The closed segments of a log that may be compacted, if it is to be at all.
async fn examine(
    shared: &Shared,
    log: Rc<PartitionLog>,
    checkpointed: Offset,
    readable: Offset,
    now: i64,
) -> Option<Candidate> {
    let mut candidate = {
        let state = log.state.borrow();
        let config = state.config.compaction.clone()?;
        if log.compaction.uncleanable.get() || state.deleted {
            return None;
        }
        let first_dirty = log.compaction.first_dirty.get().max(state.log_start);
        let (mut segments, mut closed) = (Vec::new(), Vec::new());
        let mut waits_for_checkpoint = false;
        for (&base, segment) in &state.segments {
            let next = state.segments.range((Excluded(base), Unbounded)).next();
            let Some((&end, _)) = next.filter(|(end, _)| **end <= readable) else {
                break;
            };
            if end > checkpointed || !segment.is_sealed() {
                waits_for_checkpoint = true;
                break;
            }
            segments.push(Rc::clone(segment));
            closed.push(ClosedSegment {
                base,
                end,
                bytes: segment.size(),
                index_bytes: largest_index(segment.size(), state.config.index_interval_bytes),
                has_aborted: false,
            });
        }
        Candidate {
            log: Rc::clone(&log),
            config,
            dirtiness: Dirtiness::of(&closed, first_dirty),
            segments,
            closed,
            first_dirty,
            cuts: state.cuts,
            waits_for_checkpoint,
        }
    };
    if !candidate.config.min_lag.is_zero() {
        let is_dirty = |it: &ClosedSegment| it.end > candidate.first_dirty;
        let mut old_enough = candidate
            .closed
            .iter()
            .take_while(|it| !is_dirty(it))
            .count();
        while let Some(segment) = candidate.segments.get(old_enough) {
            let largest = largest_timestamp(shared, segment).await;
            if is_too_young(&candidate.config, largest, now) {
                break;
            }
            old_enough += 1;
        }
        candidate.segments.truncate(old_enough);
        candidate.closed.truncate(old_enough);
        candidate.dirtiness = Dirtiness::of(&candidate.closed, candidate.first_dirty);
    }
    Some(candidate)
}

/// Bytes that the offset index of a segment may have at most.
fn largest_index(segment_bytes: u64, interval_bytes: u64) -> u64 {
    const ENTRY_BYTES: u64 = 8;
    let interval = interval_bytes.max(BATCH_HEADER_BYTES as u64);
    segment_bytes / interval * ENTRY_BYTES
}

/// The largest timestamp in a closed segment; the smallest there is when it cannot be read, so that
/// the compaction says why.
async fn largest_timestamp(shared: &Shared, segment: &Rc<Segment>) -> i64 {
    let largest = shared.largest_timestamp(segment).await;
    largest.unwrap_or(i64::MIN)
}

/// The timestamp of the first batch of the dirty section, where `max.compaction.lag.ms` asks for it.
async fn oldest_dirty(shared: &Shared, candidate: &Candidate) -> Option<i64> {
    candidate.config.max_lag?;
    let dirty = |it: &ClosedSegment| it.end > candidate.first_dirty && it.bytes > 0;
    let first = candidate.closed.iter().position(dirty)?;
    let segment = &candidate.segments[first];
    segment.first_timestamp(&shared.storage).await
}
