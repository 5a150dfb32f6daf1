//! TCP sockets: listening, connections and their hand-over from one core to another.
//!
//! A [`Connection`] belongs to the executor it was made on; an [`AcceptedSocket`] belongs to none and
//! may be sent to the thread that should serve it. All data moves by system calls that do not block,
//! and the ring is asked only for readiness: the kernel never holds a caller's buffer, so every future
//! here may be dropped at any time, and what an abandoned read would have returned stays in the socket.
//!
//! On a simulated executor the same types are connections of its simulated network.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::backend::{self, Backend};
use super::real;
use super::sim::{SimulatedListener, SimulatedSocket, SimulatedStream};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// How long a start waits for an address in use.
const ADDRESS_IN_USE: Duration = Duration::from_secs(2);

/// A socket that listens, on no executor yet. Bind before the shards start, so that a port in use is an
/// error of the start. Clones share one queue of connections, and each is taken by one of them.
#[derive(Debug)]
pub struct ListeningSocket(TcpListener);

impl ListeningSocket {
    /// Binds and listens; port 0 picks a free one. A port that another process listens on is refused.
    /// Waits a moment for an address in use: the kernel ends the rings of a process that was killed, and with
    /// them its sockets, some time after the process.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let give_up = std::time::Instant::now() + ADDRESS_IN_USE;
        loop {
            match Self::try_bind(address) {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && std::time::Instant::now() < give_up =>
                {
                    std::thread::sleep(ADDRESS_IN_USE / 100);
                }
                bound => return bound,
            }
        }
    }

    fn try_bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // Connections of an earlier life that linger must not keep the broker from its port.
        socket.set_reuse_address(true)?;
        socket
            .bind(&address.into())
            .and_then(|()| socket.listen(BACKLOG))
            .map_err(|error| {
                io::Error::new(error.kind(), format!("listen on {address}: {error}"))
            })?;
        Ok(Self(socket.into()))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Listens on this thread's executor.
    pub fn into_listener(self) -> io::Result<Listener> {
        let local_addr = self.0.local_addr()?;
        Ok(Listener(Listening::Real {
            acceptor: real::Acceptor::new(self.0),
            local_addr,
        }))
    }
}

/// Accepts connections on this executor.
pub struct Listener(Listening);

enum Listening {
    Real {
        acceptor: real::Acceptor,
        local_addr: SocketAddr,
    },
    Simulated(SimulatedListener),
}

impl Listener {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        match backend::expect_current() {
            Backend::Glommio => ListeningSocket::bind(address)?.into_listener(),
            Backend::Simulated(core) => {
                let listener = SimulatedListener::bind(&core, address)?;
                Ok(Self(Listening::Simulated(listener)))
            }
        }
    }

    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            Listening::Real { local_addr, .. } => *local_addr,
            Listening::Simulated(listener) => listener.local_addr(),
        }
    }

    /// The next connection. Cancel safe. Call it from one task only. An error is that of one connection
    /// or of the moment (no descriptors left): go on, after a pause.
    pub async fn accept(&self) -> io::Result<AcceptedSocket> {
        match &self.0 {
            Listening::Real { acceptor, .. } => {
                let socket = poll_fn(|context| acceptor.poll_accept(context)).await?;
                AcceptedSocket::of_kernel(socket)
            }
            Listening::Simulated(listener) => {
                let (socket, peer_addr) = poll_fn(|context| listener.poll_accept(context)).await;
                Ok(AcceptedSocket {
                    socket: Accepted::Simulated(socket),
                    peer_addr,
                })
            }
        }
    }
}

/// A connected socket that no executor owns: it may move to another thread. Bytes that were already
/// read from it travel beside it.
#[derive(Debug)]
pub struct AcceptedSocket {
    socket: Accepted,
    peer_addr: SocketAddr,
}

#[derive(Debug)]
enum Accepted {
    Real(std::net::TcpStream),
    Simulated(SimulatedSocket),
}

