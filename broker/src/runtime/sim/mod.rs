//! The simulated twin: a deterministic executor, a virtual clock, a disk and a network that can
//! fail.
//!
//! Everything that happens follows from the seed: which ready task runs next, how long each I/O takes,
//! what a power cut leaves behind. The same program with the same seed takes the same steps, as long as
//! it takes its time, randomness and I/O from `runtime` and does not depend on the order of a
//! `HashMap`. The clock stands still while tasks run, but for a microsecond a step, and jumps to the
//! next timer when nothing is ready.

mod disk;
mod executor;
mod image;
mod namespace;
mod network;
#[cfg(test)]
mod seeds;
mod simulator;

pub(super) use disk::SimulatedFile;
pub use disk::{DiskCounters, Fault, Operation, SimulatedDisk};
pub(super) use executor::{Core, Task};
pub(super) use network::{SimulatedListener, SimulatedSocket, SimulatedStream};
pub use network::{SimulatedNetwork, Weather};
#[cfg(test)]
pub(crate) use seeds::{seeds, seeds_for_steps};
pub use simulator::Simulator;

#[cfg(test)]
mod tests;
