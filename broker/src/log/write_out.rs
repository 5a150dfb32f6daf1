//! Writing tails out to their segments: large whole blocks, unsynced, in the background.
//!
//! The block rule: a block that holds acknowledged bytes is rewritten only while flushed journal
//! entries hold every one of them from the block's start, and until a sync of the segment after
//! the rewrite. A torn rewrite is then mended by the replay. A log's last block is begun and not
//! full; a checkpoint writes it padded with zeros and lets the journal forget it. Before that
//! block is written again its old bytes, at most 4,095, go into the journal, or, when a checkpoint
//! writes it again, into a file of their own.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use crc32c::crc32c;

use super::commit::log_closed;
use super::journal::format::{EntryHeader, EntryKind};
use super::partition_log::{PartitionLog, State};
use super::recovery::PartitionStart;
use super::segment::Segment;
use super::shard_log::Shared;
use super::{LogFailure, TopicPartition};
use crate::runtime::{BLOCK, BufferSlice, Notify, Semaphore, WaitFor, spawn};

/// Bytes of one write to a segment.
const WRITE_BYTES: usize = 1 << 20;
/// A chunk at least this large is written from where it lies; smaller ones are copied together.
const WHOLE_CHUNK_BYTES: usize = 64 << 10;
/// Partitions written out at a time.
const WRITERS: usize = 4;

/// What is waiting to be written out, and whether a checkpoint is due.
pub(crate) struct WriteOut {
    queue: RefCell<VecDeque<TopicPartition>>,
    queued: RefCell<BTreeSet<TopicPartition>>,
    work: Notify,
    running: Cell<usize>,
    /// Someone began to wait for memory since the caches were last dropped.
    memory_wanted: Cell<bool>,
    /// How many wait for memory.
    waiting_for_memory: Cell<usize>,
    pub(super) checkpoint_due: Cell<bool>,
    pub(super) checkpoint_work: Notify,
    /// Held by the checkpoint under way.
    pub(super) checkpointing: Semaphore,
    /// The file that a checkpoint had no room for, until one succeeds.
    no_room_for: RefCell<Option<PathBuf>>,
    /// Counts checkpoints: the last that began, and the last that is durable.
    checkpoints_begun: Cell<u64>,
    checkpoints_ended: WaitFor<u64>,
    bypassed: Cell<u64>,
    stopped: Cell<bool>,
}

impl WriteOut {
    pub(crate) fn new() -> WriteOut {
        WriteOut {
            queue: RefCell::default(),
            queued: RefCell::default(),
            work: Notify::new(),
            running: Cell::new(0),
            memory_wanted: Cell::new(false),
            waiting_for_memory: Cell::new(0),
            checkpoint_due: Cell::new(false),
            checkpoint_work: Notify::new(),
            checkpointing: Semaphore::new(1),
            no_room_for: RefCell::default(),
            checkpoints_begun: Cell::new(0),
            checkpoints_ended: WaitFor::new(0),
            bypassed: Cell::new(0),
            stopped: Cell::new(false),
        }
    }

    pub(crate) fn enqueue(&self, log: TopicPartition) {
        if self.queued.borrow_mut().insert(log) {
            self.queue.borrow_mut().push_back(log);
            self.work.notify_waiters();
        }
    }

