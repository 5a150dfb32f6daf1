//! The newest of a series of values, across threads: the metadata image that every shard follows.
//!
//! Publishing never waits and keeps only the newest value; a subscriber that was slow skips what lies
//! between.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::sync::Closed;

pub fn channel<T: Send + Sync>(initial: Arc<T>) -> (Publisher<T>, Subscriber<T>) {
    let (sender, receiver) = watch::channel(initial);
    (Publisher(sender), Subscriber(receiver))
}

#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<Arc<T>>);

impl<T: Send + Sync> Publisher<T> {
    pub fn publish(&self, value: Arc<T>) {
        self.0.send_replace(value);
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// A subscriber that has seen the present value.
    pub fn subscribe(&self) -> Subscriber<T> {
        Subscriber(self.0.subscribe())
    }
}

/// Follows the newest value. A clone follows on its own, from what this one has seen.
#[derive(Debug, Clone)]
pub struct Subscriber<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync> Subscriber<T> {
    /// The newest value, which counts as seen.
    pub fn latest(&mut self) -> Arc<T> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// The newest value once there is one that was not seen; [`Closed`] when the publisher has gone.
    /// Cancel safe.
    pub async fn changed(&mut self) -> Result<Arc<T>, Closed> {
        self.0.changed().await.map_err(|_| Closed)?;
        Ok(self.latest())
    }
}
