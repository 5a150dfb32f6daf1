//! The machine, as the rest of the broker sees it: executors, clock, tasks, sockets, direct files,
//! buffers, and the mesh between cores.
//!
//! Each type stands in front of two back ends: glommio on io_uring, and a simulation that follows a
//! seed. Which one it is, the free functions learn from the executor that runs on their thread, so the
//! code above is the same for both and a test can cut its power.
//!
//! Invariants: nothing outside this module names glommio or io-uring; `unsafe` stands only here; all
//! types belong to one thread, except those of `mesh` and the accepted socket; nothing above reads the
//! clock, draws random numbers or does I/O by another way.

mod backend;
mod buffer;
mod executor;
mod fs;
mod memory;
pub mod mesh;
mod net;
mod probe;
mod read_buffer;
mod real;
pub mod sim;
mod sync;
mod task;
mod time;

pub use buffer::{
    AlignedBuffer, AppendBuffer, BLOCK, BufferPool, BufferSlice, Charge, OutOfBudget,
};
#[cfg(test)]
pub(crate) use executor::launch_small;
pub use executor::{ExecutorOptions, ShardThread, available_cpus, launch_shard};
pub use fs::{DirEntry, File, MAX_IO, OpenMode, Storage};
pub use mesh::{Mesh, MeshFull, MeshPort, MeshSender, latest, remote};
pub use net::{AcceptedSocket, Connection, Listener, ListeningSocket, ReadHalf, WriteHalf};
pub use probe::{Finding, MachineReport, Severity, probe_machine, raise_open_files_limit};
pub use read_buffer::ReadBuffer;
pub use sim::{SimulatedDisk, Simulator};
pub use sync::{
    Closed, Event, Notified, Notify, Permit, Semaphore, ShutdownSignal, WaitFor, oneshot, queue,
};
pub use task::{Task, spawn, yield_now};
pub use time::{
    Alarm, Elapsed, Instant, now, random_u64, sleep, sleep_until, timeout, unix_millis,
};
