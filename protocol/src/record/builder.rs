//! Building a batch record by record: the hot path of a producer, without allocation per record.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use zerocopy::IntoBytes;

use super::compression::Compressor;
use super::header::{
    Attributes, BATCH_HEADER_BYTES, BATCH_MAGIC, BATCH_PREFIX_BYTES, BatchHeader, CRC_COVERS_FROM,
};
use super::records::Header;
use super::varint::{put_varint, put_varlong, varint_length, varlong_length};
use crate::{Compression, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The largest batch that is built, before compression: 1 GiB. The format's own limit is 2 GiB;
/// the rest is room for what a codec adds to bytes that do not compress.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024 * 1024;

/// The checksum follows the records once this many bytes wait for it: they are still in the
/// processor's cache then, and in a large batch would not be at its end.
const CHECKSUM_STRIDE: usize = 16 * 1024;

/// Why a record cannot be appended to a batch. The batch is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The batch would exceed [`MAX_BATCH_BYTES`].
    #[error("record batch would grow to {size} bytes, the limit is {MAX_BATCH_BYTES}")]
    TooLarge {
        /// Bytes the batch would take.
        size: usize,
    },
    /// The timestamp is below -1, or too far from the batch's first to write the difference.
    #[error("timestamp {timestamp} is out of range or too far from the batch's first")]
    Timestamp {
        /// The record's timestamp.
        timestamp: Timestamp,
    },
}

/// Marks a batch as the next one of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
    /// True when the batch belongs to the producer's transaction.
    pub transactional: bool,
}

/// Collects records and turns them into a batch. Reusable: its memory, and the codec's, serves
/// one batch after the other.
pub struct BatchBuilder {
    compressor: Compressor,
    capacity_hint: usize,
    /// Room for the header, then the records uncompressed.
    buffer: BytesMut,
    /// Where compressed batches are written. Unused without compression.
    compressed: BytesMut,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    count: i32,
    /// CRC-32C of the records up to `checksummed`, which is a place in `buffer`. Without
    /// compression only.
    records_crc: u32,
    checksummed: usize,
}

impl BatchBuilder {
    /// A builder of batches with this codec, which will mostly reach `capacity_hint` bytes.
    /// Memory is taken with the first record.
    pub fn new(compression: Compression, capacity_hint: usize) -> Self {
        Self {
            compressor: Compressor::new(compression),
            capacity_hint: capacity_hint.clamp(BATCH_HEADER_BYTES, MAX_BATCH_BYTES),
            buffer: BytesMut::new(),
            compressed: BytesMut::new(),
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            count: 0,
            records_crc: 0,
            checksummed: BATCH_HEADER_BYTES,
        }
    }

