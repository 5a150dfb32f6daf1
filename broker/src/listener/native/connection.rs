//! One client's connection, on the core that serves it.
//!
//! Two tasks share it: one receives frames and starts requests ([`super::receiver`]), the other
//! polls the requests under way and sends their replies ([`super::sender`]). A request is a
//! future in the sender's set, not a task of its own. What a peer can make the broker hold is
//! bounded: requests and bytes in flight here, received bytes by the shard's receive budget. At
//! a bound the socket is not read.
//!
//! A connection ends once, for one [`Close`]. Whoever finds the reason calls
//! [`Connection::close`], which stops the receiver and tells the sender what may still be sent.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use corelog_protocol::ShardId;
use corelog_protocol::native::messages::GoodbyePush;

use super::close::{Close, Ending};
use super::frame_reader::{Frame, FrameReader};
use super::groups;
use super::hello::{self, Greeting, Origin};
use super::outbox::{Outbox, Outgoing, Reply};
use super::receiver::{Receiver, discard_input};
use super::reply_order::ReplyOrder;
use super::request;
use super::sender::{RequestSet, send_replies};
use super::server::Server;
use super::subscribe::Subscriptions;
use super::wake::WakeSlot;
use super::watch::{Phase, Watch};
use crate::runtime::{self, Connection as Socket, WriteHalf};
use crate::shard::{ConnectionPermit, Crowded, HandedOff};

/// How long the peer of an ending connection may take for what is ready for it, and then for
/// closing its side.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    pub(super) server: Rc<Server>,
    pub(super) peer: SocketAddr,
    /// As Hello said.
    client_id: OnceCell<String>,
    pub(super) outbox: Outbox,
    pub(super) produce_order: RefCell<ReplyOrder<Outgoing>>,
    pub(super) fetch_order: RefCell<ReplyOrder<Outgoing>>,
    pub(super) subscriptions: Subscriptions,
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

impl Connection {
    pub(super) fn new(server: Rc<Server>, peer: SocketAddr) -> Rc<Self> {
        let watch = Watch::new(server.tick());
        Rc::new(Self {
            peer,
            client_id: OnceCell::new(),
            outbox: Outbox::new(server.router.lending().limit()),
            produce_order: RefCell::default(),
            fetch_order: RefCell::default(),
            subscriptions: Subscriptions::default(),
            requests_in_flight: Cell::new(0),
            bytes_in_flight: Cell::new(0),
            reads_under_way: Cell::new(0),
            crowded: RefCell::default(),
            held: Cell::new(0),
            watch,
            server,
            close: OnceCell::new(),
            end: WakeSlot::default(),
            room: WakeSlot::default(),
            sender: WakeSlot::default(),
        })
    }

    /// Serves the connection to its end, or hands it to the core that it asks for.
    pub(super) async fn run(
        self: &Rc<Self>,
        socket: Socket,
        bytes_read: BytesMut,
        permit: ConnectionPermit,
        origin: Origin,
    ) {
        let frames = FrameReader::new(bytes_read, self.server.options.frame_limits);
        let (read_half, write_half) = socket.split();
        let mut receiver = Receiver::new(Rc::clone(self), frames, read_half);
        if let Some(frame) = receiver.first_frame().await {
            let header = frame.header;
            match hello::greet(self, &frame, origin) {
                Ok(Greeting::Here) => self.watch.greeted(self.server.tick()),
                Ok(Greeting::HandOff(shard)) => {
                    self.hand_off(shard, frame, receiver, write_half, permit)
                        .await;
                    return;
                }
                Err(close) => self.close_at(close, header.api, header.correlation_id),
            }
        }
        self.serve(receiver, write_half).await;
        self.drop_unsent();
        drop(permit);
    }

    async fn hand_off(
        &self,
        shard: ShardId,
        hello: Frame,
        receiver: Receiver,
        write_half: WriteHalf,
        permit: ConnectionPermit,
    ) {
        let (frames, read_half) = receiver.into_parts();
        let socket = read_half
            .unsplit(write_half)
            .expect("both halves are of this connection");
        match socket.into_accepted() {
            Ok(socket) => {
                let router = &self.server.router;
                router.metrics().connections_handed_off.increment();
                let handed_off = HandedOff {
                    socket,
                    bytes_read: frames.into_unread(&hello),
                    permit,
                };
                router.hand_off(shard, handed_off).await;
            }
            Err(error) => self.close(Close::SocketFailed(error)),
        }
    }

    /// What the client called itself in its Hello.
    pub(super) fn set_client_id(&self, client_id: String) {
        // A connection is greeted once.
        let _ = self.client_id.set(client_id);
    }

    /// The client, as a member of groups.
    pub(super) fn group_member(&self) -> groups::Sender {
        groups::Sender {
            client_id: self.client_id.get().cloned().unwrap_or_default(),
            client_host: self.peer.ip().to_string(),
        }
    }

