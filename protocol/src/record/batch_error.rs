//! What can be wrong with a record batch, its records aside.

use super::header::{BATCH_HEADER_BYTES, BATCH_MAGIC, BATCH_PREFIX_BYTES};

/// Why bytes are not an acceptable record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("a record batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes the batch takes, or its header when that is incomplete.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// The length field leaves no room for the header, or is negative.
    #[error("record batch length {length} is below the header's {}", BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES)]
    Length {
        /// The field's value.
        length: i32,
    },
    /// Another version of the format, or no batch at all.
    #[error("record batch magic is {found}, expected {BATCH_MAGIC}")]
    Magic {
        /// The field's value.
        found: i8,
    },
    /// The base offset is negative, or the last offset leaves the range of offsets.
    #[error("record batch offsets {base_offset} + {last_offset_delta} leave the range of offsets")]
    OffsetRange {
        /// The field's value.
        base_offset: i64,
        /// The field's value.
        last_offset_delta: i32,
    },
    /// The number of records is negative or more than its offsets allow.
    #[error("record batch count {count} does not fit last offset delta {last_offset_delta}")]
    Count {
        /// The field's value.
        count: i32,
        /// The field's value.
        last_offset_delta: i32,
    },
    /// The batch's bytes do not give its CRC.
    #[error("record batch CRC-32C is {found:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// The checksum in the header.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A producer sent a batch without records.
    #[error("record batch holds no record")]
    Empty,
    /// More records are claimed than the bytes can hold.
    #[error("record batch claims {count} records in {bytes} bytes")]
    CountBeyondBytes {
        /// Records claimed.
        count: i32,
        /// Bytes of uncompressed records.
        bytes: usize,
    },
    /// The codec's number is none of 0 to 4.
    #[error("record batch codec {id} is unknown")]
    UnknownCodec {
        /// The number found.
        id: u8,
    },
    /// A producer sent a control batch.
    #[error("record batch is a control batch, which only a broker writes")]
    Control,
    /// A producer set the timestamp type to log append time, which is the leader's to set.
    #[error("record batch claims log append time, which only a broker sets")]
    LogAppendTime,
    /// A producer set the delete horizon, which is the compaction's to set.
    #[error("record batch carries a delete horizon, which only a broker sets")]
    DeleteHorizon,
    /// The timestamps are below -1, or the greatest is below the first.
    #[error(
        "record batch timestamps {base_timestamp} to {max_timestamp} are out of order or range"
    )]
    Timestamps {
        /// The field's value.
        base_timestamp: i64,
        /// The field's value.
        max_timestamp: i64,
    },
    /// There is a producer id without an epoch or a sequence, or a transactional batch without a
    /// producer id.
    #[error(
        "record batch producer fields id {id}, epoch {epoch}, sequence {sequence} do not fit together"
    )]
    Producer {
        /// The field's value.
        id: i64,
        /// The field's value.
        epoch: i16,
        /// The field's value.
        sequence: i32,
    },
}
