//! A global allocator that counts what the current thread takes.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be written otherwise; it only counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator with the arguments as they came. The counters
// are plain cells without destructors, so that touching them neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist while the bytes move.
        count(size as isize);
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

fn count(bytes: isize) {
    CALLS.set(CALLS.get() + 1);
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

/// What a piece of code took from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Calls that asked for memory.
    pub(crate) calls: usize,
    /// Most bytes held at one time, beyond what was held before.
    pub(crate) peak_bytes: usize,
}

/// Runs `code` and says what it took.
pub(crate) fn measure<T>(code: impl FnOnce() -> T) -> (T, Taken) {
    let calls = CALLS.get();
    let live = LIVE.get();
    PEAK.set(live);
    let result = code();
    let taken = Taken {
        calls: CALLS.get() - calls,
        peak_bytes: (PEAK.get() - live) as usize,
    };
    (result, taken)
}
