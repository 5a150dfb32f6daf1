//! What was fetched and not yet polled, in the order of its coming. It is bounded by what the fetchers allow themselves:
//! every portion carries a [`Hold`] on its fetcher's window, given back when the portion was polled or dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use corelog_protocol::Offset;
use tokio::sync::Notify;

use crate::error::ConsumeError;
use crate::record::TopicPartition;

/// Something for `poll`, of one partition.
pub(super) struct Portion {
    pub(super) partition: TopicPartition,
    /// That of the partition's position when this was asked for: after a seek it is worth nothing.
    pub(super) generation: u64,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// Whole batches, checked.
    Batches { bytes: Bytes, hold: Option<Hold> },
    /// The position is outside the log.
    OutOfRange(Offset),
    /// The log was cut back to this offset by a new leader.
    Truncated(Offset),
    /// The partition cannot be read on.
    Failed(ConsumeError),
}

#[derive(Default)]
pub(super) struct FetchBuffer {
    portions: Mutex<VecDeque<Portion>>,
    arrived: Notify,
}

impl FetchBuffer {
    pub(super) fn push(&self, portion: Portion) {
        self.portions().push_back(portion);
        self.arrived.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Portion> {
        self.portions().pop_front()
    }

    /// Drops what is not wanted any more.
    pub(super) fn retain(&self, wanted: impl Fn(&Portion) -> bool) {
        self.portions().retain(wanted);
    }

    /// Resolves once something may have arrived since the last time.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn portions(&self) -> MutexGuard<'_, VecDeque<Portion>> {
        self.portions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that one fetcher has in the buffer, whatever it was fetching when they came.
pub(super) struct Window {
    held: AtomicU64,
    changed: Notify,
}

impl Window {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            held: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Hold {
        let bytes = bytes as u64;
        self.held.fetch_add(bytes, Ordering::AcqRel);
        Hold {
            window: Arc::clone(self),
            bytes,
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// Resolves once bytes may have been given back since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Bytes of a window in use.
pub(super) struct Hold {
    window: Arc<Window>,
    bytes: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.window.held.fetch_sub(self.bytes, Ordering::AcqRel);
        self.window.changed.notify_one();
    }
}
