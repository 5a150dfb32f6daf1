//! A listener on one core: its connections and what they share, whatever they speak.
//!
//! One core of a broker accepts; every core serves what it accepted itself or was handed. The
//! limit of connections is the broker's and is kept where they are accepted: each holds a permit
//! for its life, wherever it is served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use corelog_protocol::{ErrorCode, ShardId};
use futures_util::future::{Either, select};

use super::close::Close;
use super::flow::Flow;
use super::log_limit::LogLimit;
use super::options::ListenerOptions;
use super::receive_budget::ReceiveBudget;
use super::watch::{Tick, Timeouts};
use crate::config::BrokerConfig;
use crate::runtime::{
    self, AcceptedSocket, Connection as Socket, Event, Listener, Notify, ShutdownSignal,
};
use crate::shard::{ConnectionLimit, ConnectionPermit, HandedOff, Listening, Router};

/// Connections above the limit that are told so at the same time; further ones are just closed.
const REFUSED_POLITELY: usize = 64;
/// The pause after an accept failed: most likely the process has no file descriptor left, and
/// the next accept would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the peer of an ending connection may take for what is ready for it, and then for
/// closing its side.
pub(super) const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection came to this core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    /// By another core, which chose this one: it stays.
    HandedOff,
}

/// A connection, in one of the dialects.
pub(super) trait Served: Sized + 'static {
    /// What the dialect's connections share beside what all do.
    type Shared;

    fn new(server: Rc<Server<Self>>, peer: SocketAddr) -> Rc<Self>;

    /// Serves the connection to its end, or hands it to another core. It may be ending already.
    fn run(
        self: Rc<Self>,
        socket: Socket,
        bytes_read: BytesMut,
        permit: ConnectionPermit,
        origin: Origin,
    ) -> impl Future<Output = ()>;

    /// Ends the connection for `reason`, unless it is ending already.
    fn close(&self, reason: Close);

    /// Ends the connection if its peer let a time-out pass. `pressed`: other readers wait for memory.
    fn sweep(&self, pressed: bool);
}

/// What the connections of a core share.
pub(super) struct Server<C: Served> {
    pub(super) router: Router,
    pub(super) options: ListenerOptions,
    /// For those who ask for the broker's settings.
    pub(super) config: Arc<BrokerConfig>,
    pub(super) timeouts: Timeouts,
    pub(super) receive_budget: Rc<ReceiveBudget>,
    pub(super) shared: C::Shared,
    /// In the order they came, so that a seed replays exactly.
    connections: RefCell<BTreeMap<u64, Rc<C>>>,
    next_id: Cell<u64>,
    next_shard: Cell<u16>,
    tick: Rc<Cell<Tick>>,
    log_limit: RefCell<LogLimit>,
    /// Set while there are connections to sweep.
    occupied: Event,
    closed: Notify,
    stopping: ShutdownSignal,
}

impl<C: Served> Server<C> {
    pub(super) fn new(
        router: Router,
        options: ListenerOptions,
        config: Arc<BrokerConfig>,
        receive_budget: Rc<ReceiveBudget>,
        shared: C::Shared,
    ) -> Self {
        Self {
            timeouts: Timeouts::new(&options),
            receive_budget,
            next_shard: Cell::new(router.shard_id().get()),
            router,
            shared,
            options,
            config,
            connections: RefCell::default(),
            next_id: Cell::new(0),
            tick: Rc::default(),
            log_limit: RefCell::default(),
            occupied: Event::new(),
            closed: Notify::new(),
            stopping: ShutdownSignal::new(),
        }
    }

