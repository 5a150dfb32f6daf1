//! The simulated network: connections between the tasks of one machine, which can go wrong.
//!
//! What happens to the bytes follows from the seed. A write is taken in part, and what was taken
//! arrives in pieces, each after a delay of its own, but never before the piece ahead of it; a read
//! returns any part of what has arrived. So a frame is cut at any byte. A direction takes a window of
//! bytes that were not read, and then its writer waits. In bad [`Weather`] a connection may, at any
//! moment of its life,
//! - be cut: both ends get an error, and what was under way is lost;
//! - fall silent: what is sent from then on never arrives and nobody is told, as when the peer lost its
//!   power. Keepalive notices, if it was set.
//!
//! Bytes are never changed, reordered or doubled: that is TCP's promise. An end that is dropped with
//! bytes it has not read cuts the connection, as Linux does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::backend::{self, Backend};
use super::super::time::Instant;
use super::executor::Core;

/// Bytes that arrive together at most.
const LARGEST_PIECE: u64 = 32 << 10;
/// Probes of a silent peer before keepalive gives up, the first wait included.
const KEEPALIVE_WAITS: u32 = 4;

/// How bad the network is, for connections made from now on.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// The longest delay of a piece.
    pub delay: Duration,
    /// The most bytes under way and unread in one direction; each connection gets any part of it.
    pub window: usize,
    /// Connections that are cut, in a hundred.
    pub cut_percent: u64,
    /// Connections that fall silent, in a hundred.
    pub silent_percent: u64,
    /// The latest that either happens after the connection was made.
    pub life: Duration,
}

impl Weather {
    /// Small delays, and nothing goes wrong.
    pub const FAIR: Weather = Weather {
        delay: Duration::from_micros(50),
        window: 256 << 10,
        cut_percent: 0,
        silent_percent: 0,
        life: Duration::ZERO,
    };
}

/// The network of one simulated machine. A clone is the same network.
#[derive(Clone)]
pub struct SimulatedNetwork(pub(super) Rc<Core>);

impl SimulatedNetwork {
    pub fn set_weather(&self, weather: Weather) {
        self.0.network().weather.set(weather);
    }
}

/// What the machine's core holds of the network.
pub(super) struct Network {
    weather: Cell<Weather>,
    listeners: RefCell<BTreeMap<SocketAddr, Rc<Backlog>>>,
    /// Accepted, and not yet a connection of an executor.
    accepted: RefCell<BTreeMap<u64, SimulatedStream>>,
    next_port: Cell<u16>,
    next_id: Cell<u64>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            weather: Cell::new(Weather::FAIR),
            listeners: RefCell::default(),
            accepted: RefCell::default(),
            next_port: Cell::new(40_000),
            next_id: Cell::new(1),
        }
    }
}

impl Network {
    fn fresh_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port.set(port.checked_add(1).unwrap_or(40_000));
        port
    }

    /// Everything is gone with the machine's power.
    pub(super) fn clear(&self) {
        drop(self.listeners.take());
        drop(self.accepted.take());
    }
}

#[derive(Default)]
struct Backlog {
    waiting: RefCell<VecDeque<SimulatedStream>>,
    acceptor: RefCell<Option<Waker>>,
}

/// Listens on the simulated network until it is dropped.
pub(in crate::runtime) struct SimulatedListener {
    core: Rc<Core>,
    address: SocketAddr,
    backlog: Rc<Backlog>,
}

impl SimulatedListener {
    pub(in crate::runtime) fn bind(core: &Rc<Core>, mut address: SocketAddr) -> io::Result<Self> {
        let network = core.network();
        if address.port() == 0 {
            address.set_port(network.fresh_port());
        }
        let mut listeners = network.listeners.borrow_mut();
        if listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Rc::<Backlog>::default();
        listeners.insert(address, Rc::clone(&backlog));
        Ok(Self {
            core: Rc::clone(core),
            address,
            backlog,
        })
    }

