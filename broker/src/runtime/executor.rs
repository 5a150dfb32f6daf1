//! Shard threads: one glommio executor each, pinned to a core.

mod nudge;

use std::future::Future;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::backend::{self, Backend};
use super::real;

/// How long a new executor may take for its first round of tasks before it is nudged.
const FIRST_ROUND: Duration = Duration::from_millis(20);

/// How an executor thread is set up.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Name of the thread; the kernel shows its first 15 bytes.
    pub name: String,
    /// Core to run on; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// Bytes for I/O buffers that are registered with the kernel, where memlock allows. All of it is
    /// touched at the start: 256 MiB take half a second.
    pub io_memory: usize,
    /// How long an executor with nothing to do looks for work before it sleeps. A sleeping one wakes
    /// 60 µs later, a spinning one takes all of its core.
    pub spin_before_park: Duration,
    /// Entries of each submission ring.
    pub ring_depth: usize,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            name: "shard".to_owned(),
            cpu: None,
            io_memory: 16 << 20,
            spin_before_park: Duration::ZERO,
            ring_depth: 128,
        }
    }
}

/// A running executor thread.
#[derive(Debug)]
#[must_use = "a thread that nobody joins takes its error with it"]
pub struct ShardThread<T> {
    /// `None` from a thread whose executor did not start; its launcher has the error.
    thread: JoinHandle<Option<T>>,
}

impl<T> ShardThread<T> {
    /// Waits for the thread and returns what its root future returned, or why it panicked.
    pub fn join(self) -> io::Result<T> {
        let name = self.thread.thread().name().unwrap_or("shard").to_owned();
        let output = self.thread.join().map_err(|panic| {
            let reason = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "unknown reason".to_owned());
            io::Error::other(format!("thread {name} panicked: {reason}"))
        })?;
        output.ok_or_else(|| io::Error::other("the executor did not start"))
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts an executor thread and runs there the future that `init` makes. Returns once the executor
/// runs, so that what the machine refuses is this call's error. When the future finishes, the thread
/// ends and with it every task it spawned: wait for those that matter.
pub fn launch_shard<F, Fut, T>(options: ExecutorOptions, init: F) -> io::Result<ShardThread<T>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (ready, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(options.name.clone())
        .spawn(move || {
            let executor = pin(options.cpu).and_then(|()| {
                LocalExecutorBuilder::new(Placement::Unbound)
                    .name(&options.name)
                    .io_memory(options.io_memory)
                    .spin_before_park(options.spin_before_park)
                    .ring_depth(options.ring_depth)
                    .preempt_timer(real::ROUND)
                    // Inherits the core of this thread: a shard's file system calls burden no other.
                    .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
                    .make()
                    .map_err(io::Error::from)
            });
            let executor = match executor {
                Ok(executor) => executor,
                Err(error) => {
                    // The launcher waits for exactly one message.
                    let _ = ready.send(Err(error));
                    return None;
                }
            };
            let _entered = backend::enter(Backend::Glommio);
            Some(executor.run(async move {
                let _keeper = glommio::spawn_local(real::keep_awake());
                let _ = ready.send(Ok(()));
                let output = init().await;
                real::settle().await;
                output
            }))
        })?;
    loop {
        match started.recv_timeout(FIRST_ROUND) {
            Ok(started) => {
                started?;
                break;
            }
            Err(RecvTimeoutError::Timeout) => nudge::nudge(&thread),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other(
                    "the executor thread died while it started",
                ));
            }
        }
    }
    Ok(ShardThread { thread })
}

fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("core {cpu} cannot be used: it does not exist or is outside this process's set"),
    ))
}

/// Cores that this process may run on, in ascending order.
pub fn available_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    cpus.sort_unstable();
    cpus
}

/// An executor thread for a test: on any core, with little memory.
#[cfg(test)]
pub(crate) fn launch_small<F, Fut, T>(init: F) -> ShardThread<T>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let options = ExecutorOptions {
        io_memory: 1 << 20,
        ..ExecutorOptions::default()
    };
    launch_shard(options, init).expect("this machine runs executors")
}

#[cfg(test)]
mod tests;
