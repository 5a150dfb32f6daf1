//! A record batch as it lies in a buffer: its header read in place, its records untouched.

use zerocopy::FromBytes;

use super::batch_error::BatchError;
use super::header::{Attributes, BATCH_HEADER_BYTES, BatchHeader, CRC_COVERS_FROM};
use crate::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType,
};

/// The least a record takes: length, attributes, two deltas, key length, value length and
/// number of headers, one byte each.
const SMALLEST_RECORD_BYTES: usize = 7;

/// A batch whose length, magic, offsets and count were found coherent. The accessors rely on it.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: &'a BatchHeader,
    bytes: &'a [u8],
}

impl PartialEq for BatchView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for BatchView<'_> {}

impl<'a> BatchView<'a> {
    /// Reads the batch at the start of `bytes` and returns the bytes after it.
    ///
    /// Checks what the accessors rely on: magic, a length within the bytes at hand, offsets in
    /// range, and a count that the offsets allow (compaction leaves gaps, so fewer records than
    /// offsets is fine here). The CRC is [`BatchView::verify_crc`]'s.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], `Length`, `Magic`, `OffsetRange` or `Count`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        let Ok((header, _)) = BatchHeader::ref_from_prefix(bytes) else {
            return Err(BatchError::Truncated {
                needed: BATCH_HEADER_BYTES,
                available: bytes.len(),
            });
        };
        let size = header.check(bytes.len())?;
        let (bytes, rest) = bytes.split_at(size);
        Ok((Self { header, bytes }, rest))
    }

    /// Checks the CRC over everything from the attributes on.
    ///
    /// # Errors
    /// [`BatchError::Crc`].
    #[inline]
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_COVERS_FROM..]);
        let found = self.header.crc.get();
        if computed == found {
            Ok(())
        } else {
            Err(BatchError::Crc { found, computed })
        }
    }

    /// Everything a leader checks of a producer's batch without decoding its records: the CRC,
    /// at least one record, consecutive offsets, a known codec, no mark that only a broker sets,
    /// timestamps in order, and producer fields that fit together.
    ///
    /// Whether a transactional batch is welcome is for the caller to say.
    ///
    /// # Errors
    /// The first [`BatchError`] found; the CRC comes first, so that damage is reported as damage.
    #[inline]
    pub fn validate(&self) -> Result<(), BatchError> {
        self.verify_crc()?;
        let count = self.header.records_count.get();
        if count == 0 {
            return Err(BatchError::Empty);
        }
        let last_offset_delta = self.header.last_offset_delta.get();
        if last_offset_delta != count - 1 {
            return Err(BatchError::Count {
                count,
                last_offset_delta,
            });
        }
        let attributes = self.attributes();
        let Some(compression) = attributes.compression() else {
            return Err(BatchError::UnknownCodec {
                id: attributes.codec_id(),
            });
        };
        let bytes = self.records_bytes().len();
        if compression == Compression::None && count as usize > bytes / SMALLEST_RECORD_BYTES {
            return Err(BatchError::CountBeyondBytes { count, bytes });
        }
        if attributes.is_control() {
            return Err(BatchError::Control);
        }
        if attributes.timestamp_type() == TimestampType::LogAppendTime {
            return Err(BatchError::LogAppendTime);
        }
        if attributes.has_delete_horizon() {
            return Err(BatchError::DeleteHorizon);
        }
        let base_timestamp = self.header.base_timestamp.get();
        let max_timestamp = self.header.max_timestamp.get();
        if base_timestamp < Timestamp::NONE.get() || max_timestamp < base_timestamp {
            return Err(BatchError::Timestamps {
                base_timestamp,
                max_timestamp,
            });
        }
        self.validate_producer()
    }

    fn validate_producer(&self) -> Result<(), BatchError> {
        let id = self.header.producer_id.get();
        let epoch = self.header.producer_epoch.get();
        let sequence = self.header.base_sequence.get();
        let is_stamped = id >= 0 && epoch >= 0 && sequence >= 0;
        // Without an id the other two mean nothing, as in Kafka: some clients leave zeros there.
        let is_anonymous = id == -1 && !self.is_transactional();
        if is_stamped || is_anonymous {
            Ok(())
        } else {
            Err(BatchError::Producer {
                id,
                epoch,
                sequence,
            })
        }
    }

    /// The header, field by field as it was sent.
    #[inline]
    pub fn header(&self) -> &'a BatchHeader {
        self.header
    }

    /// The whole batch.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, compressed as the attributes say.
    #[inline]
    pub fn records_bytes(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// Size of the whole batch.
    #[inline]
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the first record.
    #[inline]
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get())
    }

    /// Offset of the last record, inclusive.
    #[inline]
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get() + i64::from(self.last_offset_delta()))
    }

    /// The offset after the last record.
    #[inline]
    pub fn next_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get() + i64::from(self.last_offset_delta()) + 1)
    }

    /// Offset of the last record minus the base offset.
    #[inline]
    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta.get()
    }

    /// Records in the batch; less than its offsets after a compaction.
    #[inline]
    pub fn record_count(&self) -> u32 {
        self.header.records_count.get() as u32
    }

    /// Epoch of the leader that appended the batch; none in a producer's.
    #[inline]
    pub fn partition_leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::from_sentinel(self.header.partition_leader_epoch.get())
    }

    /// The attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes {
        Attributes::from_bits(self.header.attributes.get())
    }

    /// The codec; `None` if its number is unknown.
    #[inline]
    pub fn compression(&self) -> Option<Compression> {
        self.attributes().compression()
    }

    /// Who set the timestamps.
    #[inline]
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes().timestamp_type()
    }

    /// True when the batch belongs to a transaction.
    #[inline]
    pub fn is_transactional(&self) -> bool {
        self.attributes().is_transactional()
    }

    /// True when the batch holds a control record instead of data.
    #[inline]
    pub fn is_control(&self) -> bool {
        self.attributes().is_control()
    }

    /// Timestamp that the records' deltas count from.
    #[inline]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp::new(self.header.base_timestamp.get())
    }

    /// When the tombstones in the batch may go (KIP-534): compaction puts it where the base
    /// timestamp was, which the records' deltas then count from.
    #[inline]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        let horizon = Timestamp::new(self.header.base_timestamp.get());
        self.attributes().has_delete_horizon().then_some(horizon)
    }

    /// Greatest timestamp of a record, or the time of the append.
    #[inline]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::new(self.header.max_timestamp.get())
    }

    /// Id of the idempotent producer.
    #[inline]
    pub fn producer_id(&self) -> Option<ProducerId> {
        ProducerId::from_sentinel(self.header.producer_id.get())
    }

    /// Epoch of the idempotent producer.
    #[inline]
    pub fn producer_epoch(&self) -> Option<ProducerEpoch> {
        self.producer_id()?;
        ProducerEpoch::from_sentinel(self.header.producer_epoch.get())
    }

    /// Sequence of the first record.
    #[inline]
    pub fn base_sequence(&self) -> Option<Sequence> {
        self.producer_id()?;
        Sequence::from_sentinel(self.header.base_sequence.get())
    }
}
