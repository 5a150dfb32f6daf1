//! Messages between cores.
//!
//! Every pair of participants (the shards, and the control thread) has a lane in each direction: a
//! bounded queue that one writes and the other reads, so that a slow or flooding peer fills its own lane
//! and no other. A message wakes its receiver, also one that sleeps in the kernel. Nothing here is
//! allocated per message, and nobody ever waits for a lock on the way of one; only a sender that found
//! its lane full registers under a lock.
//!
//! This is the one place of the broker's core where atomics stand; everything else belongs to a thread.
//! The memory of all lanes is allocated at the start: participants squared times capacity.

pub mod latest;
pub mod remote;

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

/// The lane holds as many messages as it may; here is the message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lane to that core is full")]
pub struct MeshFull<M>(pub M);

/// Makes the lanes between a number of participants.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// One port for each participant, in the order of their ids. `capacity` is that of each lane.
    #[expect(clippy::new_ret_no_self, reason = "a mesh is its ports")]
    pub fn new<M: Send>(participants: usize, capacity: usize) -> Vec<MeshPort<M>> {
        let seats = (0..participants)
            .map(|_| Seat {
                lanes: (0..participants).map(|_| Lane::new(capacity)).collect(),
                receiver: AtomicWaker::new(),
                closed: AtomicBool::new(false),
            })
            .collect();
        let seats: Arc<[Seat<M>]> = seats;
        (0..participants)
            .map(|id| MeshPort {
                sender: MeshSender {
                    seats: Arc::clone(&seats),
                    from: id,
                },
                cursor: Cell::new(0),
            })
            .collect()
    }
}

/// Where one participant receives: a lane from each of the others.
struct Seat<M> {
    lanes: Box<[Lane<M>]>,
    receiver: AtomicWaker,
    closed: AtomicBool,
}

struct Lane<M> {
    queue: ArrayQueue<M>,
    sent: AtomicU64,
    /// Number of `waiters`, so that a receiver looks under the lock only when someone waits.
    waiting: AtomicUsize,
    waiters: Mutex<Vec<(u64, Waker)>>,
    next_ticket: AtomicU64,
}

impl<M> Lane<M> {
    fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            sent: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
            next_ticket: AtomicU64::new(0),
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_room(&self, ticket: u64, context: &Context<'_>) {
        let mut waiters = self.waiters();
        match waiters.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => waiters.push((ticket, context.waker().clone())),
        }
        self.waiting.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        // Pairs with the fence in `pop`: either the sender's next try finds the room, or the receiver
        // finds the waiter.
        fence(Ordering::SeqCst);
    }

    fn stop_waiting(&self, ticket: u64) {
        let mut waiters = self.waiters();
        waiters.retain(|(waiting, _)| *waiting != ticket);
        self.waiting.store(waiters.len(), Ordering::Relaxed);
    }

    fn wake_waiters(&self) {
        let woken = {
            let mut waiters = self.waiters();
            self.waiting.store(0, Ordering::Relaxed);
            std::mem::take(&mut *waiters)
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<M> {
        let message = self.queue.pop()?;
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake_waiters();
        }
        Some(message)
    }

    fn drain(&self) {
        while self.queue.pop().is_some() {}
        self.wake_waiters();
    }
}

/// One participant's end of all its lanes. Moves to its thread and stays there.
pub struct MeshPort<M> {
    sender: MeshSender<M>,
    /// Where the next look for messages starts, so that no lane is served before all others for ever.
    cursor: Cell<usize>,
}

impl<M: Send> MeshPort<M> {
    pub fn id(&self) -> usize {
        self.sender.from
    }

    /// Participants, this one included.
    pub fn peers(&self) -> usize {
        self.sender.seats.len()
    }

    /// See [`MeshSender::try_send`].
    pub fn try_send(&self, to: usize, message: M) -> Result<(), MeshFull<M>> {
        self.sender.try_send(to, message)
    }

    /// See [`MeshSender::send`].
    pub async fn send(&self, to: usize, message: M) {
        self.sender.send(to, message).await;
    }

