//! Reading: from the tail when it holds the offset, else from the segment by direct reads.
//!
//! A reader that goes on where it stopped finds its next bytes already on the way: a read that
//! continues the one before starts the read behind it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;
use corelog_protocol::record::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchView};
use corelog_protocol::{Offset, Timestamp, TimestampType};

use super::ReadError;
use super::partition_log::{PartitionLog, State};
use super::segment::Segment;
use super::shard_log::Shared;
use crate::runtime::{BLOCK, BufferSlice, ReadBuffer, Task, spawn};

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

/// Whole batches, in order, in as few pieces as they lie in.
#[derive(Debug, Clone, Default)]
pub struct ReadBatches {
    /// The pieces; a batch may run from one into the next.
    pub slices: Vec<LogSlice>,
    /// The sum of their lengths.
    pub bytes: usize,
}

impl ReadBatches {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
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
    position: u64,
    task: Option<Task<std::io::Result<ReadBuffer>>>,
}

/// The read-aheads of one log, newest last.
#[derive(Default)]
pub(super) struct ReadAheads(RefCell<VecDeque<ReadAhead>>);

/// The most that looking for a timestamp decompresses of one batch.
const LARGEST_DECOMPRESSED: usize = 64 << 20;
/// Readers of one partition whose place is remembered.
const READERS: usize = 4;

impl ReadAheads {
    fn take(&self, offset: Offset) -> Option<ReadAhead> {
        let mut aheads = self.0.borrow_mut();
        let index = aheads.iter().position(|ahead| ahead.offset == offset)?;
        aheads.remove(index)
    }

    fn put(&self, ahead: ReadAhead) {
        let mut aheads = self.0.borrow_mut();
        if aheads.len() == READERS {
            aheads.pop_front();
        }
        aheads.push_back(ahead);
    }

    /// Forgets all, with the memory they hold.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Where a read of a segment begins and how far it may go.
struct Span {
    segment: Rc<Segment>,
    /// Bytes of the segment that are in its file.
    end: u64,
}

impl PartitionLog {
    /// The whole batches from the one that holds `from` on, as far as they end at or before
    /// `until` and fit `max_bytes`; the first is returned even if it is larger. Empty when `from`
    /// is at `until` or behind it.
    pub async fn read(
        &self,
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
            if from >= until.min(state.log_end) {
                return Ok(ReadBatches::default());
            }
            if let Some(batches) = read_tail(&state, from, until, max_bytes) {
                drop(state);
                if let Some(shared) = self.shared() {
                    shared.count(|stats| stats.cached_read_bytes += batches.bytes as u64);
                }
                return Ok(batches);
            }
        }
        self.read_segment(from, until, max_bytes).await
    }

    async fn read_segment(
        &self,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<ReadBatches, ReadError> {
        let Some(shared) = self.shared() else {
            return Ok(ReadBatches::default());
        };
        let Some(span) = self.span_of(from) else {
            return Ok(ReadBatches::default());
        };
        let window = max_bytes.clamp(BLOCK, shared.options.read_bytes);
        let (position, ahead) = match self.read_aheads.take(from) {
            Some(ahead) => (Some(ahead.position), ahead.task),
            None => (None, None),
        };
        let position = match position {
            Some(position) => position,
            None => match self.find_batch(&shared, &span, from).await? {
                Some(position) => position,
                None => return Ok(ReadBatches::default()),
            },
        };
        let ready = match ahead {
            Some(task) => task.await.ok(),
            None => None,
        };
        let mut buffer = match ready.filter(|buffer| !buffer.is_empty()) {
            Some(buffer) => buffer,
            None => read_exactly(&shared, &span, position, window).await?,
        };
        // A first batch larger than the window comes whole.
        let size = first_batch_size(&buffer, &span, position)?;
        if size > buffer.len() {
            buffer = read_exactly(&shared, &span, position, size).await?;
        }
        let (bytes, next_offset) = whole_batches(&buffer, until, max_bytes);
        if bytes == 0 {
            return Ok(ReadBatches::default());
        }
        self.read_ahead(&shared, &span, next_offset, position + bytes as u64, window);
        shared.count(|stats| stats.read_bytes += bytes as u64);
        Ok(ReadBatches {
            slices: vec![LogSlice::Disk(buffer.slice(0..bytes))],
            bytes,
        })
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
            segment.load_index(&shared.storage).await;
            let index = segment.index.borrow();
            let all_older = index
                .largest_timestamp()
                .is_some_and(|it| it < timestamp.get());
            if !(segment.is_sealed() && all_older) {
                from = from.max(index.offset_before_timestamp(timestamp.get()));
                break;
            }
        }
        self.find_timestamp_from(timestamp, from, until).await
    }

