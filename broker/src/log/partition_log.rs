//! The log of one partition: appends, marks and what the commit and the write-out need of it.
//!
//! One task appends (the partition's); any number read. `log_end` is what was appended, `written`
//! and `synced` how far that has reached the disk; all three only grow.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use corelog_protocol::record::{
    BATCH_HEADER_BYTES, BatchView, patch_base_offset, patch_log_append_time,
};
use corelog_protocol::{Durability, LeaderEpoch, Offset, Timestamp};

use super::journal::format::{EntryHeader, EntryKind};
use super::reader::ReadAheads;
use super::recovery::PartitionStart;
use super::segment::{LARGEST_SEGMENT, Segment};
use super::shard_log::Shared;
use super::tail::{BatchPlace, Tail};
use super::{AppendError, LogConfig, LogFailure, TopicPartition};
use crate::runtime::{AppendBuffer, BLOCK, Notify, Semaphore, now, unix_millis};

/// Where an append landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp of the appended batches.
    pub max_timestamp: Timestamp,
    /// Bytes appended.
    pub bytes: usize,
}

/// The log of one partition.
pub struct PartitionLog {
    pub(super) id: TopicPartition,
    folder: PathBuf,
    shared: Weak<Shared>,
    pub(super) state: RefCell<State>,
    changed: Notify,
    /// Marks advanced since `changed()` last resolved.
    news: Cell<bool>,
    /// Held while this partition's bytes are written out.
    pub(super) writing: Semaphore,
    /// Wakes a write-out that waits for a chunk on its way to the segment.
    pub(super) extents: Notify,
    pub(super) read_aheads: ReadAheads,
    /// What the last checkpoint says of this log.
    checkpointed_start: RefCell<PartitionStart>,
}

pub(super) struct State {
    pub(super) config: LogConfig,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    pub(super) written_end: Offset,
    synced_end: Offset,
    /// By base offset; the last one is active.
    pub(super) segments: BTreeMap<Offset, Rc<Segment>>,
    /// Closed segments that are not yet cut to their length.
    pub(super) to_seal: Vec<Rc<Segment>>,
    pub(super) tail: Tail,
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
    /// Bytes up to this cursor are in groups.
    pub(super) grouped: u64,
    /// The segment that the last of them belong to.
    pub(super) grouped_segment: Rc<Segment>,
    /// Bytes up to this cursor are in groups that were written.
    pub(super) written_cursor: u64,
    /// The last group of those.
    pub(super) written_sequence: u64,
    /// The journal holds every byte from this cursor on. A block that begins before it may not be
    /// rewritten until its bytes are in the journal again.
    pub(super) covered_from: u64,
    /// The old bytes of the begun block below this cursor are on their way to the journal.
    pub(super) covering: Option<u64>,
    /// The cursor that the last checkpoint reached.
    pub(super) checkpointed: u64,
    /// A write-out is bringing everything to the segment, the begun block padded with zeros.
    pub(super) padding: bool,
    unflushed_bytes: u64,
    pub(super) queued: bool,
    appending: bool,
    pub(super) deleted: bool,
}

impl State {
    /// A topic below `sync` has as much unflushed as its settings allow.
    fn flush_due(&self) -> bool {
        let config = &self.config;
        let records = u64::try_from(self.log_end.get() - self.synced_end.get()).unwrap_or(0);
        config.durability != Durability::Sync
            && (config
                .flush_bytes
                .is_some_and(|limit| self.unflushed_bytes >= limit)
                || config.flush_records.is_some_and(|limit| records >= limit))
    }
}

/// What opening found; see [`super::folder`].
pub(super) struct Opened {
    pub(super) config: LogConfig,
    pub(super) start: PartitionStart,
    pub(super) segments: BTreeMap<Offset, Rc<Segment>>,
    pub(super) tail: Tail,
}

