//! The bare loop's client: one thread per connection that sends the same
//! frame again and again and does no more with an ack than count it, so that
//! it is never the slower side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Deadline;
use super::bare_loop::{ACK, Frames, PREFIX};
use crate::cores::pin_this_thread;

/// What one connection moved, and when.
pub(super) struct Generated {
    pub(super) bytes: u64,
    pub(super) started: Instant,
    pub(super) ended: Instant,
}

/// Sends frames until the deadline, or until all connections together have
/// taken `budget` bytes; then waits for the last ack.
pub(super) fn generate(
    address: SocketAddr,
    core: Option<usize>,
    frames: Frames,
    deadline: Deadline,
    budget: &AtomicU64,
) -> io::Result<Generated> {
    pin_this_thread(core);
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let frame = frame_of(frames.length);
    let length = frames.length as u64;
    let started = Instant::now();
    let mut bytes = 0;
    let mut in_flight = 0;
    loop {
        while in_flight < frames.in_flight && !deadline.passed() && take(budget, length) {
            socket.write_all(&frame)?;
            in_flight += 1;
            bytes += length;
        }
        if in_flight == 0 {
            break;
        }
        let mut ack = [0; ACK];
        socket.read_exact(&mut ack)?;
        let acknowledged = u64::from_le_bytes(ack);
        in_flight = usize::try_from(acknowledged)
            .ok()
            .and_then(|frames| in_flight.checked_sub(frames))
            .ok_or_else(|| {
                let message = format!("{acknowledged} frames acknowledged of {in_flight} sent");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
    }
    let ended = Instant::now();
    Ok(Generated {
        bytes,
        started,
        ended,
    })
}

/// A frame of pseudo-random bytes behind its length.
fn frame_of(length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    rand::fill(&mut frame[PREFIX..]);
    let body = u32::try_from(length - PREFIX).expect("a frame is shorter than 4 GiB");
    frame[..PREFIX].copy_from_slice(&body.to_le_bytes());
    frame
}

fn take(budget: &AtomicU64, bytes: u64) -> bool {
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(bytes)
        })
        .is_ok()
}
