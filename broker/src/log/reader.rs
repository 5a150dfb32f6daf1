//! Reading: from the tail when it holds the offset, else from the segment by direct reads.
//!
//! A reader that goes on where it stopped finds its next bytes already on the way: a read that
//! continues the one before starts the read behind it. What a read returns does not depend on where
//! segments, chunks and earlier reads happen to end: it goes on across all of them.
//!
//! Offsets have gaps where compaction removed records: a read begins with the first batch at or
//! behind the offset asked for, in a later segment if need be.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::Deref;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use corelog_protocol::record::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchView};
use corelog_protocol::{Offset, Timestamp, TimestampType};

use super::ReadError;
use super::lending::Loan;
use super::partition_log::{PartitionLog, State};
use super::segment::Segment;
use super::shard_log::Shared;
use crate::runtime::{BLOCK, BufferSlice, ReadBuffer, Task, spawn, yield_now};

/// A piece of the log: memory of the tail, or bytes read from a segment.
#[derive(Debug, Clone)]
pub enum LogSlice {
    /// A part of the tail. It stays on its core.
    Memory(BufferSlice),
    /// Bytes from a segment file.
    Disk(ReadBuffer),
}

impl Deref for LogSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            LogSlice::Memory(slice) => slice,
            LogSlice::Disk(buffer) => buffer,
        }
    }
}

impl AsRef<[u8]> for LogSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl LogSlice {
    /// Bytes that holding this slice keeps in memory.
    fn held_bytes(&self) -> usize {
        match self {
            LogSlice::Memory(slice) => slice.held_bytes(),
            LogSlice::Disk(buffer) => buffer.held_bytes(),
        }
    }
}

/// Whole batches, in order, in as few pieces as they lie in.
#[derive(Debug, Default)]
pub struct ReadBatches {
    /// The pieces; a batch may run from one into the next.
    pub slices: Vec<LogSlice>,
    /// The sum of their lengths.
    pub bytes: usize,
    /// For the memory that the pieces hold.
    loan: Loan,
}

/// What a read does when readers hold all the memory they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It waits in line. For those who hold nothing they read before, or all could wait for each
    /// other.
    Awaited,
    /// It returns nothing.
    IfFree,
}

impl ReadBatches {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn push(&mut self, slice: LogSlice) {
        self.bytes += slice.len();
        self.slices.push(slice);
    }

    fn held_bytes(&self) -> usize {
        self.slices.iter().map(LogSlice::held_bytes).sum()
    }

    /// One copy of everything, for another core.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.bytes);
        for slice in &self.slices {
            bytes.extend_from_slice(slice);
        }
        bytes.into()
    }
}

/// Where a reader will go on, and the read of those bytes, already under way.
pub(super) struct ReadAhead {
    offset: Offset,
    /// The position is one in this segment's file; the segment may have been replaced since.
    segment: Weak<Segment>,
    position: u64,
    task: Option<Task<std::io::Result<ReadBuffer>>>,
}

/// What the reads of one log teach its later ones.
#[derive(Default)]
pub(super) struct ReadAheads {
    /// Newest last.
    places: RefCell<VecDeque<ReadAhead>>,
    /// Of the batch that was appended or read last: those nearby are about as large.
    batch_bytes: Cell<usize>,
}

/// Looking for a timestamp decompresses at most so many bytes of one batch, ...
const LARGEST_DECOMPRESSED: usize = 32 << 20;
/// ... so many if the batch is small, and so many times its size otherwise. Records that shrink more
/// than that are not looked into: the batch's own timestamp answers for them.
const SMALLEST_DECOMPRESSED: usize = 1 << 20;
const DECOMPRESSED_RATIO: usize = 32;
/// Readers of one partition whose place is remembered.
const READERS: usize = 4;

impl ReadAheads {
    fn take(&self, offset: Offset, segment: &Rc<Segment>) -> Option<ReadAhead> {
        let mut aheads = self.places.borrow_mut();
        let index = aheads.iter().position(|ahead| ahead.offset == offset)?;
        let ahead = aheads.remove(index)?;
        std::ptr::eq(ahead.segment.as_ptr(), Rc::as_ptr(segment)).then_some(ahead)
    }

