//! Bytes of a socket in, whole frames out.
//!
//! One per connection, on the core that serves it. Invariants:
//! - nothing is set aside for a body before its header was checked against the limits;
//! - room grows with bytes received: never more than the greatest of 64 KiB, what has arrived of
//!   this frame, and the length of the last whole frame of this connection. A header that
//!   promises 100 MiB costs its sender the sending of them, while a producer of large frames has
//!   each read straight into its place;
//! - the metadata's CRC is checked when the metadata is there, before the payload is awaited.
//!
//! The frame's bytes are those of `docs/native_wire_format.md` in the protocol crate.

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::{FRAME_HEADER_BYTES, FrameError, FrameHeader, FrameLimits};

/// Room for a read when nothing is known of what comes, and the step of a stranger's frame.
const READ_STEP: usize = 64 * 1024;
/// A part of a frame this short is copied to a buffer of its size while the rest is awaited.
const SMALL_REMAINDER: usize = 4 * 1024;
/// The most room made ahead of a header, however long the last frame was.
const MAX_ROOM_AHEAD: usize = 2 * 1024 * 1024;

/// A whole frame, its parts shared with the buffer that received it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    /// Covered by the CRC; not yet verified as a table.
    pub(super) metadata: Bytes,
    pub(super) payload: Bytes,
}

impl Frame {
    /// Bytes on the wire.
    pub(super) fn size(&self) -> usize {
        FRAME_HEADER_BYTES + self.metadata.len() + self.payload.len()
    }
}

#[derive(Debug)]
pub(super) struct FrameReader {
    buffer: BytesMut,
    limits: FrameLimits,
    /// The header at the buffer's start, once it was checked.
    header: Option<FrameHeader>,
    metadata_verified: bool,
    /// Length of the last whole frame: what this connection has shown that it delivers.
    last_frame: usize,
}

impl FrameReader {
    /// Goes on with bytes that were read before.
    pub(super) fn new(buffer: BytesMut, limits: FrameLimits) -> Self {
        Self {
            buffer,
            limits,
            header: None,
            metadata_verified: false,
            last_frame: 0,
        }
    }

