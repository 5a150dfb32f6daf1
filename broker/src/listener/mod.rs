//! Sockets → frames → requests → replies. One folder per dialect, one file per API.
//!
//! Lives on the core that serves the connection. Above it stands only the broker, which starts
//! and stops it; below it the shard's router, which knows where partitions are. A listener
//! translates and bounds; it decides nothing about partitions, topics or offsets.

pub mod native;
