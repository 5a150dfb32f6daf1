//! One client's connection, on the core that serves it.
//!
//! Two tasks share it: one receives frames and starts requests ([`super::receiver`]), the other
//! polls the requests under way and sends their replies ([`super::sender`]). A request is a
//! future in the sender's set, not a task of its own. What a peer can make the broker hold is
//! bounded: requests and bytes in flight by the connection's [`Flow`], received bytes by the
//! shard's receive budget. At a bound the socket is not read.
//!
//! A connection ends once, for one [`Close`]. Whoever finds the reason calls
//! [`Connection::close`], which stops the receiver and tells the sender what may still be sent.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use corelog_protocol::ShardId;
use corelog_protocol::native::messages::GoodbyePush;

use super::framing::{Frame, NativeFraming};
use super::groups;
use super::hello::{self, Greeting};
use super::outbox::{Outbox, Outgoing, Reply};
use super::receiver::{first_frame, next_request};
use super::reply_order::ReplyOrder;
use super::request;
use super::sender::{RequestSet, send_replies};
use super::server::Server;
use super::subscribe::Subscriptions;
use crate::listener::close::{Close, Ending};
use crate::listener::flow::Flow;
use crate::listener::frame_buffer::FrameBuffer;
use crate::listener::receiver::{Receiver, discard_input};
use crate::listener::server::{LAST_WORDS_TIMEOUT, Origin, Served};
use crate::runtime::{self, Connection as Socket, WriteHalf};
use crate::shard::{ConnectionPermit, HandedOff, Listening};

pub(super) struct Connection {
    pub(super) server: Rc<Server>,
    pub(super) flow: Rc<Flow>,
    peer: SocketAddr,
    /// As Hello said.
    client_id: OnceCell<String>,
    pub(super) outbox: Outbox,
    pub(super) produce_order: RefCell<ReplyOrder<Outgoing>>,
    pub(super) fetch_order: RefCell<ReplyOrder<Outgoing>>,
    pub(super) subscriptions: Subscriptions,
}

impl Served for Connection {
    type Shared = super::server::Shared;

    fn new(server: Rc<Server>, peer: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            peer,
            flow: server.new_flow(),
            client_id: OnceCell::new(),
            outbox: Outbox::new(server.router.lending().limit()),
            produce_order: RefCell::default(),
            fetch_order: RefCell::default(),
            subscriptions: Subscriptions::default(),
            server,
        })
    }

    /// Serves the connection to its end, or hands it to the core that it asks for.
    async fn run(
        self: Rc<Self>,
        socket: Socket,
        bytes_read: BytesMut,
        permit: ConnectionPermit,
        origin: Origin,
    ) {
        let framing = NativeFraming::new(self.server.options.frame_limits);
        let frames = FrameBuffer::new(bytes_read, framing);
        let (read_half, write_half) = socket.split();
        let budget = Rc::clone(&self.server.receive_budget);
        let mut receiver = Receiver::new(Rc::clone(&self.flow), budget, frames, read_half);
        if let Some(frame) = first_frame(&self, &mut receiver).await {
            let header = frame.header;
            match hello::greet(&self, &frame, origin) {
                Ok(Greeting::Here) => self.flow.greeted(),
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

    fn close(&self, reason: Close) {
        self.close_at(reason, 0, 0);
    }

    fn sweep(&self, pressed: bool) {
        let is_used = !self.subscriptions.is_empty();
        let timeouts = &self.server.timeouts;
        if let Some(close) = self.flow.overdue(is_used, pressed, timeouts) {
            self.close(close);
        }
    }
}

impl Connection {
    async fn hand_off(
        &self,
        shard: ShardId,
        hello: Frame,
        receiver: Receiver<NativeFraming>,
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
                    listening: Listening::Native,
                    socket,
                    bytes_read: hello.put_back(&frames.into_unread()),
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
    async fn serve(self: &Rc<Self>, mut receiver: Receiver<NativeFraming>, write_half: WriteHalf) {
        let requests = Rc::new(RequestSet::default());
        let sender = runtime::spawn(send_replies(
            Rc::clone(self),
            Rc::clone(&requests),
            write_half,
        ));
        while let Some(request) = next_request(self, &mut receiver).await {
            if let Some(request) = request::start(self, request) {
                requests.add(request);
                self.flow.sender.wake();
            }
        }
        let limit = match self.flow.ending() {
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

    /// Ends the connection for `reason`, unless it is ending already, naming the frame that gave the reason.
    pub(super) fn close_at(&self, reason: Close, api: u16, correlation_id: u32) {
        if self.flow.is_closing() {
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
        self.flow.end(reason);
    }

    /// Counts a reply or push that holds records, from here until [`Connection::note_sent`].
    pub(super) fn note_held(&self, outgoing: &Outgoing) {
        if outgoing.holds_records {
            self.flow.note_held();
        }
    }

    pub(super) fn note_sent(&self, outgoing: &Outgoing) {
        self.outbox.note_sent(outgoing);
        match outgoing.holds_records {
            true => self.flow.note_released(),
            false => self.flow.note_progress(),
        }
    }
}
