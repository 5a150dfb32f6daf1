//! Buffers for direct I/O, charged to a shard's budget.
//!
//! A [`BufferPool`] belongs to one shard. Every buffer it hands out is 4096-aligned, counts against the
//! budget for as long as it lives, and goes back to the pool when it is dropped. Freed memory is kept
//! for the next buffer of the same size, most recently used first, so that the hot path neither
//! allocates nor clears; what is kept and what is in use together never exceed the budget.
//!
//! Two shapes: an [`AlignedBuffer`] has one owner who may write anywhere in it; an [`AppendBuffer`] is
//! filled from the front while readers on the same core hold slices of the filled part, which never
//! changes. Neither can expose memory that was not written. None of them leaves its thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

use super::memory::Memory;
use super::sync::{Permit, Semaphore};

/// Unit of direct I/O. Devices report smaller blocks; file systems are happiest with pages.
pub const BLOCK: usize = 4096;

/// Freed buffers kept for reuse: a bound on the search, as the budget is a bound on the bytes.
const KEPT_BUFFERS: usize = 256;

/// The shard's buffer budget is used up; give something back, or wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a buffer of {wanted} bytes does not fit: {in_use} of the budget's {budget} bytes are in use"
)]
pub struct OutOfBudget {
    pub wanted: usize,
    pub in_use: usize,
    pub budget: usize,
}

/// Source of all buffers of one shard. A clone is the same pool.
#[derive(Debug, Clone)]
pub struct BufferPool {
    pool: Rc<Pool>,
    /// Bytes that live of what this handle and its clones gave out.
    in_share: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct Pool {
    budget: usize,
    /// One permit a block.
    blocks: Semaphore,
    kept: RefCell<VecDeque<Memory>>,
    kept_bytes: Cell<usize>,
}

impl BufferPool {
    /// A pool of at most `budget` bytes, rounded down to whole blocks.
    pub fn new(budget: usize) -> Self {
        let blocks = budget / BLOCK;
        Self {
            pool: Rc::new(Pool {
                budget: blocks * BLOCK,
                blocks: Semaphore::new(blocks),
                kept: RefCell::new(VecDeque::new()),
                kept_bytes: Cell::new(0),
            }),
            in_share: Rc::default(),
        }
    }

    /// The same budget under a count of its own, which says who holds how much of it.
    #[must_use]
    pub fn share(&self) -> BufferPool {
        Self {
            pool: Rc::clone(&self.pool),
            in_share: Rc::default(),
        }
    }

    /// Bytes of the buffers and charges that live now and came from this share.
    pub fn in_share(&self) -> usize {
        self.in_share.get()
    }

    pub fn budget(&self) -> usize {
        self.pool.budget
    }

    /// Bytes of the buffers and charges that live now.
    pub fn in_use(&self) -> usize {
        self.pool.budget - self.pool.blocks.available() * BLOCK
    }

    /// A buffer of `len` bytes, a multiple of [`BLOCK`]. Its contents are whatever was there before.
    pub fn aligned(&self, len: usize) -> Result<AlignedBuffer, OutOfBudget> {
        Ok(self.make_aligned(self.permit(len)?))
    }

    /// As [`BufferPool::aligned`], but waits in line until the budget has room.
    ///
    /// # Panics
    /// When `len` is more than the whole budget: no wait would end.
    pub async fn aligned_wait(&self, len: usize) -> AlignedBuffer {
        self.make_aligned(self.permit_wait(len).await)
    }

    /// An empty buffer of `capacity` bytes, a multiple of [`BLOCK`]. Its memory is not cleared first,
    /// since only what was appended can be read.
    pub fn append_buffer(&self, capacity: usize) -> Result<AppendBuffer, OutOfBudget> {
        Ok(self.make_append(self.permit(capacity)?))
    }

    /// As [`BufferPool::append_buffer`], but waits in line until the budget has room.
    ///
    /// # Panics
    /// When `capacity` is more than the whole budget.
    pub async fn append_buffer_wait(&self, capacity: usize) -> AppendBuffer {
        self.make_append(self.permit_wait(capacity).await)
    }

    /// Counts `bytes`, rounded up to blocks, that live elsewhere: what a read returns, frames received.
    pub fn charge(&self, bytes: usize) -> Result<Charge, OutOfBudget> {
        Ok(self.make_charge(self.permit(bytes.next_multiple_of(BLOCK))?))
    }

    /// As [`BufferPool::charge`], but waits in line until the budget has room.
    ///
    /// # Panics
    /// When `bytes` is more than the whole budget.
    pub async fn charge_wait(&self, bytes: usize) -> Charge {
        self.make_charge(self.permit_wait(bytes.next_multiple_of(BLOCK)).await)
    }