    fn put(&self, ahead: ReadAhead) {
        let mut aheads = self.places.borrow_mut();
        if aheads.len() == READERS {
            aheads.pop_front();
        }
        aheads.push_back(ahead);
    }

    /// Forgets the places, with the memory they hold.
    pub(super) fn clear(&self) {
        self.places.borrow_mut().clear();
    }

    pub(super) fn note_batch(&self, bytes: usize) {
        self.batch_bytes.set(bytes);
    }

    /// Bytes to be read, `window` or more, so that a whole batch is likely among them: less than one is read for nothing.
    fn window(&self, window: usize) -> usize {
        let batch = self.batch_bytes.get();
        window.max(batch + batch / 16 + BLOCK)
    }
}

/// What is left to be read.
struct Bounds {
    from: Offset,
    until: Offset,
    max_bytes: usize,
    /// Nothing was read yet: the next batch comes whatever its size.
    is_first: bool,
}

/// What a segment has for a reader.
enum Found {
    /// Whole batches, and the offset behind them.
    Batches(ReadBuffer, Offset),
    /// Compaction left nothing from there to the end of the segment; the next one begins here.
    Gap(Offset),
    /// Nothing that the reader may have.
    Nothing,
}

/// Where a read of a segment begins and how far it may go.
struct Span {
    segment: Rc<Segment>,
    /// Bytes of the segment that are in its file.
    end: u64,
    /// The offsets that belong into the segment end here.
    next_segment: Offset,
    /// How often the log had been cut back.
    cuts: u64,
}

