//! One connection to one shard of one broker.
//!
//! Two tasks own the socket: the writer sends queued frames in one vectored write, the reader cuts frames out of what
//! arrives and hands each to the request whose correlation id it carries. Requests are pipelined; nothing here limits how
//! many are under way, that is the caller's part. Any error of the socket or of the bytes ends the connection, and every
//! request under way gets that error: after it nobody can know what the broker did.

mod dial;
mod frames;
mod reply;
mod subscription;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::{
    ApiKey, EncodeMessage, Encoder, Frame, FrameKind, FrameLimits, GoodbyePush, Message,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;

pub(crate) use dial::{Dial, dial};
pub(crate) use reply::{PendingReply, PendingWrite, name_of};

use crate::error::{ConnectionError, RequestError};

/// A request and the message that answers it.
pub(crate) trait Request: EncodeMessage + Sync {
    type Response: Message + Send;
}

/// An open connection; clones share it. The last one to go closes it.
#[derive(Clone)]
pub(crate) struct Connection {
    guard: Arc<CloseOnDrop>,
}

struct CloseOnDrop {
    shared: Arc<Shared>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.shared.close("closed by this client");
    }
}

/// What the two tasks and the handles share.
struct Shared {
    address: String,
    request_timeout: Duration,
    /// Knows what the broker accepts, once its Hello came.
    encoder: Mutex<Encoder>,
    outgoing: Mutex<VecDeque<OutgoingFrame>>,
    outgoing_ready: Notify,
    waiting: Mutex<Waiting>,
    /// What the broker said in its Goodbye: the reason given when the socket then ends.
    goodbye: OnceLock<String>,
    tasks: OnceLock<[AbortHandle; 2]>,
}

/// Who waits for which correlation id.
struct Waiting {
    next_correlation_id: u32,
    replies: HashMap<u32, oneshot::Sender<Result<Frame, ConnectionError>>>,
    subscriptions: HashMap<u32, subscription::Inlet>,
    closed: Option<ConnectionError>,
}