    pub(in crate::runtime) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::runtime) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<(SimulatedSocket, SocketAddr)> {
        let next = self.backlog.waiting.borrow_mut().pop_front();
        match next {
            Some(stream) => {
                let peer = stream.peer_addr;
                Poll::Ready((stream.into_socket(), peer))
            }
            None => {
                *self.backlog.acceptor.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        let network = self.core.network();
        let removed = network.listeners.borrow_mut().remove(&self.address);
        drop(removed);
    }
}

/// A connection that no executor owns: it may be passed between threads, though the machine has one.
/// Dropped, it is closed.
#[derive(Debug)]
pub(in crate::runtime) struct SimulatedSocket(u64);

impl SimulatedSocket {
    pub(in crate::runtime) fn into_stream(self) -> io::Result<SimulatedStream> {
        self.take().ok_or(io::ErrorKind::NotConnected.into())
    }

    fn take(&self) -> Option<SimulatedStream> {
        match backend::current() {
            Some(Backend::Simulated(core)) => core.network().accepted.borrow_mut().remove(&self.0),
            Some(Backend::Glommio) | None => None,
        }
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Arrived and not read.
    arrived: VecDeque<u8>,
    /// Taken from the writer and not read.
    taken: usize,
    /// Nothing arrives before this.
    last_arrival: Option<Instant>,
    /// The writer has ended its direction, ...
    ended: bool,
    /// ... and the reader may know.
    end_arrived: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) -> [Option<Waker>; 2] {
        [self.reader.take(), self.writer.take()]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Silent,
    Cut,
}

struct Link {
    state: Cell<State>,
    window: usize,
    delay: Duration,
    /// By the end that writes.
    pipes: [RefCell<Pipe>; 2],
}

impl Link {
    fn cut(&self) {
        self.state.set(State::Cut);
        for pipe in &self.pipes {
            let woken = pipe.borrow_mut().wake();
            woken.into_iter().flatten().for_each(Waker::wake);
        }
    }

    /// When what is sent now arrives.
    fn arrival(&self, core: &Core, pipe: &mut Pipe) -> Instant {
        let nanos = u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX - 1);
        let at = core.now() + Duration::from_nanos(core.random_below(nanos + 1));
        let at = pipe.last_arrival.map_or(at, |last| last.max(at));
        pipe.last_arrival = Some(at);
        at
    }
}

/// One end of a connection.
pub(in crate::runtime) struct SimulatedStream {
    core: Rc<Core>,
    link: Rc<Link>,
    /// 0: who connected; 1: who accepted.
    end: usize,
    peer_addr: SocketAddr,
}

impl std::fmt::Debug for SimulatedStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SimulatedStream({})", self.peer_addr)
    }
}

impl SimulatedStream {
    pub(in crate::runtime) async fn connect(
        core: &Rc<Core>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let network = core.network();
        let weather = network.weather.get();
        let delay = core.random_below(weather.delay.as_micros() as u64 + 1);
        core.sleep_until(core.now() + Duration::from_micros(delay))
            .await;
        let backlog = network.listeners.borrow().get(&address).cloned();
        let backlog = backlog.ok_or(io::ErrorKind::ConnectionRefused)?;
        let link = Rc::new(Link {
            state: Cell::new(State::Up),
            window: 1 + core.random_below(weather.window as u64) as usize,
            delay: weather.delay,
            pipes: Default::default(),
        });
        decide_fate(core, &link, weather);
        let here = SocketAddr::new(address.ip(), network.fresh_port());
        let end = |end, peer_addr| Self {
            core: Rc::clone(core),
            link: Rc::clone(&link),
            end,
            peer_addr,
        };
        backlog.waiting.borrow_mut().push_back(end(1, here));
        if let Some(acceptor) = backlog.acceptor.take() {
            acceptor.wake();
        }
        Ok(end(0, address))
    }

    /// Takes the connection off its executor.
    pub(in crate::runtime) fn into_socket(self) -> SimulatedSocket {
        let core = Rc::clone(&self.core);
        let network = core.network();
        let id = network.next_id.get();
        network.next_id.set(id + 1);
        network.accepted.borrow_mut().insert(id, self);
        SimulatedSocket(id)
    }

    fn outgoing(&self) -> &RefCell<Pipe> {
        &self.link.pipes[self.end]
    }

    fn incoming(&self) -> &RefCell<Pipe> {
        &self.link.pipes[1 - self.end]
    }

    /// A part of `most`, all of it half of the time.
    fn part_of(&self, most: usize) -> usize {
        match self.core.random_below(2) {
            0 => most,
            _ => 1 + self.core.random_below(most as u64) as usize,
        }
    }

