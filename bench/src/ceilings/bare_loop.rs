//! The bare loop: receive → CRC → direct write → ack, and nothing else.
//!
//! It is what a broker could reach on this machine if partitions, protocol,
//! offsets and recovery cost nothing: one io_uring thread on each of the
//! broker's cores takes frames as large as the broker's batches, over as many
//! connections with as many frames in flight, checks a CRC-32C over each and
//! writes it with direct I/O. Frames arrive in the memory they are written
//! from, so there is no copy at all.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::disk::whole;
use super::generator::{Generated, generate};
use super::loopback::{joined, listen};
use super::ring::{BLOCK, Buffer, Completion, Handle, Ring};
use super::target::Target;
use super::{Deadline, Transfer};
use crate::cores::{CoreLayout, pin_this_thread};

/// Bytes of a frame's length prefix.
pub(super) const PREFIX: usize = 4;

/// Bytes of an ack: how many frames it newly acknowledges.
pub(super) const ACK: usize = 8;

/// When the server acknowledges a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckAt {
    /// Its write completed.
    Written,
    /// A flush that was started after its write completed.
    Synced,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    /// Bytes of a frame with its prefix, whole blocks.
    pub(crate) length: usize,
    /// Frames that a connection sends ahead of their acks.
    pub(crate) in_flight: usize,
    /// Connections to each server core.
    pub(crate) connections: usize,
}

impl Frames {
    pub(crate) fn new(bytes: usize, in_flight: usize, connections: usize) -> Self {
        Self {
            length: bytes.next_multiple_of(BLOCK),
            in_flight,
            connections,
        }
    }
}

/// Runs one slice: one server for each target, on the broker's cores.
pub(crate) fn run(
    cores: &CoreLayout,
    targets: Vec<Target>,
    frames: Frames,
    ack_at: AckAt,
    duration: Duration,
    byte_limit: u64,
) -> Result<Transfer> {
    let budget = AtomicU64::new(byte_limit);
    let deadline = Deadline::after(duration);
    thread::scope(|scope| {
        let mut servers = Vec::new();
        let mut generators = Vec::new();
        for (index, target) in targets.into_iter().enumerate() {
            let listener = listen()?;
            let address = listener.local_addr()?;
            let core = cores.broker_core(index);
            servers.push(scope.spawn(move || {
                pin_this_thread(core);
                Server::accept(&listener, target, frames, ack_at)?.run()
            }));
            for connection in 0..frames.connections {
                let core = cores.client_core(index * frames.connections + connection);
                let budget = &budget;
                generators
                    .push(scope.spawn(move || generate(address, core, frames, deadline, budget)));
            }
        }
        let mut generated = Vec::new();
        for generator in generators {
            generated.push(joined(generator.join(), "generator")?);
        }
        for server in servers {
            joined(server.join(), "server")?;
        }
        Ok(total(&generated))
    })
}

fn total(generated: &[Generated]) -> Transfer {
    let started = generated.iter().map(|part| part.started).min();
    let ended = generated.iter().map(|part| part.ended).max();
    Transfer {
        bytes: generated.iter().map(|part| part.bytes).sum(),
        elapsed: started
            .zip(ended)
            .map_or(Duration::ZERO, |(started, ended)| ended - started),
    }
}

/// What an operation of the ring was for; with the connection where it has one.
#[derive(Clone, Copy)]
enum Purpose {
    Receive(usize),
    SendAck(usize),
    Write(usize),
    Sync,
    Allocate,
}

impl Purpose {
    fn token(self) -> u64 {
        let (kind, connection) = match self {
            Self::Receive(connection) => (0, connection),
            Self::SendAck(connection) => (1, connection),
            Self::Write(connection) => (2, connection),
            Self::Sync => (3, 0),
            Self::Allocate => (4, 0),
        };
        kind << 32 | connection as u64
    }

    fn of(token: u64) -> Self {
        let connection = (token & u64::from(u32::MAX)) as usize;
        match token >> 32 {
            0 => Self::Receive(connection),
            1 => Self::SendAck(connection),
            2 => Self::Write(connection),
            3 => Self::Sync,
            _ => Self::Allocate,
        }
    }
}

struct Connection {
    socket: Handle,
    /// Frame buffers that wait for a frame.
    free: Vec<Buffer>,
    receiving: bool,
    /// Bytes of the frame being received that have arrived.
    filled: usize,
    closed: bool,
    /// Frames to acknowledge with the next ack.
    acknowledged: u64,
    /// Absent while an ack is being sent.
    ack: Option<Buffer>,
}

/// The frames that one flush covers.
#[derive(Default)]
struct Group {
    connections: Vec<usize>,
    writes_left: usize,
}

struct Server {
    ring: Ring,
    target: Target,
    frame: usize,
    ack_at: AckAt,
    connections: Vec<Connection>,
    /// Frames whose write has not started: they wait for the next group, or
    /// for the file to be extended.
    waiting: VecDeque<(usize, Buffer)>,
    group: Group,
}