    async fn find_timestamp_from(
        &self,
        timestamp: Timestamp,
        from: Offset,
        until: Offset,
    ) -> Result<Option<(Timestamp, Offset)>, ReadError> {
        const STEP_BYTES: usize = 256 << 10;
        let mut at = from;
        while at < until {
            let read = self.read(at, until, STEP_BYTES).await?;
            if read.is_empty() {
                return Ok(None);
            }
            let bytes = read.to_bytes();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (batch, after) = self.parse(rest, at)?;
                if batch.max_timestamp() >= timestamp
                    && let Some(found) = first_record_at(&batch, timestamp, from)
                {
                    return Ok(Some(found));
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
        Some(Span { segment, end })
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
        span.segment.load_index(&shared.storage).await;
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
        if left == 0 {
            return;
        }
        let length = length.min(left);
        let charge = (length > BLOCK)
            .then(|| shared.pool.charge(length).ok())
            .flatten();
        let task = charge.map(|charge| {
            let (storage, segment) = (shared.storage.clone(), span.segment.clone());
            spawn(async move {
                let _charge = charge;
                segment
                    .file(&storage)
                    .await?
                    .read_at(position, length)
                    .await
            })
        });
        self.read_aheads.put(ReadAhead {
            offset,
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
    let _charge = shared.charge(length.min(left)).await;
    let file = span.segment.file(&shared.storage).await.map_err(failed)?;
    file.read_at(position, length.min(left))
        .await
        .map_err(failed)
}

/// The part of a batch header that hopping needs.
struct Hop {
    size: usize,
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
    Ok(hop.size)
}

/// How many bytes of `buffer` are whole batches that end at or before `until` and within
/// `max_bytes`, and the offset behind them; the first batch counts whatever its size.
fn whole_batches(buffer: &[u8], until: Offset, max_bytes: usize) -> (usize, Offset) {
    let (mut taken, mut next_offset) = (0, Offset::ZERO);
    while let Some(hop) = Hop::read(&buffer[taken..]) {
        let end = taken + hop.size;
        let fits = end <= buffer.len() && (taken == 0 || end <= max_bytes);
        if !fits || hop.last_offset >= until.get() {
            break;
        }
        taken = end;
        next_offset = Offset::new(hop.last_offset + 1);
    }
    (taken, next_offset)
}

/// Serves a read from memory; `None` when the tail does not hold `from`.
fn read_tail(state: &State, from: Offset, until: Offset, max_bytes: usize) -> Option<ReadBatches> {
    let batches = &state.tail.batches;
    let first = batches.partition_point(|batch| batch.next_offset <= from);
    let first_batch = batches
        .get(first)
        .filter(|batch| batch.base_offset <= from)?;
    let start = first_batch.start;
    let mut end = start;
    for batch in batches.range(first..) {
        let bytes = usize::try_from(batch.end() - start).expect("bounded by memory");
        if batch.next_offset > until || (end > start && bytes > max_bytes) {
            break;
        }
        end = batch.end();
    }
    let slices: Vec<_> = state
        .tail
        .slices(start, end)
        .map(LogSlice::Memory)
        .collect();
    let bytes = slices.iter().map(|slice| slice.len()).sum();
    Some(ReadBatches { slices, bytes })
}

/// The first record of `batch` at or after both bounds. A batch that does not decode, which only a
/// client's own checks would notice, answers with its own first offset.
fn first_record_at(
    batch: &BatchView<'_>,
    timestamp: Timestamp,
    from: Offset,
) -> Option<(Timestamp, Offset)> {
    let whole = Some((batch.max_timestamp(), batch.base_offset().max(from)));
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        return whole;
    }
    let mut scratch = Vec::new();
    let Ok(mut records) = batch.records(&mut scratch, LARGEST_DECOMPRESSED) else {
        return whole;
    };
    records.find_map(|record| match record {
        Ok(record) if record.timestamp >= timestamp && record.offset >= from => {
            Some((record.timestamp, record.offset))
        }
        _ => None,
    })
}
