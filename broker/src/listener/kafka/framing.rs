//! Kafka's frames: a length, then so many bytes.

use bytes::Bytes;

use crate::listener::close::Close;
use crate::listener::frame_buffer::Framing;

const LENGTH_BYTES: usize = 4;
/// The least that a request's header takes: API, version, correlation id, and a null client id.
const LEAST_REQUEST_BYTES: usize = 10;

#[derive(Debug)]
pub(super) struct KafkaFraming {
    max_bytes: usize,
}

impl KafkaFraming {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes }
    }
}

impl Framing for KafkaFraming {
    /// A request: its header and its body.
    type Frame = Bytes;

    fn frame_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Close> {
        let Some((head, _)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        if let Some(protocol) = other_protocol(head) {
            return Err(Close::OtherProtocol(protocol));
        }
        let claimed = i32::from_be_bytes(*head);
        let length = usize::try_from(claimed).unwrap_or(usize::MAX);
        if length < LEAST_REQUEST_BYTES || length > self.max_bytes {
            return Err(Close::RequestLength {
                claimed,
                max: self.max_bytes,
            });
        }
        Ok(Some(LENGTH_BYTES + length))
    }

    fn cut(&mut self, mut frame: Bytes) -> Bytes {
        frame.split_off(LENGTH_BYTES)
    }
}

/// What else people send to a plain port by mistake. Read as a length, each is beyond any limit.
fn other_protocol(head: &[u8; LENGTH_BYTES]) -> Option<&'static str> {
    match head {
        // A handshake record of TLS 1.0 to 1.3: RFC 8446, section 5.1.
        [0x16, 0x03, ..] => Some("TLS: this port is plain, set security.protocol=PLAINTEXT"),
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"PRI " => {
            Some("HTTP: metrics are served on the port of http.listen")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: &[u8]) -> Result<Option<usize>, Close> {
        KafkaFraming::new(1000).frame_length(bytes)
    }

    #[test]
    fn a_frame_is_as_long_as_it_says_within_the_limit() {
        assert!(matches!(length(&[0, 0, 0]), Ok(None)));
        assert!(matches!(length(&[0, 0, 0, 10]), Ok(Some(14))));
        assert!(matches!(length(&[0, 0, 3, 232]), Ok(Some(1004))));
        for refused in [[0, 0, 3, 233], [0, 0, 0, 9], [0xff; 4], [0x7f; 4]] {
            assert!(matches!(
                length(&refused),
                Err(Close::RequestLength { max: 1000, .. })
            ));
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for (head, name) in [
            (&[0x16, 3, 1, 2, 0][..], "TLS"),
            (b"GET /metrics", "HTTP"),
            (b"POST / HTTP/1.1", "HTTP"),
        ] {
            match length(head) {
                Err(Close::OtherProtocol(what)) => assert!(what.starts_with(name), "{what}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
