//! Aligned memory: glommio's, which the kernel may have registered, or the heap's in a simulation.
//!
//! Invariant: bytes below `initialised` have been written at least once, and only those are ever lent
//! out as slices. That is what makes memory that nobody cleared safe to use.

#![expect(
    unsafe_code,
    reason = "raw memory with its own alignment and initialisation rules"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::rc::Rc;

use glommio::io::DmaBuffer;

use super::backend::{self, Backend};
use super::buffer::BLOCK;

/// A block of aligned memory of fixed size.
#[derive(Debug)]
pub(super) struct Memory {
    block: Block,
    start: NonNull<u8>,
    len: usize,
    initialised: usize,
}

#[derive(Debug)]
enum Block {
    /// Shared with glommio while a write is under way, also when its caller has given up.
    Dma(Rc<DmaBuffer>),
    Heap(#[expect(dead_code, reason = "held to be freed")] HeapBlock),
}

#[derive(Debug)]
struct HeapBlock {
    start: NonNull<u8>,
    layout: Layout,
}

impl HeapBlock {
    fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len, BLOCK).expect("a buffer's size is bounded");
        assert!(len > 0, "an allocation has a size");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout);
        };
        Self { start, layout }
    }
}

impl Drop for HeapBlock {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Memory {
    /// Memory whose contents nobody has set yet.
    pub(super) fn allocate(len: usize) -> Self {
        assert!(
            len > 0 && len.is_multiple_of(BLOCK),
            "a buffer is made of whole blocks"
        );
        let (block, start) = match backend::current() {
            Some(Backend::Glommio) => {
                let mut buffer = glommio::allocate_dma_buffer(len);
                let start = NonNull::new(buffer.as_mut_ptr()).expect("glommio's buffers exist");
                (Block::Dma(Rc::new(buffer)), start)
            }
            Some(Backend::Simulated(_)) | None => {
                let heap = HeapBlock::new(len);
                let start = heap.start;
                (Block::Heap(heap), start)
            }
        };
        assert!(
            start.as_ptr().addr().is_multiple_of(BLOCK),
            "direct I/O needs aligned memory"
        );
        Self {
            block,
            start,
            len,
            initialised: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing else uses this memory: no write that was abandoned is still under way.
    pub(super) fn is_unshared(&self) -> bool {
        match &self.block {
            Block::Dma(buffer) => Rc::strong_count(buffer) == 1,
            Block::Heap(_) => true,
        }
    }

    /// The memory as glommio takes it; `None` if this is heap memory.
    pub(super) fn dma(&self) -> Option<Rc<DmaBuffer>> {
        match &self.block {
            Block::Dma(buffer) => Some(Rc::clone(buffer)),
            Block::Heap(_) => None,
        }
    }

    /// Clears what was never written, so that all of it may be read.
    pub(super) fn initialise(&mut self) {
        let from = self.initialised;
        // SAFETY: `from..len` lies within the block, and `&mut self` keeps slices of it away.
        unsafe { self.start.add(from).write_bytes(0, self.len - from) };
        self.initialised = self.len;
    }

    pub(super) fn mark_initialised(&mut self, upto: usize) {
        debug_assert!(upto <= self.len, "the mark lies within the block");
        self.initialised = self.initialised.max(upto);
    }

    /// Cuts the block. What is cut off is lost until the block is freed.
    pub(super) fn trim(&mut self, len: usize) {
        assert!(len <= self.len, "memory cannot grow");
        if let Block::Dma(buffer) = &mut self.block {
            let buffer = Rc::get_mut(buffer).expect("only unshared memory is trimmed");
            buffer.trim_to_size(len);
        }
        self.len = len;
        self.initialised = self.initialised.min(len);
    }

    pub(super) fn slice(&self, len: usize) -> &[u8] {
        assert!(len <= self.initialised, "these bytes were never written");
        // SAFETY: the bytes are initialised, live as long as `self`, and are changed only through
        // `&mut self` or beyond what was lent out (`append_at`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), len) }
    }

    pub(super) fn slice_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.initialised, "these bytes were never written");
        // SAFETY: as in `slice`, and `&mut self` makes it the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len) }
    }

    /// A part of memory that is shared and filled from the front.
    ///
    /// # Safety
    /// Every byte below `end` was written through [`Memory::fill`] and none is written again.
    pub(super) unsafe fn filled(&self, start: usize, end: usize) -> &[u8] {
        assert!(
            start <= end && end <= self.len,
            "the range lies within the block"
        );
        // SAFETY: within the block; initialised and unchanging as the caller promises.
        unsafe { std::slice::from_raw_parts(self.start.add(start).as_ptr(), end - start) }
    }

    /// Writes bytes at `position` while slices of what lies before it are lent out.
    ///
    /// # Safety
    /// No slice lent out covers any byte of `position..position + bytes.len()`.
    pub(super) unsafe fn fill(&self, position: usize, bytes: &[u8]) {
        let end = position
            .checked_add(bytes.len())
            .expect("lengths are bounded");
        assert!(end <= self.len, "the range lies within the block");
        // SAFETY: within the block; `bytes` cannot overlap it, as no slice covers the range.
        unsafe {
            self.start
                .add(position)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
    }

    /// Writes zeroes, under the same conditions as [`Memory::fill`].
    ///
    /// # Safety
    /// No slice lent out covers any byte of `position..position + len`.
    pub(super) unsafe fn fill_zeroes(&self, position: usize, len: usize) {
        let end = position.checked_add(len).expect("lengths are bounded");
        assert!(end <= self.len, "the range lies within the block");
        // SAFETY: within the block, and no slice covers the range.
        unsafe { self.start.add(position).write_bytes(0, len) }
    }
}
