//! A peer that keeps to no protocol: it sends the bytes it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use corelog_protocol::native::{
    EncodeMessage, ErrorResponse, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, FrameLimits,
    HelloRequest, decode_frame, encode_frame,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stranger {
    stream: TcpStream,
    received: BytesMut,
}

impl Stranger {
    /// A connection that has said nothing.
    pub(crate) fn connect(native: SocketAddr) -> Self {
        let stream = TcpStream::connect(native).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    /// A connection whose Hello was answered.
    pub(crate) fn greeted(native: SocketAddr) -> Self {
        let mut stranger = Self::connect(native);
        stranger.send(&frame(0, &hello(), &[]));
        let answer = stranger.receive().expect("a Hello is answered");
        assert_eq!(answer.header.kind, FrameKind::Response);
        stranger
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// False when the broker takes no more.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Closes the sending direction.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = decode_frame(&mut self.received, &FrameLimits::default()).unwrap()
            {
                return Some(frame);
            }
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return None,
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The error that comes next, and its correlation id.
    pub(crate) fn error(&mut self) -> (ErrorResponse, u32) {
        let frame = self.receive().expect("an error comes before the end");
        assert_eq!(frame.header.kind, FrameKind::Error);
        let error = ErrorResponse::decode(&frame.metadata).unwrap();
        (error, frame.header.correlation_id)
    }

    /// Passes when the broker has closed the connection and sent nothing more.
    pub(crate) fn assert_closed(&mut self) {
        assert!(self.receive().is_none(), "a frame came instead of the end");
        assert!(self.received.is_empty(), "the stream ends inside a frame");
    }
}

/// The Hello of an honest client.
pub(crate) fn hello() -> HelloRequest {
    HelloRequest {
        min_version: 1,
        max_version: 1,
        client_id: "stranger".to_owned(),
        client_software: "corelog-broker tests".to_owned(),
        ..HelloRequest::default()
    }
}

/// A whole, correct request.
pub(crate) fn frame<M: EncodeMessage>(id: u32, message: &M, payload: &[u8]) -> Vec<u8> {
    let head = encode_frame(FrameKind::Request, id, message, payload.len()).unwrap();
    [&head[..], payload].concat()
}

/// A request of any API number with any metadata, its CRC correct.
pub(crate) fn raw_frame(kind: FrameKind, api: u16, id: u32, metadata: &[u8]) -> Vec<u8> {
    let header =
        FrameHeader::for_frame(kind, api, id, metadata, 0, &FrameLimits::default()).unwrap();
    let head: [u8; FRAME_HEADER_BYTES] = header.encode();
    [&head[..], metadata].concat()
}
