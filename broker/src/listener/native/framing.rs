//! The native dialect's frames.
//!
//! The metadata's CRC is checked when the metadata is there, before the payload is awaited. The frame's bytes are those of
//! `docs/native_wire_format.md` in the protocol crate.

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::{FRAME_HEADER_BYTES, FrameHeader, FrameLimits};

use crate::listener::close::Close;
use crate::listener::frame_buffer::Framing;

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

    /// The frame's bytes and `behind` them what came after it: for the core that goes on with them.
    pub(super) fn put_back(&self, behind: &[u8]) -> BytesMut {
        let mut unread = BytesMut::with_capacity(self.size() + behind.len());
        unread.extend_from_slice(&self.header.encode());
        unread.extend_from_slice(&self.metadata);
        unread.extend_from_slice(&self.payload);
        unread.extend_from_slice(behind);
        unread
    }
}

#[derive(Debug)]
pub(super) struct NativeFraming {
    limits: FrameLimits,
    /// Of the frame under way, once it was checked.
    header: Option<FrameHeader>,
    metadata_verified: bool,
}

impl NativeFraming {
    pub(super) fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            header: None,
            metadata_verified: false,
        }
    }
}

impl Framing for NativeFraming {
    type Frame = Frame;

    fn frame_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Close> {
        let Some((head, body)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
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
        Ok(Some(FRAME_HEADER_BYTES + header.body_length()))
    }

    fn cut(&mut self, mut frame: Bytes) -> Frame {
        let header = self.header.take().expect("the frame's length was known");
        self.metadata_verified = false;
        let payload = frame.split_off(FRAME_HEADER_BYTES + header.metadata_length as usize);
        let metadata = frame.split_off(FRAME_HEADER_BYTES);
        Frame {
            header,
            metadata,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::native::messages::UnsubscribeRequest;
    use corelog_protocol::native::{FrameError, FrameKind, encode_frame};

    use super::*;
    use crate::listener::frame_buffer::{FrameBuffer, READ_STEP};

    fn reader(bytes: &[u8]) -> FrameBuffer<NativeFraming> {
        FrameBuffer::new(
            BytesMut::from(bytes),
            NativeFraming::new(FrameLimits::default()),
        )
    }

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
        let mut reader = reader(&[]);
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
        let mut reader = reader(&[]);
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
        let mut reader = reader(&[]);
        let large = frame(1, 1024 * 1024);
        reader.buffer_with_room().extend_from_slice(&large);
        assert!(reader.next_frame().unwrap().is_some());
        let buffer = reader.buffer_with_room();
        assert!(buffer.capacity() - buffer.len() >= large.len());
        buffer.extend_from_slice(&large[..100]);
        assert!(reader.next_frame().unwrap().is_none());
        assert_eq!(reader.frame_charge(), Some(large.len()), "from its start");
    }

    #[test]
    fn silence_costs_no_buffer() {
        let mut reader = reader(&[]);
        reader.buffer_with_room();
        reader.release_unused_memory();
        assert_eq!(reader.capacity(), 0);
        reader
            .buffer_with_room()
            .extend_from_slice(&frame(1, 0)[..10]);
        reader.release_unused_memory();
        assert_eq!(reader.unread(), 10);
        assert!(reader.capacity() <= 64, "{}", reader.capacity());
    }

    #[test]
    fn damaged_metadata_is_found_before_the_payload_arrives() {
        let mut damaged = frame(1, 1000);
        damaged[FRAME_HEADER_BYTES + 3] ^= 1;
        let mut reader = reader(&damaged[..80]);
        assert!(matches!(
            reader.next_frame(),
            Err(Close::BadFrame(FrameError::Crc { .. }))
        ));
    }

    #[test]
    fn a_frame_put_back_is_followed_by_what_came_after_it() {
        let stream = [frame(1, 30), frame(2, 0)[..9].to_vec()].concat();
        let mut reader = reader(&stream);
        let first = reader.next_frame().unwrap().unwrap();
        assert_eq!(first.put_back(&reader.into_unread()), stream);
    }
}