    /// Accepts connections until [`Server::stop`], and gives each to `welcome`. On one core of the broker.
    pub(super) async fn accept(&self, listener: Listener, mut welcome: impl FnMut(AcceptedSocket)) {
        loop {
            let stop = pin!(self.stopping.wait());
            let accepted = match select(stop, pin!(listener.accept())).await {
                Either::Left(((), _)) => return,
                Either::Right((accepted, _)) => accepted,
            };
            match accepted {
                Ok(socket) => welcome(socket),
                Err(error) => {
                    self.log(|suppressed| {
                        tracing::warn!(%error, suppressed, "cannot accept a connection");
                    });
                    runtime::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Counts an accepted connection. With its permit comes why it is to be told off, if it is one too many; without one it
    /// is just to be closed.
    pub(super) fn admit(
        &self,
        limit: &ConnectionLimit,
    ) -> Option<(ConnectionPermit, Option<Close>)> {
        let metrics = self.router.metrics();
        metrics.connections_accepted.increment();
        let permit = limit.permit();
        let above = limit.open().saturating_sub(self.options.max_connections);
        if above > REFUSED_POLITELY {
            metrics.connections_rejected.increment("max_connections");
            return None;
        }
        let refusal = (above > 0).then_some(Close::TooManyConnections {
            limit: self.options.max_connections,
        });
        Some((permit, refusal))
    }

    /// Tells every connection, lets it finish what is under way, and returns when all are closed.
    pub(super) async fn stop(&self) {
        self.stopping.trigger();
        let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in connections {
            connection.close(Close::Stopping);
        }
        while !self.connections.borrow().is_empty() {
            self.closed.notified().await;
        }
    }

    /// The bounds of a new connection.
    pub(super) fn new_flow(&self) -> Rc<Flow> {
        Flow::new(Rc::clone(&self.tick), &self.options)
    }

    /// The core that should serve a connection accepted here. One that wants no particular core
    /// gets the next in turn; so does one that wants a core this broker does not have (any more):
    /// its requests are forwarded, and Metadata tells it better.
    pub(super) fn place(&self, wanted: Option<ShardId>) -> ShardId {
        let shards = self.router.shards();
        match wanted {
            Some(shard) if shard.get() < shards => shard,
            Some(_) | None => {
                let turn = self.next_shard.get();
                self.next_shard.set((turn + 1) % shards);
                ShardId::new(turn)
            }
        }
    }

    pub(super) fn serve(
        self: &Rc<Self>,
        socket: AcceptedSocket,
        bytes_read: BytesMut,
        permit: ConnectionPermit,
        origin: Origin,
        refusal: Option<Close>,
    ) {
        let server = Rc::clone(self);
        let serve = async move {
            let socket = match socket.into_connection() {
                Ok(socket) => socket,
                Err(error) => {
                    server.log(|suppressed| {
                        tracing::warn!(%error, suppressed, "cannot take up a connection");
                    });
                    return;
                }
            };
            if let Err(error) = socket.set_keepalive(server.options.keepalive) {
                tracing::debug!(%error, "no keepalive");
            }
            let connection = C::new(Rc::clone(&server), socket.peer_addr());
            let _registered = server.register(&connection);
            if let Some(refusal) = refusal {
                connection.close(refusal);
            } else if server.stopping.triggered() {
                connection.close(Close::Stopping);
            }
            connection.run(socket, bytes_read, permit, origin).await;
        };
        runtime::spawn(serve).detach();
    }

    fn register(self: &Rc<Self>, connection: &Rc<C>) -> Registered<C> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.connections
            .borrow_mut()
            .insert(id, Rc::clone(connection));
        self.router.metrics().connections.increment();
        self.occupied.set();
        Registered {
            server: Rc::clone(self),
            id,
        }
    }

    /// Counts the end of a connection and logs it, as far as it is the peer's fault.
    pub(super) fn note_close(&self, peer: SocketAddr, close: &Close) {
        let metrics = self.router.metrics();
        if let Some(reason) = close.bad_frame_reason() {
            metrics.bad_frames.increment(reason);
            self.log(|suppressed| {
                tracing::warn!(%peer, reason, error = %close, suppressed, "bad frame");
            });
        } else if let Some(reason) = close.rejection_reason() {
            metrics.connections_rejected.increment(reason);
            self.log(|suppressed| {
                tracing::warn!(%peer, reason, error = %close, suppressed, "connection rejected");
            });
        } else {
            tracing::debug!(%peer, reason = %close, "connection ends");
        }
        if close.is_silence() {
            metrics.connections_idle_closed.increment();
        }
    }

    /// Counts the answer to a request, or to a partition of one, if it is an error.
    pub(super) fn note_error(&self, code: ErrorCode) {
        if code != ErrorCode::None {
            self.router.metrics().request_errors.increment(code.name());
        }
    }

    fn log(&self, write: impl FnOnce(u64)) {
        if let Some(suppressed) = self.log_limit.borrow_mut().allow(runtime::now()) {
            write(suppressed);
        }
    }
}

/// A connection's entry in its server's books.
struct Registered<C: Served> {
    server: Rc<Server<C>>,
    id: u64,
}

impl<C: Served> Drop for Registered<C> {
    fn drop(&mut self) {
        let server = &self.server;
        let removed = server.connections.borrow_mut().remove(&self.id);
        server.router.metrics().connections.decrement();
        if server.connections.borrow().is_empty() {
            server.occupied.clear();
        }
        server.closed.notify_waiters();
        drop(removed);
    }
}

/// Looks after time-outs while there is a connection; an unused listener costs no wake-up.
pub(super) async fn sweep<C: Served>(server: Rc<Server<C>>) {
    loop {
        server.occupied.wait().await;
        runtime::sleep(server.timeouts.interval).await;
        server.tick.set(server.tick.get() + 1);
        let connections: Vec<_> = server.connections.borrow().values().cloned().collect();
        let pressed = server.router.lending().is_awaited();
        for connection in connections {
            connection.sweep(pressed);
        }
    }
}

/// Takes up what other cores hand over of one dialect's connections.
pub(super) async fn adopt<C: Served>(server: Rc<Server<C>>, listening: Listening) {
    loop {
        let HandedOff {
            socket,
            bytes_read,
            permit,
            ..
        } = server.router.next_handed_off(listening).await;
        server.serve(socket, bytes_read, permit, Origin::HandedOff, None);
    }
}