    /// Has caches dropped and tails written out, for as long as the guard is held.
    pub(crate) fn want_memory(&self) -> MemoryWanted<'_> {
        self.waiting_for_memory
            .set(self.waiting_for_memory.get() + 1);
        self.memory_wanted.set(true);
        self.work.notify_waiters();
        MemoryWanted(self)
    }

    pub(super) fn memory_is_wanted(&self) -> bool {
        self.waiting_for_memory.get() > 0
    }

    /// Memory is wanted and every whole block is written: what is left is kept by the blocks that
    /// logs end in, and with them all that the batches in them began with. Only a checkpoint writes
    /// those.
    fn checkpoint_for_memory(&self) {
        let is_idle = self.running.get() == 0 && self.queue.borrow().is_empty();
        if is_idle && self.memory_is_wanted() {
            self.ask_for_checkpoint();
        }
    }

    pub(crate) fn ask_for_checkpoint(&self) {
        self.checkpoint_due.set(true);
        self.checkpoint_work.notify_waiters();
    }

    /// A checkpoint found the disk full. Until one succeeds no append is taken: the journal could
    /// not be recycled.
    pub(super) fn note_no_room(&self, path: PathBuf) {
        let before = self.no_room_for.replace(Some(path.clone()));
        if before.is_none() {
            tracing::error!(
                path = %path.display(),
                "no space left for a checkpoint: appends are refused until there is"
            );
        }
    }

    pub(super) fn note_room(&self) {
        if self.no_room_for.take().is_some() {
            tracing::info!("there is space for checkpoints again: appends are taken");
        }
    }

    /// The file that a checkpoint has no room for.
    pub(super) fn no_room_for(&self) -> Option<PathBuf> {
        self.no_room_for.borrow().clone()
    }

    pub(super) fn checkpoint_begins(&self) -> u64 {
        let number = self.checkpoints_begun.get() + 1;
        self.checkpoints_begun.set(number);
        number
    }

    pub(super) fn checkpoint_ended(&self, number: u64) {
        self.checkpoints_ended.advance(number);
    }

    /// Waits for a checkpoint that begins after this call. Those who wait share it.
    pub(super) async fn checkpoint_anew(&self, shared: &Shared) -> Result<(), LogFailure> {
        let next = self.checkpoints_begun.get() + 1;
        self.ask_for_checkpoint();
        let ended = self.checkpoints_ended.reached(next).await;
        shared.check()?;
        ended.map_err(|_closed| log_closed())
    }

    /// Counts bytes that only an extent entry speaks of: a start reads them all again.
    pub(crate) fn note_bypassed(&self, bytes: u64, limit: u64) {
        let bypassed = self.bypassed.get() + bytes;
        self.bypassed.set(bypassed);
        if bypassed >= limit {
            self.bypassed.set(0);
            self.ask_for_checkpoint();
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.work.notify_waiters();
        self.checkpoint_work.notify_waiters();
        self.checkpoints_ended.close();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }
}

/// Held by who waits for memory.
pub(crate) struct MemoryWanted<'a>(&'a WriteOut);

impl Drop for MemoryWanted<'_> {
    fn drop(&mut self) {
        let waiting = &self.0.waiting_for_memory;
        waiting.set(waiting.get() - 1);
    }
}

/// Writes out the partitions that hold much, until the log stops.
pub(crate) async fn write_out_large_tails(shared: Rc<Shared>) {
    let work = &shared.write_out;
    while !work.stopped.get() && shared.check().is_ok() {
        if work.memory_wanted.replace(false) {
            let logs: Vec<_> = shared.logs.borrow().values().cloned().collect();
            for log in logs {
                log.release_memory(&shared, 0);
                if log.has_unwritten_blocks() {
                    work.enqueue(log.id());
                }
            }
            work.checkpoint_for_memory();
        }
        let next = if work.running.get() < WRITERS {
            work.queue.borrow_mut().pop_front()
        } else {
            None
        };
        let Some(id) = next else {
            work.work.notified().await;
            continue;
        };
        work.queued.borrow_mut().remove(&id);
        let Some(log) = shared.logs.borrow().get(&id).cloned() else {
            continue;
        };
        work.running.set(work.running.get() + 1);
        let shared = shared.clone();
        spawn(async move {
            let written = log.write_out(&shared, Reach::WholeBlocks).await;
            shared
                .write_out
                .running
                .set(shared.write_out.running.get() - 1);
            match written {
                Ok(_) => {
                    let cache = if shared.write_out.memory_is_wanted() {
                        0
                    } else {
                        shared.options.cache_bytes_per_partition
                    };
                    log.release_memory(&shared, usize::try_from(cache).unwrap_or(usize::MAX));
                }
                Err(failure) => shared.fail(failure),
            }
            let work = &shared.write_out;
            work.checkpoint_for_memory();
            work.work.notify_waiters();
        })
        .detach();
    }
}

