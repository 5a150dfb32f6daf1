//! Corelog's bytes: ids, record batches, the native frame and its messages, and Kafka's formats.
//!
//! No I/O, no async, no hand-written unsafe. Whatever a decoder here is given, it returns a value
//! or an error; it never panics and never allocates by a length that a stranger claimed.
//!
//! A batch on its way into a partition, and out of it:
//!
//! ```
//! use corelog_protocol::record::{BatchBuilder, BatchView, DecodedBatch, patch_base_offset};
//! use corelog_protocol::{Compression, LeaderEpoch, Offset, Timestamp};
//!
//! // The producer collects records.
//! let mut builder = BatchBuilder::new(Compression::Lz4, 16 * 1024);
//! builder.append(Timestamp::now(), Some(b"key"), Some(b"value"), &[])?;
//! let mut batch = bytes::BytesMut::from(&builder.finish(None)[..]);
//!
//! // The leader checks the header and patches two fields; the records stay as they are.
//! let (view, _) = BatchView::parse(&batch)?;
//! view.validate()?;
//! patch_base_offset(&mut batch, Offset::new(1_000), LeaderEpoch::new(3));
//!
//! // The consumer reads the records, within a limit.
//! let batch = DecodedBatch::decode(&batch.freeze(), 1024 * 1024)?;
//! for record in batch.records() {
//!     let record = record?;
//!     assert_eq!(record.offset, Offset::new(1_000));
//!     assert_eq!(record.value.as_deref(), Some(&b"value"[..]));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod error_code;
mod ids;
pub mod kafka;
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
