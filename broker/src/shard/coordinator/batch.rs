//! The records of one turn, encoded as one batch, so that a crash takes all of a decision or nothing.

use bytes::Bytes;
use corelog_protocol::kafka::{GroupRecord, WriteError};
use corelog_protocol::record::{AppendError, BatchBuilder};
use corelog_protocol::{Compression, Timestamp};

/// Bytes that a turn's batch mostly has.
const USUAL_BYTES: usize = 4 << 10;
/// A batch takes no further decision once it has so many bytes.
const FULL_BYTES: usize = 512 << 10;

/// Why the records of a decision cannot be appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Text(#[from] WriteError),
    #[error(transparent)]
    Record(#[from] AppendError),
}

pub(super) struct Batch(BatchBuilder);

impl Batch {
    pub(super) fn new() -> Self {
        Self(BatchBuilder::new(Compression::None, USUAL_BYTES))
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.size() >= FULL_BYTES
    }

    /// Adds the records of one decision. After an error the batch holds a part of them: it is of no use.
    pub(super) fn add(
        &mut self,
        records: &[GroupRecord],
        unix_millis: i64,
    ) -> Result<(), BatchError> {
        let timestamp = Timestamp::new(unix_millis);
        for record in records {
            let (key, value) = record.encode()?;
            self.0
                .append(timestamp, Some(&key), value.as_deref(), &[])?;
        }
        Ok(())
    }

    /// The batch, unless there is nothing in it; then begins the next.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.finish(None))
    }
}