/// How far a write-out goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Up to the last full block, or the last byte of a closed segment.
    WholeBlocks,
    /// Up to the last written byte, the begun block padded with zeros.
    Everything,
}

/// The next write of a partition.
struct Piece {
    segment: Rc<Segment>,
    position: u64,
    /// The cursor of the first byte.
    start: u64,
    bytes: Vec<BufferSlice>,
    length: usize,
    /// Bytes at the front that must be in the journal before they are written again.
    uncovered: usize,
}

enum Next {
    Piece(Piece),
    /// What comes next is being written straight to the segment: one block must not be written by
    /// two at a time.
    OnItsWay,
    Nothing,
}

impl PartitionLog {
    /// Writes what the journal holds and the segments do not, and returns what a checkpoint says
    /// of this log: everything below is in the segments, though not yet synced.
    pub(super) async fn write_out(
        self: &Rc<Self>,
        shared: &Rc<Shared>,
        reach: Reach,
    ) -> Result<Standing, LogFailure> {
        let _only_one = self.writing.acquire(1).await;
        // What is written while this runs is the next one's: else it would chase a busy producer.
        let (standing, until) = {
            let mut state = self.state.borrow_mut();
            state.padding = reach == Reach::Everything;
            let standing = Standing {
                start: describe(&state, reach),
                revision: state.revision,
            };
            (standing, state.written_cursor)
        };
        let written = self.write_pieces(shared, reach, until).await;
        let mut state = self.state.borrow_mut();
        state.padding = false;
        written?;
        if reach == Reach::Everything {
            // From here on the journal may forget what is below.
            state.covered_from = until;
        }
        Ok(standing)
    }

    async fn write_pieces(
        self: &Rc<Self>,
        shared: &Rc<Shared>,
        reach: Reach,
        until: u64,
    ) -> Result<(), LogFailure> {
        loop {
            shared.check()?;
            let next = next_piece(&self.state.borrow(), reach, until);
            let piece = match next {
                Next::Piece(piece) => piece,
                Next::OnItsWay => {
                    self.extents.notified().await;
                    continue;
                }
                Next::Nothing => return Ok(()),
            };
            if piece.uncovered > 0 {
                assert_eq!(
                    reach,
                    Reach::WholeBlocks,
                    "a checkpoint saves begun blocks first"
                );
                self.cover_soon(shared, &piece);
                return Ok(());
            }
            self.write_piece(shared, &piece).await?;
        }
    }

    /// The log changed since the last checkpoint.
    pub(super) fn needs_checkpoint(&self) -> bool {
        let state = self.state.borrow();
        state.checkpointed < state.revision || !state.to_seal.is_empty()
    }

    pub(super) fn has_unwritten_blocks(&self) -> bool {
        let state = self.state.borrow();
        let next = next_piece(&state, Reach::WholeBlocks, state.written_cursor);
        matches!(next, Next::Piece(_))
    }

    /// The old bytes of a begun block that nothing but its segment holds, and that a checkpoint may
    /// be about to rewrite.
    pub(super) fn begun_block_to_save(&self) -> Option<BufferSlice> {
        uncovered_block(&self.state.borrow())
    }

    /// The block that [`PartitionLog::begun_block_to_save`] gave was saved.
    pub(super) fn begun_block_saved(&self) {
        let mut state = self.state.borrow_mut();
        let uncovered = uncovered_block(&state).map_or(0, |block| block.len());
        state.covered_from -= uncovered as u64;
    }

