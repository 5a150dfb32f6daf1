//! The reader and the writer task of a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use corelog_protocol::native::{FRAME_HEADER_BYTES, FrameHeader, FrameLimits, decode_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Shared;
use crate::error::ConnectionError;

/// Room made for a read when no large frame is under way.
const READ_BYTES: usize = 128 << 10;
/// Most room made at once for a frame under way: memory grows with what arrives, not with what a header promises.
const LARGE_READ_BYTES: usize = 1 << 20;
/// Parts given to one vectored write.
const SLICES_PER_WRITE: usize = 64;

/// Cuts frames out of what arrives until the connection ends.
pub(super) async fn read(mut socket: OwnedReadHalf, shared: Arc<Shared>) {
    let limits = FrameLimits::default().for_replies();
    let mut buffer = BytesMut::new();
    loop {
        loop {
            match decode_frame(&mut buffer, &limits) {
                Ok(Some(frame)) => {
                    if let Err(error) = shared.dispatch(frame) {
                        shared.fail(error);
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    shared.malformed("a frame", error);
                    return;
                }
            }
        }
        buffer.reserve(room_wanted(&buffer, &limits));
        match socket.read_buf(&mut buffer).await {
            Ok(0) => {
                shared.close("the broker closed it");
                return;
            }
            Ok(_) => {}
            Err(error) => {
                shared.fail(socket_error(&shared, "read", error));
                return;
            }
        }
    }
}

/// A large frame is read in one piece where possible, so that its batches lie side by side without a second copy.
fn room_wanted(buffer: &BytesMut, limits: &FrameLimits) -> usize {
    let Some(head) = buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
        return READ_BYTES;
    };
    match FrameHeader::decode(head, limits) {
        Ok(header) => {
            let missing = (FRAME_HEADER_BYTES + header.body_length()).saturating_sub(buffer.len());
            missing.clamp(READ_BYTES, LARGE_READ_BYTES)
        }
        // `decode_frame` has already refused it.
        Err(_) => READ_BYTES,
    }
}

/// Sends queued frames, all that are there in one go, until the connection ends.
pub(super) async fn write(mut socket: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut parts = VecDeque::new();
    let mut written = Vec::new();
    loop {
        for frame in shared.outgoing().drain(..) {
            parts.push_back(frame.head);
            parts.extend(frame.payload.into_iter().filter(|part| !part.is_empty()));
            written.extend(frame.written);
        }
        if parts.is_empty() {
            shared.outgoing_ready.notified().await;
            continue;
        }
        if let Err(error) = write_all(&mut socket, &mut parts).await {
            shared.fail(socket_error(&shared, "write", error));
            return;
        }
        for sender in written.drain(..) {
            // The sender of an unanswered request may not care.
            let _ = sender.send(());
        }
    }
}

async fn write_all(socket: &mut OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !parts.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.iter()) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let mut taken = socket.write_vectored(&slices[..count]).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while taken > 0 {
            let Some(part) = parts.front_mut() else { break };
            if taken < part.len() {
                part.advance(taken);
                break;
            }
            taken -= part.len();
            parts.pop_front();
        }
    }
    Ok(())
}

fn socket_error(shared: &Shared, action: &'static str, error: io::Error) -> ConnectionError {
    match shared.goodbye.get() {
        Some(_) => shared.closed("the broker closed it"),
        None => ConnectionError::Socket {
            address: shared.address.clone(),
            action,
            source: Arc::new(error),
        },
    }
}
