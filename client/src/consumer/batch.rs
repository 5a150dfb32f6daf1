//! Batches as they came, for callers that do not want every record.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use corelog_protocol::record::{BatchView, DecodedBatch};
use corelog_protocol::{Offset, PartitionIndex};

use crate::error::ConsumeError;
use crate::record::{ConsumerRecord, RecordHeader, TopicPartition};

/// Most bytes that one compressed batch may become: a bound on what a small batch can make this process allocate.
pub(super) const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

/// A whole record batch, as it lies in the log. Its header was checked, and its CRC with `check.crcs`.
#[derive(Clone)]
pub struct ConsumerBatch {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: PartitionIndex,
    /// The batch in Kafka's format, version 2.
    pub bytes: Bytes,
    /// Where the position was: records before it belong to the batch but were not asked for, or were returned by
    /// [`Consumer::poll`](crate::Consumer::poll) before.
    pub position: Offset,
}

impl fmt::Debug for ConsumerBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBatch")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl ConsumerBatch {
    /// The header, read in place.
    #[must_use]
    pub fn view(&self) -> BatchView<'_> {
        let (view, _) = BatchView::parse(&self.bytes).expect("it was parsed when it was fetched");
        view
    }

    /// Decodes the records that were asked for.
    ///
    /// # Errors
    /// [`ConsumeError::Corrupt`].
    pub fn records(&self) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let partition = TopicPartition::new(Arc::clone(&self.topic), self.partition);
        let mut records = Vec::new();
        decode_records(&partition, &self.bytes, self.position, |record| {
            records.push(record);
        })?;
        Ok(records)
    }
}

/// Decodes one batch whose CRC was checked before, and gives the records from `position` on to `take`.
pub(super) fn decode_records(
    partition: &TopicPartition,
    bytes: &Bytes,
    position: Offset,
    mut take: impl FnMut(ConsumerRecord),
) -> Result<(), ConsumeError> {
    let corrupt = |reason: String| ConsumeError::Corrupt {
        partition: partition.clone(),
        offset: position,
        reason,
    };
    let batch = DecodedBatch::decode_verified(bytes, MAX_DECOMPRESSED_BYTES)
        .map_err(|error| corrupt(error.to_string()))?;
    if batch.is_control() {
        return Ok(());
    }
    for record in batch.records() {
        let record = record.map_err(|error| corrupt(error.to_string()))?;
        if record.offset < position {
            continue;
        }
        let headers = record
            .headers()
            .map(|header| RecordHeader {
                key: header.key.to_owned(),
                value: header.value.map(Bytes::copy_from_slice),
            })
            .collect();
        take(ConsumerRecord {
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            leader_epoch: batch.partition_leader_epoch(),
            key: record.key,
            value: record.value,
            headers,
        });
    }
    Ok(())
}
