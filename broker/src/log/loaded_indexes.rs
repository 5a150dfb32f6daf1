//! The indexes of closed segments that are in memory: at most so many bytes of a shard.
//!
//! An index is read when a lookup needs it. At the bound, the one that was used the longest ago is
//! forgotten; the next lookup there reads it again from its files. The index of the segment that a log
//! appends to stays in memory until its partition rests (see `checkpoint`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::segment::Segment;

pub(crate) struct LoadedIndexes {
    limit: usize,
    /// Counts uses, from 1.
    clock: Cell<u64>,
    /// By last use, with the bytes counted for it.
    by_use: RefCell<BTreeMap<u64, (Weak<Segment>, usize)>>,
    bytes: Cell<usize>,
}

impl LoadedIndexes {
    pub(crate) fn new(limit: usize) -> LoadedIndexes {
        LoadedIndexes {
            limit,
            clock: Cell::new(0),
            by_use: RefCell::default(),
            bytes: Cell::new(0),
        }
    }

    /// Bytes of the indexes counted here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Notes that a closed segment's index was used, or has just been written to its files, and
    /// forgets others beyond the bound.
    pub(crate) fn note_use(&self, segment: &Rc<Segment>) {
        if !segment.is_sealed() {
            return;
        }
        self.clock.set(self.clock.get() + 1);
        let last_use = segment.index_used.replace(self.clock.get());
        let mut by_use = self.by_use.borrow_mut();
        let counted = by_use.remove(&last_use).map_or(0, |(_, bytes)| bytes);
        let bytes = segment.index.borrow().memory_bytes();
        self.bytes.set(self.bytes.get() - counted + bytes);
        by_use.insert(self.clock.get(), (Rc::downgrade(segment), bytes));
        while self.bytes.get() > self.limit
            && by_use.len() > 1
            && let Some((_, (segment, bytes))) = by_use.pop_first()
        {
            self.bytes.set(self.bytes.get() - bytes);
            if let Some(segment) = segment.upgrade() {
                segment.forget_index();
            }
        }
    }
}
