//! The newest bytes of a partition, in memory: what the journal holds and the segment does not
//! yet, and behind it a cache for readers at the end of the log.
//!
//! The bytes lie in chunks of aligned memory that map one to one to places in segment files, so
//! that a full chunk can be written as it is. Chunks start at block boundaries of their file.
//!
//! A large append gets chunks that fit it: whole blocks up to its last one, and a chunk of one block
//! for what is left. When the next large append comes, the bytes in that block move to the front of
//! its first chunk, so that a stream of large appends is one whole chunk each, with nothing left
//! over to be written by itself. Before a small chunk that has more than a block, a large append
//! closes it at its block's end.
//!
//! `cursor`s count the bytes ever appended since the log was opened; unlike file positions they run
//! on across segments.

use std::collections::VecDeque;
use std::rc::Rc;

use corelog_protocol::Offset;

use super::segment::Segment;
use crate::runtime::{AppendBuffer, BLOCK, BufferSlice};

/// An append leaves small chunks behind for those that follow it.
const SMALL_CHUNK: usize = 16 << 10;
/// From this size on an append gets chunks that fit it, which may go to the segment as they are.
pub(crate) const LARGE_APPEND: usize = 32 << 10;
pub(crate) const LARGEST_CHUNK: usize = 1 << 20;

/// A part of the tail in one piece of memory and one place of one file.
pub(crate) struct Chunk {
    buffer: AppendBuffer,
    pub(crate) segment: Rc<Segment>,
    /// Where the chunk's first byte lies in the segment; a multiple of the block size.
    pub(crate) position: u64,
    /// The cursor of the chunk's first byte.
    pub(crate) start: u64,
    /// Bytes the chunk will take: its capacity, or less when it was closed early or cut.
    limit: usize,
    /// Bytes from the start that the segment file holds.
    pub(crate) written_out: usize,
    /// The whole chunk is on its way to the segment.
    pub(crate) on_its_way: bool,
}

/// The memory that an append needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first new chunk takes the place of the last one, whose bytes move to its front.
    pub(crate) replaces_last: bool,
    /// Capacities of the new chunks, in order.
    pub(crate) sizes: Vec<usize>,
}

impl Chunk {
    pub(crate) fn new(
        buffer: AppendBuffer,
        segment: Rc<Segment>,
        position: u64,
        start: u64,
    ) -> Chunk {
        assert!(position.is_multiple_of(BLOCK as u64));
        let limit = buffer.capacity();
        Chunk {
            buffer,
            segment,
            position,
            start,
            limit,
            written_out: 0,
            on_its_way: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len().min(self.limit)
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.len() as u64
    }

    fn room(&self) -> usize {
        self.limit - self.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Full to its capacity: its memory can be written as it is.
    pub(crate) fn is_whole(&self) -> bool {
        self.len() == self.buffer.capacity()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> BufferSlice {
        self.buffer.slice(from..to)
    }

    /// The last `begun` bytes of this chunk, which the segment holds, in a buffer of one block.
    fn moved_to(&self, buffer: AppendBuffer, begun: usize) -> Chunk {
        let block = self.len() - begun;
        let mut moved = Chunk::new(
            buffer,
            self.segment.clone(),
            self.position + block as u64,
            self.start + block as u64,
        );
        moved.fill_from_disk(&self.slice(block, self.len()));
        if self.is_full() {
            moved.limit = moved.len();
        }
        moved
    }

    /// Restores bytes that the segment already holds.
    pub(crate) fn fill_from_disk(&mut self, bytes: &[u8]) {
        let taken = self.buffer.append(bytes);
        assert_eq!(taken, bytes.len());
        self.written_out = taken;
    }

    /// Ends at `length`, below what it holds, and takes no more.
    fn cut_to(&mut self, length: usize) {
        self.limit = length;
        self.written_out = self.written_out.min(length);
    }

    /// Takes no bytes beyond the block it has begun.
    fn close_at_block_end(&mut self) {
        self.limit = self.len().next_multiple_of(BLOCK).min(self.limit);
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        let take = bytes.len().min(self.room());
        let taken = self.buffer.append(&bytes[..take]);
        assert_eq!(taken, take);
        taken
    }
}

/// A batch whose bytes are in the tail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPlace {
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    /// The cursor of its first byte.
    pub(crate) start: u64,
    pub(crate) length: u32,
}

impl BatchPlace {
    pub(crate) fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }
}

/// A partition's tail.
#[derive(Default)]
pub(crate) struct Tail {
    pub(crate) chunks: VecDeque<Chunk>,
    pub(crate) batches: VecDeque<BatchPlace>,
    /// The cursor behind the last byte.
    end: u64,
}

impl Tail {
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What `length` more bytes need beyond the room left.
    pub(crate) fn plan(&mut self, length: usize) -> Plan {
        let mut left = length;
        let mut replaces_last = false;
        if let Some(last) = self.chunks.back_mut()
            && !last.is_full()
        {
            let is_large = length >= LARGE_APPEND;
            if is_large && last.len() < BLOCK {
                replaces_last = true;
                left += last.len();
            } else {
                if is_large {
                    last.close_at_block_end();
                }
                left = left.saturating_sub(last.room());
            }
        }
        let mut sizes = Vec::new();
        while left > 0 {
            let size = match length {
                ..LARGE_APPEND => SMALL_CHUNK,
                _ if left < BLOCK => BLOCK,
                _ => (left - left % BLOCK).min(LARGEST_CHUNK),
            };
            sizes.push(size);
            left = left.saturating_sub(size);
        }
        Plan {
            replaces_last,
            sizes,
        }
    }