    /// Receives and answers until the connection ends. It may be ending already: then this sends
    /// its last words.
    async fn serve(self: &Rc<Self>, mut receiver: Receiver, write_half: WriteHalf) {
        let requests = Rc::new(RequestSet::default());
        let sender = runtime::spawn(send_replies(
            Rc::clone(self),
            Rc::clone(&requests),
            write_half,
        ));
        while let Some(request) = receiver.next_request().await {
            if let Some(request) = request::start(self, request) {
                requests.add(request);
                self.sender.wake();
            }
        }
        let limit = match self.ending() {
            Some(Ending::Drain | Ending::DrainWrites) => {
                self.server.options.drain_timeout.max(LAST_WORDS_TIMEOUT)
            }
            Some(Ending::Flush) => LAST_WORDS_TIMEOUT,
            Some(Ending::Abandon) | None => {
                sender.cancel().await;
                return;
            }
        };
        if runtime::timeout(limit, sender).await.is_ok() {
            let (_, mut read_half) = receiver.into_parts();
            discard_input(&mut read_half, LAST_WORDS_TIMEOUT).await;
        }
    }

    /// Counts a read until the guard is dropped.
    pub(super) fn read_under_way(self: &Rc<Self>) -> ReadUnderWay {
        self.reads_under_way.set(self.reads_under_way.get() + 1);
        ReadUnderWay(Rc::clone(self))
    }

    pub(super) fn reads_under_way(&self) -> usize {
        self.reads_under_way.get()
    }

    /// Drops the replies that will not be sent any more. Each holds its share of this connection,
    /// and so the connection: it would never be freed.
    fn drop_unsent(&self) {
        let unsent = (
            self.outbox.take(),
            self.produce_order.take(),
            self.fetch_order.take(),
        );
        drop(unsent);
    }

    /// Has the receiver wait until a partition takes more. This is how back-pressure reaches the
    /// client.
    pub(super) fn hold_back_until(&self, crowded: Crowded) {
        self.crowded.borrow_mut().push(crowded);
    }

    /// Ends the connection for `reason`, unless it is ending already.
    pub(super) fn close(&self, reason: Close) {
        self.close_at(reason, 0, 0);
    }

    /// Like [`Connection::close`], naming the frame that gave the reason.
    pub(super) fn close_at(&self, reason: Close, api: u16, correlation_id: u32) {
        if self.close.get().is_some() {
            return;
        }
        // Before the last frame is queued: nothing may be pushed behind it.
        self.subscriptions.end_all();
        let last_words = match &reason {
            Close::Stopping => Some(Reply::Goodbye(GoodbyePush {
                reason: reason.to_string(),
            })),
            _ => reason.refusal().map(Reply::error),
        };
        if let Some(reply) = last_words {
            self.outbox
                .push(Outgoing::new((api, correlation_id), reply, None));
        }
        self.server.note_close(self.peer, &reason);
        self.close
            .set(reason)
            .expect("it was empty and nothing here runs in between");
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
        let options = &self.server.options;
        poll_fn(|context| {
            if self.requests_in_flight.get() < options.max_in_flight_requests
                && self.bytes_in_flight.get() < options.max_in_flight_bytes
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
            connection: Rc::clone(self),
            bytes,
        }
    }

    /// Notes what the receiver waits for, or that it made progress.
    pub(super) fn enter(&self, phase: Phase) {
        self.watch.enter(phase, self.server.tick());
    }

    /// Notes that the receiver awaits bytes, having `unread` of a frame.
    pub(super) fn note_reading(&self, unread: usize) {
        match unread {
            0 => self.enter(Phase::BetweenFrames),
            received => self.watch.enter_frame(received, self.server.tick()),
        }
    }

    /// Notes that the sender waits for the peer to take bytes, or that it took some.
    pub(super) fn note_sending(&self, sending: bool) {
        self.watch.set_sending(sending.then(|| self.server.tick()));
        self.note_progress();
    }

    /// Counts a reply or push that holds records, from here until [`Connection::note_sent`].
    pub(super) fn note_held(&self, outgoing: &Outgoing) {
        if outgoing.holds_records {
            let before = self.held.replace(self.held.get() + 1);
            if before == 0 {
                self.note_progress();
            }
        }
    }

    pub(super) fn note_sent(&self, outgoing: &Outgoing) {
        if outgoing.holds_records {
            self.held.set(self.held.get() - 1);
        }
        self.outbox.note_sent(outgoing);
        self.note_progress();
    }

    /// Notes that the peer took something of what it holds, if it holds records.
    pub(super) fn note_progress(&self) {
        let holds = self.held.get() > 0;
        self.watch.set_holding(holds.then(|| self.server.tick()));
    }

    /// Ends the connection if its peer let a time-out pass. `pressed`: other readers wait for memory.
    pub(super) fn sweep(&self, pressed: bool) {
        let is_used = self.requests_in_flight.get() > 0 || !self.subscriptions.is_empty();
        if let Some(close) =
            self.watch
                .overdue(self.server.tick(), is_used, pressed, &self.server.timeouts)
        {
            self.close(close);
        }
    }
}

/// Held by the future of a read.
pub(super) struct ReadUnderWay(Rc<Connection>);

impl Drop for ReadUnderWay {
    fn drop(&mut self) {
        let reads = &self.0.reads_under_way;
        reads.set(reads.get() - 1);
    }
}

/// A request's share of its connection's limits, held until its reply is sent.
pub(super) struct InFlight {
    connection: Rc<Connection>,
    bytes: usize,
}

impl InFlight {
    /// Adds what the reply may hold.
    pub(super) fn add_reply_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
        let in_flight = &self.connection.bytes_in_flight;
        in_flight.set(in_flight.get() + bytes);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .requests_in_flight
            .set(connection.requests_in_flight.get() - 1);
        connection
            .bytes_in_flight
            .set(connection.bytes_in_flight.get() - self.bytes);
        connection.room.wake();
    }
}
