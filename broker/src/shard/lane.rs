//! The way of requests to one other shard: in order, and bounded.
//!
//! A lane has a number of places. A request takes one when it is handed over and gives it back
//! when it is answered, so what is under way to, at, and back from the other shard is bounded, and
//! the mesh's own queues cannot overflow. Like a partition's mailbox, a lane settles the order at
//! once and never waits: beyond its bound it keeps taking requests, but says that it is full, and
//! the connection that handed one over stops reading until there is room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::message::ShardMessage;
use crate::metrics::ShardMetrics;
use crate::runtime::{MeshPort, Notify, remote, spawn};

pub(crate) struct Lane {
    mesh: Rc<MeshPort<ShardMessage>>,
    metrics: Rc<ShardMetrics>,
    to: usize,
    places: usize,
    /// Sent and not yet answered.
    under_way: Cell<usize>,
    /// Not yet sent: there was no place, or the mesh's queue was full.
    line: RefCell<VecDeque<ShardMessage>>,
    courier_runs: Cell<bool>,
    room: Notify,
    closed: Cell<bool>,
}

impl Lane {
    pub(crate) fn new(
        mesh: Rc<MeshPort<ShardMessage>>,
        metrics: Rc<ShardMetrics>,
        to: usize,
        places: usize,
    ) -> Rc<Self> {
        assert!(places > 0, "a lane without places passes nothing on");
        Rc::new(Self {
            mesh,
            metrics,
            to,
            places,
            under_way: Cell::new(0),
            line: RefCell::new(VecDeque::new()),
            courier_runs: Cell::new(false),
            room: Notify::new(),
            closed: Cell::new(false),
        })
    }

    /// Hands a request over. Its place among this lane's requests is settled when this returns.
    pub(crate) fn send<T: Send + 'static>(
        self: &Rc<Self>,
        request: impl FnOnce(remote::ReplySender<T>) -> ShardMessage,
    ) -> Forwarded<T> {
        let (reply, answer) = remote::channel();
        self.line.borrow_mut().push_back(request(reply));
        self.dispatch();
        Forwarded {
            lane: Rc::clone(self),
            answer: Some(answer),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.under_way.get() + self.line.borrow().len() >= self.places
    }

    pub(crate) async fn room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// From here on a dropped request starts no task to wait for its answer: the executor ends.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    /// Sends what may be sent, in order.
    fn dispatch(self: &Rc<Self>) {
        if self.courier_runs.get() {
            return;
        }
        while let Some(message) = self.next_to_send() {
            if let Err(full) = self.mesh.try_send(self.to, message) {
                self.line.borrow_mut().push_front(full.0);
                self.under_way.set(self.under_way.get() - 1);
                self.start_courier();
                return;
            }
        }
    }

    fn next_to_send(&self) -> Option<ShardMessage> {
        if self.under_way.get() >= self.places {
            return None;
        }
        let message = self.line.borrow_mut().pop_front()?;
        self.under_way.set(self.under_way.get() + 1);
        self.metrics.mesh_messages.increment();
        Some(message)
    }

    /// Waits for the mesh in the place of those who must not wait.
    fn start_courier(self: &Rc<Self>) {
        self.courier_runs.set(true);
        let lane = Rc::clone(self);
        spawn(async move {
            while let Some(message) = lane.next_to_send() {
                lane.mesh.send(lane.to, message).await;
            }
            lane.courier_runs.set(false);
        })
        .detach();
    }

    fn answered(self: &Rc<Self>) {
        let was_full = self.is_full();
        self.under_way.set(self.under_way.get().saturating_sub(1));
        self.dispatch();
        if was_full && !self.is_full() {
            self.room.notify_waiters();
        }
    }
}

/// The answer to a request on another shard; `None` when that shard is gone.
pub(crate) struct Forwarded<T: Send + 'static> {
    lane: Rc<Lane>,
    answer: Option<remote::ReplyReceiver<T>>,
}

impl<T: Send + 'static> Forwarded<T> {
    pub(crate) fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }
}

impl<T: Send + 'static> Future for Forwarded<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        match Pin::new(answer).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => {
                self.answer = None;
                self.lane.answered();
                Poll::Ready(answer.ok())
            }
        }
    }
}

/// A connection that closes abandons its requests, but the other shard still works on them: the
/// place is given back when it has answered.
impl<T: Send + 'static> Drop for Forwarded<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take()
            && !self.lane.closed.get()
        {
            let lane = Rc::clone(&self.lane);
            spawn(async move {
                drop(answer.await);
                lane.answered();
            })
            .detach();
        }
    }
}