impl Server {
    fn accept(
        listener: &TcpListener,
        target: Target,
        frames: Frames,
        ack_at: AckAt,
    ) -> io::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..frames.connections {
            let (socket, _peer) = listener.accept()?;
            socket.set_nodelay(true)?;
            connections.push(Connection {
                socket: Arc::new(OwnedFd::from(socket)),
                free: (0..=frames.in_flight)
                    .map(|_| Buffer::new(frames.length))
                    .collect(),
                receiving: false,
                filled: 0,
                closed: false,
                acknowledged: 0,
                ack: Some(Buffer::new(BLOCK)),
            });
        }
        let operations = frames.connections * (frames.in_flight + 3) + 2;
        let capacity = u32::try_from(operations.next_power_of_two()).unwrap_or(u32::MAX);
        Ok(Self {
            ring: Ring::new(capacity)?,
            target,
            frame: frames.length,
            ack_at,
            connections,
            waiting: VecDeque::new(),
            group: Group::default(),
        })
    }

    /// Serves until every connection was closed by its peer.
    fn run(mut self) -> io::Result<()> {
        for index in 0..self.connections.len() {
            self.receive(index)?;
        }
        self.extend_file()?;
        while self.ring.in_flight() > 0 {
            self.ring.wait()?;
            while let Some(completion) = self.ring.next_completion() {
                self.complete(completion)?;
            }
            self.write_waiting()?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        let buffer = completion.buffer;
        match Purpose::of(completion.token) {
            Purpose::Receive(index) => {
                let buffer = buffer.expect("a receive returns its buffer");
                self.received(index, completion.result?, buffer)
            }
            Purpose::SendAck(index) => {
                completion.result?;
                self.connections[index].ack = buffer;
                self.send_ack(index)
            }
            Purpose::Write(index) => {
                whole(completion.result, self.frame)?;
                let connection = &mut self.connections[index];
                connection
                    .free
                    .push(buffer.expect("a write returns its buffer"));
                self.receive(index)?;
                self.written(index)
            }
            Purpose::Sync => {
                completion.result?;
                for index in std::mem::take(&mut self.group.connections) {
                    self.connections[index].acknowledged += 1;
                }
                (0..self.connections.len()).try_for_each(|index| self.send_ack(index))
            }
            Purpose::Allocate => {
                completion.result?;
                self.target.extension_done();
                Ok(())
            }
        }
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.receiving || connection.closed {
            return Ok(());
        }
        let Some(buffer) = connection.free.pop() else {
            return Ok(());
        };
        connection.receiving = true;
        let rest = connection.filled..self.frame;
        let token = Purpose::Receive(index).token();
        self.ring.receive(&connection.socket, buffer, rest, token)
    }

    fn received(&mut self, index: usize, bytes: usize, buffer: Buffer) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.receiving = false;
        connection.filled += bytes;
        if bytes == 0 {
            connection.closed = true;
            return Ok(());
        }
        if connection.filled < self.frame {
            connection.free.push(buffer);
            return self.receive(index);
        }
        connection.filled = 0;
        let (prefix, body) = buffer.bytes().split_at(PREFIX);
        assert_eq!(
            prefix,
            (body.len() as u32).to_le_bytes(),
            "our own generator's frame"
        );
        std::hint::black_box(crc32c::crc32c(body));
        self.waiting.push_back((index, buffer));
        self.receive(index)
    }

    /// Starts the writes that may start: as frames come, or a group at a time.
    fn write_waiting(&mut self) -> io::Result<()> {
        if self.ack_at == AckAt::Synced && !self.group.connections.is_empty() {
            return Ok(());
        }
        while !self.waiting.is_empty() {
            let Some(position) = self.target.place(self.frame) else {
                break;
            };
            let (index, buffer) = self.waiting.pop_front().expect("it is not empty");
            if self.ack_at == AckAt::Synced {
                self.group.connections.push(index);
                self.group.writes_left += 1;
            }
            let token = Purpose::Write(index).token();
            let file = &self.target.handle;
            self.ring.write(file, buffer, self.frame, position, token)?;
        }
        self.extend_file()
    }

    fn written(&mut self, index: usize) -> io::Result<()> {
        if self.ack_at == AckAt::Written {
            self.connections[index].acknowledged += 1;
            return self.send_ack(index);
        }
        self.group.writes_left -= 1;
        if self.group.writes_left > 0 {
            return Ok(());
        }
        self.ring
            .sync_data(&self.target.handle, Purpose::Sync.token())
    }

    fn extend_file(&mut self) -> io::Result<()> {
        let Some(range) = self.target.next_extension() else {
            return Ok(());
        };
        let token = Purpose::Allocate.token();
        self.ring.allocate(&self.target.handle, range, token)
    }

    fn send_ack(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.acknowledged == 0 {
            return Ok(());
        }
        let Some(mut ack) = connection.ack.take() else {
            return Ok(());
        };
        ack.bytes_mut()[..ACK].copy_from_slice(&connection.acknowledged.to_le_bytes());
        connection.acknowledged = 0;
        let token = Purpose::SendAck(index).token();
        self.ring.send(&connection.socket, ack, 0..ACK, token)
    }
}
