//! Taking records out of a batch, as compaction does.
//!
//! What is left keeps its bytes: base offset, last offset delta and base timestamp stay, so the
//! records' deltas still count from the same place, and an uncompressed batch is its old records
//! side by side. Only a delete horizon (KIP-534) changes the records: it takes the place of the base
//! timestamp, and their deltas count from it.

use std::ops::Range;

use bytes::BytesMut;
use zerocopy::{FromBytes, IntoBytes};

use super::batch_error::BatchError;
use super::compression::{Compressor, decompress};
use super::decoded::ReadBatchError;
use super::header::{
    Attributes, BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, CRC_COVERS_FROM,
};
use super::records::{Record, RecordError, RecordIter, RecordsInfo};
use super::varint::{put_varint, put_varlong, take_varint, take_varlong, varlong_length};
use super::view::BatchView;
use crate::{Compression, Timestamp, TimestampType};

/// Why records cannot be taken out of a batch.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The batch cannot be read.
    #[error(transparent)]
    Batch(#[from] ReadBatchError),
    /// One of its records cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What is left takes more bytes than a batch can have.
    #[error("a batch of {bytes} bytes is too large")]
    TooLarge {
        /// The bytes.
        bytes: usize,
    },
}

/// What [`Filter::select`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivors {
    /// Records that stay.
    pub kept: u32,
    /// Records that go.
    pub removed: u32,
    /// Among those that stay is one without a value.
    pub tombstones: bool,
    /// Greatest timestamp of those that stay.
    max_timestamp: Option<Timestamp>,
}

/// Takes records out of one batch after the other and keeps its memory for the next.
#[derive(Default)]
pub struct Filter {
    /// The records of a compressed batch.
    decompressed: Vec<u8>,
    /// Runs of records that stay, as places in the uncompressed records.
    runs: Vec<Range<usize>>,
    survivors: Option<Survivors>,
    plain: BytesMut,
    compressed: BytesMut,
    compressors: Vec<Compressor>,
}

impl Filter {
    /// A filter without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory that it keeps.
    pub fn capacity(&self) -> usize {
        self.decompressed.capacity()
            + self.plain.capacity()
            + self.compressed.capacity()
            + self.runs.capacity() * size_of::<Range<usize>>()
    }

    /// Gives the memory back.
    pub fn shrink(&mut self) {
        *self = Self::default();
    }

