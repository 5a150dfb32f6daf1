//! Group commit: the appends of all partitions that arrive while a group is written form the next
//! one; one flush makes every written group durable.
//!
//! Two tasks. One forms groups and starts their writes, several at a time when there is much to
//! write. The other flushes: a flush covers exactly the groups whose writes, and the writes of all
//! groups before them, had ended when it was submitted. A log's marks advance in the order of the
//! groups, so an acknowledged offset implies all lower ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use corelog_protocol::Offset;
use futures_util::future::join_all;

use super::canary::{Canary, is_planted};
use super::journal::format::{EntryHeader, EntryKind};
use super::journal::{GroupBuilder, GroupStamp, JournalSlot};
use super::partition_log::PartitionLog;
use super::segment::Segment;
use super::shard_log::{JOURNAL_FOLDER, Shared};
use super::{LogError, LogFailure};
use crate::runtime::{
    AlignedBuffer, BufferSlice, File, Instant, Notify, WaitFor, now, sleep_until, spawn,
};

/// Groups being written at a time.
const GROUPS_IN_FLIGHT: usize = 4;
/// While a group is written the next one starts only with this much: before, it is better to wait
/// and put more into one write.
const EAGER_BYTES: usize = 256 << 10;
/// A group takes no further partition beyond this, bypassing bytes included.
pub(crate) const GROUP_BYTES: usize = 4 << 20;
/// A group takes no further entry beyond this in the journal itself, or a quarter of a file.
const GROUP_INLINE_BYTES: usize = 768 << 10;

/// A partition's share of a group: how far the log is recorded with it.
pub(crate) struct Member {
    pub(crate) log: Rc<PartitionLog>,
    /// The cursor and the offset behind the bytes of the group.
    pub(crate) cursor: u64,
    pub(crate) end_offset: Offset,
    /// The segment that takes what follows.
    pub(crate) segment: Rc<Segment>,
    pub(crate) log_start: Offset,
}

/// Whole chunks that go straight to a segment.
pub(crate) struct Extent {
    pub(crate) log: Rc<PartitionLog>,
    pub(crate) segment: Rc<Segment>,
    pub(crate) slice: BufferSlice,
    pub(crate) position: u64,
    pub(crate) chunk_start: u64,
}

/// A group between its forming and its flush.
struct Group {
    sequence: u64,
    written: bool,
    wants_flush: bool,
    journal: (PathBuf, Rc<File>),
    members: Vec<Member>,
    segments: Vec<Rc<Segment>>,
}

/// An entry that is not an append, with the bytes it carries.
struct Control {
    header: EntryHeader,
    bytes: Option<BufferSlice>,
}

/// Why a partition's bytes could not all be taken: the group is full.
pub(crate) enum Taken {
    All,
    Some,
}

/// The group being formed.
pub(crate) struct Forming {
    pub(crate) builder: GroupBuilder<BufferSlice>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) members: Vec<Member>,
    pub(crate) wants_flush: bool,
    pub(crate) bytes: usize,
    /// Partitions that waited when the group was formed.
    pub(crate) crowd: usize,
    inline_limit: usize,
}

impl Forming {
    /// Bytes the journal may still carry in this group.
    pub(crate) fn room_inline(&self) -> usize {
        self.inline_limit.saturating_sub(self.builder.body_length())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES || self.builder.body_length() >= self.inline_limit
    }
}

/// The queue of what is to be committed, and how far the commits have come.
pub(crate) struct Commit {
    queue: RefCell<VecDeque<Rc<PartitionLog>>>,
    controls: RefCell<VecDeque<Control>>,
    pending_bytes: Cell<usize>,
    work: Notify,
    /// The queue was looked at: what it held has its place in the journal, or needs none.
    passes: Notify,
    flush_work: Notify,
    groups: RefCell<VecDeque<Group>>,
    writing: Cell<usize>,
    /// A group was formed and waits for room in the journal.
    placing: Cell<bool>,
    /// The last group that has its place in the journal.
    formed: Cell<u64>,
    written: Cell<u64>,
    flushed: WaitFor<u64>,
    /// Someone waits for a flush up to here, whatever the durability of the topics.
    flush_asked: Cell<u64>,
    flush_timer: Cell<Option<Instant>>,
    stopped: Cell<bool>,
}

impl Commit {
    pub(crate) fn new() -> Commit {
        Commit {
            queue: RefCell::default(),
            controls: RefCell::default(),
            pending_bytes: Cell::new(0),
            work: Notify::new(),
            passes: Notify::new(),
            flush_work: Notify::new(),
            groups: RefCell::default(),
            writing: Cell::new(0),
            placing: Cell::new(false),
            formed: Cell::new(0),
            written: Cell::new(0),
            flushed: WaitFor::new(0),
            flush_asked: Cell::new(0),
            flush_timer: Cell::new(None),
            stopped: Cell::new(false),
        }
    }

