//! TCP sockets of the kernel, by system calls that do not block; the ring tells readiness only.

#![expect(
    unsafe_code,
    reason = "vectored sends, reads into spare capacity, descriptors of glommio"
)]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use super::gated;

/// Parts of one vectored send; the kernel takes no more (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

type Accepting = Pin<Box<dyn Future<Output = io::Result<std::net::TcpStream>>>>;

/// Accepts connections on this executor.
pub(in crate::runtime) struct Acceptor {
    socket: Rc<glommio::net::TcpListener>,
    /// Survives an accept that is dropped: cancelling it in the kernel could lose a connection that
    /// was accepted at that moment.
    accepting: RefCell<Option<Accepting>>,
}

impl Acceptor {
    pub(in crate::runtime) fn new(socket: TcpListener) -> Self {
        // SAFETY: the descriptor is ours and is given away with its ownership.
        let socket = unsafe { glommio::net::TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Self {
            socket: Rc::new(socket),
            accepting: RefCell::new(None),
        }
    }

    pub(in crate::runtime) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<std::net::TcpStream>> {
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
    }
}

async fn accept_one(socket: Rc<glommio::net::TcpListener>) -> io::Result<std::net::TcpStream> {
    let accepted = gated(socket.shared_accept()).await?;
    // The only way to the descriptor is through a stream of this executor.
    let stream = accepted.bind_to_executor();
    TcpStream::new(stream).duplicate()
}

/// A stream of this executor. Borrowed during a poll only.
#[derive(Debug)]
pub(in crate::runtime) struct TcpStream {
    stream: RefCell<glommio::net::TcpStream>,
}

impl TcpStream {
    fn new(stream: glommio::net::TcpStream) -> Self {
        Self {
            stream: RefCell::new(stream),
        }
    }

    pub(in crate::runtime) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = gated(glommio::net::TcpStream::connect(address)).await?;
        Ok(Self::new(stream))
    }

    pub(in crate::runtime) fn from_socket(socket: std::net::TcpStream) -> Self {
        let descriptor = OwnedFd::from(socket);
        // SAFETY: the descriptor is ours and is given away with its ownership.
        let stream = unsafe { glommio::net::TcpStream::from_raw_fd(descriptor.into_raw_fd()) };
        Self::new(stream)
    }

    /// Another descriptor of the same socket, on no executor.
    pub(in crate::runtime) fn duplicate(&self) -> io::Result<std::net::TcpStream> {
        let stream = self.stream.borrow();
        // SAFETY: the stream keeps its descriptor open for the time of this call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        Ok(borrowed.try_clone_to_owned()?.into())
    }
    pub(in crate::runtime) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // A peer that sends without pause always has bytes here: let others have their turn.
        glommio::yield_if_needed().await;
        poll_fn(|context| {
            let mut stream = self.stream.borrow_mut();
            Pin::new(&mut *stream).poll_read(context, buffer)
        })
        .await
    }

    pub(in crate::runtime) async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
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

    pub(in crate::runtime) async fn write_vectored(
        &self,
        parts: &[IoSlice<'_>],
    ) -> io::Result<usize> {
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

    pub(in crate::runtime) fn with_socket<T>(&self, call: impl FnOnce(SockRef<'_>) -> T) -> T {
        let stream = self.stream.borrow();
        // SAFETY: the stream keeps its descriptor open for the time of this call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        call(SockRef::from(&descriptor))
    }

    pub(in crate::runtime) fn shutdown(&self) -> io::Result<()> {
        match self.with_socket(|socket| socket.shutdown(Shutdown::Both)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}
