//! Which back end runs on this thread.
//!
//! An executor announces itself here while it runs, so that free functions such as [`super::now`] and
//! [`super::spawn`] need no handle. A thread without an executor (a test, the control thread) reads the
//! real clock and allocates plain memory, but cannot spawn or sleep through this module.

use std::cell::RefCell;
use std::rc::Rc;

use super::sim::Core;

#[derive(Clone)]
pub(super) enum Backend {
    Glommio,
    Simulated(Rc<Core>),
}

thread_local! {
    static CURRENT: RefCell<Option<Backend>> = const { RefCell::new(None) };
}

/// Puts the previous back end back when the executor stops, also by a panic.
pub(super) struct Entered(Option<Backend>);

pub(super) fn enter(backend: Backend) -> Entered {
    Entered(CURRENT.with(|current| current.borrow_mut().replace(backend)))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = previous);
    }
}

pub(super) fn current() -> Option<Backend> {
    CURRENT.with(|current| current.borrow().clone())
}

/// The back end of the executor that runs on this thread; without one this is a programming error.
#[track_caller]
pub(super) fn expect_current() -> Backend {
    current().expect("called outside an executor: use launch_shard or Simulator::run")
}