    /// Puts the old bytes of a begun block into the journal and comes back when they are durable.
    /// Nothing waits for it: while the journal is full only a checkpoint can make room, and that
    /// may want this very log.
    fn cover_soon(self: &Rc<Self>, shared: &Rc<Shared>, piece: &Piece) {
        let end = piece.start + piece.uncovered as u64;
        let bytes = self.state.borrow().tail.slices(piece.start, end).next();
        let Some(bytes) = bytes else { return };
        if self.state.borrow_mut().covering.replace(end) == Some(end) {
            return; // under way since an earlier write-out came here
        }
        let header = EntryHeader {
            segment_base: piece.segment.base_offset(),
            position: piece.position,
            length: u32::try_from(bytes.len()).expect("less than a block"),
            ..EntryHeader::of(EntryKind::Block, self.id())
        };
        let (log, shared, start) = (self.clone(), shared.clone(), piece.start);
        let cuts = self.state.borrow().cuts;
        spawn(async move {
            if shared
                .commit
                .cover_block(&shared, header, bytes)
                .await
                .is_err()
            {
                return; // the log directory has stopped
            }
            let mut state = log.state.borrow_mut();
            state.covering = None;
            // A checkpoint that came in between covers everything anew.
            if state.covered_from == end && state.cuts == cuts {
                state.covered_from = start;
                drop(state);
                shared.write_out.enqueue(log.id());
            }
        })
        .detach();
    }

