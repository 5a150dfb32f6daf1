//! The bytes of the metadata snapshot.

use std::sync::Arc;

use crate::config::TopicConfig;
use crate::metadata::{ApplyError, MetadataImage, RecordError, decode_record, encode_record};

const HEADER_BYTES: usize = 44;
const MAGIC: [u8; 4] = *b"CLMS";
const VERSION: u16 = 1;

/// Why bytes are not a metadata snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is {found} bytes long, its header says {expected}")]
    Length { found: u64, expected: u64 },
    #[error("its header is damaged")]
    Header,
    #[error("it has version {found}, this broker reads {VERSION}: a newer broker wrote it")]
    Version { found: u16 },
    #[error("record {position}: {error}")]
    Record {
        position: u32,
        #[source]
        error: RecordError,
    },
    #[error("{count} bytes are left over after its last record")]
    LeftOver { count: usize },
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// The whole image, and the number of the log that goes on from it.
pub(super) fn encode(image: &MetadataImage, log_number: u64) -> Vec<u8> {
    let records = image.to_records();
    let mut bytes = vec![0; HEADER_BYTES];
    for record in &records {
        encode_record(record, &mut bytes);
    }
    let length = (bytes.len() - HEADER_BYTES) as u64;
    let count = u32::try_from(records.len()).expect("an image has fewer than 2^32 records");
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&log_number.to_le_bytes());
    bytes[16..24].copy_from_slice(&image.offset.to_le_bytes());
    bytes[24..28].copy_from_slice(&image.epoch.to_le_bytes());
    bytes[28..32].copy_from_slice(&count.to_le_bytes());
    bytes[32..40].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..40]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(
    bytes: &[u8],
    topic_defaults: Arc<TopicConfig>,
) -> Result<(MetadataImage, u64), SnapshotError> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(SnapshotError::Length {
        found: bytes.len() as u64,
        expected: HEADER_BYTES as u64,
    })?;
    let crc = u32::from_le_bytes(field(header, 40));
    if header[0..4] != MAGIC || crc != crc32c::crc32c(&header[..40]) {
        return Err(SnapshotError::Header);
    }
    let version = u16::from_le_bytes(field(header, 4));
    if version != VERSION {
        return Err(SnapshotError::Version { found: version });
    }
    let log_number = u64::from_le_bytes(field(header, 8));
    let offset = i64::from_le_bytes(field(header, 16));
    let epoch = i32::from_le_bytes(field(header, 24));
    let count = u32::from_le_bytes(field(header, 28));
    let length = u64::from_le_bytes(field(header, 32));
    let mut rest = &bytes[HEADER_BYTES..];
    if rest.len() as u64 != length {
        return Err(SnapshotError::Length {
            found: bytes.len() as u64,
            expected: length.saturating_add(HEADER_BYTES as u64),
        });
    }
    let mut records = Vec::new();
    for position in 0..count {
        let (record, after) =
            decode_record(rest).map_err(|error| SnapshotError::Record { position, error })?;
        records.push(record);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(SnapshotError::LeftOver { count: rest.len() });
    }
    let image = MetadataImage::from_records(offset, epoch, &records, topic_defaults)?;
    Ok((image, log_number))
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    header[at..at + N].try_into().expect("N bytes were taken")
}