impl AcceptedSocket {
    fn of_kernel(socket: std::net::TcpStream) -> io::Result<Self> {
        let peer_addr = socket.peer_addr()?;
        Ok(Self {
            socket: Accepted::Real(socket),
            peer_addr,
        })
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Makes it a connection of this thread's executor.
    pub fn into_connection(self) -> io::Result<Connection> {
        let stream = match self.socket {
            Accepted::Real(socket) => {
                socket.set_nodelay(true)?;
                Stream::Real(real::TcpStream::from_socket(socket), self.peer_addr)
            }
            Accepted::Simulated(socket) => Stream::Simulated(socket.into_stream()?),
        };
        Ok(Connection::new(stream))
    }
}

/// A TCP connection on this executor. Small writes are sent at once (`TCP_NODELAY`): replies are put
/// together before they are written, not by the kernel.
#[derive(Debug)]
pub struct Connection {
    stream: Rc<Stream>,
}

/// What both halves of a connection share.
#[derive(Debug)]
enum Stream {
    Real(real::TcpStream, SocketAddr),
    Simulated(SimulatedStream),
}

impl Connection {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = match backend::expect_current() {
            Backend::Glommio => {
                let stream = real::TcpStream::connect(address).await?;
                stream.with_socket(|socket| socket.set_tcp_nodelay(true))?;
                Stream::Real(stream, address)
            }
            Backend::Simulated(core) => {
                Stream::Simulated(SimulatedStream::connect(&core, address).await?)
            }
        };
        Ok(Self::new(stream))
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream: Rc::new(stream),
        }
    }

    /// Reads what is there, at least one byte; 0 means that the peer has closed. Cancel safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).await
    }

    /// As [`Connection::read`], into the spare capacity, which the caller has reserved.
    pub async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.stream.read_buf(buffer).await
    }

    /// Writes all parts, in one system call if the socket takes them. If it is dropped or fails half
    /// way, an unknown part was sent: close the connection.
    pub async fn write_all_vectored(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.stream.write_all_vectored(parts).await
    }

    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream
            .write_all_vectored(&mut [IoSlice::new(bytes)])
            .await
    }

    /// Halves for a task that reads and a task that writes.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf(Rc::clone(&self.stream)), WriteHalf(self.stream))
    }

    /// Takes the socket off this executor. Bytes read before go along by the caller.
    pub fn into_accepted(self) -> io::Result<AcceptedSocket> {
        let stream = match Rc::try_unwrap(self.stream) {
            Ok(stream) => stream,
            Err(_) => unreachable!("a whole connection is the only owner of its stream"),
        };
        match stream {
            Stream::Real(stream, _) => AcceptedSocket::of_kernel(stream.duplicate()?),
            Stream::Simulated(stream) => Ok(AcceptedSocket {
                peer_addr: stream.peer_addr(),
                socket: Accepted::Simulated(stream.into_socket()),
            }),
        }
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.stream.peer_addr()
    }

    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &*self.stream {
            Stream::Real(stream, _) => stream.with_socket(|socket| socket.set_tcp_nodelay(nodelay)),
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// Probes the peer when it has been silent for `idle`, three times in all: a peer that is gone
    /// without a word then ends the connection.
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        match &*self.stream {
            Stream::Real(stream, _) => {
                let keepalive = TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(idle)
                    .with_retries(3);
                stream.with_socket(|socket| socket.set_tcp_keepalive(&keepalive))
            }
            Stream::Simulated(stream) => {
                stream.set_keepalive(idle);
                Ok(())
            }
        }
    }

    /// Ends both directions; what waits on the connection wakes up.
    pub fn shutdown(&self) -> io::Result<()> {
        self.stream.shutdown()
    }
}

/// The half of a [`Connection`] that reads.
#[derive(Debug)]
pub struct ReadHalf(Rc<Stream>);

impl ReadHalf {
    /// See [`Connection::read`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).await
    }

    /// See [`Connection::read_buf`].
    pub async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.0.read_buf(buffer).await
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// See [`Connection::shutdown`]: stops the other half too.
    pub fn shutdown(&self) -> io::Result<()> {
        self.0.shutdown()
    }

    /// The connection again, if this half and that one belong together.
    pub fn unsplit(self, other: WriteHalf) -> Option<Connection> {
        Rc::ptr_eq(&self.0, &other.0).then_some(Connection { stream: self.0 })
    }
}

/// The half of a [`Connection`] that writes.
#[derive(Debug)]
pub struct WriteHalf(Rc<Stream>);

impl WriteHalf {
    /// See [`Connection::write_all_vectored`].
    pub async fn write_all_vectored(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.write_all_vectored(parts).await
    }

    /// Writes as much as the socket takes at once, waiting until it takes some. The parts are not all
    /// empty. Cancel safe.
    pub async fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts).await
    }

    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_vectored(&mut [IoSlice::new(bytes)]).await
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// See [`Connection::shutdown`]: stops the other half too.
    pub fn shutdown(&self) -> io::Result<()> {
        self.0.shutdown()
    }

    /// Tells the peer that nothing more comes. The other half goes on.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &*self.0 {
            Stream::Real(stream, _) => stream.with_socket(|it| it.shutdown(Shutdown::Write)),
            Stream::Simulated(stream) => {
                stream.shutdown_write();
                Ok(())
            }
        }
    }
}

impl Stream {
    fn peer_addr(&self) -> SocketAddr {
        match self {
            Self::Real(_, peer_addr) => *peer_addr,
            Self::Simulated(stream) => stream.peer_addr(),
        }
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Real(stream, _) => stream.read(buffer).await,
            Self::Simulated(stream) => poll_fn(|context| stream.poll_read(context, buffer)).await,
        }
    }

    async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Real(stream, _) => stream.read_buf(buffer).await,
            Self::Simulated(stream) => {
                let mut received = vec![0; buffer.capacity() - buffer.len()];
                let read = poll_fn(|context| stream.poll_read(context, &mut received)).await?;
                buffer.extend_from_slice(&received[..read]);
                Ok(read)
            }
        }
    }

    async fn write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Real(stream, _) => stream.write_vectored(parts).await,
            Self::Simulated(stream) => poll_fn(|context| stream.poll_write(context, parts)).await,
        }
    }

    async fn write_all_vectored(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut parts = parts;
        // Drops empty parts at the front, so that a first part has bytes to wait with.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let sent = self.write_vectored(parts).await?;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(())
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Real(stream, _) => stream.shutdown(),
            Self::Simulated(stream) => {
                stream.shutdown();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