/// One frame to write: header and metadata, then its payload in parts that are not copied together.
struct OutgoingFrame {
    head: Bytes,
    payload: Vec<Bytes>,
    written: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// Starts the tasks over a connected socket. Nothing but Hello may be sent before its answer.
    fn start(socket: tokio::net::TcpStream, address: String, request_timeout: Duration) -> Self {
        let shared = Arc::new(Shared {
            address,
            request_timeout,
            encoder: Mutex::new(Encoder::default()),
            outgoing: Mutex::new(VecDeque::new()),
            outgoing_ready: Notify::new(),
            waiting: Mutex::new(Waiting {
                next_correlation_id: 1,
                replies: HashMap::new(),
                subscriptions: HashMap::new(),
                closed: None,
            }),
            goodbye: OnceLock::new(),
            tasks: OnceLock::new(),
        });
        let (read, write) = socket.into_split();
        let reader = tokio::spawn(frames::read(read, Arc::clone(&shared)));
        let writer = tokio::spawn(frames::write(write, Arc::clone(&shared)));
        shared
            .tasks
            .set([reader.abort_handle(), writer.abort_handle()])
            .expect("the tasks are started once");
        // The reader may have met an error before its handle was known.
        if shared.waiting().closed.is_some() {
            shared.abort_tasks();
        }
        Self {
            guard: Arc::new(CloseOnDrop { shared }),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.guard.shared
    }

    /// The `host:port` this connection was dialled with.
    pub(crate) fn address(&self) -> &str {
        &self.shared().address
    }

    /// False once the connection has ended.
    pub(crate) fn is_open(&self) -> bool {
        self.shared().waiting().closed.is_none()
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<R: Request>(&self, request: &R) -> Result<R::Response, RequestError> {
        let reply = self.send(request, Vec::new())?.wait().await?;
        self.decode(R::API, &reply.metadata)
            .map_err(RequestError::from)
    }

    /// Queues a request; its answer is awaited apart, so that others can be sent meanwhile.
    pub(crate) fn send<M: EncodeMessage>(
        &self,
        message: &M,
        payload: Vec<Bytes>,
    ) -> Result<PendingReply, ConnectionError> {
        self.send_within(message, payload, self.shared().request_timeout)
    }

    /// Like [`send`](Self::send), for a request that the broker may hold back for a while.
    pub(crate) fn send_within<M: EncodeMessage>(
        &self,
        message: &M,
        payload: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<PendingReply, ConnectionError> {
        let shared = self.shared();
        let (sender, reply) = oneshot::channel();
        let correlation_id = shared.register(|waiting, id| {
            waiting.replies.insert(id, sender);
        })?;
        let pending = PendingReply {
            shared: Arc::clone(shared),
            reply,
            deadline: Instant::now() + timeout,
            request: M::API,
        };
        shared.queue(message, correlation_id, payload, None)?;
        Ok(pending)
    }

    /// Queues a request that the broker never answers.
    pub(crate) fn send_unanswered<M: EncodeMessage>(
        &self,
        message: &M,
        payload: Vec<Bytes>,
    ) -> Result<PendingWrite, ConnectionError> {
        let shared = self.shared();
        let correlation_id = shared.register(|_, _| ())?;
        let (sender, written) = oneshot::channel();
        shared.queue(message, correlation_id, payload, Some(sender))?;
        Ok(PendingWrite {
            shared: Arc::clone(shared),
            written,
            deadline: Instant::now() + shared.request_timeout,
            request: M::API,
        })
    }

    /// Reads a message out of a reply; a wrong one ends the connection.
    pub(crate) fn decode<M: Message>(
        &self,
        what: ApiKey,
        metadata: &[u8],
    ) -> Result<M, ConnectionError> {
        M::decode(metadata).map_err(|error| {
            let error = ConnectionError::Malformed {
                address: self.address().to_owned(),
                what: name_of(what),
                reason: error.to_string(),
            };
            self.shared().fail(error.clone());
            error
        })
    }

    /// What the broker accepts in one frame.
    pub(crate) fn send_limits(&self) -> FrameLimits {
        self.shared()
            .encoder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limits()
    }

    /// Takes what the broker accepts from now on.
    fn set_send_limits(&self, limits: FrameLimits) {
        self.shared()
            .encoder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_limits(limits);
    }

    /// Gives the connection up: the broker's message does not fit itself.
    pub(crate) fn malformed(&self, what: ApiKey, reason: impl ToString) -> ConnectionError {
        self.shared().malformed(name_of(what), reason)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, VecDeque<OutgoingFrame>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a correlation id, unless the connection has ended.
    fn register(&self, insert: impl FnOnce(&mut Waiting, u32)) -> Result<u32, ConnectionError> {
        let mut waiting = self.waiting();
        if let Some(error) = &waiting.closed {
            return Err(error.clone());
        }
        let mut id = waiting.next_correlation_id;
        // Ids come round after four billion requests; a subscription may still hold its own. 0 is the broker's.
        while id == 0
            || waiting.subscriptions.contains_key(&id)
            || waiting.replies.contains_key(&id)
        {
            id = id.wrapping_add(1);
        }
        waiting.next_correlation_id = id.wrapping_add(1);
        insert(&mut waiting, id);
        Ok(id)
    }

    /// Appends a frame to what the writer sends next.
    fn queue<M: EncodeMessage>(
        &self,
        message: &M,
        correlation_id: u32,
        payload: Vec<Bytes>,
        written: Option<oneshot::Sender<()>>,
    ) -> Result<(), ConnectionError> {
        let payload_length = payload.iter().map(Bytes::len).sum();
        let mut head = BytesMut::new();
        let encoded = self
            .encoder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .frame(
                FrameKind::Request,
                correlation_id,
                message,
                payload_length,
                &mut head,
            );
        if let Err(error) = encoded {
            let mut waiting = self.waiting();
            waiting.replies.remove(&correlation_id);
            waiting.subscriptions.remove(&correlation_id);
            return Err(ConnectionError::Unsendable {
                address: self.address.clone(),
                request: name_of(M::API),
                reason: error.to_string(),
            });
        }
        self.outgoing().push_back(OutgoingFrame {
            head: head.freeze(),
            payload,
            written,
        });
        // `fail` empties the queue after it marks the connection: whoever came between would wait for ever.
        if let Some(error) = &self.waiting().closed {
            self.outgoing().clear();
            return Err(error.clone());
        }
        self.outgoing_ready.notify_one();
        Ok(())
    }

    /// Hands a frame to whoever waits for it. An error means that the broker broke the protocol.
    fn dispatch(&self, frame: Frame) -> Result<(), ConnectionError> {
        match frame.header.kind {
            FrameKind::Response | FrameKind::Error => {
                let reply = self.waiting().replies.remove(&frame.header.correlation_id);
                match reply {
                    // The request may have been given up meanwhile.
                    Some(reply) => drop(reply.send(Ok(frame))),
                    None => debug!(
                        address = self.address,
                        correlation_id = frame.header.correlation_id,
                        "reply to a request that nobody waits for"
                    ),
                }
                Ok(())
            }
            FrameKind::Push if frame.header.api == ApiKey::Goodbye.code() => {
                let goodbye = GoodbyePush::decode(&frame.metadata)
                    .map_err(|reason| self.malformed("a goodbye", reason))?;
                debug!(
                    address = self.address,
                    goodbye.reason, "the broker is about to close"
                );
                // Only the first counts.
                let _ = self.goodbye.set(goodbye.reason);
                Ok(())
            }
            FrameKind::Push => self.dispatch_push(frame),
            FrameKind::Request => Err(self.malformed("a request", "only clients send those")),
        }
    }

    /// Ends a connection whose broker took too long over a request.
    fn give_up(&self, request: ApiKey) -> ConnectionError {
        let error = ConnectionError::RequestTimeout {
            address: self.address.clone(),
            request: name_of(request),
            waited: self.request_timeout,
        };
        self.fail(error.clone());
        error
    }

    fn malformed(&self, what: &'static str, reason: impl ToString) -> ConnectionError {
        let error = ConnectionError::Malformed {
            address: self.address.clone(),
            what,
            reason: reason.to_string(),
        };
        self.fail(error.clone());
        error
    }

    fn closed_error(&self) -> ConnectionError {
        self.waiting()
            .closed
            .clone()
            .unwrap_or_else(|| self.closed("the request was dropped"))
    }

    fn closed(&self, reason: &str) -> ConnectionError {
        ConnectionError::Closed {
            address: self.address.clone(),
            reason: self.goodbye.get().map_or(reason, String::as_str).to_owned(),
        }
    }

    fn close(&self, reason: &str) {
        self.fail(self.closed(reason));
    }

    /// Ends the connection; the first error is the one that everybody sees.
    fn fail(&self, error: ConnectionError) {
        let (replies, subscriptions) = {
            let mut waiting = self.waiting();
            if waiting.closed.is_some() {
                return;
            }
            waiting.closed = Some(error.clone());
            (
                std::mem::take(&mut waiting.replies),
                std::mem::take(&mut waiting.subscriptions),
            )
        };
        self.outgoing().clear();
        for (_, reply) in replies {
            // Nobody may be waiting any more.
            let _ = reply.send(Err(error.clone()));
        }
        drop(subscriptions);
        self.abort_tasks();
    }

    fn abort_tasks(&self) {
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}