    /// Completes when something was next given back to the budget.
    pub async fn available_changed(&self) {
        self.pool.blocks.released().await;
    }

    fn permit(&self, len: usize) -> Result<Held, OutOfBudget> {
        assert!(
            len.is_multiple_of(BLOCK),
            "a buffer is made of whole blocks"
        );
        let permit = self.pool.blocks.try_acquire(len / BLOCK);
        let permit = permit.ok_or(OutOfBudget {
            wanted: len,
            in_use: self.in_use(),
            budget: self.pool.budget,
        })?;
        Ok(Held::new(permit, &self.in_share))
    }

    async fn permit_wait(&self, len: usize) -> Held {
        assert!(
            len.is_multiple_of(BLOCK),
            "a buffer is made of whole blocks"
        );
        assert!(
            len <= self.pool.budget,
            "a buffer larger than the whole budget"
        );
        let permit = self.pool.blocks.acquire(len / BLOCK).await;
        Held::new(permit, &self.in_share)
    }

    fn make_aligned(&self, held: Held) -> AlignedBuffer {
        let mut memory = self.pool.memory(held.bytes());
        memory.initialise();
        AlignedBuffer {
            len: memory.len(),
            lease: self.lease(memory, held),
        }
    }

    fn make_append(&self, held: Held) -> AppendBuffer {
        let memory = self.pool.memory(held.bytes());
        AppendBuffer(Rc::new(Filled {
            len: Cell::new(0),
            lease: self.lease(memory, held),
        }))
    }

    fn make_charge(&self, held: Held) -> Charge {
        self.pool.make_room();
        Charge(held)
    }

    fn lease(&self, memory: Memory, held: Held) -> Lease {
        Lease {
            memory: Some(memory),
            pool: Rc::clone(&self.pool),
            held,
        }
    }
}

/// A part of the budget, counted in the share it was asked of.
#[derive(Debug)]
struct Held {
    permit: Permit,
    in_share: Rc<Cell<usize>>,
}

impl Held {
    fn new(permit: Permit, in_share: &Rc<Cell<usize>>) -> Held {
        let in_share = Rc::clone(in_share);
        in_share.set(in_share.get() + permit.permits() * BLOCK);
        Held { permit, in_share }
    }

    fn bytes(&self) -> usize {
        self.permit.permits() * BLOCK
    }

