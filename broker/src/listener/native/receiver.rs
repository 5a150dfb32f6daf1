//! The receiving side of a connection: socket → frames → requests.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::native::{FrameHeader, FrameKind};

use super::close::Close;
use super::connection::{Connection, InFlight};
use super::frame_reader::{Frame, FrameReader};
use super::receive_budget::ReceiveCharge;
use super::watch::Phase;
use crate::runtime::{self, ReadHalf};

/// The most that [`discard_input`] throws away.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;
const DISCARD_CHUNK: usize = 16 * 1024;

/// Bytes received without a pause after which other tasks of the core have their turn.
const TURN_BYTES: usize = 1024 * 1024;

/// A frame that is a request, with what it is charged for.
pub(super) struct Request {
    pub(super) header: FrameHeader,
    pub(super) metadata: Bytes,
    pub(super) payload: Bytes,
    /// Dropped when the payload has been consumed.
    pub(super) charge: Option<ReceiveCharge>,
    /// Dropped when the reply has been sent.
    pub(super) in_flight: InFlight,
}

pub(super) struct Receiver {
    connection: Rc<Connection>,
    frames: FrameReader,
    socket: ReadHalf,
    /// Held for the frame under way.
    charge: Option<ReceiveCharge>,
    /// Received since the last pause.
    turn: usize,
}

impl Receiver {
    pub(super) fn new(connection: Rc<Connection>, frames: FrameReader, socket: ReadHalf) -> Self {
        Self {
            connection,
            frames,
            socket,
            charge: None,
            turn: 0,
        }
    }

    pub(super) fn into_parts(self) -> (FrameReader, ReadHalf) {
        (self.frames, self.socket)
    }

    /// The first frame, which must be a Hello; `None` when the connection ends before.
    pub(super) async fn first_frame(&mut self) -> Option<Frame> {
        let frame = self.next_frame().await;
        self.charge = None;
        frame
    }

    /// The next request, once the connection may have one more in flight; `None` when the
    /// connection ends, for a reason that was then given to [`Connection::close`].
    pub(super) async fn next_request(&mut self) -> Option<Request> {
        let frame = self.next_frame().await?;
        if frame.header.kind != FrameKind::Request {
            let close = Close::NotARequest(frame.header.kind);
            self.connection
                .close_at(close, frame.header.api, frame.header.correlation_id);
            return None;
        }
        let size = frame.size();
        let charge = self.charge.take();
        let connection = &self.connection;
        let admitted = connection.unless_closing(async {
            let charge = match charge {
                Some(mut charge) => {
                    charge.grow_to(size).await;
                    charge
                }
                None => connection.server.receive_budget.begin(size).await,
            };
            (charge, connection.admit(size).await)
        });
        let (charge, in_flight) = admitted.await?;
        let Frame {
            header,
            metadata,
            payload,
        } = frame;
        Some(Request {
            header,
            metadata,
            payload,
            charge: Some(charge),
            in_flight,
        })
    }

    async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if self.connection.is_closing() {
                return None;
            }
            match self.frames.next_frame() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => {
                    self.connection.close(Close::BadFrame(error));
                    return None;
                }
            }
            if let Some(bytes) = self.frames.frame_charge() {
                self.charge_for(bytes).await?;
            }
            self.read().await?;
        }
    }

    /// Charges the shard's budget for what the frame under way takes.
    async fn charge_for(&mut self, bytes: usize) -> Option<()> {
        let connection = &self.connection;
        match &mut self.charge {
            // The frame time-out goes on: see the head of `receive_budget`.
            Some(charge) => connection.unless_closing(charge.grow_to(bytes)).await,
            None => {
                connection.enter(Phase::HeldBack);
                let begun = connection.server.receive_budget.begin(bytes);
                self.charge = Some(connection.unless_closing(begun).await?);
                Some(())
            }
        }
    }

    /// Reads what the socket has. While it has nothing, an idle connection holds no buffer.
    async fn read(&mut self) -> Option<()> {
        let Self {
            connection,
            frames,
            socket,
            turn,
            ..
        } = self;
        if *turn >= TURN_BYTES {
            *turn = 0;
            runtime::yield_now().await;
        }
        connection.note_reading(frames.unread());
        let read = connection.unless_closing(poll_fn(|context| {
            // A future of its own for each poll, so that no buffer is held between them. A read
            // that is dropped loses nothing.
            let poll = pin!(socket.read_buf(frames.buffer_with_room())).poll(context);
            if poll.is_pending() {
                *turn = 0;
                frames.release_unused_memory();
            }
            poll
        }));
        let close = match read.await? {
            Ok(0) => match frames.unread() {
                0 => Close::PeerClosed,
                received => Close::Truncated { received },
            },
            Ok(count) => {
                *turn += count;
                return Some(());
            }
            Err(error) => Close::SocketFailed(error),
        };
        connection.close(close);
        None
    }
}

/// Reads to the peer's end of stream and throws it away, within bounds.
///
/// Closing a socket with unread input sends a reset, which can destroy the last frame on its way
/// to the peer: tcp(7), RFC 1122 section 4.2.2.13.
pub(super) async fn discard_input(socket: &mut ReadHalf, limit: Duration) {
    let discarded = runtime::timeout(limit, async {
        let mut chunk = vec![0; DISCARD_CHUNK];
        let mut total = 0;
        while total < MAX_DISCARDED_BYTES {
            match socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    });
    // Past either bound the peer gets its reset.
    let _ = discarded.await;
}
