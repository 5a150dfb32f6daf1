//! The records inside a batch, once decompressed. Only clients, compaction and tools read them.
//!
//! Every length is checked against the bytes at hand; nothing is allocated.

use super::varint::{VarintError, take_varint, take_varlong};
use super::view::BatchView;
use crate::{Offset, Timestamp, TimestampType};

/// One record, its bytes borrowed from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// The producer's time, or the leader's for a batch of log append time.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key. Keys may repeat.
    pub key: &'a str,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record: checked when the record was read, split when iterated over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    remaining: u32,
}

impl<'a> Headers<'a> {
    /// Walks over `count` headers, which must fill `bytes` exactly.
    fn read(bytes: &'a [u8], count: i32) -> Result<Self, RecordProblem> {
        let remaining =
            u32::try_from(count).map_err(|_| RecordProblem::Length { length: count })?;
        let mut rest = bytes;
        for _ in 0..remaining {
            take_header(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(Self { bytes, remaining })
        } else {
            Err(RecordProblem::TrailingBytes { count: rest.len() })
        }
    }

    /// The bytes of the headers, without their number.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Headers whose bytes were read by [`Headers::read`] before.
    pub(super) fn trusted(bytes: &'a [u8], remaining: u32) -> Self {
        Self { bytes, remaining }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(take_header(&mut self.bytes).expect("the headers were read with their record"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// A record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the batch: {problem}")]
pub struct RecordError {
    /// Which record, counted from 0.
    pub index: u32,
    /// What is wrong with it.
    pub problem: RecordProblem,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The bytes end before the record does.
    #[error("the bytes end within it")]
    Truncated,
    /// A variable-length number has more bits than its field.
    #[error("a variable-length number is too long")]
    VarintTooLong,
    /// A length or number of headers is negative where that means nothing.
    #[error("length {length} is out of range")]
    Length {
        /// The number found.
        length: i32,
    },
    /// The record, or the last one of the batch, is followed by bytes that belong to nothing.
    #[error("{count} bytes follow it that belong to nothing")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Its offset is outside the batch, or not above the one before.
    #[error("offset delta {delta} is outside the batch or out of order")]
    OffsetDelta {
        /// The number found.
        delta: i32,
    },
    /// Its timestamp leaves the range of timestamps.
    #[error("timestamp delta {delta} leaves the range of timestamps")]
    TimestampDelta {
        /// The number found.
        delta: i64,
    },
    /// The key of a header is no text.
    #[error("the key of a header is not UTF-8")]
    HeaderKey,
}

impl From<VarintError> for RecordProblem {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Truncated => Self::Truncated,
            VarintError::TooLong => Self::VarintTooLong,
        }
    }
}

/// What the batch's header says about all of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordsInfo {
    base_offset: Offset,
    last_offset_delta: i32,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
    count: u32,
}

impl RecordsInfo {
    pub(super) fn of(batch: &BatchView<'_>) -> Self {
        Self {
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta(),
            base_timestamp: batch.base_timestamp(),
            append_time: match batch.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(batch.max_timestamp()),
            },
            count: batch.record_count(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

/// Iterates over the records of a batch. It ends after the last one or after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    info: RecordsInfo,
    rest: &'a [u8],
    index: u32,
    least_delta: i64,
    failed: bool,
}

impl<'a> RecordIter<'a> {
    pub(super) fn new(info: RecordsInfo, records: &'a [u8]) -> Self {
        Self {
            info,
            rest: records,
            index: 0,
            least_delta: 0,
            failed: false,
        }
    }

    /// The bytes that were not read yet.
    pub(super) fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    fn read(&mut self) -> Result<Record<'a>, RecordProblem> {
        let length = take_varint(&mut self.rest)?;
        let mut body = take(&mut self.rest, length)?;
        // The attributes of a record are unused.
        take(&mut body, 1)?;
        let timestamp_delta = take_varlong(&mut body)?;
        let delta = take_varint(&mut body)?;
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let header_count = take_varint(&mut body)?;
        let headers = Headers::read(body, header_count)?;

        if i64::from(delta) < self.least_delta || delta > self.info.last_offset_delta {
            return Err(RecordProblem::OffsetDelta { delta });
        }
        self.least_delta = i64::from(delta) + 1;
        let created = self.info.base_timestamp.get().checked_add(timestamp_delta);
        let timestamp = match (self.info.append_time, created) {
            (Some(append_time), _) => append_time,
            (None, Some(created)) => Timestamp::new(created),
            (None, None) => {
                return Err(RecordProblem::TimestampDelta {
                    delta: timestamp_delta,
                });
            }
        };
        Ok(Record {
            // The batch's last offset is in range, and the delta is within the batch.
            offset: Offset::new(self.info.base_offset.get() + i64::from(delta)),
            timestamp,
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = if self.index < self.info.count {
            self.read()
        } else if self.rest.is_empty() {
            return None;
        } else {
            Err(RecordProblem::TrailingBytes {
                count: self.rest.len(),
            })
        };
        self.failed = result.is_err();
        let index = self.index;
        self.index += u32::from(result.is_ok());
        Some(result.map_err(|problem| RecordError { index, problem }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Not the count that the header claims: a caller may reserve by the lower bound.
        (0, Some(self.rest.len().saturating_add(1)))
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], length: i32) -> Result<&'a [u8], RecordProblem> {
    let length = usize::try_from(length).map_err(|_| RecordProblem::Length { length })?;
    bytes.split_off(..length).ok_or(RecordProblem::Truncated)
}

/// Takes a length and that many bytes; -1 means none.
#[inline]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordProblem> {
    match take_varint(bytes)? {
        -1 => Ok(None),
        length => take(bytes, length).map(Some),
    }
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<Header<'a>, RecordProblem> {
    let length = take_varint(bytes)?;
    let key = take(bytes, length)?;
    let key = str::from_utf8(key).map_err(|_| RecordProblem::HeaderKey)?;
    let value = take_nullable(bytes)?;
    Ok(Header { key, value })
}
