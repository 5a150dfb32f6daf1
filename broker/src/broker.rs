//! The broker as a whole: what is started, in which order, and how it is stopped.
//!
//! # Start
//! 1. **The data folder is locked and its identity checked.** Everything below relies on being
//!    alone in there, so the lock is taken first and given back last.
//! 2. **The machine is probed.** What io_uring or the folder's file system lacks is told in one
//!    sentence, before an executor fails for it.
//! 3. **The listening sockets are bound,** so that a port in use is an error of the start and the
//!    metadata can name the port. Nobody is accepted yet.
//! 4. **The shards' executors start.** Each opens the folder and makes its buffers.
//! 5. **Shard 0 reads the metadata** and registers this start durably, which raises the leader
//!    epoch of every partition the broker leads: a leader's epoch must be on disk before its
//!    first append.
//! 6. **Shard 0 replays all journals,** whatever the number of shards that wrote them. The
//!    metadata comes first, because it says which topic ids were deleted.
//! 7. **Every shard starts its log and opens its partitions.**
//! 8. **When the last shard is ready, the broker serves:** `/metrics` and `/health`, then
//!    connections, then `ports.json`, whose presence means that all of this is done.
//!
//! # Stop
//! Every shard finishes a step before any begins the next, because a connection on one shard uses
//! partitions of another.
//! 1. **Connections.** No more are accepted; those there are told, their requests answered,
//!    and closed. From here on nobody asks for anything.
//! 2. **Logs.** Partitions are closed, logs written out, synced, cut to their length and
//!    checkpointed: the next start has nothing to replay.
//! 3. **The metadata log and the executors.** The controller ends last: until then a shard may
//!    still follow it.
//! 4. **The control thread,** which has shown the stop in `/health` until now, `ports.json`, and
//!    the lock on the folder.

mod shard_thread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corelog_protocol::ShardId;

use crate::config::{BrokerConfig, ConfigError, CoresError, ListenAddress};
use crate::control::Control;
use crate::controller::BrokerStart;
use crate::data_dir::{DataDir, DataDirError, Ports};
use crate::listener::kafka::Nodes;
use crate::metadata::MetadataImage;
use crate::runtime::{
    ExecutorOptions, Finding, ListeningSocket, Mesh, MeshFull, MeshPort, MeshSender, Severity,
    ShardThread, available_cpus, latest, launch_shard, probe_machine, raise_open_files_limit,
    remote,
};
use crate::shard::{ShardMessage, StopPhase, StopReport};
pub use shard_thread::ShardError;
use shard_thread::{FirstShard, Role, ShardSetup, Started};

/// Messages that all queues of the mesh hold together, for each participant. A queue's memory is
/// allocated at the start, and there are as many as pairs of participants; what does not fit
/// waits in its sender's lane.
const MESH_MESSAGES_PER_PARTICIPANT: usize = 4096;
/// The shortest queue that still lets a sender run ahead of its receiver.
const SHORTEST_MESH_QUEUE: usize = 16;

/// A step of the stop that takes longer than this is reported, again and again.
const STOP_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The pause before a step of the stop is handed again to a shard whose queue was full.
const MESH_RETRY: Duration = Duration::from_millis(1);

/// A broker that serves. Dropped, it stops cleanly.
///
/// `start` and `stop` block the calling thread; in async code call them where blocking is allowed.
#[must_use = "a dropped broker stops"]
pub struct Broker {
    addresses: Addresses,
    running: Option<Running>,
}

/// Where a broker listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The native protocol.
    pub native: SocketAddr,
    /// Kafka's protocol, if it is served.
    pub kafka: Option<SocketAddr>,
    /// `/metrics` and `/health`.
    pub http: SocketAddr,
}

