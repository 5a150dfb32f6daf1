//! Sockets → frames → requests → replies. One folder per dialect, one file per API; what the dialects' connections have in
//! common stands beside them.
//!
//! Lives on the core that serves the connection. Above it stands only the broker, which starts
//! and stops it; below it the shard's router, which knows where partitions are. A listener
//! translates and bounds; it decides nothing about partitions, topics or offsets.

mod close;
mod flow;
mod frame_buffer;
mod groups;
pub mod kafka;
mod log_limit;
pub mod native;
mod options;
mod partition_reads;
mod receive_budget;
mod receiver;
mod server;
mod vectored;
mod wake;
mod watch;

pub use options::ListenerOptions;
pub use receive_budget::ReceiveBudget;
