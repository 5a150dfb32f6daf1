//! One value across threads: the answer to a message of the mesh. Awaited on any executor.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::super::sync::Closed;

pub fn channel<T: Send>() -> (ReplySender<T>, ReplyReceiver<T>) {
    let (sender, receiver) = oneshot::channel();
    (ReplySender(sender), ReplyReceiver(receiver))
}

/// Answers once. Dropped without an answer, the other side gets [`Closed`].
#[derive(Debug)]
pub struct ReplySender<T>(oneshot::Sender<T>);

impl<T: Send> ReplySender<T> {
    /// Gives the value back when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReplyReceiver<T>(oneshot::Receiver<T>);

impl<T: Send> Future for ReplyReceiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Closed)
    }
}
