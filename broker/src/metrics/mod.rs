//! What a shard counts, and how the counts become Prometheus text.
//!
//! Counting is one addition to a `Cell` on the shard's own core. Other threads see only
//! snapshots, which the shard makes when it is asked.

mod cell;
mod prometheus;
mod shard_metrics;

pub use cell::{Counter, Gauge, Histogram, HistogramSnapshot, LabeledCounter};
pub use prometheus::encode;
pub use shard_metrics::{LabeledSnapshot, ShardMetrics, ShardSnapshot};
