//! TCP sockets: listening, connections and their hand-over from one core to another.
//!
//! A [`Connection`] belongs to the executor it was made on; an [`AcceptedSocket`] belongs to none and
//! may be sent to the thread that should serve it. All data moves by system calls that do not block,
//! and the ring is asked only for readiness: the kernel never holds a caller's buffer, so every future
//! here may be dropped at any time, and what an abandoned read would have returned stays in the socket.
//!
//! There is no simulated network yet; the types hide what they stand on so that one can come.

#![expect(
    unsafe_code,
    reason = "vectored sends, reads into spare capacity, descriptors of glommio"
)]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::real::gated;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Parts of one vectored send; the kernel takes no more (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

/// A socket that listens, on no executor yet. Bind before the shards start, so that a port in use is an
/// error of the start. Clones share one queue of connections, and each is taken by one of them.
#[derive(Debug)]
pub struct ListeningSocket(TcpListener);

impl ListeningSocket {
    /// Binds and listens; port 0 picks a free one. A port that another process listens on is refused.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
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
        // SAFETY: the descriptor is ours and is given away with its ownership.
        let socket = unsafe { glommio::net::TcpListener::from_raw_fd(self.0.into_raw_fd()) };
        Ok(Listener {
            socket: Rc::new(socket),
            local_addr,
            accepting: RefCell::new(None),
        })
    }
}

type Accepting = Pin<Box<dyn Future<Output = io::Result<AcceptedSocket>>>>;

/// Accepts connections on this executor.
pub struct Listener {
    socket: Rc<glommio::net::TcpListener>,
    local_addr: SocketAddr,
    /// Survives an [`Listener::accept`] that is dropped: cancelling it in the kernel could lose a
    /// connection that was accepted at that moment.
    accepting: RefCell<Option<Accepting>>,
}

impl Listener {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        ListeningSocket::bind(address)?.into_listener()
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The next connection. Cancel safe. Call it from one task only. An error is that of one connection
    /// or of the moment (no descriptors left): go on, after a pause.
    pub async fn accept(&self) -> io::Result<AcceptedSocket> {
        poll_fn(|context| {
            // Taken out, so that no borrow is held while foreign code runs.
            let taken = self.accepting.borrow_mut().take();
            let mut accepting = taken.unwrap_or_else(|| {
                let socket = Rc::clone(&self.socket);
                Box::pin(accept_one(socket))
            });
            let polled = accepting.as_mut().poll(context);
            if polled.is_pending() {
                *self.accepting.borrow_mut() = Some(accepting);
            }
            polled
        })
        .await
    }
}

async fn accept_one(socket: Rc<glommio::net::TcpListener>) -> io::Result<AcceptedSocket> {
    let accepted = gated(socket.shared_accept()).await?;
    // The only way to the descriptor is through a stream of this executor.
    let stream = accepted.bind_to_executor();
    AcceptedSocket::duplicate(&stream)
}

/// A connected socket that no executor owns: it may move to another thread. Bytes that were already
/// read from it travel beside it.
#[derive(Debug)]
pub struct AcceptedSocket {
    socket: TcpStream,
    peer_addr: SocketAddr,
}