    /// Asks of every record whether it stays. The CRC is [`BatchView::verify_crc`]'s to check.
    ///
    /// # Errors
    /// The batch or one of its records cannot be read, above all because more than
    /// `max_decompressed_bytes` would come out.
    pub fn select(
        &mut self,
        batch: &BatchView<'_>,
        max_decompressed_bytes: usize,
        mut stays: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Survivors, FilterError> {
        self.runs.clear();
        self.survivors = None;
        let mut found = Survivors {
            kept: 0,
            removed: 0,
            tombstones: false,
            max_timestamp: None,
        };
        let plain = plain_records(batch, max_decompressed_bytes, &mut self.decompressed)?;
        let mut records = RecordIter::new(RecordsInfo::of(batch), plain);
        let mut start = 0;
        while let Some(record) = records.next() {
            let record = record?;
            let end = plain.len() - records.bytes_left();
            if stays(&record) {
                found.kept += 1;
                found.tombstones |= record.value.is_none();
                found.max_timestamp = found.max_timestamp.max(Some(record.timestamp));
                match self.runs.last_mut() {
                    Some(run) if run.end == start => run.end = end,
                    _ => self.runs.push(start..end),
                }
            } else {
                found.removed += 1;
            }
            start = end;
        }
        self.survivors = Some(found);
        Ok(found)
    }

    /// Appends the batch that was last selected from, with what stays of it; with a horizon, that
    /// one takes the place of the base timestamp.
    ///
    /// # Errors
    /// [`FilterError::TooLarge`]; `out` is then as before.
    ///
    /// # Panics
    /// If nothing was selected, or nothing stays: [`empty_batch`] is for that.
    pub fn write(
        &mut self,
        batch: &BatchView<'_>,
        horizon: Option<Timestamp>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let survivors = self.survivors.expect("records were selected");
        assert!(
            survivors.kept > 0,
            "a batch without records is written by another function"
        );
        let codec = batch.compression().unwrap_or(Compression::None);
        let records = match codec {
            Compression::None => batch.records_bytes(),
            _ => &self.decompressed,
        };
        // A delta that does not fit, which no clock makes, leaves the tombstones without a horizon.
        let horizon = horizon.filter(|horizon| {
            self.runs
                .iter()
                .all(|run| shift_all(&records[run.clone()], batch, *horizon, |_, _| ()).is_some())
        });
        let start = out.len();
        out.resize(start + BATCH_HEADER_BYTES, 0);
        self.plain.clear();
        match (codec, horizon) {
            (Compression::None, None) => {
                for run in &self.runs {
                    out.extend_from_slice(&records[run.clone()]);
                }
            }
            (_, None) => {
                for run in &self.runs {
                    self.plain.extend_from_slice(&records[run.clone()]);
                }
            }
            (_, Some(horizon)) => {
                for run in &self.runs {
                    shift_all(&records[run.clone()], batch, horizon, |delta, rest| {
                        put_shifted(&mut self.plain, delta, rest);
                    });
                }
            }
        }
        if codec == Compression::None {
            out.extend_from_slice(&self.plain);
        } else {
            self.compressed.clear();
            compressor(&mut self.compressors, codec).compress(&self.plain, &mut self.compressed);
            out.extend_from_slice(&self.compressed);
        }
        let bytes = out.len() - start;
        let Ok(length) = i32::try_from(bytes - BATCH_PREFIX_BYTES) else {
            out.truncate(start);
            return Err(FilterError::TooLarge { bytes });
        };
        let mut header = batch.header().clone();
        header.batch_length.set(length);
        header.records_count.set(survivors.kept.cast_signed());
        if let Some(horizon) = horizon {
            let attributes = batch.attributes().with_delete_horizon(true);
            header.attributes.set(attributes.bits());
            header.base_timestamp.set(horizon.get());
        }
        if batch.timestamp_type() == TimestampType::CreateTime
            && let Some(max_timestamp) = survivors.max_timestamp
        {
            header.max_timestamp.set(max_timestamp.get());
        }
        seal(header, &mut out[start..]);
        Ok(())
    }
}

/// Appends what is left of a batch when all its records are gone: its header, which still says whose
/// it was and which offsets it had. As Kafka's `DefaultRecordBatch.writeEmptyHeader`.
pub fn empty_batch(batch: &BatchView<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BATCH_HEADER_BYTES, 0);
    let mut header = batch.header().clone();
    let attributes = Attributes::with_compression(Compression::None)
        .with_timestamp_type(batch.timestamp_type())
        .with_transactional(batch.is_transactional())
        .with_control(batch.is_control());
    header.attributes.set(attributes.bits());
    header
        .batch_length
        .set((BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES) as i32);
    header.base_timestamp.set(batch.max_timestamp().get());
    header.records_count.set(0);
    seal(header, &mut out[start..]);
}

/// Puts the header before the records, with their CRC.
fn seal(header: BatchHeader, batch: &mut [u8]) {
    batch[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    let (header, _) = BatchHeader::mut_from_prefix(batch)
        .map_err(|_| "too short")
        .expect("it holds a header");
    header.crc.set(crc);
}

/// The records of a batch without their compression.
fn plain_records<'a>(
    batch: &BatchView<'a>,
    max_decompressed_bytes: usize,
    decompressed: &'a mut Vec<u8>,
) -> Result<&'a [u8], ReadBatchError> {
    let codec = batch.compression().ok_or(BatchError::UnknownCodec {
        id: batch.attributes().codec_id(),
    })?;
    if codec == Compression::None || batch.record_count() == 0 {
        return Ok(batch.records_bytes());
    }
    decompress(
        codec,
        batch.records_bytes(),
        max_decompressed_bytes,
        decompressed,
    )?;
    Ok(decompressed)
}

fn compressor(known: &mut Vec<Compressor>, codec: Compression) -> &mut Compressor {
    let index = known.iter().position(|it| it.codec() == codec);
    let index = index.unwrap_or_else(|| {
        known.push(Compressor::new(codec));
        known.len() - 1
    });
    &mut known[index]
}