    /// Adds empty chunks that continue `segment` behind its last byte, as planned.
    pub(crate) fn add_chunks(
        &mut self,
        replaces_last: bool,
        buffers: Vec<AppendBuffer>,
        segment: &Rc<Segment>,
    ) {
        let replaced = replaces_last.then(|| self.chunks.pop_back()).flatten();
        let (mut position, mut start) = match (&replaced, self.chunks.back()) {
            (Some(replaced), _) => (replaced.position, replaced.start),
            (None, Some(last)) if Rc::ptr_eq(&last.segment, segment) => (
                last.position + last.limit as u64,
                last.start + last.limit as u64,
            ),
            // Every chunk before was dropped, or belongs to a closed segment: then the log ends at
            // a block boundary.
            _ => (segment.size(), self.end),
        };
        let first = self.chunks.len();
        for buffer in buffers {
            let chunk = Chunk::new(buffer, segment.clone(), position, start);
            position += chunk.limit as u64;
            start += chunk.limit as u64;
            self.chunks.push_back(chunk);
        }
        if let Some(replaced) = replaced {
            assert!(
                Rc::ptr_eq(&replaced.segment, segment),
                "a segment that was closed takes no more bytes"
            );
            let taker = &mut self.chunks[first];
            let moved = taker.append(&replaced.slice(0, replaced.len()));
            assert_eq!(moved, replaced.len(), "less than a block fits any chunk");
            taker.written_out = replaced.written_out;
        }
    }

    /// The last segment takes no more bytes.
    pub(crate) fn close_segment(&mut self) {
        if let Some(last) = self.chunks.back_mut() {
            last.limit = last.len();
        }
    }

    /// The tail of a log just opened: the block its segment ends in, if that block is begun.
    pub(crate) fn restore(&mut self, mut chunk: Chunk, bytes: &[u8]) {
        assert!(self.chunks.is_empty());
        chunk.fill_from_disk(bytes);
        self.end = chunk.end();
        self.chunks.push_back(chunk);
    }

    /// Ends the tail at `cursor`, where a batch begins. `small` takes the block that this leaves begun.
    pub(crate) fn cut_back(&mut self, cursor: u64, small: AppendBuffer) {
        let index = self.chunk_at(cursor).expect("a batch in the tail");
        let chunk = &self.chunks[index];
        let length = usize::try_from(cursor - chunk.start).expect("inside a chunk");
        let block = length - length % BLOCK;
        let begun = chunk.slice(block, length);
        let written_out = chunk.written_out.clamp(block, length) - block;
        let (segment, block_bytes) = (chunk.segment.clone(), block as u64);
        let mut last = Chunk::new(
            small,
            segment,
            chunk.position + block_bytes,
            chunk.start + block_bytes,
        );
        last.fill_from_disk(&begun);
        last.written_out = written_out;
        self.chunks.truncate(index + 1);
        self.chunks[index].cut_to(block);
        if block == 0 {
            self.chunks.pop_back();
        }
        if last.len() > 0 {
            self.chunks.push_back(last);
        }
        let kept = self.batches.partition_point(|batch| batch.start < cursor);
        self.batches.truncate(kept);
        self.end = cursor;
    }