    /// A log has `bytes` more to commit; `queued` says whether it already stands in the queue.
    pub(crate) fn enqueue(&self, log: Rc<PartitionLog>, bytes: usize, queued: bool) {
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
        if !queued {
            self.queue.borrow_mut().push_back(log);
        }
        self.work.notify_waiters();
    }

    /// The last group that has its place in the journal.
    pub(crate) fn formed(&self) -> u64 {
        self.formed.get()
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.current()
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.work.notify_waiters();
        self.passes.notify_waiters();
        self.flush_work.notify_waiters();
        self.flushed.close();
    }

    /// Waits until every group that has its place in the journal is flushed, and returns the last
    /// of them.
    pub(crate) async fn flush_formed(&self, shared: &Shared) -> Result<u64, LogFailure> {
        let formed = self.formed.get();
        self.flush_through(shared, formed).await?;
        Ok(formed)
    }

    /// Waits until everything appended before is flushed.
    pub(crate) async fn flush_all(&self, shared: &Shared) -> Result<(), LogFailure> {
        while self.has_work() || self.placing.get() {
            self.next_pass(shared).await?;
        }
        self.flush_formed(shared).await?;
        Ok(())
    }

    /// Waits until the queue was looked at once more. A pass need not form a group: logs that were
    /// deleted meanwhile bring nothing.
    async fn next_pass(&self, shared: &Shared) -> Result<(), LogFailure> {
        shared.check()?;
        if self.stopped.get() {
            return Err(log_closed());
        }
        self.passes.notified().await;
        Ok(())
    }

    /// Waits until everything that `log` has in the queue is flushed.
    pub(crate) async fn flush_log(
        &self,
        shared: &Shared,
        log: &PartitionLog,
    ) -> Result<(), LogFailure> {
        while log.state.borrow().queued {
            self.next_pass(shared).await?;
        }
        let last_group = log.state.borrow().last_group;
        self.flush_through(shared, last_group).await
    }

    async fn flush_through(&self, shared: &Shared, sequence: u64) -> Result<(), LogFailure> {
        self.flush_asked.set(self.flush_asked.get().max(sequence));
        self.flush_work.notify_waiters();
        let reached = self.flushed.reached(sequence).await;
        shared.check()?;
        reached.map_err(|_closed| log_closed())
    }

    /// Asks for a flush of what has been appended so far without waiting for it.
    pub(crate) fn ask_for_flush(&self) {
        let placing = u64::from(self.placing.get());
        let queued = u64::from(!self.queue.borrow().is_empty());
        let next = self.formed.get() + placing + queued;
        self.flush_asked.set(self.flush_asked.get().max(next));
        self.flush_work.notify_waiters();
    }

    /// Asks for a flush at `deadline` at the latest.
    pub(crate) fn flush_by(&self, shared: &Rc<Shared>, deadline: Instant) {
        if self.flush_timer.get().is_some_and(|set| set <= deadline) {
            return;
        }
        self.flush_timer.set(Some(deadline));
        let shared = shared.clone();
        spawn(async move {
            sleep_until(deadline).await;
            if shared.commit.flush_timer.get() == Some(deadline) {
                shared.commit.flush_timer.set(None);
                shared.commit.ask_for_flush();
            }
        })
        .detach();
    }

    /// Puts the bytes that a segment's block already holds into the journal, durably, so that the
    /// block may be rewritten.
    pub(crate) async fn cover_block(
        &self,
        shared: &Shared,
        header: EntryHeader,
        bytes: BufferSlice,
    ) -> Result<(), LogFailure> {
        self.record(shared, header, Some(bytes)).await
    }

    /// Records that a partition is gone.
    pub(crate) async fn record_delete(
        &self,
        shared: &Shared,
        log: &PartitionLog,
    ) -> Result<(), LogError> {
        Ok(self
            .record(shared, EntryHeader::of(EntryKind::Delete, log.id()), None)
            .await?)
    }

    async fn record(
        &self,
        shared: &Shared,
        header: EntryHeader,
        bytes: Option<BufferSlice>,
    ) -> Result<(), LogFailure> {
        shared.check()?;
        self.controls
            .borrow_mut()
            .push_back(Control { header, bytes });
        self.work.notify_waiters();
        while !self.controls.borrow().is_empty() || self.placing.get() {
            self.next_pass(shared).await?;
        }
        self.flush_formed(shared).await?;
        Ok(())
    }

