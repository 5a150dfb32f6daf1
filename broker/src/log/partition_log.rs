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

use super::commit::Member;
use super::compaction::LogCompaction;
use super::producers::Producers;
use super::reader::ReadAheads;
use super::recovery::PartitionStart;
use super::segment::{LARGEST_SEGMENT, Segment};
use super::shard_log::Shared;
use super::tail::{BatchPlace, Tail};
use super::write_out::{Standing, memory_needed_from};
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
    /// Held by whoever changes which segments there are, but for appends.
    pub(super) rearranging: Semaphore,
    pub(super) compaction: LogCompaction,
}

pub(super) struct State {
    pub(super) config: LogConfig,
    pub(super) log_start: Offset,
    /// The log start as it was asked for, is in a group, is in a group that was written. It is
    /// `log_start`, and seen by readers, once that group is flushed.
    pub(super) log_start_asked: Offset,
    pub(super) log_start_grouped: Offset,
    pub(super) log_start_written: Offset,
    pub(super) log_end: Offset,
    pub(super) written_end: Offset,
    pub(super) synced_end: Offset,
    /// By base offset; the last one is active.
    pub(super) segments: BTreeMap<Offset, Rc<Segment>>,
    /// Closed segments that are not yet cut to their length.
    pub(super) to_seal: Vec<Rc<Segment>>,
    pub(super) tail: Tail,
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
    pub(super) producers: Producers,
    /// Bytes up to this cursor, and offset, are in groups.
    pub(super) grouped: u64,
    pub(super) grouped_end: Offset,
    /// The segment that takes what follows them.
    pub(super) grouped_segment: Rc<Segment>,
    /// The last group of those.
    pub(super) last_group: u64,
    /// Bytes up to this cursor are in groups that were written.
    pub(super) written_cursor: u64,
    /// The segment that takes what follows them.
    pub(super) written_segment: Rc<Segment>,
    /// The last group of those.
    pub(super) written_sequence: u64,
    /// Counts the changes that a checkpoint must record, and how many the last one did.
    pub(super) revision: u64,
    pub(super) checkpointed: u64,
    /// How often the log was cut back: what was said of a cursor before means nothing afterwards.
    pub(super) cuts: u64,
    /// The journal holds every byte from this cursor on. A block that begins before it may not be
    /// rewritten until its bytes are in the journal again.
    pub(super) covered_from: u64,
    /// The old bytes of the begun block below this cursor are on their way to the journal.
    pub(super) covering: Option<u64>,
    /// A write-out is bringing everything to the segment, the begun block padded with zeros.
    pub(super) padding: bool,
    unflushed_bytes: u64,
    pub(super) queued: bool,
    pub(super) appending: bool,
    pub(super) deleted: bool,
}

impl State {
    /// The segment that takes appends.
    pub(super) fn active(&self) -> &Rc<Segment> {
        let last = self.segments.last_key_value();
        last.expect("a log has a segment").1
    }

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
    pub(super) producers: Producers,
    /// Below it the log was compacted.
    pub(super) first_dirty: Offset,
}

impl State {
    /// `segment.ms` has passed since the active segment was begun.
    pub(super) fn active_is_too_old(&self) -> bool {
        let (active, config) = (self.active(), &self.config);
        let largest = active.largest_age(config.segment_age, config.segment_jitter);
        active.begun_ms().is_some_and(|begun| {
            let age = unix_millis().saturating_sub(begun);
            Duration::from_millis(u64::try_from(age).unwrap_or(0)) >= largest
        })
    }
}

