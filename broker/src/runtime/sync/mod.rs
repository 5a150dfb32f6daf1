//! Coordination between the tasks of one executor: notifications, a one-shot value, a bounded queue,
//! counted permits, a monotonic counter to wait on, and the signal to stop.
//!
//! Everything here is `Rc` and `Cell`, belongs to one thread, and works the same on both back ends,
//! because all it knows of an executor is its wakers. No borrow outlives a poll, so a caller may use
//! these from inside any callback. What crosses threads is in `mesh`.

mod notify;
pub mod oneshot;
pub mod queue;
mod semaphore;
mod wait_for;

pub use notify::{Event, Notified, Notify, ShutdownSignal};
pub use semaphore::{Permit, Semaphore};
pub use wait_for::WaitFor;

/// The other side has gone, so what was waited for can no longer happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side of the channel is closed")]
pub struct Closed;

#[cfg(test)]
mod tests;