    async fn write_piece(&self, shared: &Shared, piece: &Piece) -> Result<(), LogFailure> {
        let failed = |error| LogFailure::new("write", piece.segment.path(), &error);
        let file = piece.segment.file(&shared.storage).await.map_err(failed)?;
        let padded = piece.length.next_multiple_of(BLOCK);
        if let [whole] = &piece.bytes[..]
            && piece.length == padded
            && whole.len() >= WHOLE_CHUNK_BYTES
        {
            file.write_slice_at(whole.clone(), piece.position)
                .await
                .map_err(failed)?;
        } else {
            let mut buffer = shared.journal_pool.aligned_wait(padded).await;
            let mut at = 0;
            for bytes in &piece.bytes {
                buffer[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            }
            buffer[at..].fill(0);
            file.write_at(buffer, piece.position)
                .await
                .0
                .map_err(failed)?;
        }
        piece.segment.mark_written();
        shared.count(|stats| stats.segment_bytes += padded as u64);
        let end = piece.start + piece.length as u64;
        let mut state = self.state.borrow_mut();
        for chunk in &mut state.tail.chunks {
            if chunk.start < end && chunk.end() > piece.start {
                let reached = usize::try_from(end - chunk.start).unwrap_or(usize::MAX);
                chunk.written_out = chunk.written_out.max(reached.min(chunk.len()));
            }
        }
        Ok(())
    }
}

/// Where a log stands in a checkpoint, and how much had happened to it by then.
pub(super) struct Standing {
    pub(super) start: PartitionStart,
    pub(super) revision: u64,
}

fn describe(state: &State, reach: Reach) -> PartitionStart {
    let (segment, position, block_crc) = written_place(state);
    PartitionStart {
        applied_sequence: state.written_sequence,
        segment_base: segment.base_offset(),
        position,
        next_offset: state.written_end,
        log_start: state.log_start_written,
        block_crc,
        epochs: state.epochs.clone(),
        // Only a checkpoint, which writes everything out, says them.
        producers: match reach {
            Reach::Everything => state.producers.encode_at(state.written_end),
            Reach::WholeBlocks => Bytes::new(),
        },
    }
}

/// Where the next byte behind the written ones goes, and the CRC of the block begun before it.
fn written_place(state: &State) -> (&Segment, u64, u32) {
    let next = &state.written_segment;
    if next.base_offset() == state.written_end {
        return (next, 0, crc32c(&[])); // closed, and nothing in the new one yet
    }
    let cursor = state.written_cursor;
    let chunks = &state.tail.chunks;
    // The chunk that the cursor stands in or behind; a chunk that begins at the cursor will do
    // when what was before it left the memory.
    let chunk = chunks
        .iter()
        .rfind(|chunk| chunk.start < cursor)
        .or(chunks.front());
    match chunk {
        Some(chunk) => {
            assert!(
                chunk.start <= cursor,
                "bytes that were not written out stay in memory"
            );
            let length = usize::try_from(cursor - chunk.start).expect("inside a chunk");
            let block = chunk.slice(length - length % BLOCK, length);
            let position = chunk.position + length as u64;
            (&chunk.segment, position, crc32c(&block))
        }
        // Nothing in memory: the log ends at a block boundary.
        None => {
            assert!(next.size().is_multiple_of(BLOCK as u64), "a begun block");
            (next, next.size(), crc32c(&[]))
        }
    }
}

/// The cursor from which on bytes must stay in memory, be they in their segment or not. What was not
/// written must; and so must the last block of a segment that was closed as long as no group says so,
/// for a checkpoint would name a place inside that block.
pub(super) fn memory_needed_from(state: &State) -> u64 {
    let is_closed_unsaid = state.written_segment.is_sealed()
        && state.written_segment.base_offset() != state.written_end;
    state
        .written_cursor
        .saturating_sub(u64::from(is_closed_unsaid))
}

/// The bytes of the begun block below `covered_from`, if it is begun.
fn uncovered_block(state: &State) -> Option<BufferSlice> {
    let end = state.covered_from;
    let chunk = state
        .tail
        .chunks
        .iter()
        .find(|chunk| chunk.start < end && end <= chunk.end())?;
    let length = usize::try_from(end - chunk.start).expect("inside a chunk");
    let begun = length % BLOCK;
    (begun > 0).then(|| chunk.slice(length - begun, length))
}

/// The next bytes below the cursor `until` that the segments do not hold.
fn next_piece(state: &State, reach: Reach, until: u64) -> Next {
    let mut piece: Option<Piece> = None;
    for chunk in &state.tail.chunks {
        let written = usize::try_from(until.saturating_sub(chunk.start)).unwrap_or(usize::MAX);
        let mut end = chunk.len().min(written);
        let is_final = chunk.segment.is_sealed() && end == chunk.len();
        if reach == Reach::WholeBlocks && !is_final {
            end -= end % BLOCK;
        }
        if chunk.written_out >= end {
            if piece.is_some() {
                break;
            }
            continue;
        }
        if chunk.on_its_way {
            if piece.is_some() {
                break;
            }
            return Next::OnItsWay;
        }
        let from = chunk.written_out - chunk.written_out % BLOCK;
        let piece = match &mut piece {
            None => {
                let start = chunk.start + from as u64;
                let uncovered = state.covered_from.saturating_sub(start);
                piece.insert(Piece {
                    segment: chunk.segment.clone(),
                    position: chunk.position + from as u64,
                    start,
                    bytes: Vec::new(),
                    length: 0,
                    uncovered: usize::try_from(uncovered)
                        .unwrap_or(0)
                        .min(chunk.written_out - from),
                })
            }
            // Only what follows without a gap in the same file goes into one write.
            Some(piece)
                if from == 0
                    && Rc::ptr_eq(&piece.segment, &chunk.segment)
                    && piece.start + piece.length as u64 == chunk.start
                    && piece.length + end <= WRITE_BYTES =>
            {
                piece
            }
            Some(_) => break,
        };
        let end = end.min(from + WRITE_BYTES - piece.length);
        piece.bytes.push(chunk.slice(from, end));
        piece.length += end - from;
        let more = end == chunk.len() && piece.length < WRITE_BYTES;
        if !more || (piece.bytes.len() == 1 && chunk.is_whole() && end - from >= WHOLE_CHUNK_BYTES)
        {
            break;
        }
    }
    piece.map_or(Next::Nothing, Next::Piece)
}