impl PartitionLog {
    pub(super) fn new(
        shared: &Rc<Shared>,
        id: TopicPartition,
        folder: PathBuf,
        opened: Opened,
    ) -> PartitionLog {
        let last = opened.segments.last_key_value();
        let active = last.expect("a log has a segment").1.clone();
        let cursor = opened.tail.end();
        PartitionLog {
            id,
            folder,
            shared: Rc::downgrade(shared),
            state: RefCell::new(State {
                config: opened.config,
                log_start: opened.start.log_start,
                log_start_asked: opened.start.log_start,
                log_start_grouped: opened.start.log_start,
                log_start_written: opened.start.log_start,
                log_end: opened.start.next_offset,
                written_end: opened.start.next_offset,
                synced_end: opened.start.next_offset,
                segments: opened.segments,
                to_seal: Vec::new(),
                tail: opened.tail,
                epochs: opened.start.epochs.clone(),
                producers: opened.producers,
                grouped: cursor,
                grouped_end: opened.start.next_offset,
                grouped_segment: active.clone(),
                last_group: 0,
                written_cursor: cursor,
                written_segment: active,
                written_sequence: opened.start.applied_sequence,
                revision: 0,
                checkpointed: 0,
                cuts: 0,
                covered_from: cursor,
                covering: None,
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
            rearranging: Semaphore::new(1),
            compaction: LogCompaction::new(opened.first_dirty),
        }
    }

    /// What the last checkpoint says of this log.
    pub(super) fn checkpointed_start(&self) -> PartitionStart {
        self.checkpointed_start.borrow().clone()
    }

    /// The segments below are closed for good.
    pub(super) fn checkpointed_segment_base(&self) -> Offset {
        self.checkpointed_start.borrow().segment_base
    }

    /// A checkpoint that says this of the log is durable.
    pub(super) fn checkpointed(&self, standing: Standing) {
        self.state.borrow_mut().checkpointed = standing.revision;
        *self.checkpointed_start.borrow_mut() = standing.start;
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

    /// Looks at what the log holds of idempotent producers.
    pub(crate) fn with_producers<T>(&self, look: impl FnOnce(&mut Producers) -> T) -> T {
        look(&mut self.state.borrow_mut().producers)
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
        if let Some(path) = shared.write_out.no_room_for() {
            let bytes = batches.len() as u64;
            return Err(AppendError::DiskFull { path, bytes });
        }
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
            self.read_aheads.note_batch(bytes);
            rest = after;
        }
        Ok(())
    }

    /// How many of these bytes, in whole batches, go to one segment, and whether it is a new one.
    fn run_for_one_segment(&self, batches: &[u8]) -> Result<(usize, bool), AppendError> {
        let state = self.state.borrow();
        let active = state.active();
        let limit = state.config.segment_bytes.min(LARGEST_SEGMENT);
        let too_old = state.active_is_too_old();
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

    pub(super) fn active_segment(&self) -> Rc<Segment> {
        self.state.borrow().active().clone()
    }

    pub(super) fn successor_of(&self, active: &Segment) -> Rc<Segment> {
        let state = self.state.borrow();
        Rc::new(active.successor(state.log_end, state.config.index_interval_bytes))
    }

    /// Closes the active segment and makes `next` the active one.
    pub(super) fn roll(&self, next: &Rc<Segment>) {
        let mut state = self.state.borrow_mut();
        let active = state.active().clone();
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
                shared.removal.hurry();
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
        let mut borrowed = self.state.borrow_mut();
        let state = &mut *borrowed;
        let mut rest = run;
        let mut largest = Timestamp::new(-1);
        let mut new_producers = 0;
        let mut clock = None;
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
            let end = position + size as u64;
            segment.checksums.borrow_mut().observe(end, &header);
            segment.grow(size);
            if batch.producer_id().is_some() {
                let now = *clock.get_or_insert_with(unix_millis);
                let is_new = state.producers.note(batch.header(), base_offset, now);
                new_producers += usize::from(is_new);
            }
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
        self.enqueue(shared, run.len(), queued);
        if flush_due {
            shared.commit.ask_for_flush();
        }
        if state.config.durability == Durability::Memory {
            self.announce_change();
        }
        drop(borrowed);
        if new_producers > 0 {
            shared.note_new_producers(new_producers);
        }
        Ok(largest)
    }

    /// Has `bytes` more, or something else that changed, recorded by the next group.
    pub(super) fn enqueue(&self, shared: &Shared, bytes: usize, queued: bool) {
        if let Some(log) = shared.logs.borrow().get(&self.id) {
            shared.commit.enqueue(log.clone(), bytes, queued);
        }
    }

    pub(super) fn mark_deleted(&self) {
        self.state.borrow_mut().deleted = true;
        self.announce_change();
    }

    /// The group with this share was written.
    pub(super) fn mark_written(&self, sequence: u64, member: &Member) {
        let mut state = self.state.borrow_mut();
        assert!(
            member.cursor >= state.written_cursor,
            "groups are written in order"
        );
        state.written_cursor = member.cursor;
        state.written_segment = member.segment.clone();
        state.log_start_written = member.log_start;
        state.written_sequence = sequence;
        state.written_end = member.end_offset;
        state.producers.written(member.end_offset);
        state.revision += 1;
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

    /// The group with this share was flushed, and all before it.
    pub(super) fn mark_synced(&self, shared: &Shared, member: &Member) {
        let mut state = self.state.borrow_mut();
        assert!(
            member.end_offset >= state.synced_end,
            "flushes follow the order of groups"
        );
        state.synced_end = member.end_offset;
        if member.end_offset == state.log_end {
            state.unflushed_bytes = 0;
        }
        let starts_later = member.log_start > state.log_start;
        state.log_start = state.log_start.max(member.log_start);
        let announce = starts_later || state.config.durability == Durability::Sync;
        drop(state);
        if starts_later {
            self.retire_below_log_start(shared);
        }
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
        state.tail.trim(keep, memory_needed_from(state));
        if keep == 0 {
            self.read_aheads.clear();
        }
        let idle = keep == 0 && !state.appending && state.written_cursor == state.tail.end();
        if idle {
            state
                .tail
                .shrink(|| shared.memory.tails.append_buffer(BLOCK).ok());
        }
    }

    /// Bytes of the tail that its segments do not hold yet.
    pub(super) fn dirty_bytes(&self) -> u64 {
        let tail = &self.state.borrow().tail;
        tail.dirty_bytes(tail.end())
    }

    #[cfg(test)]
    pub(super) fn forget_read_aheads(&self) {
        self.read_aheads.clear();
    }

    /// Bytes of this log's tail and cache.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.state.borrow().tail.capacity()
    }

    /// No file of the log is opened or created any more.
    pub(super) fn retire(&self) {
        for segment in self.state.borrow().segments.values() {
            segment.retire();
        }
    }

    /// This is the path of one of its segments, and nobody has the file open.
    pub(super) fn has_closed(&self, path: &Path) -> bool {
        let state = self.state.borrow();
        let mut segments = state.segments.values();
        segments.any(|segment| segment.path() == path && !segment.is_open())
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
