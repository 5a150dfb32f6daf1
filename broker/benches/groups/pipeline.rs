//! One connection with so many requests in flight.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::BytesMut;
use corelog_protocol::native::{
    EncodeMessage, Frame, FrameKind, FrameLimits, HelloRequest, decode_frame, encode_frame,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A request, and the bytes behind its metadata.
pub(crate) type Outgoing<Q> = (Q, Vec<u8>);

pub(crate) struct Pipeline {
    stream: TcpStream,
    received: BytesMut,
    buffer: Vec<u8>,
    sent: u32,
}

impl Pipeline {
    pub(crate) fn open(native: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(native)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut pipeline = Self {
            stream,
            received: BytesMut::new(),
            buffer: vec![0; 64 << 10],
            sent: 0,
        };
        let hello = HelloRequest {
            min_version: 1,
            max_version: 1,
            client_id: "bench".to_owned(),
            client_software: "corelog-broker bench".to_owned(),
            ..HelloRequest::default()
        };
        let mut out = Vec::new();
        pipeline.put(&mut out, &(hello, Vec::new()))?;
        pipeline.stream.write_all(&out)?;
        pipeline.receive()?;
        Ok(pipeline)
    }

    fn put<Q: EncodeMessage>(
        &mut self,
        out: &mut Vec<u8>,
        (request, payload): &Outgoing<Q>,
    ) -> anyhow::Result<()> {
        self.sent += 1;
        let frame = encode_frame(FrameKind::Request, self.sent, request, payload.len())?;
        out.extend_from_slice(&frame);
        out.extend_from_slice(payload);
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = decode_frame(&mut self.received, &FrameLimits::default())? {
                if frame.header.kind != FrameKind::Response {
                    bail!("the broker sent {:?}", frame.header.kind);
                }
                return Ok(frame);
            }
            let count = self.stream.read(&mut self.buffer).context("read")?;
            if count == 0 {
                bail!("the broker closed the connection");
            }
            self.received.extend_from_slice(&self.buffer[..count]);
        }
    }

    /// Keeps so many requests in flight for so long; returns the answers a second. `check` looks at each
    /// answer.
    pub(crate) fn run<Q: EncodeMessage>(
        &mut self,
        in_flight: usize,
        duration: Duration,
        mut next: impl FnMut(u64) -> Outgoing<Q>,
        mut check: impl FnMut(&Frame) -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        let began = Instant::now();
        let (mut begun, mut answered) = (0_u64, 0_u64);
        let mut out = Vec::new();
        loop {
            let is_over = began.elapsed() > duration;
            while !is_over && begun - answered < in_flight as u64 {
                let outgoing = next(begun);
                self.put(&mut out, &outgoing)?;
                begun += 1;
            }
            self.stream.write_all(&out)?;
            out.clear();
            if begun == answered {
                return Ok(answered as f64 / began.elapsed().as_secs_f64());
            }
            check(&self.receive()?)?;
            answered += 1;
            // What came with it.
            while let Some(frame) = decode_frame(&mut self.received, &FrameLimits::default())? {
                check(&frame)?;
                answered += 1;
            }
        }
    }
}
