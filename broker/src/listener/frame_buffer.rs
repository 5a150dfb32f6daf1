//! Bytes of a socket in, whole frames out, in either dialect.
//!
//! One per connection, on the core that serves it. Invariants:
//! - nothing is set aside for a frame before its length was checked against the limits;
//! - room grows with bytes received: never more than the greatest of 64 KiB, what has arrived of
//!   this frame, and the length of the last whole frame of this connection. A header that
//!   promises 100 MiB costs its sender the sending of them, while a producer of large frames has
//!   each read straight into its place.

use bytes::{Bytes, BytesMut};

use super::close::Close;

/// Room for a read when nothing is known of what comes, and the step of a stranger's frame.
pub(super) const READ_STEP: usize = 64 * 1024;
/// A part of a frame this short is copied to a buffer of its size while the rest is awaited.
const SMALL_REMAINDER: usize = 4 * 1024;
/// The most room made ahead of a header, however long the last frame was.
const MAX_ROOM_AHEAD: usize = 2 * 1024 * 1024;

/// How a dialect tells where a frame ends.
pub(super) trait Framing {
    type Frame;

    /// The length of the frame that begins with `bytes`; `None` while they do not tell. Asked again as bytes arrive, until
    /// the frame is whole.
    ///
    /// # Errors
    /// The bytes are the beginning of no frame. After that the stream is of no more use.
    fn frame_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Close>;

    /// Takes a whole frame apart.
    fn cut(&mut self, frame: Bytes) -> Self::Frame;
}

#[derive(Debug)]
pub(super) struct FrameBuffer<F> {
    buffer: BytesMut,
    framing: F,
    /// Of the frame under way, once it is known.
    frame_length: Option<usize>,
    /// Length of the last whole frame: what this connection has shown that it delivers.
    last_frame: usize,
}

impl<F: Framing> FrameBuffer<F> {
    /// Goes on with bytes that were read before.
    pub(super) fn new(buffer: BytesMut, framing: F) -> Self {
        Self {
            buffer,
            framing,
            frame_length: None,
            last_frame: 0,
        }
    }

    /// The next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// As [`Framing::frame_length`].
    pub(super) fn next_frame(&mut self) -> Result<Option<F::Frame>, Close> {
        self.frame_length = self.framing.frame_length(&self.buffer)?;
        match self.frame_length {
            Some(length) if length <= self.buffer.len() => {
                let frame = self.buffer.split_to(length).freeze();
                self.frame_length = None;
                self.last_frame = length;
                Ok(Some(self.framing.cut(frame)))
            }
            _ => Ok(None),
        }
    }

    /// What the frame under way counts for in the shard's memory; `None` between frames.
    ///
    /// A connection that has shown that it delivers such frames is charged for the whole of it
    /// from the start, so that its frame never has to wait half-way. Who only promises is charged
    /// for what has arrived: otherwise a thousand promises would keep everybody else waiting.
    pub(super) fn frame_charge(&self) -> Option<usize> {
        Some(
            self.frame_length?
                .min(self.last_frame)
                .max(self.buffer.len()),
        )
    }

    /// The buffer with room for the next read.
    pub(super) fn buffer_with_room(&mut self) -> &mut BytesMut {
        let room = match self.frame_length {
            Some(length) => (length - self.buffer.len()).min(self.step()),
            // The beginning of a frame: as much as the last one had, so that a steady producer's
            // next frame is read into one piece of memory, with one call if it is there.
            None => READ_STEP.max(self.last_frame.min(MAX_ROOM_AHEAD)),
        };
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Gives memory back while the peer is silent: what is kept is in proportion to what it sent.
    pub(super) fn release_unused_memory(&mut self) {
        if self.buffer.len() < SMALL_REMAINDER && self.buffer.capacity() > 2 * SMALL_REMAINDER {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
    }

    /// Bytes of a frame that is not whole yet.
    pub(super) fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// What came behind the last whole frame.
    pub(super) fn into_unread(self) -> BytesMut {
        self.buffer
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn step(&self) -> usize {
        READ_STEP.max(self.buffer.len()).max(self.last_frame)
    }
}
