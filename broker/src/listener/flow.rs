//! What bounds one connection, whatever it speaks: requests and bytes in flight, its time-outs, and its end.
//!
//! Lives on the core that serves the connection. Its receiver and its sender share it: each parks here, and each is woken
//! here. A connection ends once, for one [`Close`]; the first that is found stands.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::close::{Close, Ending};
use super::options::ListenerOptions;
use super::wake::WakeSlot;
use super::watch::{Phase, Tick, Timeouts, Watch};
use crate::shard::Crowded;

pub(super) struct Flow {
    /// Counts the server's sweeps.
    clock: Rc<Cell<Tick>>,
    max_requests: usize,
    max_bytes: usize,
    requests_in_flight: Cell<usize>,
    bytes_in_flight: Cell<usize>,
    /// Those of the requests being carried out that only read, and may be waiting for records.
    reads_under_way: Cell<usize>,
    /// Partitions that must take more before another request is read.
    crowded: RefCell<Vec<Crowded>>,
    /// Replies and pushes with records, waiting to be sent or for those before them.
    held: Cell<usize>,
    watch: Watch,
    close: OnceCell<Close>,
    /// Where the receiver hears of the end, whatever else it waits for.
    end: WakeSlot,
    /// Where the receiver waits for room in flight. Apart from `end`, so that a reply does not
    /// wake a receiver that waits for the socket.
    room: WakeSlot,
    /// Where the sender waits for replies or for the end.
    pub(super) sender: WakeSlot,
}

impl Flow {
    pub(super) fn new(clock: Rc<Cell<Tick>>, options: &ListenerOptions) -> Rc<Self> {
        Rc::new(Self {
            watch: Watch::new(clock.get()),
            clock,
            max_requests: options.max_in_flight_requests,
            max_bytes: options.max_in_flight_bytes,
            requests_in_flight: Cell::new(0),
            bytes_in_flight: Cell::new(0),
            reads_under_way: Cell::new(0),
            crowded: RefCell::default(),
            held: Cell::new(0),
            close: OnceCell::new(),
            end: WakeSlot::default(),
            room: WakeSlot::default(),
            sender: WakeSlot::default(),
        })
    }

    /// The peer has said who it is: from here on its pauses count one by one.
    pub(super) fn greeted(&self) {
        self.watch.greeted(self.clock.get());
    }

    /// Counts a read until the guard is dropped.
    pub(super) fn read_under_way(self: &Rc<Self>) -> ReadUnderWay {
        self.reads_under_way.set(self.reads_under_way.get() + 1);
        ReadUnderWay(Rc::clone(self))
    }

    pub(super) fn reads_under_way(&self) -> usize {
        self.reads_under_way.get()
    }

    /// Has the receiver wait until a partition takes more. This is how back-pressure reaches the
    /// client.
    pub(super) fn hold_back_until(&self, crowded: Crowded) {
        self.crowded.borrow_mut().push(crowded);
    }

    /// Ends the connection for `reason`, which nothing did before.
    pub(super) fn end(&self, reason: Close) {
        let first = self.close.set(reason).is_ok();
        assert!(first, "a connection ends once");
        self.end.wake();
        self.sender.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.close.get().is_some()
    }

    /// How the connection ends; `None` while it does not.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.close.get().map(Close::ending)
    }

    /// Waits for `future`, or for the end of the connection: then `None`.
    ///
    /// For the receiver only, which is the one task that parks in its slot.
    pub(super) async fn unless_closing<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.is_closing() {
                return Poll::Ready(None);
            }
            self.end.park(context);
            future.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Takes a request of `bytes` in, once the connection is below its limits.
    ///
    /// One request may pass the limit of bytes, so that none is too large to be served at all.
    pub(super) async fn admit(self: &Rc<Self>, bytes: usize) -> InFlight {
        for crowded in self.crowded.take() {
            self.enter(Phase::HeldBack);
            crowded.room().await;
        }
        poll_fn(|context| {
            if self.requests_in_flight.get() < self.max_requests
                && self.bytes_in_flight.get() < self.max_bytes
            {
                return Poll::Ready(());
            }
            self.enter(Phase::HeldBack);
            self.room.park(context);
            Poll::Pending
        })
        .await;
        self.requests_in_flight
            .set(self.requests_in_flight.get() + 1);
        self.bytes_in_flight.set(self.bytes_in_flight.get() + bytes);
        InFlight {
            flow: Rc::clone(self),
            bytes,
        }
    }

    /// Waits until nothing is in flight. For the receiver.
    pub(super) async fn idle(&self) {
        poll_fn(|context| {
            if self.requests_in_flight.get() == 0 {
                return Poll::Ready(());
            }
            self.enter(Phase::HeldBack);
            self.room.park(context);
            Poll::Pending
        })
        .await;
    }

    /// Notes what the receiver waits for, or that it made progress.
    pub(super) fn enter(&self, phase: Phase) {
        self.watch.enter(phase, self.clock.get());
    }

    /// Notes that the receiver awaits bytes, having `unread` of a frame.
    pub(super) fn note_reading(&self, unread: usize) {
        match unread {
            0 => self.enter(Phase::BetweenFrames),
            received => self.watch.enter_frame(received, self.clock.get()),
        }
    }

    /// Notes that the sender waits for the peer to take bytes, or that it took some.
    pub(super) fn note_sending(&self, sending: bool) {
        self.watch.set_sending(sending.then(|| self.clock.get()));
        self.note_progress();
    }

    /// Counts a reply or push that holds records, from here until [`Flow::note_released`].
    pub(super) fn note_held(&self) {
        let before = self.held.replace(self.held.get() + 1);
        if before == 0 {
            self.note_progress();
        }
    }

    pub(super) fn note_released(&self) {
        self.held.set(self.held.get() - 1);
        self.note_progress();
    }

    /// Notes that the peer took something of what it holds, if it holds records.
    pub(super) fn note_progress(&self) {
        let holds = self.held.get() > 0;
        self.watch.set_holding(holds.then(|| self.clock.get()));
    }

    /// The time-out that the peer has let pass, if it has. `is_used`: something beside requests is under way for it;
    /// `pressed`: other readers wait for memory.
    pub(super) fn overdue(
        &self,
        is_used: bool,
        pressed: bool,
        timeouts: &Timeouts,
    ) -> Option<Close> {
        let is_used = is_used || self.requests_in_flight.get() > 0;
        self.watch
            .overdue(self.clock.get(), is_used, pressed, timeouts)
    }
}

/// Held by the future of a read.
pub(super) struct ReadUnderWay(Rc<Flow>);

impl Drop for ReadUnderWay {
    fn drop(&mut self) {
        let reads = &self.0.reads_under_way;
        reads.set(reads.get() - 1);
    }
}

/// A request's share of its connection's limits, held until its reply is sent.
pub(super) struct InFlight {
    flow: Rc<Flow>,
    bytes: usize,
}

impl InFlight {
    /// Adds what the reply may hold.
    pub(super) fn add_reply_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
        let in_flight = &self.flow.bytes_in_flight;
        in_flight.set(in_flight.get() + bytes);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let flow = &self.flow;
        flow.requests_in_flight
            .set(flow.requests_in_flight.get() - 1);
        flow.bytes_in_flight
            .set(flow.bytes_in_flight.get() - self.bytes);
        flow.watch.served(flow.clock.get());
        flow.room.wake();
    }
}
