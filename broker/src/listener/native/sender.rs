//! The sending side of a connection: requests under way → replies → socket.
//!
//! Everything that is ready goes out in one vectored write: the tables of all replies lie in one
//! buffer, and between them stand the log's own slices, uncopied. While a write waits for the
//! peer, further replies gather for the next one.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use corelog_protocol::ErrorCode;
use corelog_protocol::native::Encoder;
use corelog_protocol::native::messages::ErrorResponse;
use futures_util::Stream;
use futures_util::stream::FuturesUnordered;

use super::connection::Connection;
use super::outbox::{Outgoing, Reply};
use super::request::Completion;
use crate::listener::close::{Close, Ending};
use crate::listener::server::Served;
use crate::listener::vectored::{BATCH_BYTES, MAX_SLICES, send_slices};
use crate::partition::FetchedData;
use crate::runtime::WriteHalf;

/// The tables' buffer is given back when a batch made it larger than this.
const KEPT_TABLE_BYTES: usize = 64 * 1024;

/// The requests of one connection that are being carried out.
pub(super) struct RequestSet<F>(RefCell<FuturesUnordered<F>>);

impl<F> Default for RequestSet<F> {
    fn default() -> Self {
        Self(RefCell::new(FuturesUnordered::new()))
    }
}

impl<F: Future<Output = Completion>> RequestSet<F> {
    /// The sender must be woken to poll it.
    pub(super) fn add(&self, request: F) {
        self.0.borrow().push(request);
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The next finished request. A request being polled must not touch the set it is in.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Completion>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// Sends replies until the connection has ended and what its [`Ending`] grants is sent.
pub(super) async fn send_replies<F: Future<Output = Completion>>(
    connection: Rc<Connection>,
    requests: Rc<RequestSet<F>>,
    mut socket: WriteHalf,
) {
    let mut batch = Batch::default();
    while poll_fn(|context| poll_outbox(&connection, &requests, context)).await == Next::Send {
        batch.fill(&connection);
        let flow = &connection.flow;
        let sent = send_slices(flow, &mut socket, &mut batch.slices()).await;
        flow.note_sending(false);
        batch.clear(&connection);
        if let Err(error) = sent {
            connection.close(Close::SocketFailed(error));
        }
    }
    // An error means that the peer has gone, which is what this tells it.
    let _ = socket.shutdown_write();
}

#[derive(PartialEq, Eq)]
enum Next {
    Send,
    Finish,
}

/// Moves every finished request's reply to the outbox, and says what to do next.
fn poll_outbox<F: Future<Output = Completion>>(
    connection: &Connection,
    requests: &RequestSet<F>,
    context: &mut Context<'_>,
) -> Poll<Next> {
    connection.flow.sender.park(context);
    while let Poll::Ready(Some(completion)) = requests.poll_next(context) {
        completion.settle(connection);
    }
    let ending = connection.flow.ending();
    if ending != Some(Ending::Abandon) && !connection.outbox.is_empty() {
        return Poll::Ready(Next::Send);
    }
    let is_finished = match ending {
        None => false,
        Some(Ending::Drain) => requests.len() == 0,
        Some(Ending::DrainWrites) => requests.len() == connection.flow.reads_under_way(),
        Some(Ending::Flush | Ending::Abandon) => true,
    };
    if is_finished {
        Poll::Ready(Next::Finish)
    } else {
        Poll::Pending
    }
}

/// Replies that go out together. Its memory is used again for the next batch.
#[derive(Default)]
struct Batch {
    replies: Vec<Outgoing>,
    /// Header and table of each reply, one after the other.
    tables: BytesMut,
    /// Where each reply's part of `tables` ends.
    table_ends: Vec<usize>,
}

impl Batch {
    fn fill(&mut self, connection: &Connection) {
        let mut encoder = connection.server.shared.encoder.borrow_mut();
        let mut bytes = 0;
        let mut slices = 0;
        while bytes < BATCH_BYTES
            && slices < MAX_SLICES
            && let Some(mut outgoing) = connection.outbox.pop()
        {
            let start = self.tables.len();
            bytes += encode(&mut outgoing, &mut encoder, &mut self.tables);
            bytes += self.tables.len() - start;
            slices += 1 + outgoing.reply.payload().len();
            self.table_ends.push(self.tables.len());
            self.replies.push(outgoing);
        }
    }

    /// The batch in order, in pieces of at most [`BATCH_BYTES`]. Tables of replies without payload
    /// lie side by side and are one piece.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.replies.len() + 1);
        let mut tables = 0..0;
        for (outgoing, &table_end) in self.replies.iter().zip(&self.table_ends) {
            tables.end = table_end;
            for piece in outgoing
                .reply
                .payload()
                .iter()
                .flat_map(FetchedData::slices)
            {
                if !tables.is_empty() {
                    slices.push(IoSlice::new(&self.tables[tables.clone()]));
                    tables.start = tables.end;
                }
                slices.extend(piece.chunks(BATCH_BYTES).map(IoSlice::new));
            }
        }
        if !tables.is_empty() {
            slices.push(IoSlice::new(&self.tables[tables]));
        }
        slices
    }

    fn clear(&mut self, connection: &Connection) {
        for outgoing in self.replies.drain(..) {
            connection.note_sent(&outgoing);
        }
        self.table_ends.clear();
        self.tables.clear();
        if self.tables.capacity() > KEPT_TABLE_BYTES {
            self.tables = BytesMut::new();
        }
    }
}

/// Appends the reply's header and table to `out`; returns the length of the payload to follow.
///
/// A reply above the limits of a frame becomes an error that says so.
fn encode(outgoing: &mut Outgoing, encoder: &mut Encoder, out: &mut BytesMut) -> usize {
    let frame = (outgoing.api, outgoing.correlation_id);
    let payload = outgoing.reply.payload().iter().map(FetchedData::len).sum();
    let Err(error) = outgoing.reply.encode(frame, payload, encoder, out) else {
        return payload;
    };
    outgoing.reply = Reply::Error(ErrorResponse {
        code: ErrorCode::MessageTooLarge,
        message: format!("the reply is too large, ask for less at a time: {error}"),
    });
    outgoing
        .reply
        .encode(frame, 0, encoder, out)
        .expect("a sentence fits every limit");
    0
}
