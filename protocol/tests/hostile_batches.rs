//! Thousands of damaged batches: no reader panics, and none takes more memory than the limit it was
//! given. (What zstd takes is not counted here: it has an allocator of its own. It is called in one
//! piece, which takes a context of fixed size and no window.)
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting_allocator;
mod damage;

use bytes::Bytes;
use corelog_protocol::record::*;
use corelog_protocol::{Compression, ProducerEpoch, ProducerId, Sequence, Timestamp};
use counting_allocator::measure;
use damage::{damage, seeded};
use rand::Rng;

/// Output doubles while it grows.
const DECOMPRESSION_FACTOR: usize = 3;
/// The state of a codec: inflate has 44 KiB, and zstd's first output is 64 KiB.
const DECOMPRESSION_SLACK: usize = 192 * 1024;

fn batches() -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for &compression in Compression::ALL {
        for records in [1, 50] {
            let mut builder = BatchBuilder::new(compression, 1024);
            for i in 0..records {
                let headers = [Header {
                    key: "trace",
                    value: Some(b"0123456789"),
                }];
                let value = vec![i as u8; 37 * i];
                builder
                    .append(Timestamp::new(1_000), Some(b"key"), Some(&value), &headers)
                    .unwrap();
            }
            let stamp = ProducerStamp {
                id: ProducerId::new(1),
                epoch: ProducerEpoch::new(2),
                base_sequence: Sequence::new(3),
                transactional: false,
            };
            batches.push(builder.finish(Some(stamp)).to_vec());
        }
    }
    batches
}

/// Reads a batch in every way there is.
fn read_batch(bytes: &[u8], limit: usize) {
    let allowed = DECOMPRESSION_FACTOR * limit + DECOMPRESSION_SLACK;
    let mut scratch = Vec::new();
    let (_, taken) = measure(|| {
        for batch in split_batches(bytes) {
            let Ok(batch) = batch else { continue };
            let _ = batch.validate();
            assert!(batch.next_offset() > batch.last_offset());
            if let Ok(records) = batch.records(&mut scratch, limit) {
                let mut count = 0;
                for record in records {
                    let Ok(record) = record else { break };
                    assert!(record.offset >= batch.base_offset());
                    assert!(record.offset <= batch.last_offset());
                    assert_eq!(record.headers.len(), record.headers.count());
                    count += 1;
                }
                assert!(count <= batch.record_count());
            }
        }
    });
    assert!(taken.peak_bytes <= allowed, "{taken:?} with limit {limit}");

    let shared = Bytes::copy_from_slice(bytes);
    let ((), taken) = measure(|| {
        for batch in DecodedBatch::decode_all(shared, limit) {
            let Ok(batch) = batch else { break };
            for record in batch.records() {
                let Ok(record) = record else { break };
                assert!(record.offset <= batch.last_offset());
                assert_eq!(record.headers().len(), record.headers().count());
            }
        }
    });
    assert!(taken.peak_bytes <= allowed, "{taken:?} with limit {limit}");
}

#[test]
fn damaged_batches_harm_no_reader() {
    let mut random = seeded();
    let batches = batches();
    for batch in &batches {
        read_batch(batch, 1024 * 1024);
        for round in 0..1_500 {
            let mut damaged = damage(batch, &mut random);
            // A valid length and CRC lead the reader past its first checks.
            if round % 3 != 0 && damaged.len() >= BATCH_HEADER_BYTES {
                let length = (damaged.len() - BATCH_PREFIX_BYTES) as i32;
                damaged[LENGTH_POSITION..LENGTH_POSITION + 4]
                    .copy_from_slice(&length.to_be_bytes());
                damaged[MAGIC_POSITION] = 2;
                let crc = crc32c::crc32c(&damaged[CRC_COVERS_FROM..]);
                damaged[CRC_COVERS_FROM - 4..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
            }
            read_batch(&damaged, random.random_range(0..64 * 1024));
        }
    }
}

#[test]
fn damaged_compressed_bytes_harm_no_codec() {
    let mut random = seeded();
    let mut out = Vec::new();
    for batch in batches() {
        let (view, _) = BatchView::parse(&batch).unwrap();
        for _ in 0..1_500 {
            let damaged = damage(view.records_bytes(), &mut random);
            let limit = random.random_range(0..64 * 1024);
            for &codec in Compression::ALL {
                let (result, taken) = measure(|| {
                    out = Vec::new();
                    decompress(codec, &damaged, limit, &mut out)
                });
                assert!(
                    taken.peak_bytes <= DECOMPRESSION_FACTOR * limit + DECOMPRESSION_SLACK,
                    "{codec}: {taken:?} with limit {limit}"
                );
                if result.is_ok() {
                    assert!(out.len() <= limit);
                }
            }
        }
    }
}

/// A few bytes that claim a gigabyte, within a limit that would allow it.
#[test]
fn a_claimed_size_takes_no_memory() {
    const GIB: usize = 1 << 30;
    let snappy_block = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x41];
    let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07".to_vec();
    xerial.extend_from_slice(&snappy_block);
    // Version 1, content size present; blocks of up to 4 MiB; 1 GiB of content; then a block that
    // is said to be 4 MiB long and is not there.
    let mut lz4 = vec![0x04, 0x22, 0x4d, 0x18, 0b0110_1000, 0x70];
    lz4.extend_from_slice(&(GIB as u64).to_le_bytes());
    lz4.extend_from_slice(&[0x00, 0x00, 0x00, 0x40, 0x00, 0x01]);
    // The same blocks of up to 4 MiB, and one of 3 bytes that is damaged.
    let mut lz4_block = vec![0x04, 0x22, 0x4d, 0x18, 0b0110_0000, 0x70, 0x00];
    lz4_block.extend_from_slice(&[0x03, 0x00, 0x00, 0x00, 0xf0, 0xff, 0xff]);
    // A content size of 4 bytes, single segment: the window is the content.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    zstd.extend_from_slice(&(GIB as u32).to_le_bytes());
    zstd.extend_from_slice(&[0x09, 0x00, 0x00, 0x41]);
    for (codec, bytes) in [
        (Compression::Snappy, &snappy_block[..]),
        (Compression::Snappy, &xerial),
        (Compression::Lz4, &lz4),
        (Compression::Lz4, &lz4_block),
        (Compression::Zstd, &zstd),
        (
            Compression::Gzip,
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00",
        ),
    ] {
        let mut out = Vec::new();
        let (result, taken) = measure(|| decompress(codec, bytes, 2 * GIB, &mut out));
        assert!(result.is_err(), "{codec}");
        assert!(taken.peak_bytes < DECOMPRESSION_SLACK, "{codec}: {taken:?}");
    }
}