struct Running {
    shards: Vec<ShardThread<()>>,
    mesh: MeshSender<ShardMessage>,
    /// Absent until the shards serve.
    control: Option<Control>,
    data_dir: DataDir,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cores(#[from] CoresError),
    #[error("this machine cannot run the broker: {0}")]
    Machine(String),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot start the executor of shard {shard}: {source}")]
    Executor { shard: ShardId, source: io::Error },
    #[error("cannot start the control thread: {0}")]
    Control(io::Error),
    #[error("shard {shard} did not start: {source}")]
    Shard { shard: ShardId, source: ShardError },
    #[error("a shard's thread ended while it started")]
    ShardEnded,
}

/// What went wrong while a broker stopped. It has stopped all the same.
#[derive(Debug, thiserror::Error)]
#[error("the broker did not stop cleanly: {}", .0.join("; "))]
pub struct StopError(Vec<String>);

impl Broker {
    /// Starts a broker and returns when it serves.
    pub fn start(config: BrokerConfig) -> Result<Self, StartError> {
        config.validate()?;
        let cpus = config.cores.choose(&available_cpus())?;
        let shards = u16::try_from(cpus.len()).expect("`cores` allows 1024 at most");
        let data_dir = DataDir::open(&config)?;
        probe(data_dir.path())?;
        let native = bind(&config.listen, ListeningSocket::bind)?;
        let kafka = bind_kafka(&config, shards)?;
        let kafka_ports: Vec<_> = kafka.iter().map(|(_, address)| address.port()).collect();
        let http = bind(&config.http_listen, TcpListener::bind)?;
        let addresses = Addresses {
            native: native.local_addr().map_err(listen_error(&config.listen))?,
            kafka: kafka.first().map(|(_, address)| *address),
            http: http
                .local_addr()
                .map_err(listen_error(&config.http_listen))?,
        };

        // The control thread takes part in the mesh behind the shards.
        let participants = usize::from(shards) + 1;
        let mut ports = Mesh::new(participants, mesh_queue(participants, &config));
        let control_port = ports.pop().expect("the control thread has a port");
        let mesh = control_port.sender();
        let parts = Parts {
            start: BrokerStart {
                id: config.broker_id,
                host: config.advertised_host().to_owned(),
                port: config.advertised_port(addresses.native.port()),
                shards,
            },
            kafka: Kafka {
                nodes: Arc::new(Nodes::new(&config, &kafka_ports)),
                sockets: kafka.into_iter().map(|(socket, _)| socket).collect(),
            },
            config: Arc::new(config),
            cluster_id: data_dir.cluster_id().to_owned(),
            path: data_dir.path().to_owned(),
            native,
            ports,
        };
        let (shards, serve) = start_shards(parts, cpus, &mesh)?;
        let mut running = Running {
            control: None,
            shards,
            mesh,
            data_dir,
        };
        let mesh = running.mesh.clone();
        let ask = move |shard: ShardId| {
            let (reply, snapshot) = remote::channel();
            let asked = mesh.try_send(shard.get().into(), ShardMessage::Snapshot { reply });
            asked.is_ok().then_some(snapshot)
        };
        match Control::start(http, running.shards.len(), ask) {
            Ok(control) => running.control = Some(control),
            Err(error) => return Err(running.abandon(StartError::Control(error))),
        }
        let _ = serve.send(());
        let ports = Ports {
            native: addresses.native,
            kafka: addresses.kafka,
            http: addresses.http,
        };
        if let Err(error) = running.data_dir.write_ports(&ports) {
            return Err(running.abandon(StartError::DataDir(error)));
        }
        Ok(Self {
            addresses,
            running: Some(running),
        })
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Stops cleanly. The broker has stopped also when this fails.
    pub fn stop(mut self) -> Result<(), StopError> {
        match self.running.take() {
            Some(running) => running.stop(),
            None => Ok(()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && let Err(error) = running.stop()
        {
            tracing::error!("{error}");
        }
    }
}

/// A serving shard's thread.
type Threads = Vec<ShardThread<()>>;

/// What the shards are made of.
struct Parts {
    config: Arc<BrokerConfig>,
    cluster_id: String,
    path: PathBuf,
    start: BrokerStart,
    native: ListeningSocket,
    kafka: Kafka,
    /// One for each shard.
    ports: Vec<MeshPort<ShardMessage>>,
}

/// What is to speak Kafka's protocol.
struct Kafka {
    nodes: Arc<Nodes>,
    /// One for each of this broker's nodes; none if the protocol is not served.
    sockets: Vec<ListeningSocket>,
}

/// Starts every shard and waits until all are ready. The sender lets shard 0 accept connections.
fn start_shards(
    parts: Parts,
    cpus: Vec<usize>,
    mesh: &MeshSender<ShardMessage>,
) -> Result<(Threads, remote::ReplySender<()>), StartError> {
    let shards = parts.start.shards;
    let defaults = Arc::new(parts.config.topic_defaults.clone());
    let (publisher, images) = latest::channel(Arc::new(MetadataImage::empty(defaults)));
    let (serve, may_serve) = remote::channel();
    let (others, mut founds): (Vec<_>, Vec<_>) = (1..shards).map(|_| remote::channel()).unzip();
    let mut first = Some(FirstShard {
        cluster_id: parts.cluster_id,
        start: parts.start,
        publisher,
        others,
        native: parts.native,
        kafka: parts.kafka.sockets,
        serve: may_serve,
    });
    let (started, starts) = mpsc::channel();
    let mut begins = Vec::new();
    let mut threads = Vec::new();
    for ((mesh, cpu), id) in parts.ports.into_iter().zip(cpus).zip(0..) {
        let id = ShardId::new(id);
        let role = match first.take() {
            Some(first) => Role::First(Box::new(first)),
            None => Role::Other(founds.pop().expect("one for each other shard")),
        };
        let (begin, may_begin) = remote::channel();
        let setup = ShardSetup {
            id,
            shards,
            config: Arc::clone(&parts.config),
            data_dir: parts.path.clone(),
            mesh,
            images: images.clone(),
            kafka_nodes: Arc::clone(&parts.kafka.nodes),
            role,
            begin: may_begin,
            started: started.clone(),
        };
        // When this fails, the shards before it find that nobody lets them begin, and end.
        let thread = launch_shard(executor_options(&parts.config, id, cpu), move || {
            shard_thread::run(setup)
        })
        .map_err(|source| StartError::Executor { shard: id, source })?;
        threads.push(thread);
        begins.push(begin);
    }
    drop(started);
    for begin in begins {
        let _ = begin.send(());
    }
    // Every shard sends one message, then drops its sender; so does one that panics.
    let mut ready = Vec::new();
    let mut failed = None;
    for Started { shard, result } in starts {
        match result {
            Ok(()) => ready.push(shard),
            // The others' failures follow from the first one's.
            Err(ShardError::FirstShardFailed) => {}
            Err(source) => {
                failed.get_or_insert(StartError::Shard { shard, source });
            }
        }
    }
    if failed.is_none() && ready.len() < usize::from(shards) {
        failed = Some(StartError::ShardEnded);
    }
    match failed {
        None => Ok((threads, serve)),
        Some(error) => {
            drop(stop_shards(threads, &ready, mesh));
            Err(error)
        }
    }
}

impl Running {
    fn stop(mut self) -> Result<(), StopError> {
        let ready: Vec<ShardId> = (0..).map(ShardId::new).take(self.shards.len()).collect();
        let mut errors = stop_shards(self.shards, &ready, &self.mesh);
        if let Some(control) = self.control.take() {
            control.stop();
        }
        if let Err(error) = self.data_dir.close() {
            errors.push(error.to_string());
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(StopError(errors))
        }
    }

    /// Stops what had started before `error`, which is the one to tell.
    fn abandon(self, error: StartError) -> StartError {
        if let Err(stop) = self.stop() {
            tracing::error!("{stop}");
        }
        error
    }
}

/// Takes the shards that are `ready` through every step, then waits for all threads to end.
/// Returns what went wrong.
fn stop_shards(
    threads: Threads,
    ready: &[ShardId],
    mesh: &MeshSender<ShardMessage>,
) -> Vec<String> {
    let mut errors = Vec::new();
    for phase in [StopPhase::Connections, StopPhase::Logs, StopPhase::Exit] {
        let (done, reports) = mpsc::channel();
        for shard in ready {
            let done = done.clone();
            let mut stop = ShardMessage::Stop { phase, done };
            // The queue is full only for as long as the shard has not come to it.
            while let Err(MeshFull(back)) = mesh.try_send(usize::from(shard.get()), stop) {
                stop = back;
                std::thread::sleep(MESH_RETRY);
            }
        }
        drop(done);
        errors.extend(finish_phase(phase, ready.len(), &reports));
    }
    for thread in threads {
        if let Err(error) = thread.join() {
            errors.push(error.to_string());
        }
    }
    errors
}

/// Waits until every shard has reported, or has ended without.
fn finish_phase(
    phase: StopPhase,
    shards: usize,
    reports: &mpsc::Receiver<StopReport>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let mut waiting = shards;
    while waiting > 0 {
        match reports.recv_timeout(STOP_REPORT_INTERVAL) {
            Ok(StopReport { shard, error }) => {
                waiting -= 1;
                errors.extend(error.map(|error| format!("shard {shard}: {error}")));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!(?phase, waiting, "shards are still stopping");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    errors
}

fn probe(data_dir: &Path) -> Result<(), StartError> {
    let report = probe_machine(data_dir);
    let mut blockers = Vec::new();
    for Finding {
        severity,
        what,
        mend,
    } in report.findings
    {
        match severity {
            Severity::Info => tracing::debug!("{what} {mend}"),
            Severity::Warning => tracing::warn!("{what} {mend}"),
            Severity::Blocker => blockers.push(format!("{what} {mend}")),
        }
    }
    if !blockers.is_empty() {
        return Err(StartError::Machine(blockers.join(" ")));
    }
    if let Err(error) = raise_open_files_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    Ok(())
}

fn bind<T>(
    address: &ListenAddress,
    bind: impl FnOnce(SocketAddr) -> io::Result<T>,
) -> Result<T, StartError> {
    let resolved = address.resolve().map_err(listen_error(address))?;
    bind(resolved).map_err(listen_error(address))
}

/// Binds a socket for each node as which the broker is shown: on ports that follow each other, or on free ones.
fn bind_kafka(
    config: &BrokerConfig,
    shards: u16,
) -> Result<Vec<(ListeningSocket, SocketAddr)>, StartError> {
    let Some(first) = &config.kafka_listen else {
        return Ok(Vec::new());
    };
    let nth = |port: u16, number: u16| {
        port.checked_add(number).ok_or_else(|| StartError::Listen {
            address: ListenAddress::new(first.host(), port).to_string(),
            source: io::Error::new(
                io::ErrorKind::InvalidInput,
                "the ports that follow it, of which kafka.shard.listeners takes one for each core, end at 65535",
            ),
        })
    };
    let bind_node = |number| {
        nth(config.kafka_advertised_port, number)?;
        let address = match first.port() {
            0 => first.clone(),
            port => ListenAddress::new(first.host(), nth(port, number)?),
        };
        let socket = bind(&address, ListeningSocket::bind)?;
        let bound = socket.local_addr().map_err(listen_error(&address))?;
        Ok((socket, bound))
    };
    (0..Nodes::count(config, shards)).map(bind_node).collect()
}

fn listen_error(address: &ListenAddress) -> impl FnOnce(io::Error) -> StartError {
    let address = address.to_string();
    |source| StartError::Listen { address, source }
}

fn mesh_queue(participants: usize, config: &BrokerConfig) -> usize {
    (MESH_MESSAGES_PER_PARTICIPANT / participants)
        .max(SHORTEST_MESH_QUEUE)
        .min(config.shard_mesh_messages)
}

fn executor_options(config: &BrokerConfig, id: ShardId, cpu: usize) -> ExecutorOptions {
    ExecutorOptions {
        name: format!("shard-{id}"),
        cpu: Some(cpu),
        io_memory: config.shard_io_memory_bytes.as_usize(),
        spin_before_park: config.shard_spin,
        ring_depth: config.shard_ring_entries,
    }
}
