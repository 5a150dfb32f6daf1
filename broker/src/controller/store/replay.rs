//! Reading the log at a start: what is whole is applied, what a crash tore is left out, what is damaged
//! is refused.

use super::MetadataError;
use super::entry::{EntryError, EntryHeader, HEADER_BYTES, decode_records};
use crate::metadata::{MetadataImage, MetadataRecord};
use crate::runtime::{BLOCK, File};

/// Applies every entry of the log; returns where the next one goes.
pub(super) async fn replay(
    log: &File,
    log_number: u64,
    image: &mut MetadataImage,
) -> Result<u64, MetadataError> {
    let length = log.len().await?;
    let mut position = 0;
    while position < length {
        match read_entry(log, length, position, log_number, image.offset + 1).await? {
            Ok((header, records)) => {
                for record in &records {
                    image.apply_in_place(record)?;
                }
                position += header.padded_bytes();
            }
            Err(reason) => {
                let good = find_entry(log, length, position, log_number, image.offset + 1).await?;
                match good {
                    Some(good_position) => {
                        return Err(MetadataError::Damaged {
                            path: log.path().display().to_string(),
                            position,
                            reason: reason.to_string(),
                            good_position,
                        });
                    }
                    None => {
                        tracing::info!(
                            position,
                            %reason,
                            "cut a torn entry off the metadata log: it was never acknowledged"
                        );
                        break;
                    }
                }
            }
        }
    }
    Ok(position)
}

type Entry = (EntryHeader, Vec<MetadataRecord>);

async fn read_entry(
    log: &File,
    file_length: u64,
    position: u64,
    log_number: u64,
    expected_offset: i64,
) -> Result<Result<Entry, EntryError>, MetadataError> {
    let first = log.read_at(position, BLOCK).await?;
    let Some(header) = EntryHeader::decode(&first) else {
        return Ok(Err(EntryError::Header));
    };
    if header.log_number != log_number {
        let found = header.log_number;
        return Ok(Err(EntryError::OtherLog { found }));
    }
    if header.first_offset != expected_offset {
        return Ok(Err(EntryError::Offset {
            found: header.first_offset,
            expected: expected_offset,
        }));
    }
    // Reads at most what the file has, whatever the header says.
    let room = file_length.saturating_sub(position + HEADER_BYTES as u64);
    let wanted = u64::from(header.length).min(room) as usize;
    let bytes = log.read_at(position + HEADER_BYTES as u64, wanted).await?;
    Ok(decode_records(&header, &bytes).map(|records| (header, records)))
}

/// The first position behind `bad` where a later entry of this log stands.
async fn find_entry(
    log: &File,
    file_length: u64,
    bad: u64,
    log_number: u64,
    expected_offset: i64,
) -> Result<Option<u64>, MetadataError> {
    let mut position = bad + BLOCK as u64;
    while position < file_length {
        let block = log.read_at(position, HEADER_BYTES).await?;
        if let Some(header) = EntryHeader::decode(&block)
            && header.log_number == log_number
            && header.first_offset >= expected_offset
        {
            return Ok(Some(position));
        }
        position += BLOCK as u64;
    }
    Ok(None)
}