impl PartitionLog {
    /// The whole batches from the one that holds `from` on, as far as they end at or before
    /// `until` and fit `max_bytes`; the first is returned even if it is larger. Empty when `from`
    /// is at `until` or behind it.
    ///
    /// All that is in memory comes at once. From the disk comes as much as one direct read brings,
    /// and never less than half of that while there is more: how far an earlier read had read ahead
    /// and where a segment ends makes no difference.
    ///
    /// What is returned stays in memory until it is dropped. When readers hold all they may, this
    /// waits in line.
    pub async fn read(
        &self,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<ReadBatches, ReadError> {
        self.read_in(Room::Awaited, from, until, max_bytes).await
    }

    /// As [`PartitionLog::read`]; `room` says what happens when readers hold all they may.
    pub async fn read_in(
        &self,
        room: Room,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<ReadBatches, ReadError> {
        let Some(shared) = self.shared() else {
            return Ok(ReadBatches::default());
        };
        let mut wanted = match tail_position(&self.state.borrow(), from) {
            Some(_) => 0,
            // Taken before the disk is read: the buffers of reads on their way count as well.
            None => max_bytes.clamp(BLOCK, shared.options.read_bytes),
        };
        loop {
            let loan = match room {
                _ if wanted == 0 || from >= until => Loan::default(),
                Room::Awaited => shared.lending.lend(wanted).await,
                Room::IfFree => match shared.lending.try_lend(wanted) {
                    Some(loan) => loan,
                    None => return Ok(ReadBatches::default()),
                },
            };
            let mut read = self.read_pieces(&shared, from, until, max_bytes).await?;
            wanted = read.held_bytes();
            if let Some(loan) = shared.lending.fit(loan, wanted) {
                read.loan = loan;
                return Ok(read);
            }
        }
    }

    async fn read_pieces(
        &self,
        shared: &Rc<Shared>,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<ReadBatches, ReadError> {
        {
            let state = self.state.borrow();
            if from < state.log_start || from > state.log_end {
                let (log_start, log_end) = (state.log_start, state.log_end);
                return Err(ReadError::OutOfRange {
                    asked: from,
                    log_start,
                    log_end,
                });
            }
        }
        let mut read = ReadBatches::default();
        let mut bounds = Bounds {
            from,
            until: until.min(self.log_end_offset()),
            max_bytes,
            is_first: true,
        };
        let window = max_bytes.clamp(BLOCK, shared.options.read_bytes);
        while bounds.from < bounds.until && bounds.max_bytes > 0 {
            if let Some(tail) = read_tail(&self.state.borrow(), &bounds) {
                let before = read.bytes;
                tail.into_iter().for_each(|slice| read.push(slice));
                shared.count(|stats| stats.cached_read_bytes += (read.bytes - before) as u64);
                break;
            }
            if read.bytes > window / 2 {
                break;
            }
            let step = (window - read.bytes).max(BLOCK);
            let (slice, next_offset) = match self.read_segment(shared, &bounds, step).await {
                Ok(Found::Batches(slice, next_offset)) => (slice, next_offset),
                Ok(Found::Gap(next_offset)) => {
                    bounds.from = next_offset;
                    continue;
                }
                Ok(Found::Nothing) => break,
                // What was read before is good; who goes on meets the error first.
                Err(_) if !read.is_empty() => break,
                Err(error) => return Err(error),
            };
            shared.count(|stats| stats.read_bytes += slice.len() as u64);
            bounds = Bounds {
                from: next_offset,
                max_bytes: bounds.max_bytes.saturating_sub(slice.len()),
                is_first: false,
                ..bounds
            };
            read.push(LogSlice::Disk(slice));
        }
        Ok(read)
    }

    /// The whole batches of one direct read of at most `window` bytes, or of what was read ahead.
    async fn read_segment(
        &self,
        shared: &Rc<Shared>,
        bounds: &Bounds,
        window: usize,
    ) -> Result<Found, ReadError> {
        let mut span = self.span_of(bounds.from);
        while let Some(at) = span {
            match self.read_span(shared, &at, bounds, window).await {
                // The segment was replaced before its file was opened. Who replaced it holds what
                // is asked for.
                Err(error) if at.segment.is_retired() => {
                    span = self.span_of(bounds.from);
                    let same = span
                        .as_ref()
                        .is_some_and(|span| Rc::ptr_eq(&span.segment, &at.segment));
                    if same {
                        return Err(error);
                    }
                }
                found => return found,
            }
        }
        Ok(Found::Nothing)
    }

    async fn read_span(
        &self,
        shared: &Rc<Shared>,
        span: &Span,
        bounds: &Bounds,
        window: usize,
    ) -> Result<Found, ReadError> {
        let (position, ahead) = match self.read_aheads.take(bounds.from, &span.segment) {
            Some(ahead) => (Some(ahead.position), ahead.task),
            None => (None, None),
        };
        let position = match position {
            Some(position) => position,
            None => match self.find_batch(shared, span, bounds.from).await? {
                Some(position) => position,
                None => return Ok(self.behind(span)),
            },
        };
        let ready = match ahead {
            Some(task) => task.await.ok(),
            None => None,
        };
        let mut buffer = match ready.filter(|buffer| !buffer.is_empty()) {
            Some(buffer) => buffer,
            None => {
                let length = match bounds.is_first {
                    true => self
                        .read_aheads
                        .window(window)
                        .min(shared.memory.reads.budget()),
                    false => window,
                };
                read_exactly(shared, span, position, length).await?
            }
        };
        let size = first_batch_size(&buffer, span, position)?;
        if size > buffer.len() && (bounds.is_first || size <= bounds.max_bytes) {
            // A batch larger than the window, or than what was read ahead, comes whole. The part of
            // it is given up first: nobody waits for memory while holding much.
            drop(buffer);
            buffer = read_exactly(shared, span, position, size).await?;
        }
        let (bytes, next_offset) = whole_batches(&buffer, bounds);
        if bytes == 0 {
            return Ok(Found::Nothing);
        }
        self.read_aheads.note_batch(size);
        let ahead = self.read_aheads.window(window);
        self.read_ahead(shared, span, next_offset, position + bytes as u64, ahead);
        Ok(Found::Batches(buffer.slice(0..bytes), next_offset))
    }

    /// Where a reader goes on that found nothing up to the end of a segment.
    fn behind(&self, span: &Span) -> Found {
        let state = self.state.borrow();
        let behind = (Excluded(span.segment.base_offset()), Unbounded);
        match state.segments.range(behind).next() {
            Some((next, _)) if span.end == span.segment.size() => Found::Gap(*next),
            _ => Found::Nothing,
        }
    }

    /// The first record at or after `timestamp` among those below `until`, with its own timestamp.
    pub async fn find_timestamp(
        &self,
        timestamp: Timestamp,
        until: Offset,
    ) -> Result<Option<(Timestamp, Offset)>, ReadError> {
        let Some(shared) = self.shared() else {
            return Ok(None);
        };
        let segments: Vec<_> = self.state.borrow().segments.values().cloned().collect();
        let mut from = self.log_start_offset();
        for segment in segments {
            let largest = shared.largest_timestamp(&segment).await;
            let all_older = largest.is_some_and(|it| it < timestamp.get());
            if !(segment.is_sealed() && all_older) {
                shared.load_index(&segment).await;
                let index = segment.index.borrow();
                from = from.max(index.offset_before_timestamp(timestamp.get()));
                break;
            }
        }
        self.find_timestamp_from(timestamp, from, until).await
    }

    /// The first record with the largest timestamp, if it is below `until`.
    pub async fn find_largest_timestamp(
        &self,
        until: Offset,
    ) -> Result<Option<(Timestamp, Offset)>, ReadError> {
        let Some(shared) = self.shared() else {
            return Ok(None);
        };
        let segments: Vec<_> = self.state.borrow().segments.values().cloned().collect();
        let mut largest = None;
        for segment in segments {
            largest = largest.max(shared.largest_timestamp(&segment).await);
        }
        match largest {
            Some(largest) => self.find_timestamp(Timestamp::new(largest), until).await,
            None => Ok(None),
        }
    }

    async fn find_timestamp_from(
        &self,
        timestamp: Timestamp,
        from: Offset,
        until: Offset,
    ) -> Result<Option<(Timestamp, Offset)>, ReadError> {
        const STEP_BYTES: usize = 256 << 10;
        let Some(shared) = self.shared() else {
            return Ok(None);
        };
        let mut at = from;
        while at < until {
            // One at a time: each holds what it read while it waits for memory to decompress that.
            let _only_one = shared.searching.acquire(1).await;
            let read = self.read(at, until, STEP_BYTES).await?;
            if read.is_empty() {
                return Ok(None);
            }
            let _copied = shared.charge(&shared.memory.reads, read.bytes).await;
            let bytes = read.to_bytes();
            drop(read);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (batch, after) = self.parse(rest, at)?;
                if batch.max_timestamp() >= timestamp {
                    // Memory for the records, also if they turn out to be older; and others of this
                    // core have their turn between two batches.
                    let limit =
                        decompressed_limit(batch.size_in_bytes(), shared.memory.reads.budget());
                    let charge = shared.charge(&shared.memory.reads, limit).await;
                    yield_now().await;
                    let found = first_record_at(&batch, timestamp, from, limit);
                    drop(charge);
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                at = batch.next_offset();
                rest = after;
            }
        }
        Ok(None)
    }

    fn parse<'a>(
        &self,
        bytes: &'a [u8],
        at: Offset,
    ) -> Result<(BatchView<'a>, &'a [u8]), ReadError> {
        BatchView::parse(bytes).map_err(|error| ReadError::Corrupt {
            path: self.folder().to_owned(),
            position: 0,
            reason: format!("offset {at}: {error}"),
        })
    }

    /// The segment that holds `from`, and how much of it lies in its file.
    fn span_of(&self, from: Offset) -> Option<Span> {
        let state = self.state.borrow();
        let segment = state.segments.range(..=from).next_back()?.1.clone();
        let in_memory =
            state.tail.chunks.iter().find(|chunk| {
                Rc::ptr_eq(&chunk.segment, &segment) && chunk.written_out < chunk.len()
            });
        let end = in_memory.map_or(segment.size(), |chunk| {
            chunk.position + chunk.written_out as u64
        });
        let behind = (Excluded(segment.base_offset()), Unbounded);
        let next_segment = state.segments.range(behind).next();
        let next_segment = next_segment.map_or(state.log_end, |(base, _)| *base);
        Some(Span {
            segment,
            end,
            next_segment,
            cuts: state.cuts,
        })
    }

    /// The position of the batch that holds `offset`: the index names one at or before it, and
    /// from there it is a hop from header to header.
    async fn find_batch(
        &self,
        shared: &Shared,
        span: &Span,
        offset: Offset,
    ) -> Result<Option<u64>, ReadError> {
        const HOP_BYTES: usize = 16 << 10;
        if offset == span.segment.base_offset() {
            return Ok((span.end > 0).then_some(0));
        }
        shared.load_index(&span.segment).await;
        let mut position = span.segment.index.borrow().position_before(offset);
        while position + BATCH_HEADER_BYTES as u64 <= span.end {
            let buffer = read_exactly(shared, span, position, HOP_BYTES).await?;
            let mut at = 0;
            while let Some(header) = buffer.get(at..at + BATCH_HEADER_BYTES) {
                let here = position + at as u64;
                let hop =
                    Hop::read(header).ok_or_else(|| corrupt(span, here, "not a record batch"))?;
                if hop.last_offset >= offset.get() {
                    return Ok(Some(here));
                }
                at += hop.size;
            }
            if at == 0 {
                break;
            }
            position += at as u64;
        }
        Ok(None)
    }

    /// The segment, position and base offset of the batch on disk that holds `offset`, or of the first
    /// one behind it.
    pub(super) async fn place_in_file(
        &self,
        shared: &Rc<Shared>,
        offset: Offset,
    ) -> Result<(Rc<Segment>, u64, Offset), ReadError> {
        let span = self.span_of(offset).expect("the offset is in the log");
        let Some(position) = self.find_batch(shared, &span, offset).await? else {
            return Ok((span.segment.clone(), span.end, offset));
        };
        let header = read_exactly(shared, &span, position, BATCH_HEADER_BYTES).await?;
        let base = header.first_chunk().map(|base| i64::from_be_bytes(*base));
        let base = base.and_then(Offset::from_sentinel);
        let base = base.ok_or_else(|| corrupt(&span, position, "not a record batch"))?;
        Ok((span.segment, position, base))
    }

    /// Remembers where this reader goes on, and reads that already if there is something whole to
    /// read and memory for it.
    fn read_ahead(
        &self,
        shared: &Rc<Shared>,
        span: &Span,
        offset: Offset,
        position: u64,
        length: usize,
    ) {
        let left = usize::try_from(span.end.saturating_sub(position)).unwrap_or(usize::MAX);
        {
            let state = self.state.borrow();
            // What was read before a cut may not be in the log any more.
            let was_cut = state.cuts != span.cuts;
            if left == 0 || was_cut || tail_position(&state, offset).is_some() {
                return;
            }
        }
        let length = length.min(left);
        let charge = (length > BLOCK)
            .then(|| shared.memory.reads.charge(length).ok())
            .flatten();
        let task = charge.map(|charge| {
            let (storage, segment) = (shared.storage.clone(), span.segment.clone());
            spawn(async move {
                let file = segment.file(&storage).await?;
                let buffer = file.read_at(position, length).await?;
                Ok(buffer.with_charge(Some(charge)))
            })
        });
        self.read_aheads.put(ReadAhead {
            offset,
            segment: Rc::downgrade(&span.segment),
            position,
            task,
        });
    }
}

/// Reads `length` bytes, fewer at the end of what the segment's file holds.
async fn read_exactly(
    shared: &Shared,
    span: &Span,
    position: u64,
    length: usize,
) -> Result<ReadBuffer, ReadError> {
    let left = usize::try_from(span.end.saturating_sub(position)).unwrap_or(usize::MAX);
    let failed = |source| ReadError::Io {
        path: span.segment.path().to_owned(),
        source,
    };
    let length = length.min(left);
    let budget = shared.memory.reads.budget();
    if length > budget {
        // A batch's length is outside its checksum: it may be damaged.
        let reason = format!(
            "a batch of {length} bytes does not fit the shard's memory of {budget} bytes \
             (shard.memory.bytes)"
        );
        return Err(corrupt(span, position, &reason));
    }
    let charge = shared.charge(&shared.memory.reads, length).await;
    let file = span.segment.file(&shared.storage).await.map_err(failed)?;
    let buffer = file.read_at(position, length).await.map_err(failed)?;
    Ok(buffer.with_charge(charge))
}

/// The part of a batch header that hopping needs.
struct Hop {
    size: usize,
    base_offset: i64,
    last_offset: i64,
}

impl Hop {
    /// `None` when these are not the first bytes of a batch.
    fn read(header: &[u8]) -> Option<Hop> {
        let i32_at = |at: usize| Some(i32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let base_offset = i64::from_be_bytes(header.get(..8)?.try_into().ok()?);
        let length = usize::try_from(i32_at(8)?).ok()?;
        let delta = i32_at(23)?;
        let sane = header.get(16) == Some(&2)
            && base_offset >= 0
            && delta >= 0
            && length + BATCH_PREFIX_BYTES >= BATCH_HEADER_BYTES;
        sane.then(|| Hop {
            size: BATCH_PREFIX_BYTES + length,
            base_offset,
            last_offset: base_offset + i64::from(delta),
        })
    }
}

fn corrupt(span: &Span, position: u64, reason: &str) -> ReadError {
    ReadError::Corrupt {
        path: span.segment.path().to_owned(),
        position,
        reason: reason.to_owned(),
    }
}

fn first_batch_size(buffer: &[u8], span: &Span, position: u64) -> Result<usize, ReadError> {
    let hop = Hop::read(buffer).ok_or_else(|| corrupt(span, position, "not a record batch"))?;
    if position + hop.size as u64 > span.end {
        return Err(corrupt(
            span,
            position,
            "a batch runs beyond the end of the segment",
        ));
    }
    // The batch's checksum does not cover its offset.
    let belongs = span.segment.base_offset().get()..span.next_segment.get();
    if !belongs.contains(&hop.base_offset) {
        return Err(corrupt(
            span,
            position,
            &format!(
                "a batch of offset {} in the segment of {} up to, but not including, {}",
                hop.base_offset, belongs.start, belongs.end
            ),
        ));
    }
    Ok(hop.size)
}

/// How many bytes of `buffer` are whole batches within the bounds, and the offset behind them.
fn whole_batches(buffer: &[u8], bounds: &Bounds) -> (usize, Offset) {
    let (mut taken, mut next_offset) = (0, Offset::ZERO);
    while let Some(hop) = Hop::read(&buffer[taken..]) {
        let end = taken + hop.size;
        let fits =
            end <= buffer.len() && (end <= bounds.max_bytes || (taken == 0 && bounds.is_first));
        if !fits || hop.last_offset >= bounds.until.get() {
            break;
        }
        taken = end;
        next_offset = Offset::new(hop.last_offset + 1);
    }
    (taken, next_offset)
}

/// The index of the batch in the tail that holds `offset`; `None` when the tail does not hold it.
fn tail_position(state: &State, offset: Offset) -> Option<usize> {
    let batches = &state.tail.batches;
    let index = batches.partition_point(|batch| batch.next_offset <= offset);
    batches
        .get(index)
        .is_some_and(|batch| batch.base_offset <= offset)
        .then_some(index)
}

/// Serves a read from memory; `None` when the tail does not hold its first offset.
fn read_tail(state: &State, bounds: &Bounds) -> Option<Vec<LogSlice>> {
    let first = tail_position(state, bounds.from)?;
    let start = state.tail.batches[first].start;
    let mut end = start;
    for batch in state.tail.batches.range(first..) {
        let bytes = usize::try_from(batch.end() - start).expect("bounded by memory");
        let fits = bytes <= bounds.max_bytes || (end == start && bounds.is_first);
        if !fits || batch.next_offset > bounds.until {
            break;
        }
        end = batch.end();
    }
    let slices = state.tail.slices(start, end);
    Some(slices.map(LogSlice::Memory).collect())
}

/// What a batch of `size` bytes may hold decompressed, and never more than a part of the memory.
fn decompressed_limit(size: usize, budget: usize) -> usize {
    let limit = size.saturating_mul(DECOMPRESSED_RATIO);
    limit
        .clamp(SMALLEST_DECOMPRESSED, LARGEST_DECOMPRESSED)
        .min(budget / 4)
}

/// The first record of `batch` at or after both bounds. A batch that does not decode, which only a
/// client's own checks would notice, answers with its own first offset.
fn first_record_at(
    batch: &BatchView<'_>,
    timestamp: Timestamp,
    from: Offset,
    limit: usize,
) -> Option<(Timestamp, Offset)> {
    let whole = Some((batch.max_timestamp(), batch.base_offset().max(from)));
    let is_dense = i64::from(batch.record_count()) == i64::from(batch.last_offset_delta()) + 1;
    if is_dense && batch.timestamp_type() == TimestampType::LogAppendTime {
        return whole;
    }
    let mut scratch = Vec::new();
    let Ok(mut records) = batch.records(&mut scratch, limit) else {
        return whole;
    };
    records.find_map(|record| match record {
        Ok(record) if record.timestamp >= timestamp && record.offset >= from => {
            Some((record.timestamp, record.offset))
        }
        _ => None,
    })
}
