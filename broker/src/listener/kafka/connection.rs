//! One client's connection, on the core that serves it.
//!
//! Kafka's brokers carry out one request of a connection at a time and answer in their order; clients rely on both. So does
//! this one, but for produces that follow one another: they are put in their partitions' lines at once, so that one
//! commit carries many, and still answered in order.
//!
//! Whatever is wrong with a request beyond what its response can say ends the connection, without a word, as in Kafka.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use corelog_protocol::kafka::KafkaApi;

use super::call::Call;
use super::framing::KafkaFraming;
use super::request;
use super::sender::{Requests, send_replies};
use super::server::Server;
use crate::listener::close::{Close, Ending};
use crate::listener::flow::{Flow, InFlight};
use crate::listener::frame_buffer::FrameBuffer;
use crate::listener::kafka::fetch_session::FetchSessions;
use crate::listener::receiver::{Receiver, discard_input};
use crate::listener::server::{LAST_WORDS_TIMEOUT, Origin, Served};
use crate::runtime::{self, Connection as Socket, WriteHalf};
use crate::shard::ConnectionPermit;

pub(super) struct Connection {
    pub(super) server: Rc<Server>,
    pub(super) flow: Rc<Flow>,
    pub(super) peer: SocketAddr,
    pub(super) sessions: RefCell<FetchSessions>,
}

impl Served for Connection {
    type Shared = super::server::Shared;

    fn new(server: Rc<Server>, peer: SocketAddr) -> Rc<Self> {
        let flow = server.new_flow();
        // Nobody says hello here.
        flow.greeted();
        Rc::new(Self {
            server,
            flow,
            peer,
            sessions: RefCell::default(),
        })
    }

    async fn run(
        self: Rc<Self>,
        socket: Socket,
        bytes_read: BytesMut,
        permit: ConnectionPermit,
        _: Origin,
    ) {
        let framing = KafkaFraming::new(self.server.options.frame_limits.max_payload as usize);
        let frames = FrameBuffer::new(bytes_read, framing);
        let (read_half, write_half) = socket.split();
        let budget = Rc::clone(&self.server.receive_budget);
        let receiver = Receiver::new(Rc::clone(&self.flow), budget, frames, read_half);
        self.serve(receiver, write_half).await;
        drop(permit);
    }

    fn close(&self, reason: Close) {
        if !self.flow.is_closing() {
            self.server.note_close(self.peer, &reason);
            self.flow.end(reason);
        }
    }

    fn sweep(&self, pressed: bool) {
        let timeouts = &self.server.timeouts;
        if let Some(close) = self.flow.overdue(false, pressed, timeouts) {
            self.close(close);
        }
    }
}

impl Connection {
    async fn serve(self: &Rc<Self>, mut receiver: Receiver<KafkaFraming>, write_half: WriteHalf) {
        let requests = Rc::<Requests>::default();
        let sender = runtime::spawn(send_replies(
            Rc::clone(self),
            Rc::clone(&requests),
            write_half,
        ));
        loop {
            match self.next_call(&mut receiver, &requests).await {
                Ok(Some((call, in_flight))) => {
                    requests.add(call.api, request::start(call, in_flight));
                    self.flow.sender.wake();
                }
                Ok(None) => break,
                Err(close) => self.close(close),
            }
        }
        let limit = match self.flow.ending() {
            Some(Ending::Drain | Ending::DrainWrites) => {
                self.server.options.drain_timeout.max(LAST_WORDS_TIMEOUT)
            }
            Some(Ending::Flush) => LAST_WORDS_TIMEOUT,
            Some(Ending::Abandon) | None => {
                sender.cancel().await;
                requests.abandon();
                return;
            }
        };
        if runtime::timeout(limit, sender).await.is_ok() {
            let (_, mut read_half) = receiver.into_parts();
            discard_input(&mut read_half, LAST_WORDS_TIMEOUT).await;
        }
        // Each holds the connection: it would never be freed.
        requests.abandon();
    }

    /// The next request, once it may be carried out; `None` once the connection is ending.
    async fn next_call(
        self: &Rc<Self>,
        receiver: &mut Receiver<KafkaFraming>,
        requests: &Requests,
    ) -> Result<Option<(Call, InFlight)>, Close> {
        let Some(frame) = receiver.next_frame().await? else {
            return Ok(None);
        };
        let bytes = frame.len();
        let mut call = Call::new(self, frame)?;
        if bytes > call.max_bytes() {
            return Err(Close::RequestTooLong {
                api: call.api,
                bytes,
                max: call.max_bytes(),
            });
        }
        let joins_the_line = call.api == KafkaApi::Produce && requests.are_all_produces();
        if !joins_the_line && self.flow.unless_closing(self.flow.idle()).await.is_none() {
            return Ok(None);
        }
        let admitted = receiver.admit(bytes).await;
        Ok(admitted.map(|(charge, in_flight)| {
            call.charge(charge);
            (call, in_flight)
        }))
    }
}
