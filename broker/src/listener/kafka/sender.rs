//! Requests under way → replies in order → socket.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelog_protocol::kafka::KafkaApi;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesOrdered;

use super::call::{Answer, Reply};
use super::connection::Connection;
use crate::listener::close::{Close, Ending};
use crate::listener::flow::InFlight;
use crate::listener::server::Served;
use crate::listener::vectored::{BATCH_BYTES, send_slices};
use crate::partition::FetchedData;
use crate::runtime::WriteHalf;

/// A request that has been carried out.
pub(super) struct Finished {
    pub(super) answer: Answer,
    /// Given back once the reply is sent.
    pub(super) in_flight: InFlight,
}

/// The requests of one connection that are being carried out, in their order.
#[derive(Default)]
pub(super) struct Requests {
    under_way: RefCell<FuturesOrdered<LocalBoxFuture<'static, Finished>>>,
    others_than_produces: Cell<bool>,
}

impl Requests {
    /// The sender must be woken to poll it.
    pub(super) fn add(&self, api: KafkaApi, request: LocalBoxFuture<'static, Finished>) {
        self.others_than_produces.set(api != KafkaApi::Produce);
        self.under_way.borrow_mut().push_back(request);
    }

    /// True if all that is under way are produces. What else there is is there alone.
    pub(super) fn are_all_produces(&self) -> bool {
        self.len() == 0 || !self.others_than_produces.get()
    }

    /// Drops what is under way.
    pub(super) fn abandon(&self) {
        let under_way = self.under_way.take();
        drop(under_way);
    }

    fn len(&self) -> usize {
        self.under_way.borrow().len()
    }

    /// The next in order, once it is finished. A request being polled must not touch the queue it is in.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Finished>> {
        Pin::new(&mut *self.under_way.borrow_mut()).poll_next(context)
    }
}

/// Sends replies until the connection has ended and what its [`Ending`] grants is sent.
pub(super) async fn send_replies(
    connection: Rc<Connection>,
    requests: Rc<Requests>,
    mut socket: WriteHalf,
) {
    let mut batch = Batch::default();
    while poll_fn(|context| batch.poll_fill(&connection, &requests, context)).await == Next::Send {
        let sent = send_slices(&connection.flow, &mut socket, &mut batch.slices()).await;
        connection.flow.note_sending(false);
        batch.clear(&connection);
        if let Err(error) = sent {
            connection.close(Close::SocketFailed(error));
        }
    }
    batch.clear(&connection);
    // An error means that the peer has gone, which is what this tells it.
    let _ = socket.shutdown_write();
}

#[derive(PartialEq, Eq)]
enum Next {
    Send,
    Finish,
}

/// Replies that go out together.
#[derive(Default)]
struct Batch {
    replies: Vec<(Reply, InFlight)>,
    bytes: usize,
    /// A request has no answer that could be sent: neither have those behind it.
    is_broken: bool,
}

impl Batch {
    /// Takes what is finished, and says what to do next.
    fn poll_fill(
        &mut self,
        connection: &Connection,
        requests: &Requests,
        context: &mut Context<'_>,
    ) -> Poll<Next> {
        connection.flow.sender.park(context);
        while self.bytes < BATCH_BYTES
            && !self.is_broken
            && let Poll::Ready(Some(finished)) = requests.poll_next(context)
        {
            match finished.answer {
                Answer::Reply(reply) => self.push(connection, reply, finished.in_flight),
                Answer::Nothing => {}
                Answer::Close(close) => {
                    self.is_broken = true;
                    connection.close(close);
                }
            }
        }
        let ending = connection.flow.ending();
        if ending != Some(Ending::Abandon) && !self.replies.is_empty() {
            return Poll::Ready(Next::Send);
        }
        let is_finished = match ending {
            None => false,
            Some(Ending::Drain) => requests.len() == 0,
            Some(Ending::DrainWrites) => requests.len() == connection.flow.reads_under_way(),
            Some(Ending::Flush | Ending::Abandon) => true,
        };
        match is_finished {
            true => Poll::Ready(Next::Finish),
            false => Poll::Pending,
        }
    }

    fn push(&mut self, connection: &Connection, reply: Reply, in_flight: InFlight) {
        self.bytes += reply.len();
        if reply.holds_records() {
            connection.flow.note_held();
        }
        self.replies.push((reply, in_flight));
    }

    /// The replies in order, in pieces of at most [`BATCH_BYTES`].
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::new();
        for (reply, _) in &self.replies {
            for piece in reply.slices() {
                slices.extend(piece.chunks(BATCH_BYTES).map(IoSlice::new));
            }
        }
        slices
    }

    fn clear(&mut self, connection: &Connection) {
        for (reply, _) in self.replies.drain(..) {
            match reply.holds_records() {
                true => connection.flow.note_released(),
                false => connection.flow.note_progress(),
            }
        }
        self.bytes = 0;
    }
}

impl Reply {
    fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    fn holds_records(&self) -> bool {
        self.records.iter().any(|records| !records.is_empty())
    }

    /// The response's bytes in order: a piece, records, a piece.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let records = self.records.iter().map(Some).chain(std::iter::repeat(None));
        self.pieces
            .iter()
            .zip(records)
            .flat_map(|(piece, records)| {
                let records = records.into_iter().flat_map(FetchedData::slices);
                std::iter::once(&piece[..]).chain(records)
            })
    }
}