    /// The log was cut back in its segment, inside a block that begins with `bytes`. Nothing that is
    /// in memory stays.
    pub(crate) fn begin_anew(&mut self, mut chunk: Chunk, bytes: &[u8]) {
        self.chunks.clear();
        self.batches.clear();
        if !bytes.is_empty() {
            chunk.fill_from_disk(bytes);
            self.end = chunk.end();
            self.chunks.push_back(chunk);
        }
    }

    /// Copies `bytes` behind the last byte, into chunks that were planned and added before.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let mut index = self
            .chunks
            .iter()
            .rposition(Chunk::is_full)
            .map_or(0, |full| full + 1);
        while !bytes.is_empty() {
            let taken = self.chunks[index].append(bytes);
            bytes = &bytes[taken..];
            index += 1;
        }
    }

    /// The index of the chunk that holds the byte at `cursor`.
    pub(crate) fn chunk_at(&self, cursor: u64) -> Option<usize> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= cursor);
        let chunk = self.chunks.get(index)?;
        (chunk.start <= cursor && cursor < chunk.end()).then_some(index)
    }

    /// The bytes from one cursor to another, as slices of the chunks that hold them.
    pub(crate) fn slices(&self, from: u64, to: u64) -> impl Iterator<Item = BufferSlice> + '_ {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        self.chunks
            .range(first..)
            .take_while(move |chunk| chunk.start < to)
            .filter_map(move |chunk| {
                let start = usize::try_from(from.saturating_sub(chunk.start)).ok()?;
                let end = usize::try_from(to - chunk.start)
                    .unwrap_or(usize::MAX)
                    .min(chunk.len());
                (start < end).then(|| chunk.slice(start, end))
            })
    }

    /// Bytes below `cursor` that are in memory and not in a segment.
    pub(crate) fn dirty_bytes(&self, cursor: u64) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| {
                cursor
                    .min(chunk.end())
                    .saturating_sub(chunk.start + chunk.written_out as u64)
            })
            .sum()
    }

    /// Drops the oldest chunks that nothing but the cache needs until at most `keep` bytes of them
    /// are left. A chunk is needed until its segment holds it and its group was written, that is up
    /// to `cursor`; and until every batch that begins in it can be read from the segment whole.
    pub(crate) fn trim(&mut self, keep: usize, cursor: u64) {
        let needed_from = self
            .chunks
            .iter()
            .find(|chunk| !chunk.is_full() || chunk.written_out < chunk.len())
            .map_or(self.end, |chunk| chunk.start)
            .min(cursor);
        let split = self
            .batches
            .partition_point(|batch| batch.end() <= needed_from);
        let needed_from = self
            .batches
            .get(split)
            .map_or(needed_from, |batch| batch.start.min(needed_from));
        let droppable = self
            .chunks
            .partition_point(|chunk| chunk.end() <= needed_from);
        let mut cached: usize = self.chunks.range(..droppable).map(Chunk::capacity).sum();
        while cached > keep {
            let Some(oldest) = self.chunks.pop_front() else {
                break;
            };
            cached -= oldest.capacity();
        }
        self.forget_batches();
    }

    /// Gives back all memory but the block the log ends in, for a log that is idle. `small` is the
    /// memory that block moves to.
    pub(crate) fn shrink(&mut self, small: impl FnOnce() -> Option<AppendBuffer>) {
        if self.chunks.iter().any(|c| c.written_out != c.len()) {
            return;
        }
        let Some(last) = self.chunks.pop_back() else {
            return;
        };
        self.chunks.clear();
        let begun = last.len() % BLOCK;
        if begun > 0 {
            let moves = last.capacity() > BLOCK;
            let buffer = moves.then(small).flatten();
            self.chunks.push_back(match buffer {
                Some(buffer) => last.moved_to(buffer, begun),
                // It is in a block of its own, or there is none to be had.
                None => last,
            });
        }
        self.forget_batches();
    }

    fn forget_batches(&mut self) {
        let kept_from = self.chunks.front().map_or(self.end, |chunk| chunk.start);
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.start < kept_from)
        {
            self.batches.pop_front();
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.chunks.iter().map(Chunk::capacity).sum()
    }
}