    fn has_work(&self) -> bool {
        !self.queue.borrow().is_empty() || !self.controls.borrow().is_empty()
    }

    /// Worth starting a write now?
    fn may_form(&self) -> bool {
        match self.writing.get() {
            0 => true,
            GROUPS_IN_FLIGHT.. => false,
            _ => self.pending_bytes.get() >= EAGER_BYTES,
        }
    }

    fn form(&self, shared: &Shared, builder: GroupBuilder<BufferSlice>) -> Forming {
        let quarter = usize::try_from(shared.options.journal.file_bytes / 4).unwrap_or(usize::MAX);
        let mut group = Forming {
            builder,
            extents: Vec::new(),
            members: Vec::new(),
            wants_flush: false,
            bytes: 0,
            crowd: self.queue.borrow().len(),
            inline_limit: GROUP_INLINE_BYTES.min(quarter),
        };
        for control in self.controls.borrow_mut().drain(..) {
            group.builder.push(control.header, control.bytes);
            group.wants_flush = true;
        }
        let mut queue = self.queue.borrow_mut();
        while !group.is_full()
            && let Some(log) = queue.pop_front()
        {
            if let Taken::Some = log.take_for_group(&mut group) {
                // Behind the others: one busy partition must not fill every group.
                queue.push_back(log);
            }
        }
        // Bytes of logs that were deleted meanwhile are counted until the queue is empty.
        self.pending_bytes.set(match queue.is_empty() {
            true => 0,
            false => self.pending_bytes.get().saturating_sub(group.bytes),
        });
        group
    }
}

pub(crate) fn log_closed() -> LogFailure {
    LogFailure {
        operation: "flush",
        path: PathBuf::from(JOURNAL_FOLDER),
        reason: "the log was closed".to_owned(),
    }
}

/// Forms groups and starts their writes, until the log stops.
pub(crate) async fn group_appends(shared: Rc<Shared>) {
    let commit = &shared.commit;
    let mut spare = Some(GroupBuilder::new());
    while !commit.stopped.get() {
        if !commit.has_work() || !commit.may_form() {
            commit.work.notified().await;
            continue;
        }
        // Before the group is formed: a checkpoint, which alone makes room, waits for chunks that
        // are on their way to a segment.
        if !shared.journal.has_room(shared.journal_pool.budget()) {
            shared.write_out.ask_for_checkpoint();
            shared.journal.room().await;
            continue;
        }
        let mut forming = commit.form(&shared, spare.take().unwrap_or_else(GroupBuilder::new));
        if forming.builder.is_empty() {
            spare = Some(forming.builder);
            commit.passes.notify_waiters();
            continue;
        }
        let sequence = commit.formed.get() + 1;
        commit.placing.set(true);
        let length = forming.builder.encoded_bytes();
        let slot = shared.journal.place(length, sequence);
        let slot = slot.expect("there was room for the largest group");
        let mut buffer = shared.journal_pool.aligned_wait(length).await;
        let stamp = GroupStamp {
            shard: shared.shard.get(),
            generation: shared.generation,
            sequence,
            flushed_sequence: commit.flushed(),
        };
        if commit.stopped.get() {
            return;
        }
        commit.placing.set(false);
        commit.formed.set(sequence);
        commit.passes.notify_waiters();
        forming.builder.encode(&stamp, &mut buffer);
        spare = Some(forming.builder);
        if slot.file_changed && shared.journal.is_half_used() {
            shared.write_out.ask_for_checkpoint();
        }
        let bypassed: usize = forming
            .extents
            .iter()
            .map(|extent| extent.slice.len())
            .sum();
        shared.count(|stats| {
            stats.journal_groups += 1;
            stats.journal_bytes += length as u64;
            stats.bypass_bytes += bypassed as u64;
        });
        shared
            .write_out
            .note_bypassed(bypassed as u64, shared.options.journal.checkpoint_bytes);
        let mut segments: Vec<Rc<Segment>> = Vec::new();
        for extent in &forming.extents {
            if !segments
                .iter()
                .any(|known| Rc::ptr_eq(known, &extent.segment))
            {
                segments.push(extent.segment.clone());
            }
        }
        commit.groups.borrow_mut().push_back(Group {
            sequence,
            written: false,
            wants_flush: forming.wants_flush,
            journal: (slot.path.clone(), slot.file.clone()),
            members: forming.members,
            segments,
        });
        commit.writing.set(commit.writing.get() + 1);
        spawn(write_group(
            shared.clone(),
            sequence,
            slot,
            buffer,
            forming.extents,
        ))
        .detach();
    }
}