    /// The next message and who sent it. Those of one sender come in the order they were sent. Cancel
    /// safe; call it from one task only.
    pub async fn recv(&self) -> (usize, M) {
        poll_fn(|context| {
            if let Some(received) = self.try_recv() {
                return Poll::Ready(received);
            }
            self.seat().receiver.register(context.waker());
            // What came before the waker stood there woke nobody.
            self.try_recv().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// A message that is there already.
    pub fn try_recv(&self) -> Option<(usize, M)> {
        let lanes = &self.seat().lanes;
        let start = self.cursor.get();
        for step in 0..lanes.len() {
            let from = (start + step) % lanes.len();
            if let Some(message) = lanes[from].pop() {
                self.cursor.set((from + 1) % lanes.len());
                return Some((from, message));
            }
        }
        None
    }

    /// Messages sent from here to `to` so far.
    pub fn sent(&self, to: usize) -> u64 {
        self.sender.sent(to)
    }

    /// Messages from `from` that wait here.
    pub fn queued(&self, from: usize) -> usize {
        self.seat().lanes[from].queue.len()
    }

    /// A handle that sends as this participant, from any thread.
    pub fn sender(&self) -> MeshSender<M> {
        self.sender.clone()
    }

    fn seat(&self) -> &Seat<M> {
        &self.sender.seats[self.sender.from]
    }
}

impl<M> Drop for MeshPort<M> {
    fn drop(&mut self) {
        let seat = &self.sender.seats[self.sender.from];
        seat.closed.store(true, Ordering::SeqCst);
        for lane in &seat.lanes {
            lane.drain();
        }
    }
}

/// Sends as one participant, from any thread.
pub struct MeshSender<M> {
    seats: Arc<[Seat<M>]>,
    from: usize,
}

impl<M> Clone for MeshSender<M> {
    fn clone(&self) -> Self {
        Self {
            seats: Arc::clone(&self.seats),
            from: self.from,
        }
    }
}

impl<M: Send> MeshSender<M> {
    /// Hands a message to a participant. One that has gone drops it, and with it the reply channel in
    /// it, which tells whoever waits for the answer.
    pub fn try_send(&self, to: usize, message: M) -> Result<(), MeshFull<M>> {
        let seat = &self.seats[to];
        if seat.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let lane = &seat.lanes[self.from];
        lane.queue.push(message).map_err(MeshFull)?;
        lane.sent.fetch_add(1, Ordering::Relaxed);
        seat.receiver.wake();
        // The receiver may have gone after the first look, and emptied the lane before the push.
        if seat.closed.load(Ordering::SeqCst) {
            lane.drain();
        }
        Ok(())
    }

    /// Waits until the lane has room. Never await this while the receiver may be waiting for room in a
    /// lane to this participant, unless someone else empties that one: two full lanes would wait for
    /// each other.
    pub async fn send(&self, to: usize, message: M) {
        let lane = &self.seats[to].lanes[self.from];
        let mut message = Some(message);
        let mut place = Place { lane, ticket: None };
        poll_fn(|context| {
            for registered in [false, true] {
                let Some(unsent) = message.take() else {
                    return Poll::Ready(());
                };
                match self.try_send(to, unsent) {
                    Ok(()) => return Poll::Ready(()),
                    Err(MeshFull(back)) => message = Some(back),
                }
                if !registered {
                    let ticket = *place
                        .ticket
                        .get_or_insert_with(|| lane.next_ticket.fetch_add(1, Ordering::Relaxed));
                    lane.wait_for_room(ticket, context);
                }
            }
            Poll::Pending
        })
        .await;
    }

    pub fn sent(&self, to: usize) -> u64 {
        self.seats[to].lanes[self.from].sent.load(Ordering::Relaxed)
    }
}

/// A sender's place among those that wait for room in a lane.
struct Place<'a, M> {
    lane: &'a Lane<M>,
    ticket: Option<u64>,
}

impl<M> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.lane.stop_waiting(ticket);
        }
    }
}

#[cfg(test)]
mod tests;
