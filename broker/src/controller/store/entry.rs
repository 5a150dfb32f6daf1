//! The bytes of one entry of the metadata log: a header and the records of one write.

use crate::metadata::{MetadataRecord, RecordError, decode_record};
use crate::runtime::BLOCK;

pub(super) const HEADER_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"CLML";

/// What stands before an entry's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EntryHeader {
    /// The number of the log that the entry was written to.
    pub(super) log_number: u64,
    /// The metadata offset of the first record.
    pub(super) first_offset: i64,
    pub(super) record_count: u32,
    /// Bytes of all records.
    pub(super) length: u32,
}

/// Why bytes are not an entry of this log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("no entry begins there")]
    Header,
    #[error("the entry belongs to log {found}")]
    OtherLog { found: u64 },
    #[error("the entry begins at metadata offset {found}, expected {expected}")]
    Offset { found: i64, expected: i64 },
    #[error("{error}")]
    Record {
        #[source]
        error: RecordError,
    },
    #[error("the entry holds {found} records, its header says {expected}")]
    RecordCount { found: u32, expected: u32 },
}

impl EntryHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.log_number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.record_count.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`, if one stands there whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let crc = u32::from_le_bytes(field(bytes, 28));
        if bytes[0..4] != MAGIC || crc != crc32c::crc32c(&bytes[..28]) {
            return None;
        }
        Some(Self {
            length: u32::from_le_bytes(field(bytes, 4)),
            log_number: u64::from_le_bytes(field(bytes, 8)),
            first_offset: i64::from_le_bytes(field(bytes, 16)),
            record_count: u32::from_le_bytes(field(bytes, 24)),
        })
    }

    /// Bytes that the entry takes in the file: whole blocks.
    pub(super) fn padded_bytes(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.length)).next_multiple_of(BLOCK as u64)
    }
}

/// The records of an entry, all of them or none.
pub(super) fn decode_records(
    header: &EntryHeader,
    bytes: &[u8],
) -> Result<Vec<MetadataRecord>, EntryError> {
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, after) = decode_record(rest).map_err(|error| EntryError::Record { error })?;
        records.push(record);
        rest = after;
    }
    if records.len() as u64 != u64::from(header.record_count) {
        return Err(EntryError::RecordCount {
            found: records.len() as u32,
            expected: header.record_count,
        });
    }
    Ok(records)
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("N bytes were taken")
}