/// Gives, for each record of a run, its timestamp's delta from the horizon and the bytes behind the
/// delta. `None` when a delta does not fit.
fn shift_all(
    run: &[u8],
    batch: &BatchView<'_>,
    horizon: Timestamp,
    mut each: impl FnMut(i64, &[u8]),
) -> Option<()> {
    let mut rest = run;
    while !rest.is_empty() {
        let length = usize::try_from(take_varint(&mut rest).ok()?).ok()?;
        let mut body = rest.split_off(..length)?;
        body.split_off(..1)?;
        let delta = take_varlong(&mut body).ok()?;
        let timestamp = batch.base_timestamp().get().checked_add(delta)?;
        each(timestamp.checked_sub(horizon.get())?, body);
    }
    Some(())
}

/// A record with another delta: length, attributes, which are unused, delta, and what follows.
fn put_shifted(out: &mut BytesMut, delta: i64, rest: &[u8]) {
    let length = 1 + varlong_length(delta) + rest.len();
    put_varint(out, i32::try_from(length).unwrap_or(i32::MAX));
    out.extend_from_slice(&[0]);
    put_varlong(out, delta);
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::record::{BatchBuilder, Header, patch_base_offset, patch_log_append_time};
    use crate::{LeaderEpoch, Offset};

    const LIMIT: usize = 1 << 20;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// Ten records from offset 100 on, with keys `k0` to `k9`; every third has no value.
    fn ten_records(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec, 1024);
        for n in 0..10_i64 {
            let (key, value) = (format!("k{n}"), format!("value {n}"));
            let value = (n % 3 != 0).then_some(value.as_bytes());
            let headers = [Header {
                key: "h",
                value: Some(b"v"),
            }];
            let time = Timestamp::new(5_000 - n * 7);
            builder
                .append(time, Some(key.as_bytes()), value, &headers)
                .unwrap();
        }
        let mut batch = builder.finish(None).to_vec();
        patch_base_offset(&mut batch, Offset::new(100), LeaderEpoch::new(4));
        batch
    }

    type Read = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

    fn read(batch: &BatchView<'_>) -> Vec<Read> {
        let mut scratch = Vec::new();
        let records = batch.records(&mut scratch, LIMIT).unwrap();
        records
            .map(|record| {
                let record = record.unwrap();
                (
                    record.offset.get(),
                    record.timestamp.get(),
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    record.headers.count(),
                )
            })
            .collect()
    }

    #[test]
    fn what_stays_is_as_it_was_with_every_codec_and_with_a_horizon() {
        for codec in CODECS {
            for horizon in [None, Some(Timestamp::new(1_700_000_000_000))] {
                let bytes = ten_records(codec);
                let (batch, _) = BatchView::parse(&bytes).unwrap();
                let mut filter = Filter::new();
                let keep = |record: &Record<'_>| !matches!(record.offset.get(), 101 | 102 | 109);
                let survivors = filter.select(&batch, LIMIT, keep).unwrap();
                assert_eq!((survivors.kept, survivors.removed), (7, 3));
                assert!(survivors.tombstones);
                let mut out = vec![9];
                filter.write(&batch, horizon, &mut out).unwrap();
                let (less, rest) = BatchView::parse(&out[1..]).unwrap();
                assert!(rest.is_empty());
                less.verify_crc().unwrap();
                let expected: Vec<_> = read(&batch)
                    .into_iter()
                    .filter(|(offset, ..)| ![101, 102, 109].contains(offset))
                    .collect();
                assert_eq!(read(&less), expected, "{codec:?} {horizon:?}");
                assert_eq!(less.base_offset(), batch.base_offset());
                assert_eq!(less.last_offset(), batch.last_offset());
                assert_eq!(less.compression(), Some(codec));
                assert_eq!(less.partition_leader_epoch(), Some(LeaderEpoch::new(4)));
                assert_eq!(less.delete_horizon(), horizon);
                assert_eq!(less.max_timestamp().get(), 5_000);
            }
        }
    }

    #[test]
    fn the_greatest_timestamp_is_that_of_a_record_that_stays() {
        let bytes = ten_records(Compression::None);
        let (batch, _) = BatchView::parse(&bytes).unwrap();
        let mut filter = Filter::new();
        let late = |record: &Record<'_>| record.offset.get() >= 105;
        filter.select(&batch, LIMIT, late).unwrap();
        let mut out = Vec::new();
        filter.write(&batch, None, &mut out).unwrap();
        let (less, _) = BatchView::parse(&out).unwrap();
        assert_eq!(less.max_timestamp().get(), 5_000 - 35);
    }

    #[test]
    fn the_time_of_the_append_stays() {
        for horizon in [None, Some(Timestamp::new(77))] {
            let mut bytes = ten_records(Compression::None);
            patch_log_append_time(&mut bytes, Timestamp::new(123_456));
            let (batch, _) = BatchView::parse(&bytes).unwrap();
            let mut filter = Filter::new();
            let one = |record: &Record<'_>| record.offset.get() == 103;
            filter.select(&batch, LIMIT, one).unwrap();
            let mut out = Vec::new();
            filter.write(&batch, horizon, &mut out).unwrap();
            let (less, _) = BatchView::parse(&out).unwrap();
            assert_eq!(less.max_timestamp().get(), 123_456);
            assert_eq!(less.timestamp_type(), TimestampType::LogAppendTime);
            assert_eq!(read(&less)[0].1, 123_456);
        }
    }

    #[test]
    fn a_horizon_that_is_there_stays_where_it_is() {
        let bytes = ten_records(Compression::None);
        let (batch, _) = BatchView::parse(&bytes).unwrap();
        let mut filter = Filter::new();
        let mut first = Vec::new();
        filter.select(&batch, LIMIT, |_| true).unwrap();
        filter
            .write(&batch, Some(Timestamp::new(99)), &mut first)
            .unwrap();
        let (batch, _) = BatchView::parse(&first).unwrap();
        let mut second = Vec::new();
        filter
            .select(&batch, LIMIT, |record| record.offset.get() > 104)
            .unwrap();
        filter.write(&batch, None, &mut second).unwrap();
        let (less, _) = BatchView::parse(&second).unwrap();
        assert_eq!(less.delete_horizon(), Some(Timestamp::new(99)));
        assert_eq!(read(&less), read(&batch)[5..]);
    }

    #[test]
    fn a_horizon_too_far_from_a_record_is_left_out() {
        let mut builder = BatchBuilder::new(Compression::None, 1024);
        builder
            .append(Timestamp::new(i64::MAX), Some(b"k"), None, &[])
            .unwrap();
        let bytes = builder.finish(None);
        let (batch, _) = BatchView::parse(&bytes).unwrap();
        let mut filter = Filter::new();
        filter.select(&batch, LIMIT, |_| true).unwrap();
        let mut out = Vec::new();
        filter
            .write(&batch, Some(Timestamp::new(-10)), &mut out)
            .unwrap();
        assert_eq!(out, bytes);
    }

    #[test]
    fn an_empty_batch_keeps_its_offsets_and_its_producer() {
        for codec in CODECS {
            let bytes = ten_records(codec);
            let (batch, _) = BatchView::parse(&bytes).unwrap();
            let mut out = Vec::new();
            empty_batch(&batch, &mut out);
            let (empty, rest) = BatchView::parse(&out).unwrap();
            assert!(rest.is_empty());
            empty.verify_crc().unwrap();
            assert_eq!(empty.size_in_bytes(), BATCH_HEADER_BYTES);
            assert_eq!(empty.record_count(), 0);
            assert_eq!(empty.base_offset(), batch.base_offset());
            assert_eq!(empty.next_offset(), batch.next_offset());
            assert_eq!(empty.base_sequence(), batch.base_sequence());
            assert_eq!(empty.max_timestamp(), batch.max_timestamp());
            assert_eq!(read(&empty), []);
            assert_eq!(
                empty.validate(),
                Err(BatchError::Empty),
                "no producer may send one"
            );
        }
    }

    #[test]
    fn records_that_do_not_decode_are_refused() {
        let mut bytes = ten_records(Compression::Zstd);
        let last = bytes.len() - 1;
        bytes[last - 20] ^= 0x55;
        let (batch, _) = BatchView::parse(&bytes).unwrap();
        assert!(Filter::new().select(&batch, LIMIT, |_| true).is_err());
        let bytes = ten_records(Compression::Gzip);
        let (batch, _) = BatchView::parse(&bytes).unwrap();
        assert!(matches!(
            Filter::new().select(&batch, 10, |_| true),
            Err(FilterError::Batch(ReadBatchError::Compression(_)))
        ));
    }
}
