//! One parked task of this core and the way to wake it.

use std::cell::Cell;
use std::task::{Context, Waker};

/// Where a task leaves its waker before it returns `Pending`.
///
/// One task parks here at a time; waking an empty slot does nothing, so the task must look at
/// its condition after it parked.
#[derive(Default)]
pub(super) struct WakeSlot(Cell<Option<Waker>>);

impl WakeSlot {
    pub(super) fn park(&self, context: &Context<'_>) {
        let mut waker = self.0.take();
        match &mut waker {
            Some(parked) => parked.clone_from(context.waker()),
            None => waker = Some(context.waker().clone()),
        }
        self.0.set(waker);
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
