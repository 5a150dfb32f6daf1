//! What TCP over loopback does between the broker's core and the client's.
//!
//! The server side is one io_uring thread, as the broker is; the client side
//! is a thread of blocking reads and writes, the cheapest peer there is.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::ring::{BLOCK, Buffer, Handle, Ring};
use super::{Deadline, Transfer};
use crate::cores::pin_this_thread;
use crate::latency::{Latencies, LatencySummary};

/// What one send or read of the stream moves at most.
const CHUNK: usize = 256 << 10;

/// Bytes of a request, and of its reply, in the round trip.
const PING: usize = 64;

/// Bytes a second from the server's core to the client's, over one connection.
pub(crate) fn stream(
    server_core: Option<usize>,
    client_core: Option<usize>,
    duration: Duration,
) -> Result<Transfer> {
    with_server(
        server_core,
        move |mut ring, socket| {
            let deadline = Deadline::after(duration);
            let mut buffer = Buffer::new(CHUNK);
            buffer.bytes_mut().fill(0xC0);
            while !deadline.passed() {
                let whole = 0..buffer.len();
                ring.send(&socket, buffer, whole, 0)?;
                let completion = ring.complete_one()?;
                completion.result?;
                buffer = completion.buffer.expect("a send returns its buffer");
            }
            Ok(())
        },
        |address| {
            pin_this_thread(client_core);
            let mut socket = TcpStream::connect(address)?;
            let mut buffer = vec![0; CHUNK];
            let start = Instant::now();
            let mut bytes = 0;
            loop {
                match socket.read(&mut buffer)? {
                    0 => break,
                    read => bytes += read as u64,
                }
            }
            let elapsed = start.elapsed();
            Ok(Transfer { bytes, elapsed })
        },
    )
}

/// One small request and its reply at a time.
pub(crate) fn round_trip(
    server_core: Option<usize>,
    client_core: Option<usize>,
    duration: Duration,
) -> Result<LatencySummary> {
    with_server(
        server_core,
        |mut ring, socket| {
            let mut buffer = Buffer::new(BLOCK);
            loop {
                ring.receive(&socket, buffer, 0..PING, 0)?;
                let received = ring.complete_one()?;
                if received.result? < PING {
                    return Ok(());
                }
                let reply = received.buffer.expect("a receive returns its buffer");
                ring.send(&socket, reply, 0..PING, 0)?;
                let sent = ring.complete_one()?;
                sent.result?;
                buffer = sent.buffer.expect("a send returns its buffer");
            }
        },
        |address| {
            pin_this_thread(client_core);
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            let mut message = [0; PING];
            let mut latencies = Latencies::new();
            let deadline = Deadline::after(duration);
            while !deadline.passed() {
                let start = Instant::now();
                socket.write_all(&message)?;
                socket.read_exact(&mut message)?;
                latencies.record(start.elapsed());
            }
            Ok(latencies.summary())
        },
    )
}

/// Runs `server` on a ring of the server's core with the connection that
/// `client` makes from a thread of its own.
fn with_server<T: Send>(
    server_core: Option<usize>,
    server: impl FnOnce(Ring, Handle) -> io::Result<()> + Send,
    client: impl FnOnce(SocketAddr) -> io::Result<T> + Send,
) -> Result<T> {
    let listener = listen()?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            pin_this_thread(server_core);
            let (socket, _peer) = listener.accept()?;
            socket.set_nodelay(true)?;
            server(Ring::new(4)?, Arc::new(OwnedFd::from(socket)))
        });
        let client = scope.spawn(move || client(address));
        let measured = joined(client.join(), "client")?;
        joined(server.join(), "server")?;
        Ok(measured)
    })
}

/// A listener on a free port of the loopback interface.
pub(super) fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")
}

/// The outcome of a measuring thread.
pub(super) fn joined<T>(outcome: thread::Result<io::Result<T>>, side: &str) -> Result<T> {
    match outcome {
        Ok(result) => result.with_context(|| format!("the {side} of a ceiling failed")),
        Err(_) => Err(anyhow!("the {side} of a ceiling panicked")),
    }
}