impl PartitionLog {
    pub(super) fn new(
        shared: &Rc<Shared>,
        id: TopicPartition,
        folder: PathBuf,
        opened: Opened,
    ) -> PartitionLog {
        let active = opened
            .segments
            .last_key_value()
            .expect("a log has a segment")
            .1
            .clone();
        let cursor = opened.tail.end();
        PartitionLog {
            id,
            folder,
            shared: Rc::downgrade(shared),
            state: RefCell::new(State {
                config: opened.config,
                log_start: opened.start.log_start,
                log_end: opened.start.next_offset,
                written_end: opened.start.next_offset,
                synced_end: opened.start.next_offset,
                segments: opened.segments,
                to_seal: Vec::new(),
                tail: opened.tail,
                epochs: opened.start.epochs.clone(),
                grouped: cursor,
                grouped_segment: active,
                written_cursor: cursor,
                written_sequence: opened.start.applied_sequence,
                covered_from: cursor,
                covering: None,
                checkpointed: cursor,
                padding: false,
                unflushed_bytes: 0,
                queued: false,
                appending: false,
                deleted: false,
            }),
            changed: Notify::new(),
            news: Cell::new(false),
            writing: Semaphore::new(1),
            extents: Notify::new(),
            read_aheads: ReadAheads::default(),
            checkpointed_start: RefCell::new(opened.start),
        }
    }

    pub(super) fn checkpointed_start(&self) -> PartitionStart {
        self.checkpointed_start.borrow().clone()
    }

    pub(super) fn set_checkpointed_start(&self, start: PartitionStart) {
        *self.checkpointed_start.borrow_mut() = start;
    }

    /// Which partition this is.
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn shared(&self) -> Option<Rc<Shared>> {
        self.shared.upgrade()
    }

    /// The first offset held.
    pub fn log_start_offset(&self) -> Offset {
        self.state.borrow().log_start
    }

    /// The offset behind the last record appended.
    pub fn log_end_offset(&self) -> Offset {
        self.state.borrow().log_end
    }

    /// All offsets below have reached `level`.
    pub fn end_offset_at(&self, level: Durability) -> Offset {
        let state = self.state.borrow();
        match level {
            Durability::Memory => state.log_end,
            Durability::Written => state.written_end,
            Durability::Sync => state.synced_end,
        }
    }

    /// Resolves after a mark advanced, or the log directory stopped, since the last call resolved.
    pub async fn changed(&self) {
        while !self.news.replace(false) {
            self.changed.notified().await;
        }
    }

    pub(super) fn announce_change(&self) {
        self.news.set(true);
        self.changed.notify_waiters();
    }

    /// Bytes of all segments, those still in memory included.
    pub fn size_bytes(&self) -> u64 {
        self.state
            .borrow()
            .segments
            .values()
            .map(|segment| segment.size())
            .sum()
    }

