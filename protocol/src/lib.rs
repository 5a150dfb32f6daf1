//! Corelog's bytes: ids, record batches, the native frame and its messages.
//!
//! No I/O, no async, no hand-written unsafe. Whatever a decoder here is given, it returns a value
//! or an error; it never panics and never allocates by a length that a stranger claimed.
#![warn(missing_docs)]

mod error_code;
mod ids;
mod modes;
pub mod native;
mod number;
pub mod partitioner;
mod position;
pub mod record;
mod topic_id;

pub use error_code::ErrorCode;
pub use ids::{BrokerId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, ShardId};
pub use modes::{Acks, Compression, Durability, IsolationLevel, TimestampType, UnknownName};
pub use number::NegativeNumber;
pub use partitioner::{murmur2, partition_for_key};
pub use position::{LeaderEpoch, Offset, Timestamp};
pub use topic_id::{ParseTopicIdError, TopicId};