    /// Gives back all but `bytes`, in whole blocks.
    fn shrink_to(&mut self, bytes: usize) {
        let before = self.bytes();
        self.permit.shrink_to(bytes.div_ceil(BLOCK));
        self.in_share
            .set(self.in_share.get() - (before - self.bytes()));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Pool {
    /// Memory of exactly this size, for which the budget was already charged.
    fn memory(&self, len: usize) -> Memory {
        let mut kept = self.kept.borrow_mut();
        if let Some(index) = kept.iter().rposition(|memory| memory.len() == len)
            && let Some(memory) = kept.remove(index)
        {
            self.kept_bytes.set(self.kept_bytes.get() - len);
            return memory;
        }
        drop(kept);
        self.make_room();
        Memory::allocate(len)
    }

    /// Frees kept memory, the longest unused first, until it fits beside what is in use.
    fn make_room(&self) {
        let free = self.blocks.available() * BLOCK;
        let mut kept = self.kept.borrow_mut();
        while self.kept_bytes.get() > free || kept.len() > KEPT_BUFFERS {
            let Some(memory) = kept.pop_front() else {
                return;
            };
            self.kept_bytes.set(self.kept_bytes.get() - memory.len());
        }
    }

    fn keep(&self, memory: Memory) {
        self.kept_bytes.set(self.kept_bytes.get() + memory.len());
        self.kept.borrow_mut().push_back(memory);
    }
}

/// Memory on loan from a pool.
#[derive(Debug)]
struct Lease {
    /// `None` only while it is being dropped.
    memory: Option<Memory>,
    pool: Rc<Pool>,
    held: Held,
}

impl Lease {
    fn memory(&self) -> &Memory {
        self.memory
            .as_ref()
            .expect("a lease has its memory until it ends")
    }

    fn memory_mut(&mut self) -> &mut Memory {
        self.memory
            .as_mut()
            .expect("a lease has its memory until it ends")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else {
            return;
        };
        // Memory that an abandoned write still uses is freed when that write completes. A trimmed block
        // is freed too: the rest of it would be lost for as long as it is kept.
        let whole = memory.len() == self.held.bytes();
        self.held.shrink_to(0);
        if whole && memory.is_unshared() {
            self.pool.keep(memory);
            self.pool.make_room();
        }
    }
}

/// An owned buffer: aligned, whole blocks, readable and writable anywhere.
#[derive(Debug)]
pub struct AlignedBuffer {
    lease: Lease,
    len: usize,
}

impl AlignedBuffer {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shortens the buffer to a multiple of [`BLOCK`]. It cannot grow back, and memory of a shortened
    /// buffer that was written to a file is not reused: ask for the right size where that is known.
    pub fn truncate(&mut self, len: usize) {
        assert!(
            len.is_multiple_of(BLOCK),
            "a buffer is made of whole blocks"
        );
        self.len = self.len.min(len);
    }

    /// Makes the memory as long as the buffer says, which is what a direct write takes.
    pub(super) fn fit_memory(&mut self) -> &Memory {
        let len = self.len;
        if self.lease.memory().len() > len {
            self.lease.memory_mut().trim(len);
        }
        self.lease.memory()
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.lease.memory().slice(self.len)
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.lease.memory_mut().slice_mut(len)
    }
}

/// Memory filled from the front by its one owner, and what is filled.
#[derive(Debug)]
struct Filled {
    len: Cell<usize>,
    lease: Lease,
}

impl Drop for Filled {
    fn drop(&mut self) {
        let filled = self.len.get();
        self.lease.memory_mut().mark_initialised(filled);
    }
}

/// A buffer that grows by appending, up to its capacity. Slices of the filled part may be held, also
/// beyond the buffer's own life: the memory goes back to the pool with the last of them.
#[derive(Debug)]
pub struct AppendBuffer(Rc<Filled>);

impl AppendBuffer {
    pub fn capacity(&self) -> usize {
        self.0.lease.memory().len()
    }

    pub fn len(&self) -> usize {
        self.0.len.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    pub fn as_slice(&self) -> &[u8] {
        self.0.bytes(0, self.len())
    }

    /// Appends as many of the bytes as there is room for, and says how many.
    #[expect(unsafe_code, reason = "writes beside slices that are lent out")]
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let start = self.len();
        let taken = bytes.len().min(self.remaining());
        // SAFETY: slices cover only bytes below `len`, and nothing else appends: `&mut self` of the one
        // handle that can.
        unsafe { self.0.lease.memory().fill(start, &bytes[..taken]) };
        self.0.len.set(start + taken);
        taken
    }

    /// Appends zeroes up to `len` bytes in all.
    #[expect(unsafe_code, reason = "writes beside slices that are lent out")]
    pub fn pad_to(&mut self, len: usize) {
        assert!(len <= self.capacity(), "padding beyond the capacity");
        let start = self.len();
        if len > start {
            // SAFETY: as in `append`.
            unsafe { self.0.lease.memory().fill_zeroes(start, len - start) };
            self.0.len.set(len);
        }
    }

    /// A part of what is filled, which stays as it is for as long as the slice is held.
    pub fn slice(&self, range: Range<usize>) -> BufferSlice {
        assert!(range.start <= range.end, "a range runs forward");
        assert!(
            range.end <= self.len(),
            "only what was appended can be read"
        );
        BufferSlice {
            filled: Rc::clone(&self.0),
            start: range.start,
            end: range.end,
        }
    }
}

impl Filled {
    #[expect(unsafe_code, reason = "reads memory that is filled further at its end")]
    fn bytes(&self, start: usize, end: usize) -> &[u8] {
        assert!(end <= self.len.get(), "only what was appended can be read");
        // SAFETY: everything below `len` was appended, and appending never writes below it.
        unsafe { self.lease.memory().filled(start, end) }
    }
}

/// An immutable part of an [`AppendBuffer`]; cheap to clone.
#[derive(Debug, Clone)]
pub struct BufferSlice {
    filled: Rc<Filled>,
    start: usize,
    end: usize,
}

impl BufferSlice {
    /// A part of this slice; the range counts from the slice's own start.
    pub fn slice(&self, range: Range<usize>) -> BufferSlice {
        assert!(range.start <= range.end, "a range runs forward");
        assert!(range.end <= self.len(), "a part lies within the whole");
        BufferSlice {
            filled: Rc::clone(&self.filled),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    /// Bytes that holding this slice keeps in memory: those of its whole buffer.
    pub fn held_bytes(&self) -> usize {
        self.filled.lease.memory().len()
    }

    /// The memory, if this slice is all of it: then it can be written without a copy.
    pub(super) fn whole_memory(&self) -> Option<&Memory> {
        let memory = self.filled.lease.memory();
        (self.start == 0 && self.end == memory.len()).then_some(memory)
    }
}

impl Deref for BufferSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.filled.bytes(self.start, self.end)
    }
}

impl AsRef<[u8]> for BufferSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A share of the budget for bytes that live outside the pool; given back on drop.
#[derive(Debug)]
pub struct Charge(Held);

impl Charge {
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Gives back what is not needed after all.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.0.bytes() {
            self.0.shrink_to(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