    /// The epoch of the last record, if there is one.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state.borrow().epochs.last().map(|(epoch, _)| *epoch)
    }

    /// The largest epoch at or below `epoch` and the offset behind its last record.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.borrow();
        let after = state.epochs.partition_point(|(known, _)| *known <= epoch);
        let (known, _) = state.epochs[..after].last()?;
        Some((
            *known,
            state
                .epochs
                .get(after)
                .map_or(state.log_end, |(_, start)| *start),
        ))
    }

    /// Takes new settings. A higher durability also applies to what was appended before.
    pub fn set_config(&self, config: LogConfig) {
        let raised = config.durability == Durability::Sync;
        self.state.borrow_mut().config = config;
        if let Some(shared) = self.shared()
            && raised
        {
            shared.commit.ask_for_flush();
        }
        self.announce_change();
    }

    /// Appends whole batches that were checked before: their CRC, their counts, their size. The
    /// first gets `base_offset`, which must be the log end. Base offsets and leader epoch are
    /// patched while the bytes are copied; with `append_time` the batches' timestamps too. Waits
    /// only for memory and for room in the segment.
    ///
    /// # Errors
    /// Nothing was appended, unless a later batch of several met the error: then
    /// [`PartitionLog::log_end_offset`] tells.
    pub async fn append(
        &self,
        batches: &[u8],
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        append_time: Option<Timestamp>,
    ) -> Result<AppendInfo, AppendError> {
        let shared = self.shared().ok_or(AppendError::Deleted)?;
        shared.check()?;
        if base_offset != self.log_end_offset() {
            let end = self.log_end_offset();
            return Err(AppendError::Malformed(format!(
                "base offset {base_offset} does not follow the log end {end}"
            )));
        }
        let stamped;
        let batches = match append_time {
            None => batches,
            Some(time) => {
                stamped = stamp_append_time(batches, time)?;
                &stamped
            }
        };
        self.state.borrow_mut().appending = true;
        let appended = match self.check_sizes(batches) {
            Ok(()) => self.append_runs(&shared, batches, leader_epoch).await,
            Err(error) => Err(error),
        };
        self.state.borrow_mut().appending = false;
        let max_timestamp = appended?;
        Ok(AppendInfo {
            base_offset,
            last_offset: Offset::new(self.log_end_offset().get() - 1),
            max_timestamp,
            bytes: batches.len(),
        })
    }

    async fn append_runs(
        &self,
        shared: &Rc<Shared>,
        batches: &[u8],
        leader_epoch: LeaderEpoch,
    ) -> Result<Timestamp, AppendError> {
        let mut rest = batches;
        let mut max_timestamp = None;
        while !rest.is_empty() {
            let (run, roll) = self.run_for_one_segment(rest)?;
            let active = self.active_segment();
            // Nothing is closed before its successor has room: a full disk must leave the log as
            // it was.
            let segment = if roll {
                self.successor_of(&active)
            } else {
                active
            };
            self.reserve(shared, &segment, run).await?;
            if roll {
                self.roll(&segment);
            }
            self.take_memory(shared, &segment, run).await?;
            let (bytes, after) = rest.split_at(run);
            let largest = self.copy(shared, &segment, bytes, leader_epoch)?;
            max_timestamp = max_timestamp.max(Some(largest));
            rest = after;
        }
        max_timestamp.ok_or_else(|| AppendError::Malformed("no batch".to_owned()))
    }

    /// Refuses batches of which one fits no segment before any of them is appended.
    fn check_sizes(&self, batches: &[u8]) -> Result<(), AppendError> {
        let limit = self
            .state
            .borrow()
            .config
            .segment_bytes
            .min(LARGEST_SEGMENT);
        let mut rest = batches;
        while !rest.is_empty() {
            let (batch, after) = BatchView::parse(rest)
                .map_err(|error| AppendError::Malformed(error.to_string()))?;
            let bytes = batch.size_in_bytes();
            if bytes as u64 > limit {
                return Err(AppendError::TooLarge { bytes, limit });
            }
            rest = after;
        }
        Ok(())
    }

    /// How many of these bytes, in whole batches, go to one segment, and whether it is a new one.
    fn run_for_one_segment(&self, batches: &[u8]) -> Result<(usize, bool), AppendError> {
        let state = self.state.borrow();
        let active = state
            .segments
            .last_key_value()
            .expect("a log has a segment")
            .1;
        let limit = state.config.segment_bytes.min(LARGEST_SEGMENT);
        let too_old = active.first_append_ms.get().is_some_and(|first| {
            let age = unix_millis().saturating_sub(first);
            Duration::from_millis(u64::try_from(age).unwrap_or(0)) >= state.config.segment_age
        });
        let index_full =
            active.index.borrow().offset_index_bytes() + 8 > state.config.segment_index_bytes;
        let too_far = state.log_end.get() - active.base_offset().get() > i64::from(i32::MAX) / 2;
        let mut roll = active.size() > 0 && (too_old || index_full || too_far);
        let mut used = if roll { 0 } else { active.size() };
        let mut run = 0;
        while run < batches.len() {
            let batch = BatchView::parse(&batches[run..])
                .map_err(|error| AppendError::Malformed(error.to_string()))?
                .0
                .size_in_bytes();
            if used + batch as u64 > limit {
                if run > 0 {
                    break;
                }
                roll = true;
                used = 0;
            }
            used += batch as u64;
            run += batch;
        }
        Ok((run, roll))
    }

    fn active_segment(&self) -> Rc<Segment> {
        let state = self.state.borrow();
        state
            .segments
            .last_key_value()
            .expect("a log has a segment")
            .1
            .clone()
    }

    fn successor_of(&self, active: &Segment) -> Rc<Segment> {
        let state = self.state.borrow();
        Rc::new(active.successor(state.log_end, state.config.index_interval_bytes))
    }

    /// Closes the active segment and makes `next` the active one.
    fn roll(&self, next: &Rc<Segment>) {
        let mut state = self.state.borrow_mut();
        let active = state
            .segments
            .last_key_value()
            .expect("a log has a segment")
            .1
            .clone();
        active.seal();
        state.tail.close_segment();
        state.segments.insert(next.base_offset(), next.clone());
        state.to_seal.push(active);
    }

    /// Makes sure that the file system has room for `bytes` more in `segment`.
    async fn reserve(
        &self,
        shared: &Rc<Shared>,
        segment: &Rc<Segment>,
        bytes: usize,
    ) -> Result<(), AppendError> {
        let end = segment.size() + bytes as u64;
        let limit = self
            .state
            .borrow()
            .config
            .segment_bytes
            .next_multiple_of(BLOCK as u64);
        if let Err(error) = segment.reserve(&shared.storage, end, limit).await {
            if error.kind() == io::ErrorKind::StorageFull {
                return Err(AppendError::DiskFull {
                    path: segment.path().to_owned(),
                    bytes: bytes as u64,
                });
            }
            // A deletion takes the folder away under an append that was on its way.
            if self.state.borrow().deleted {
                return Err(AppendError::Deleted);
            }
            let failure = LogFailure::new("allocation", segment.path(), &error);
            shared.fail(failure.clone());
            return Err(failure.into());
        }
        Ok(())
    }

    /// Waits until the memory budget has room for `bytes` more of `segment`.
    async fn take_memory(
        &self,
        shared: &Rc<Shared>,
        segment: &Rc<Segment>,
        bytes: usize,
    ) -> Result<(), AppendError> {
        let plan = self.state.borrow_mut().tail.plan(bytes);
        let mut buffers: Vec<AppendBuffer> = Vec::with_capacity(plan.sizes.len());
        for size in plan.sizes {
            buffers.push(shared.append_buffer(size).await?);
        }
        let mut state = self.state.borrow_mut();
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        state.tail.add_chunks(plan.replaces_last, buffers, segment);
        Ok(())
    }

    /// Copies a run of batches into the tail and hands it to the commit.
    fn copy(
        &self,
        shared: &Rc<Shared>,
        segment: &Rc<Segment>,
        run: &[u8],
        leader_epoch: LeaderEpoch,
    ) -> Result<Timestamp, AppendError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut rest = run;
        let mut largest = Timestamp::new(-1);
        // An adopted log may hold epochs above its topic's. They must not fall all the same: a
        // start that reads the batches back would take it for damage.
        let latest = state.epochs.last().map(|(epoch, _)| *epoch);
        let leader_epoch = latest.map_or(leader_epoch, |latest| leader_epoch.max(latest));
        segment.first_append_ms.set(
            segment
                .first_append_ms
                .get()
                .or_else(|| Some(unix_millis())),
        );
        if state
            .epochs
            .last()
            .is_none_or(|(epoch, _)| *epoch < leader_epoch)
        {
            state.epochs.push((leader_epoch, state.log_end));
        }
        while !rest.is_empty() {
            let (batch, after) = BatchView::parse(rest)
                .map_err(|error| AppendError::Malformed(error.to_string()))?;
            let base_offset = state.log_end;
            let records = i64::from(batch.last_offset_delta()) + 1;
            let next_offset = Offset::new(base_offset.get() + records);
            let mut header = [0; BATCH_HEADER_BYTES];
            header.copy_from_slice(&batch.bytes()[..BATCH_HEADER_BYTES]);
            patch_base_offset(&mut header, base_offset, leader_epoch);
            let size = batch.size_in_bytes();
            let position = segment.size();
            state.tail.batches.push_back(BatchPlace {
                base_offset,
                next_offset,
                start: state.tail.end(),
                length: u32::try_from(size).expect("a batch is smaller than a segment"),
            });
            state.tail.write(&header);
            state.tail.write(&batch.bytes()[BATCH_HEADER_BYTES..]);
            let last_offset = Offset::new(next_offset.get() - 1);
            segment.index.borrow_mut().observe(
                position,
                size,
                last_offset,
                batch.max_timestamp().get(),
            );
            segment.grow(size);
            state.log_end = next_offset;
            largest = largest.max(batch.max_timestamp());
            rest = after;
        }
        let queued = std::mem::replace(&mut state.queued, true);
        state.unflushed_bytes += run.len() as u64;
        if state.config.durability != Durability::Sync
            && let Some(interval) = state.config.flush_interval
        {
            shared.commit.flush_by(shared, now() + interval);
        }
        let flush_due = state.flush_due();
        if let Some(log) = shared.logs.borrow().get(&self.id) {
            shared.commit.enqueue(log.clone(), run.len(), queued);
        }
        if flush_due {
            shared.commit.ask_for_flush();
        }
        if state.config.durability == Durability::Memory {
            self.announce_change();
        }
        Ok(largest)
    }

    pub(super) fn delete_entry(&self) -> EntryHeader {
        let state = self.state.borrow();
        EntryHeader {
            kind: EntryKind::Delete,
            topic_partition: self.id,
            leader_epoch: state
                .epochs
                .last()
                .map_or(LeaderEpoch::ZERO, |(epoch, _)| *epoch),
            segment_base: Offset::ZERO,
            position: 0,
            length: 0,
            base_offset: Offset::ZERO,
            next_offset: Offset::ZERO,
            data_crc: 0,
        }
    }

    pub(super) fn mark_deleted(&self) {
        self.state.borrow_mut().deleted = true;
        self.announce_change();
    }

    /// The group with these bytes was written.
    pub(super) fn mark_written(&self, sequence: u64, cursor: u64, end_offset: Offset) {
        let mut state = self.state.borrow_mut();
        assert!(
            cursor >= state.written_cursor,
            "groups are written in order"
        );
        state.written_cursor = cursor;
        state.written_sequence = sequence;
        state.written_end = end_offset;
        let announce = state.config.durability == Durability::Written;
        let dirty = state.tail.dirty_bytes(state.written_cursor);
        let held = state.tail.capacity() as u64;
        drop(state);
        if announce {
            self.announce_change();
        }
        if let Some(shared) = self.shared()
            && (dirty >= shared.options.write_out_bytes
                || held >= shared.options.held_bytes()
                || shared.write_out.memory_is_wanted())
        {
            shared.write_out.enqueue(self.id);
        }
    }

    /// Everything below `end_offset` was flushed.
    pub(super) fn mark_synced(&self, end_offset: Offset) {
        let mut state = self.state.borrow_mut();
        assert!(
            end_offset >= state.synced_end,
            "flushes follow the order of groups"
        );
        state.synced_end = end_offset;
        if end_offset == state.log_end {
            state.unflushed_bytes = 0;
        }
        let announce = state.config.durability == Durability::Sync;
        drop(state);
        if announce {
            self.announce_change();
        }
    }

    /// A whole chunk reached its segment, or failed to.
    pub(super) fn extent_ended(&self, chunk_start: u64, is_written: bool) {
        let mut state = self.state.borrow_mut();
        let chunks = &mut state.tail.chunks;
        if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.start == chunk_start) {
            chunk.on_its_way = false;
            if is_written {
                chunk.written_out = chunk.len();
            }
        }
        drop(state);
        self.extents.notify_waiters();
    }

    /// Gives memory back: the cache beyond `keep` bytes, and everything but the last begun block
    /// when nothing is waiting to be written.
    pub(super) fn release_memory(&self, shared: &Shared, keep: usize) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.tail.trim(keep, state.written_cursor);
        let idle = keep == 0 && !state.appending && state.written_cursor == state.tail.end();
        if idle {
            self.read_aheads.clear();
            state.tail.shrink(|| shared.pool.append_buffer(BLOCK).ok());
        }
    }

    pub(super) async fn close_files(&self) {
        let segments: Vec<_> = self.state.borrow().segments.values().cloned().collect();
        for segment in segments {
            if let Err(error) = segment.close().await {
                tracing::warn!(path = %segment.path().display(), "close failed: {error}");
            }
        }
    }
}

fn stamp_append_time(batches: &[u8], time: Timestamp) -> Result<Vec<u8>, AppendError> {
    let mut stamped = batches.to_vec();
    let mut at = 0;
    while at < stamped.len() {
        let size = BatchView::parse(&stamped[at..])
            .map_err(|error| AppendError::Malformed(error.to_string()))?
            .0
            .size_in_bytes();
        patch_log_append_time(&mut stamped[at..at + size], time);
        at += size;
    }
    Ok(stamped)
}
