//! What the disk does for one thread that only writes, reads or syncs.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ring::{BLOCK, Buffer, Handle, Ring};
use super::{Deadline, Transfer};
use crate::latency::{Latencies, LatencySummary};
use crate::scratch::Scratch;

/// Size of one write or read of the sequential measurements.
const CHUNK: usize = 1 << 20;

/// Sequential writes or reads in flight.
const IN_FLIGHT: u64 = 4;

/// A file whose every block was written once: later writes change no
/// metadata, as in the broker's recycled journal.
pub(crate) struct ZeroFilled {
    pub(crate) handle: Handle,
    pub(crate) length: u64,
}

impl ZeroFilled {
    /// Writes a file of `length` bytes, a multiple of 1 MiB, and syncs it.
    pub(crate) fn create(scratch: &Scratch, name: &str, length: u64) -> Result<Self> {
        let handle = scratch.direct_file(name)?;
        let mut ring = Ring::new(16)?;
        ring.allocate(&handle, 0..length, 0)?;
        ring.complete_one()?
            .result
            .with_context(|| format!("cannot allocate {length} bytes for {name}"))?;
        let file = Self { handle, length };
        let mut chunks = 0..length / CHUNK as u64;
        file.stream(&mut ring, || chunks.next(), Direction::Write)
            .with_context(|| format!("cannot fill {name}"))?;
        ring.sync_data(&file.handle, 0)?;
        ring.complete_one()?
            .result
            .with_context(|| format!("cannot sync {name}"))?;
        Ok(file)
    }

    /// 1 MiB direct writes from front to back and round again.
    pub(crate) fn sequential_write(&self, duration: Duration) -> io::Result<Transfer> {
        self.stream_for(duration, Direction::Write)
    }

    /// 1 MiB direct reads from front to back and round again.
    pub(crate) fn sequential_read(&self, duration: Duration) -> io::Result<Transfer> {
        self.stream_for(duration, Direction::Read)
    }

    /// One 4 KiB write at a time, each followed by fdatasync if `sync`.
    pub(crate) fn round_trips(&self, duration: Duration, sync: bool) -> io::Result<LatencySummary> {
        let mut ring = Ring::new(4)?;
        let mut buffer = Buffer::new(BLOCK);
        buffer.bytes_mut().fill(0xC0);
        let mut latencies = Latencies::new();
        let deadline = Deadline::after(duration);
        let mut position = 0;
        while !deadline.passed() {
            let start = Instant::now();
            ring.write(&self.handle, buffer, BLOCK, position, 0)?;
            let completion = ring.complete_one()?;
            whole(completion.result, BLOCK)?;
            buffer = completion.buffer.expect("a write returns its buffer");
            if sync {
                ring.sync_data(&self.handle, 0)?;
                ring.complete_one()?.result?;
            }
            latencies.record(start.elapsed());
            position = (position + BLOCK as u64) % self.length;
        }
        Ok(latencies.summary())
    }

    fn stream_for(&self, duration: Duration, direction: Direction) -> io::Result<Transfer> {
        let mut ring = Ring::new(16)?;
        let chunks = self.length / CHUNK as u64;
        let deadline = Deadline::after(duration);
        let mut next = 0;
        let endless = || {
            next += 1;
            (!deadline.passed()).then_some((next - 1) % chunks)
        };
        self.stream(&mut ring, endless, direction)
    }

    /// Keeps [`IN_FLIGHT`] chunks moving until `next` has no more.
    fn stream(
        &self,
        ring: &mut Ring,
        mut next: impl FnMut() -> Option<u64>,
        direction: Direction,
    ) -> io::Result<Transfer> {
        let start = Instant::now();
        let mut bytes = 0;
        let mut begin = |ring: &mut Ring, buffer: Buffer| -> io::Result<()> {
            let Some(chunk) = next() else { return Ok(()) };
            let position = chunk * CHUNK as u64;
            match direction {
                Direction::Write => ring.write(&self.handle, buffer, CHUNK, position, 0),
                Direction::Read => ring.read(&self.handle, buffer, position, 0),
            }
        };
        for _ in 0..IN_FLIGHT {
            begin(ring, Buffer::new(CHUNK))?;
        }
        while ring.in_flight() > 0 {
            ring.wait()?;
            while let Some(completion) = ring.next_completion() {
                whole(completion.result, CHUNK)?;
                bytes += CHUNK as u64;
                begin(ring, completion.buffer.expect("I/O returns its buffer"))?;
            }
        }
        let elapsed = start.elapsed();
        Ok(Transfer { bytes, elapsed })
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Write,
    Read,
}

/// A direct write or read inside a file is whole, or the disk is full or broken.
pub(super) fn whole(result: io::Result<usize>, expected: usize) -> io::Result<()> {
    let moved = result?;
    if moved == expected {
        return Ok(());
    }
    let message = format!("the kernel moved {moved} bytes of {expected}");
    Err(io::Error::new(io::ErrorKind::WriteZero, message))
}