    pub(in crate::runtime) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.link.state.get() == State::Cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut pipe = self.incoming().borrow_mut();
        if pipe.arrived.is_empty() {
            if pipe.end_arrived || buffer.is_empty() {
                return Poll::Ready(Ok(0));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = self.part_of(buffer.len().min(pipe.arrived.len()));
        for (to, byte) in buffer.iter_mut().zip(pipe.arrived.drain(..count)) {
            *to = byte;
        }
        pipe.taken -= count;
        let writer = pipe.writer.take();
        drop(pipe);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }

    pub(in crate::runtime) fn poll_write(
        &self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.outgoing().borrow_mut();
        if self.link.state.get() == State::Cut || pipe.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.link.window - pipe.taken;
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        let count = self.part_of(room.min(offered));
        let mut bytes: Vec<u8> = Vec::with_capacity(count);
        for part in parts {
            let taken = part.len().min(count - bytes.len());
            bytes.extend_from_slice(&part[..taken]);
        }
        pipe.taken += count;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = LARGEST_PIECE.min(rest.len() as u64) as usize;
            let (piece, behind) = rest.split_at(self.part_of(most));
            let at = self.link.arrival(&self.core, &mut pipe);
            self.deliver(at, piece.to_vec());
            rest = behind;
        }
        Poll::Ready(Ok(count))
    }

    /// Has a piece arrive; an empty one is the end.
    fn deliver(&self, at: Instant, piece: Vec<u8>) {
        let (link, end) = (Rc::clone(&self.link), self.end);
        self.core.run_at(at, move || {
            if link.state.get() != State::Up {
                return;
            }
            let mut pipe = link.pipes[end].borrow_mut();
            pipe.end_arrived |= piece.is_empty();
            pipe.arrived.extend(piece);
            let reader = pipe.reader.take();
            drop(pipe);
            if let Some(reader) = reader {
                reader.wake();
            }
        });
    }

    pub(in crate::runtime) fn shutdown_write(&self) {
        let mut pipe = self.outgoing().borrow_mut();
        if !pipe.ended {
            pipe.ended = true;
            let at = self.link.arrival(&self.core, &mut pipe);
            self.deliver(at, Vec::new());
        }
    }

    /// Ends both directions: nothing more is read here.
    pub(in crate::runtime) fn shutdown(&self) {
        self.shutdown_write();
        let mut pipe = self.incoming().borrow_mut();
        pipe.end_arrived = true;
        let woken = pipe.wake();
        drop(pipe);
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// Looks for a peer that is silent: the connection is cut when it has been for four times `idle`.
    pub(in crate::runtime) fn set_keepalive(&self, idle: Duration) {
        probe(&self.core, &self.link, idle, 0);
    }

    pub(in crate::runtime) fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.shutdown_write();
        let unread = self.incoming().borrow().taken > 0;
        if unread {
            let link = Rc::clone(&self.link);
            let at = self
                .link
                .arrival(&self.core, &mut self.outgoing().borrow_mut());
            self.core.run_at(at, move || link.cut());
        } else {
            // Who writes to an end that is gone learns it.
            let woken = {
                let mut pipe = self.incoming().borrow_mut();
                pipe.ended = true;
                pipe.wake()
            };
            woken.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

fn decide_fate(core: &Rc<Core>, link: &Rc<Link>, weather: Weather) {
    let fate = core.random_below(100);
    let state = match fate {
        _ if fate < weather.cut_percent => State::Cut,
        _ if fate < weather.cut_percent + weather.silent_percent => State::Silent,
        _ => return,
    };
    let life = u64::try_from(weather.life.as_nanos()).unwrap_or(u64::MAX - 1);
    let at = core.now() + Duration::from_nanos(core.random_below(life + 1));
    let link = Rc::clone(link);
    core.run_at(at, move || match state {
        State::Cut => link.cut(),
        state => link.state.set(state),
    });
}

/// Looks again after `idle` for as long as the connection is in use.
fn probe(core: &Rc<Core>, link: &Rc<Link>, idle: Duration, unanswered: u32) {
    let (weak_core, weak_link) = (Rc::downgrade(core), Rc::downgrade(link));
    core.run_at(core.now() + idle, move || {
        let (Some(core), Some(link)) = (weak_core.upgrade(), weak_link.upgrade()) else {
            return;
        };
        match link.state.get() {
            State::Cut => {}
            State::Silent if unanswered + 2 >= KEEPALIVE_WAITS => link.cut(),
            State::Silent => probe(&core, &link, idle, unanswered + 1),
            State::Up => probe(&core, &link, idle, 0),
        }
    });
}