    /// The next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// After any [`FrameError`] the stream is of no more use.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((head, body)) = self.buffer.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = match self.header {
            Some(header) => header,
            None => *self.header.insert(FrameHeader::decode(head, &self.limits)?),
        };
        if !self.metadata_verified
            && let Some(metadata) = body.get(..header.metadata_length as usize)
        {
            header.verify(metadata)?;
            self.metadata_verified = true;
        }
        if body.len() < header.body_length() {
            return Ok(None);
        }
        let size = FRAME_HEADER_BYTES + header.body_length();
        let mut frame = self.buffer.split_to(size).freeze();
        let payload = frame.split_off(FRAME_HEADER_BYTES + header.metadata_length as usize);
        let metadata = frame.split_off(FRAME_HEADER_BYTES);
        self.header = None;
        self.metadata_verified = false;
        self.last_frame = size;
        Ok(Some(Frame {
            header,
            metadata,
            payload,
        }))
    }

    /// What the frame under way counts for in the shard's memory; `None` between frames.
    ///
    /// A connection that has shown that it delivers such frames is charged for the whole of it
    /// from the start, so that its frame never has to wait half-way. Who only promises is charged
    /// for what has arrived: otherwise a thousand promises would keep everybody else waiting.
    pub(super) fn frame_charge(&self) -> Option<usize> {
        Some(
            self.frame_size()?
                .min(self.last_frame)
                .max(self.buffer.len()),
        )
    }

    /// Bytes of the frame under way, as far as its header is known.
    fn frame_size(&self) -> Option<usize> {
        Some(FRAME_HEADER_BYTES + self.header?.body_length())
    }

    /// The buffer with room for the next read.
    pub(super) fn buffer_with_room(&mut self) -> &mut BytesMut {
        let room = match self.frame_size() {
            Some(size) => (size - self.buffer.len()).min(self.step()),
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

    /// Every byte from the start of `frame`, the last one taken out: for the core that goes on
    /// with them.
    pub(super) fn into_unread(self, frame: &Frame) -> BytesMut {
        let mut unread = BytesMut::with_capacity(frame.size() + self.buffer.len());
        unread.extend_from_slice(&frame.header.encode());
        unread.extend_from_slice(&frame.metadata);
        unread.extend_from_slice(&frame.payload);
        unread.extend_from_slice(&self.buffer);
        unread
    }

    fn step(&self) -> usize {
        READ_STEP.max(self.buffer.len()).max(self.last_frame)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::native::messages::UnsubscribeRequest;
    use corelog_protocol::native::{FrameKind, encode_frame};

    use super::*;

    fn frame(correlation_id: u32, payload: usize) -> Vec<u8> {
        let message = UnsubscribeRequest { subscription: 7 };
        let mut bytes = encode_frame(FrameKind::Request, correlation_id, &message, payload)
            .unwrap()
            .to_vec();
        bytes.resize(bytes.len() + payload, 0xAB);
        bytes
    }

    /// Feeds a stream as a socket would that has `piece` bytes at a time, and returns the frames
    /// and the most room that was made beyond the bytes received.
    fn receive(stream: &[u8], piece: usize) -> (Vec<Frame>, usize) {
        let mut reader = FrameReader::new(BytesMut::new(), FrameLimits::default());
        let mut frames = Vec::new();
        let mut most_room = 0;
        let mut rest = stream;
        while !rest.is_empty() {
            let buffer = reader.buffer_with_room();
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0, "a read needs room");
            most_room = most_room.max(room);
            let count = piece.min(rest.len()).min(room);
            buffer.extend_from_slice(&rest[..count]);
            rest = &rest[count..];
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
            reader.release_unused_memory();
        }
        assert_eq!(reader.unread(), 0, "the stream ends with a frame");
        (frames, most_room)
    }

    #[test]
    fn frames_come_whole_and_in_order_however_they_are_cut() {
        let stream = [frame(1, 0), frame(2, 5000), frame(3, 0), frame(4, 300_000)].concat();
        for piece in [1, 7, 24, 4096, 70_000, usize::MAX] {
            let (frames, _) = receive(&stream, piece);
            let found: Vec<_> = frames
                .iter()
                .map(|frame| (frame.header.correlation_id, frame.payload.len()))
                .collect();
            assert_eq!(
                found,
                [(1, 0), (2, 5000), (3, 0), (4, 300_000)],
                "in {piece}s"
            );
            assert!(frames[3].payload.iter().all(|&byte| byte == 0xAB));
        }
    }

    #[test]
    fn a_promise_of_bytes_makes_room_for_64_kib_and_not_for_100_mib() {
        let mut reader = FrameReader::new(BytesMut::new(), FrameLimits::default());
        let liar = frame(1, 100 * 1024 * 1024);
        reader.buffer_with_room().extend_from_slice(&liar[..100]);
        assert!(reader.next_frame().unwrap().is_none());
        assert_eq!(reader.frame_charge(), Some(100));
        assert!(reader.buffer_with_room().capacity() <= 2 * READ_STEP);
    }

    #[test]
    fn room_follows_the_bytes_that_arrived() {
        let stream = frame(1, 8 * 1024 * 1024);
        let (frames, most_room) = receive(&stream, 4096);
        assert_eq!(frames.len(), 1);
        // Doubling: never more than what has come, apart from the allocator's rounding.
        assert!(most_room <= 2 * stream.len(), "{most_room}");
    }

    #[test]
    fn a_steady_producer_of_large_frames_has_each_read_into_place() {
        let mut reader = FrameReader::new(BytesMut::new(), FrameLimits::default());
        let large = frame(1, 1024 * 1024);
        reader.buffer_with_room();
        reader.buffer.extend_from_slice(&large);
        assert!(reader.next_frame().unwrap().is_some());
        let buffer = reader.buffer_with_room();
        assert!(buffer.capacity() - buffer.len() >= large.len());
        buffer.extend_from_slice(&large[..100]);
        assert!(reader.next_frame().unwrap().is_none());
        assert_eq!(reader.frame_charge(), Some(large.len()), "from its start");
    }

    #[test]
    fn silence_costs_no_buffer() {
        let mut reader = FrameReader::new(BytesMut::new(), FrameLimits::default());
        reader.buffer_with_room();
        reader.release_unused_memory();
        assert_eq!(reader.buffer.capacity(), 0);
        reader
            .buffer_with_room()
            .extend_from_slice(&frame(1, 0)[..10]);
        reader.release_unused_memory();
        assert_eq!(reader.unread(), 10);
        assert!(
            reader.buffer.capacity() <= 64,
            "{}",
            reader.buffer.capacity()
        );
    }

    #[test]
    fn damaged_metadata_is_found_before_the_payload_arrives() {
        let mut damaged = frame(1, 1000);
        damaged[FRAME_HEADER_BYTES + 3] ^= 1;
        let mut reader = FrameReader::new(BytesMut::from(&damaged[..80]), FrameLimits::default());
        assert!(matches!(reader.next_frame(), Err(FrameError::Crc { .. })));
    }

    #[test]
    fn a_frame_put_back_is_followed_by_what_came_after_it() {
        let stream = [frame(1, 30), frame(2, 0)[..9].to_vec()].concat();
        let mut reader = FrameReader::new(BytesMut::from(&stream[..]), FrameLimits::default());
        let first = reader.next_frame().unwrap().unwrap();
        assert_eq!(reader.into_unread(&first), stream);
    }
}