    /// Makes room for a batch of `bytes` bytes and no more, so that appending up to there takes no
    /// memory. What was appended before is copied if the room it has is smaller.
    pub fn make_room(&mut self, bytes: usize) {
        self.capacity_hint = bytes.clamp(BATCH_HEADER_BYTES, MAX_BATCH_BYTES);
        if self.count > 0 && self.capacity_hint > self.buffer.capacity() {
            let mut larger = BytesMut::with_capacity(self.capacity_hint);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }

    /// Bytes of memory that the records take, used or not.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Appends a record and returns its offset relative to the batch's first.
    ///
    /// # Errors
    /// Any [`AppendError`]; the batch is then as before.
    #[inline]
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<i32, AppendError> {
        let timestamp_delta = self.timestamp_delta(timestamp)?;
        let offset_delta = self.count;
        let body = body_length(timestamp_delta, offset_delta, key, value, headers);
        let size = self
            .size()
            .saturating_add(body)
            .saturating_add(varlong_length(body as i64));
        if size > MAX_BATCH_BYTES {
            return Err(AppendError::TooLarge { size });
        }
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
            self.buffer.reserve(self.capacity_hint.max(size));
            self.buffer.put_bytes(0, BATCH_HEADER_BYTES);
        } else {
            self.max_timestamp = self.max_timestamp.max(timestamp);
            self.buffer.reserve(size - self.buffer.len());
        }
        self.count += 1;

        let out = &mut self.buffer;
        // All lengths fit an i32: their sum is below MAX_BATCH_BYTES.
        put_varint(out, body as i32);
        out.put_u8(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for header in headers {
            put_nullable(out, Some(header.key.as_bytes()));
            put_nullable(out, header.value);
        }
        let waiting = &self.buffer[self.checksummed..];
        if waiting.len() >= CHECKSUM_STRIDE && self.compressor.codec() == Compression::None {
            self.records_crc = crc32c::crc32c_append(self.records_crc, waiting);
            self.checksummed = self.buffer.len();
        }
        Ok(offset_delta)
    }

    /// Records appended so far.
    pub fn record_count(&self) -> u32 {
        self.count.unsigned_abs()
    }

    /// True when no record was appended yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The codec.
    pub fn compression(&self) -> Compression {
        self.compressor.codec()
    }

    /// Bytes of the batch so far, header included, before compression.
    #[inline]
    pub fn size(&self) -> usize {
        self.buffer.len().max(BATCH_HEADER_BYTES)
    }

    /// What [`BatchBuilder::size`] would be after appending this record.
    pub fn estimated_size_after(
        &self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> usize {
        // A timestamp that append will refuse takes no more than any other.
        let timestamp_delta = self.timestamp_delta(timestamp).unwrap_or(i64::MAX);
        let body = body_length(timestamp_delta, self.count, key, value, headers);
        self.size()
            .saturating_add(body)
            .saturating_add(varlong_length(body as i64))
    }

    /// Turns the records into a batch with base offset 0 and leaves the builder empty.
    ///
    /// Without compression the batch is the builder's own buffer, not a copy.
    ///
    /// # Panics
    /// If there is no record: the format has no empty batch for producers.
    pub fn finish(&mut self, producer: Option<ProducerStamp>) -> Bytes {
        assert!(self.count > 0, "a batch holds at least one record");
        let mut batch = match self.compressor.codec() {
            Compression::None => self.buffer.split(),
            _ => {
                let records = &self.buffer[BATCH_HEADER_BYTES..];
                self.compressed.put_bytes(0, BATCH_HEADER_BYTES);
                self.compressor.compress(records, &mut self.compressed);
                // Codecs ask for more room than they use, and the batch may have to wait.
                BytesMut::from(&self.compressed[..])
            }
        };
        let header = self.header(batch.len(), producer);
        batch[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
        let crc = self.checksum(&batch);
        batch[CRC_COVERS_FROM - 4..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
        self.reset();
        batch.freeze()
    }

    /// Drops the records appended so far and keeps the memory.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.compressed.clear();
        self.count = 0;
        self.records_crc = 0;
        self.checksummed = BATCH_HEADER_BYTES;
    }

    /// The CRC-32C of a batch whose header is written, from what is known of its records.
    fn checksum(&self, batch: &[u8]) -> u32 {
        if self.checksummed == BATCH_HEADER_BYTES {
            return crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
        }
        let header_crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..BATCH_HEADER_BYTES]);
        let records_crc = crc32c::crc32c_append(self.records_crc, &batch[self.checksummed..]);
        let records = batch.len() - BATCH_HEADER_BYTES;
        crc32c::crc32c_combine(header_crc, records_crc, records)
    }

    fn header(&self, size: usize, producer: Option<ProducerStamp>) -> BatchHeader {
        let length = i32::try_from(size - BATCH_PREFIX_BYTES)
            .expect("a codec adds less than 1 GiB to what does not compress");
        let transactional = producer.is_some_and(|producer| producer.transactional);
        let attributes =
            Attributes::with_compression(self.compression()).with_transactional(transactional);
        BatchHeader {
            base_offset: 0.into(),
            batch_length: length.into(),
            partition_leader_epoch: (-1).into(),
            magic: BATCH_MAGIC,
            crc: 0.into(),
            attributes: attributes.bits().into(),
            last_offset_delta: (self.count - 1).into(),
            base_timestamp: self.base_timestamp.get().into(),
            max_timestamp: self.max_timestamp.get().into(),
            producer_id: ProducerId::to_sentinel(producer.map(|it| it.id)).into(),
            producer_epoch: ProducerEpoch::to_sentinel(producer.map(|it| it.epoch)).into(),
            base_sequence: Sequence::to_sentinel(producer.map(|it| it.base_sequence)).into(),
            records_count: self.count.into(),
        }
    }

    #[inline]
    fn timestamp_delta(&self, timestamp: Timestamp) -> Result<i64, AppendError> {
        let base = if self.count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        if timestamp < Timestamp::NONE {
            return Err(AppendError::Timestamp { timestamp });
        }
        timestamp
            .get()
            .checked_sub(base.get())
            .ok_or(AppendError::Timestamp { timestamp })
    }
}

impl fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("compression", &self.compression())
            .field("record_count", &self.count)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Bytes of a record after its length. Saturates instead of wrapping: whatever is too large stays
/// too large.
#[inline]
fn body_length(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> usize {
    let fixed = 1 + varlong_length(timestamp_delta) + varint_length(offset_delta);
    let mut length = fixed
        .saturating_add(nullable_length(key))
        .saturating_add(nullable_length(value))
        .saturating_add(varlong_length(headers.len() as i64));
    for header in headers {
        length = length
            .saturating_add(nullable_length(Some(header.key.as_bytes())))
            .saturating_add(nullable_length(header.value));
    }
    length
}

#[inline]
fn nullable_length(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varlong_length(bytes.len() as i64).saturating_add(bytes.len()),
    }
}

#[inline]
fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}
