//! Record batches, version 2 (magic 2): the unit on the wire, in memory and on disk.
//!
//! A broker reads headers in place ([`BatchView`]) and never decodes records on the way of a
//! produce or a fetch. Producers build batches ([`BatchBuilder`]), consumers and tools read the
//! records ([`DecodedBatch`], [`BatchView::records`]). `docs/record_batch.md` shows the bytes; the
//! source is Kafka's implementation guide, section "Record Batch" (KIP-98).

mod batch_error;
mod builder;
mod compression;
mod decoded;
mod filter;
mod header;
mod lz4_frame;
mod patch;
mod records;
mod split;
pub(crate) mod varint;
mod view;

pub use batch_error::BatchError;
pub use builder::{AppendError, BatchBuilder, MAX_BATCH_BYTES, ProducerStamp};
pub use compression::{CompressionError, decompress};
pub use decoded::{DecodedBatch, ReadBatchError, SharedRecord};
pub use filter::{Filter, FilterError, Survivors, empty_batch};
pub use header::*;
pub use lz4_frame::Lz4FrameError;
pub use patch::{patch_base_offset, patch_log_append_time, patch_producer};
pub use records::{Header, Headers, Record, RecordError, RecordIter, RecordProblem};
pub use split::{SplitBatches, split_batches};
pub use view::BatchView;
