//! Record batches, version 2 (magic 2): the unit on the wire, in memory and on disk.
//!
//! A broker reads headers in place ([`BatchView`]) and never decodes records on the way of a
//! produce or a fetch. `docs/record_batch.md` shows the bytes; the source is Kafka's
//! implementation guide, section "Record Batch" (KIP-98).

mod header;
mod patch;
mod view;

pub use header::*;
pub use patch::{patch_base_offset, patch_log_append_time};
pub use view::{BatchError, BatchView, SplitBatches, split_batches};
