//! Corelog's broker: one shard per core over io_uring and direct I/O.

pub mod broker;
pub mod config;
pub mod control;
pub mod controller;
pub mod data_dir;
pub mod group;
pub mod listener;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod partition;
pub mod runtime;
pub mod shard;