async fn write_group(
    shared: Rc<Shared>,
    sequence: u64,
    slot: JournalSlot,
    buffer: AlignedBuffer,
    extents: Vec<Extent>,
) {
    // Each tells of its failure at once, and all are waited for: their memory is in use.
    let journal_write = async {
        if let (Err(error), _) = slot.file.write_at(buffer, slot.position).await {
            shared.fail(LogFailure::new("write", &slot.path, &error));
        }
    };
    let extent_writes = join_all(extents.iter().map(|extent| async {
        let written = write_extent(&shared, extent).await;
        extent.log.extent_ended(extent.chunk_start, written.is_ok());
        if let Err(failure) = written {
            shared.fail(failure);
        }
    }));
    futures_util::join!(journal_write, extent_writes);
    if shared.check().is_err() {
        return;
    }
    let commit = &shared.commit;
    commit.writing.set(commit.writing.get() - 1);
    let mut groups = commit.groups.borrow_mut();
    if let Some(group) = groups.iter_mut().find(|group| group.sequence == sequence) {
        group.written = true;
    }
    // Writes end in any order; marks follow the unbroken prefix.
    for group in groups
        .iter()
        .skip_while(|group| group.sequence <= commit.written.get())
    {
        if !group.written {
            break;
        }
        commit.written.set(group.sequence);
        for member in &group.members {
            member.log.mark_written(group.sequence, member);
        }
    }
    drop(groups);
    commit.work.notify_waiters();
    commit.flush_work.notify_waiters();
}

async fn write_extent(shared: &Shared, extent: &Extent) -> Result<(), LogFailure> {
    let failed = |error| LogFailure::new("write", extent.segment.path(), &error);
    let file = extent.segment.file(&shared.storage).await.map_err(failed)?;
    file.write_slice_at(extent.slice.clone(), extent.position)
        .await
        .map_err(failed)?;
    extent.segment.mark_written();
    Ok(())
}

/// Flushes written groups when a topic, a checkpoint or a timer wants it, until the log stops.
pub(crate) async fn flush_groups(shared: Rc<Shared>) {
    let commit = &shared.commit;
    while !commit.stopped.get() {
        let written = commit.written.get();
        let wanted = commit.flush_asked.get() > commit.flushed()
            || commit
                .groups
                .borrow()
                .iter()
                .any(|group| group.sequence <= written && group.wants_flush);
        if written <= commit.flushed() || !wanted {
            commit.flush_work.notified().await;
            continue;
        }
        let mut journals: Vec<(PathBuf, Rc<File>)> = Vec::new();
        let mut segments: Vec<Rc<Segment>> = Vec::new();
        for group in commit
            .groups
            .borrow()
            .iter()
            .take_while(|group| group.sequence <= written)
        {
            if !journals
                .iter()
                .any(|(_, file)| Rc::ptr_eq(file, &group.journal.1))
            {
                journals.push(group.journal.clone());
            }
            for segment in &group.segments {
                if !segments.iter().any(|known| Rc::ptr_eq(known, segment)) {
                    segments.push(segment.clone());
                }
            }
        }
        let started = now();
        if !is_planted(Canary::FlushRemoved)
            && let Err(failure) = sync_all(&shared, &journals, &segments).await
        {
            shared.fail(failure);
            return;
        }
        if commit.stopped.get() {
            return;
        }
        let micros = u64::try_from((now() - started).as_micros()).unwrap_or(u64::MAX);
        shared.count(|stats| {
            stats.journal_flushes += 1;
            stats.journal_flush_micros += micros;
            stats.journal_flush_max_micros = stats.journal_flush_max_micros.max(micros);
        });
        let mut flushed = Vec::new();
        {
            let mut groups = commit.groups.borrow_mut();
            while groups
                .front()
                .is_some_and(|group| group.sequence <= written)
            {
                flushed.extend(groups.pop_front());
            }
        }
        for member in flushed.iter().flat_map(|group| &group.members) {
            member.log.mark_synced(&shared, member);
        }
        commit.flushed.advance(written);
    }
}

async fn sync_all(
    shared: &Shared,
    journals: &[(PathBuf, Rc<File>)],
    segments: &[Rc<Segment>],
) -> Result<(), LogFailure> {
    let journal_syncs = join_all(journals.iter().map(|(path, file)| async move {
        file.sync_data()
            .await
            .map_err(|error| LogFailure::new("sync", path, &error))
    }));
    let segment_syncs = join_all(segments.iter().map(|segment| async move {
        let failed = |error| LogFailure::new("sync", segment.path(), &error);
        segment.sync(&shared.storage).await.map_err(failed)
    }));
    let (journal_synced, segment_synced) = futures_util::join!(journal_syncs, segment_syncs);
    journal_synced.into_iter().chain(segment_synced).collect()
}
