//! The 61 bytes at the head of a record batch, version 2. `docs/record_batch.md` shows them.

use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch_error::BatchError;
use crate::{Compression, TimestampType};

/// Size of the header on the wire and on disk.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and length: what precedes the bytes that the length counts.
pub const BATCH_PREFIX_BYTES: usize = 12;
/// The only magic this crate reads or writes.
pub const BATCH_MAGIC: i8 = 2;
/// Where the CRC's coverage starts: at the attributes. Base offset, length, leader epoch and magic
/// are left out on purpose, so that a broker can set the first and the third.
pub const CRC_COVERS_FROM: usize = 21;
/// Where the base offset stands, 8 bytes.
pub const BASE_OFFSET_POSITION: usize = 0;
/// Where the length stands, 4 bytes.
pub const LENGTH_POSITION: usize = 8;
/// Where the magic stands, 1 byte.
pub const MAGIC_POSITION: usize = 16;

/// The header as it lies on the wire and on disk, big-endian, unaligned.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    /// Offset of the first record; the producer's is ignored.
    pub base_offset: I64,
    /// Bytes after this field.
    pub batch_length: I32,
    /// Epoch of the leader that appended the batch, -1 from a producer.
    pub partition_leader_epoch: I32,
    /// The format's version: [`BATCH_MAGIC`].
    pub magic: i8,
    /// CRC-32C of everything after this field.
    pub crc: U32,
    /// See [`Attributes`].
    pub attributes: I16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: I32,
    /// Timestamp of the first record.
    pub base_timestamp: I64,
    /// Greatest timestamp of a record, or the time of the append.
    pub max_timestamp: I64,
    /// Id of an idempotent producer, or -1.
    pub producer_id: I64,
    /// Epoch of that producer, or -1.
    pub producer_epoch: I16,
    /// Sequence of the first record, or -1.
    pub base_sequence: I32,
    /// Records in the batch.
    pub records_count: I32,
}

impl BatchHeader {
    /// The size of the whole batch, when the header is coherent and the batch fits `available`
    /// bytes: magic, a length that leaves room for the header, offsets in range, and a count that
    /// the offsets allow. A reader of files learns from it how far the CRC goes before it reads on.
    ///
    /// # Errors
    /// [`BatchError::Magic`], `Length`, `Truncated`, `OffsetRange` or `Count`.
    #[inline]
    pub fn check(&self, available: usize) -> Result<usize, BatchError> {
        if self.magic != BATCH_MAGIC {
            return Err(BatchError::Magic { found: self.magic });
        }
        let length = self.batch_length.get();
        let size = match usize::try_from(length) {
            Ok(length) if length >= BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES => {
                BATCH_PREFIX_BYTES + length
            }
            _ => return Err(BatchError::Length { length }),
        };
        if size > available {
            return Err(BatchError::Truncated {
                needed: size,
                available,
            });
        }
        let base_offset = self.base_offset.get();
        let last_offset_delta = self.last_offset_delta.get();
        // The next offset, one past the last, must exist as well.
        let next_offset = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        if base_offset < 0 || last_offset_delta < 0 || next_offset.is_none() {
            return Err(BatchError::OffsetRange {
                base_offset,
                last_offset_delta,
            });
        }
        let count = self.records_count.get();
        if count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::Count {
                count,
                last_offset_delta,
            });
        }
        Ok(size)
    }
}

const _: () = {
    assert!(size_of::<BatchHeader>() == BATCH_HEADER_BYTES);
    assert!(align_of::<BatchHeader>() == 1);
    assert!(std::mem::offset_of!(BatchHeader, base_offset) == BASE_OFFSET_POSITION);
    assert!(std::mem::offset_of!(BatchHeader, batch_length) == LENGTH_POSITION);
    assert!(std::mem::offset_of!(BatchHeader, partition_leader_epoch) == BATCH_PREFIX_BYTES);
    assert!(std::mem::offset_of!(BatchHeader, magic) == MAGIC_POSITION);
    assert!(std::mem::offset_of!(BatchHeader, attributes) == CRC_COVERS_FROM);
};

/// The attributes of a batch: bits 0–2 codec, 3 timestamp type, 4 transactional, 5 control,
/// 6 delete horizon; the rest are unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(i16);

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

impl Attributes {
    /// Wraps the field's bits.
    pub const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// The field's bits.
    pub const fn bits(self) -> i16 {
        self.0
    }

    /// Attributes of a batch with this codec and nothing else.
    pub const fn with_compression(compression: Compression) -> Self {
        Self(compression.id() as i16)
    }

    /// The same with the transactional bit set or cleared.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        self.with(TRANSACTIONAL, transactional)
    }

    /// The same with the control bit set or cleared.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Self {
        self.with(CONTROL, control)
    }

    /// The same with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(
            LOG_APPEND_TIME,
            matches!(timestamp_type, TimestampType::LogAppendTime),
        )
    }

    /// The same with the mark that the base timestamp holds the delete horizon set or cleared.
    #[must_use]
    pub const fn with_delete_horizon(self, delete_horizon: bool) -> Self {
        self.with(DELETE_HORIZON, delete_horizon)
    }

    const fn with(self, bit: i16, set: bool) -> Self {
        if set {
            Self(self.0 | bit)
        } else {
            Self(self.0 & !bit)
        }
    }

    /// The number of the codec, which may be none we know.
    pub const fn codec_id(self) -> u8 {
        (self.0 & CODEC_MASK) as u8
    }

    /// The codec, if we know it.
    pub const fn compression(self) -> Option<Compression> {
        Compression::from_id(self.codec_id())
    }

    /// Who set the timestamps.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// True when the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// True when the batch holds a control record (a transaction's end) instead of data.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// True when compaction put the delete horizon into the base timestamp (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }
}