impl AcceptedSocket {
    fn duplicate(stream: &glommio::net::TcpStream) -> io::Result<Self> {
        // SAFETY: the stream keeps its descriptor open for the time of this call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        let socket = TcpStream::from(borrowed.try_clone_to_owned()?);
        let peer_addr = socket.peer_addr()?;
        Ok(Self { socket, peer_addr })
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Makes it a connection of this thread's executor.
    pub fn into_connection(self) -> io::Result<Connection> {
        self.socket.set_nodelay(true)?;
        let descriptor = OwnedFd::from(self.socket);
        // SAFETY: the descriptor is ours and is given away with its ownership.
        let stream = unsafe { glommio::net::TcpStream::from_raw_fd(descriptor.into_raw_fd()) };
        Ok(Connection::new(stream, self.peer_addr))
    }
}

/// A TCP connection on this executor. Small writes are sent at once (`TCP_NODELAY`): replies are put
/// together before they are written, not by the kernel.
#[derive(Debug)]
pub struct Connection {
    stream: Rc<Stream>,
}

/// What both halves of a connection share. Borrowed during a poll only.
#[derive(Debug)]
struct Stream {
    stream: RefCell<glommio::net::TcpStream>,
    peer_addr: SocketAddr,
}

impl Connection {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = gated(glommio::net::TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream, address))
    }

    fn new(stream: glommio::net::TcpStream, peer_addr: SocketAddr) -> Self {
        Self {
            stream: Rc::new(Stream {
                stream: RefCell::new(stream),
                peer_addr,
            }),
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
        AcceptedSocket::duplicate(&self.stream.stream.borrow())
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.stream.peer_addr
    }

    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream
            .with_socket(|socket| socket.set_tcp_nodelay(nodelay))
    }

    /// Probes the peer when it has been silent for `idle`, three times in all: a peer that is gone
    /// without a word then ends the connection.
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(idle)
            .with_retries(3);
        self.stream
            .with_socket(|socket| socket.set_tcp_keepalive(&keepalive))
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
        self.0.peer_addr
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
        self.0.peer_addr
    }

    /// See [`Connection::shutdown`]: stops the other half too.
    pub fn shutdown(&self) -> io::Result<()> {
        self.0.shutdown()
    }

    /// Tells the peer that nothing more comes. The other half goes on.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.0
            .with_socket(|socket| socket.shutdown(Shutdown::Write))
    }
}

impl Stream {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // A peer that sends without pause always has bytes here: let others have their turn.
        glommio::yield_if_needed().await;
        poll_fn(|context| {
            let mut stream = self.stream.borrow_mut();
            Pin::new(&mut *stream).poll_read(context, buffer)
        })
        .await
    }

    async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let spare = buffer.spare_capacity_mut();
        assert!(
            !spare.is_empty(),
            "the caller reserves room before it reads"
        );
        let spare: *mut [MaybeUninit<u8>] = spare;
        // SAFETY: the same memory, borrowed as long. It may be uninitialised: glommio's unbuffered
        // stream only passes it to recv(2), which writes.
        let received = self.read(unsafe { &mut *(spare as *mut [u8]) }).await?;
        let len = buffer.len() + received;
        assert!(
            len <= buffer.capacity(),
            "the kernel stays within the buffer"
        );
        // SAFETY: recv(2) wrote this many bytes behind what was there.
        unsafe { buffer.set_len(len) };
        Ok(received)
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

    async fn write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let sent = match self.send_now(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let first = parts.iter().find(|part| !part.is_empty());
                    let first = first.expect("there are bytes to be written");
                    // Sends the first part itself once the socket has room.
                    poll_fn(|context| {
                        let mut stream = self.stream.borrow_mut();
                        Pin::new(&mut *stream).poll_write(context, first)
                    })
                    .await?
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                sent => sent?,
            };
            return match sent {
                0 => Err(io::ErrorKind::WriteZero.into()),
                sent => Ok(sent),
            };
        }
    }

    fn send_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let parts = &parts[..parts.len().min(MAX_PARTS)];
        // SAFETY: all fields of a message header may be zero.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // An `IoSlice` is an `iovec` on Unix, by its documentation; sendmsg(2) does not write to it.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        let descriptor = self.stream.borrow().as_raw_fd();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the header and what it points to live through the call.
        let sent = unsafe { libc::sendmsg(descriptor, &message, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn with_socket<T>(&self, call: impl FnOnce(SockRef<'_>) -> T) -> T {
        let stream = self.stream.borrow();
        // SAFETY: the stream keeps its descriptor open for the time of this call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        call(SockRef::from(&descriptor))
    }

    fn shutdown(&self) -> io::Result<()> {
        match self.with_socket(|socket| socket.shutdown(Shutdown::Both)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests;
