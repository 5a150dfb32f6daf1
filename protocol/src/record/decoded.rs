//! Reading whole batches: decompressed within a limit, records borrowed or shared.

use bytes::Bytes;

use super::batch_error::BatchError;
use super::compression::{CompressionError, decompress};
use super::records::{Headers, Record, RecordError, RecordIter, RecordsInfo};
use super::view::BatchView;
use crate::{Compression, LeaderEpoch, Offset, ProducerId, Timestamp};

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBatchError {
    /// The batch itself is not acceptable.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its records cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

impl<'a> BatchView<'a> {
    /// Iterates over the records, decompressed into `scratch` if they need to be.
    ///
    /// The CRC is [`BatchView::verify_crc`]'s to check.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`], or any [`CompressionError`]: above all that more than
    /// `max_decompressed_bytes` would come out.
    pub fn records<'s>(
        &self,
        scratch: &'s mut Vec<u8>,
        max_decompressed_bytes: usize,
    ) -> Result<RecordIter<'s>, ReadBatchError>
    where
        'a: 's,
    {
        let info = RecordsInfo::of(self);
        match self.known_compression()? {
            Compression::None => Ok(RecordIter::new(info, self.records_bytes())),
            // Compaction can leave a batch without records, and then without compressed bytes.
            _ if self.record_count() == 0 => Ok(RecordIter::new(info, self.records_bytes())),
            codec => {
                decompress(codec, self.records_bytes(), max_decompressed_bytes, scratch)?;
                Ok(RecordIter::new(info, scratch))
            }
        }
    }

    fn known_compression(&self) -> Result<Compression, BatchError> {
        self.compression().ok_or(BatchError::UnknownCodec {
            id: self.attributes().codec_id(),
        })
    }
}

/// A batch whose records outlive the frame it came in: checked, decompressed, shared.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    info: RecordsInfo,
    records: Bytes,
    size_in_bytes: usize,
    base_offset: Offset,
    last_offset: Offset,
    partition_leader_epoch: Option<LeaderEpoch>,
    producer_id: Option<ProducerId>,
    is_control: bool,
    is_transactional: bool,
}

impl DecodedBatch {
    /// Reads the batch at the start of `bytes`, CRC included, and decompresses its records.
    /// Uncompressed records stay where they are, shared with `bytes`.
    ///
    /// # Errors
    /// Any [`ReadBatchError`]: above all that more than `max_decompressed_bytes` would come out.
    pub fn decode(bytes: &Bytes, max_decompressed_bytes: usize) -> Result<Self, ReadBatchError> {
        let (batch, _) = BatchView::parse(bytes)?;
        batch.verify_crc()?;
        Self::decode_verified(bytes, max_decompressed_bytes)
    }

    /// Like [`DecodedBatch::decode`], for a batch whose CRC the caller has checked, or does not
    /// want checked: one pass over the bytes less.
    ///
    /// # Errors
    /// As [`DecodedBatch::decode`], but for the CRC.
    pub fn decode_verified(
        bytes: &Bytes,
        max_decompressed_bytes: usize,
    ) -> Result<Self, ReadBatchError> {
        let (batch, _) = BatchView::parse(bytes)?;
        let records = match batch.known_compression()? {
            Compression::None => bytes.slice_ref(batch.records_bytes()),
            _ if batch.record_count() == 0 => bytes.slice_ref(batch.records_bytes()),
            codec => {
                let mut records = Vec::new();
                decompress(
                    codec,
                    batch.records_bytes(),
                    max_decompressed_bytes,
                    &mut records,
                )?;
                // The records may be kept for long, the room in which they grew must not.
                records.shrink_to_fit();
                Bytes::from(records)
            }
        };
        Ok(Self {
            info: RecordsInfo::of(&batch),
            records,
            size_in_bytes: batch.size_in_bytes(),
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            partition_leader_epoch: batch.partition_leader_epoch(),
            producer_id: batch.producer_id(),
            is_control: batch.is_control(),
            is_transactional: batch.is_transactional(),
        })
    }

    /// Reads the batches that `payload` holds one after the other. The iterator ends after the
    /// last batch or after the first error.
    pub fn decode_all(
        payload: Bytes,
        max_decompressed_bytes: usize,
    ) -> impl Iterator<Item = Result<Self, ReadBatchError>> {
        let mut rest = payload;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let batch = Self::decode(&rest, max_decompressed_bytes);
            match &batch {
                Ok(batch) => drop(rest.split_to(batch.size_in_bytes)),
                Err(_) => rest.clear(),
            }
            Some(batch)
        })
    }

    /// Iterates over the records. Keys and values are shared with the batch, not copied.
    pub fn records(&self) -> impl Iterator<Item = Result<SharedRecord, RecordError>> + '_ {
        RecordIter::new(self.info, &self.records)
            .map(|record| record.map(|record| SharedRecord::new(&self.records, &record)))
    }

    /// Iterates over the records, borrowed.
    pub fn borrowed_records(&self) -> RecordIter<'_> {
        RecordIter::new(self.info, &self.records)
    }

    /// Size of the whole batch as it was read, compressed.
    pub fn size_in_bytes(&self) -> usize {
        self.size_in_bytes
    }

    /// Records that the batch's header names.
    pub fn record_count(&self) -> u32 {
        self.info.count()
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Offset of the last record, inclusive; compaction may have removed that record.
    pub fn last_offset(&self) -> Offset {
        self.last_offset
    }

    /// Where the next batch starts at the earliest: where to read on, whatever records are left.
    pub fn next_offset(&self) -> Offset {
        Offset::new(self.last_offset.get() + 1)
    }

    /// Epoch of the leader that appended the batch.
    pub fn partition_leader_epoch(&self) -> Option<LeaderEpoch> {
        self.partition_leader_epoch
    }

    /// Id of the idempotent producer.
    pub fn producer_id(&self) -> Option<ProducerId> {
        self.producer_id
    }

    /// True when the batch holds a control record instead of data.
    pub fn is_control(&self) -> bool {
        self.is_control
    }

    /// True when the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.is_transactional
    }
}

/// One record whose bytes are shared with its batch: it keeps the whole batch in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRecord {
    /// Its place in the partition.
    pub offset: Offset,
    /// The producer's time, or the leader's for a batch of log append time.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    header_bytes: Bytes,
    header_count: u32,
}

impl SharedRecord {
    fn new(owner: &Bytes, record: &Record<'_>) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(|key| owner.slice_ref(key)),
            value: record.value.map(|value| owner.slice_ref(value)),
            header_bytes: owner.slice_ref(record.headers.bytes()),
            header_count: record.headers.len() as u32,
        }
    }

    /// The headers.
    pub fn headers(&self) -> Headers<'_> {
        Headers::trusted(&self.header_bytes, self.header_count)
    }
}
