//! Frames: every lie of a header is refused by its own name, before anything of the body arrives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod samples;

use bytes::BytesMut;
use corelog_protocol::native::*;

const LIMITS: FrameLimits = FrameLimits {
    max_metadata: 4096,
    max_payload: 1024 * 1024,
};

/// A pushed goodbye with a payload, which no real one has: 24 + metadata + payload bytes.
fn frame(payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    Encoder::new(LIMITS)
        .frame(
            FrameKind::Push,
            7,
            &samples::goodbye_push(),
            payload.len(),
            &mut out,
        )
        .unwrap();
    out.extend_from_slice(payload);
    out
}

fn decode_header(change: impl FnOnce(&mut [u8; 24])) -> Result<FrameHeader, FrameError> {
    let mut header = *frame(b"").first_chunk().unwrap();
    change(&mut header);
    FrameHeader::decode(&header, &LIMITS)
}

#[test]
fn a_frame_is_found_byte_by_byte() {
    let whole = frame(b"payload");
    let mut buffer = BytesMut::new();
    for &byte in &whole[..whole.len() - 1] {
        buffer.extend_from_slice(&[byte]);
        assert_eq!(decode_frame(&mut buffer, &LIMITS), Ok(None));
    }
    buffer.extend_from_slice(&whole[whole.len() - 1..]);
    buffer.extend_from_slice(b"next");
    let frame = decode_frame(&mut buffer, &LIMITS).unwrap().unwrap();
    assert_eq!(frame.header.kind, FrameKind::Push);
    assert_eq!(frame.header.api_key(), Some(ApiKey::Goodbye));
    assert_eq!(frame.header.correlation_id, 7);
    assert_eq!(
        GoodbyePush::decode(&frame.metadata),
        Ok(samples::goodbye_push())
    );
    assert_eq!(&frame.payload[..], b"payload");
    assert_eq!(&buffer[..], b"next");
}

#[test]
fn frames_are_split_off_without_copying() {
    let mut buffer = frame(b"first");
    buffer.extend_from_slice(&frame(b"second"));
    let range = buffer.as_ptr_range();
    for payload in [&b"first"[..], b"second"] {
        let frame = decode_frame(&mut buffer, &LIMITS).unwrap().unwrap();
        assert_eq!(&frame.payload[..], payload);
        assert!(range.contains(&frame.payload.as_ptr()));
        assert!(range.contains(&frame.metadata.as_ptr()));
    }
    assert_eq!(decode_frame(&mut buffer, &LIMITS), Ok(None));
}

#[test]
fn a_header_of_something_else_is_refused() {
    assert!(decode_header(|_| ()).is_ok());
    assert_eq!(
        decode_header(|header| header[4..6].copy_from_slice(b"GE")),
        Err(FrameError::Magic { found: 0x4547 })
    );
    assert_eq!(
        decode_header(|header| header[6] = 2),
        Err(FrameError::Version { found: 2 })
    );
    assert_eq!(
        decode_header(|header| header[7] = 5),
        Err(FrameError::Kind { found: 5 })
    );
    assert_eq!(
        decode_header(|header| header[11] = 0x80),
        Err(FrameError::Flags { found: 0x8000 })
    );
}

#[test]
fn lengths_beyond_the_limits_are_refused_from_the_header_alone() {
    let lengths = |length: u32, metadata: u32| {
        decode_header(|header| {
            header[..4].copy_from_slice(&length.to_le_bytes());
            header[16..20].copy_from_slice(&metadata.to_le_bytes());
        })
    };
    assert!(lengths(4096 + 1024 * 1024, 4096).is_ok());
    assert_eq!(
        lengths(4097, 4097),
        Err(FrameError::MetadataTooLong {
            length: 4097,
            limit: 4096
        })
    );
    assert_eq!(
        lengths(1024 * 1024 + 1, 0),
        Err(FrameError::PayloadTooLong {
            length: 1024 * 1024 + 1,
            limit: 1024 * 1024
        })
    );
    assert_eq!(
        lengths(u32::MAX, 0),
        Err(FrameError::PayloadTooLong {
            length: u64::from(u32::MAX),
            limit: 1024 * 1024
        })
    );
    assert_eq!(
        lengths(99, 100),
        Err(FrameError::MetadataBeyondFrame {
            metadata: 100,
            length: 99
        })
    );
}

#[test]
fn a_flipped_bit_in_header_or_metadata_is_found() {
    let whole = frame(b"payload");
    let covered = whole.len() - b"payload".len();
    for position in 0..covered {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << bit;
            // A larger length makes the frame wait for more; everything else is refused.
            match decode_frame(&mut damaged, &LIMITS) {
                Err(_) => (),
                Ok(None) => assert!(position < 4, "bit {bit} of byte {position}"),
                Ok(Some(_)) => panic!("bit {bit} of byte {position} went unseen"),
            }
        }
    }
}

#[test]
fn room_for_a_long_frame_is_made_as_it_arrives() {
    let payload = vec![7; 1024 * 1024];
    let whole = frame(&payload);
    let mut buffer = BytesMut::from(&whole[..FRAME_HEADER_BYTES]);
    assert_eq!(decode_frame(&mut buffer, &LIMITS), Ok(None));
    assert!(buffer.capacity() <= 66 * 1024, "{}", buffer.capacity());
    for part in whole[FRAME_HEADER_BYTES..].chunks(10_000) {
        buffer.extend_from_slice(part);
        let received = buffer.len();
        match decode_frame(&mut buffer, &LIMITS).unwrap() {
            None => assert!(buffer.capacity() <= 4 * received.max(64 * 1024)),
            Some(frame) => assert_eq!(frame.payload, payload),
        }
    }
    assert!(buffer.is_empty());
}

#[test]
fn a_peer_with_unbounded_limits_cannot_overflow_the_length() {
    let limits = FrameLimits {
        max_metadata: u32::MAX,
        max_payload: u32::MAX,
    };
    let metadata = [0; 16];
    let made =
        |payload| FrameHeader::for_frame(FrameKind::Request, 16, 1, &metadata, payload, &limits);
    let largest = u32::MAX as usize - metadata.len();
    let header = made(largest).unwrap();
    assert_eq!(FrameHeader::decode(&header.encode(), &limits), Ok(header));
    assert_eq!(
        made(largest + 1),
        Err(FrameError::PayloadTooLong {
            length: largest as u64 + 1,
            limit: u32::MAX - 16
        })
    );
}
