//! What goes into a batch comes out of it, for every codec, and leaders patch what they may.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use corelog_protocol::record::*;
use corelog_protocol::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType,
};

const LIMIT: usize = 16 * 1024 * 1024;

fn batch_of(compression: Compression, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(compression, 1024);
    for (i, value) in values.iter().enumerate() {
        builder
            .append(Timestamp::new(1_000 + i as i64), None, Some(value), &[])
            .unwrap();
    }
    builder.finish(None)
}

fn view(batch: &[u8]) -> BatchView<'_> {
    let (view, rest) = BatchView::parse(batch).unwrap();
    assert!(rest.is_empty());
    view
}

#[test]
fn every_codec_gives_back_the_records() {
    let long = b"abcdefgh".repeat(50_000);
    for &compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compression, 1024);
        let headers = [
            Header {
                key: "trace",
                value: Some(b"1"),
            },
            Header {
                key: "",
                value: None,
            },
        ];
        let times = [1_000, 990, -1].map(Timestamp::new);
        assert_eq!(
            builder.append(times[0], Some(b"k"), Some(&long), &headers),
            Ok(0)
        );
        assert_eq!(builder.append(times[1], None, Some(b""), &[]), Ok(1));
        assert_eq!(builder.append(times[2], Some(b""), None, &[]), Ok(2));
        assert_eq!(builder.record_count(), 3);
        let uncompressed_size = builder.size();
        let batch = builder.finish(None);
        assert!(builder.is_empty());

        let view = view(&batch);
        view.validate().unwrap();
        assert_eq!(view.compression(), Some(compression));
        assert_eq!(view.record_count(), 3);
        assert_eq!(view.last_offset(), Offset::new(2));
        assert_eq!(view.next_offset(), Offset::new(3));
        assert_eq!(view.base_timestamp(), times[0]);
        assert_eq!(view.max_timestamp(), times[0]);
        assert_eq!(view.producer_id(), None);
        if compression == Compression::None {
            assert_eq!(batch.len(), uncompressed_size);
        } else {
            assert!(batch.len() < uncompressed_size / 4, "{compression}");
        }

        let mut scratch = Vec::new();
        let records: Vec<_> = view
            .records(&mut scratch, LIMIT)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].offset, Offset::ZERO);
        assert_eq!(records[0].key, Some(&b"k"[..]));
        assert_eq!(records[0].value, Some(&long[..]));
        assert!(records[0].headers.eq(headers));
        assert_eq!(records[1].timestamp, times[1]);
        assert_eq!(records[1].key, None);
        assert_eq!(records[1].value, Some(&b""[..]));
        assert_eq!(records[2].timestamp, times[2]);
        assert_eq!(records[2].key, Some(&b""[..]));
        assert_eq!(records[2].value, None);

        let decoded = DecodedBatch::decode(&batch, LIMIT).unwrap();
        let shared: Vec<_> = decoded.records().collect::<Result<_, _>>().unwrap();
        for (shared, borrowed) in shared.iter().zip(&records) {
            assert_eq!(shared.offset, borrowed.offset);
            assert_eq!(shared.timestamp, borrowed.timestamp);
            assert_eq!(shared.key.as_deref(), borrowed.key);
            assert_eq!(shared.value.as_deref(), borrowed.value);
            assert!(shared.headers().eq(borrowed.headers));
        }
    }
}

#[test]
fn a_builder_serves_one_batch_after_the_other() {
    for &compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compression, 256);
        builder
            .append(Timestamp::new(5), None, Some(b"dropped"), &[])
            .unwrap();
        builder.reset();
        let mut batches = Vec::new();
        for round in 0..3u8 {
            builder
                .append(Timestamp::new(i64::from(round)), None, Some(&[round]), &[])
                .unwrap();
            batches.push(builder.finish(None));
        }
        for (round, batch) in (0u8..).zip(&batches) {
            assert_eq!(view(batch).record_count(), 1);
            assert_eq!(
                view(batch).max_timestamp(),
                Timestamp::new(i64::from(round))
            );
            let decoded = DecodedBatch::decode(batch, LIMIT).unwrap();
            let record = decoded.records().next().unwrap().unwrap();
            assert_eq!(record.value.as_deref(), Some(&[round][..]));
        }
    }
}

#[test]
fn estimated_size_is_the_size_after_appending() {
    let mut builder = BatchBuilder::new(Compression::None, 0);
    assert_eq!(builder.size(), BATCH_HEADER_BYTES);
    let header = [Header {
        key: "h",
        value: None,
    }];
    for i in 0..1_000 {
        let value = vec![0; i * 3];
        let key = (i % 2 == 0).then_some(&b"key"[..]);
        let time = Timestamp::new(1_000_000 - (i * i) as i64);
        let estimate = builder.estimated_size_after(time, key, Some(&value), &header);
        builder.append(time, key, Some(&value), &header).unwrap();
        assert_eq!(builder.size(), estimate);
    }
    assert_eq!(builder.size(), builder.finish(None).len());
}

#[test]
fn a_refused_record_leaves_the_batch_as_it_was() {
    let mut builder = BatchBuilder::new(Compression::None, 0);
    builder
        .append(Timestamp::NONE, None, Some(b"a"), &[])
        .unwrap();
    let size = builder.size();
    for timestamp in [Timestamp::new(-2), Timestamp::new(i64::MAX)] {
        assert_eq!(
            builder.append(timestamp, None, None, &[]),
            Err(AppendError::Timestamp { timestamp })
        );
    }
    let huge = vec![0; MAX_BATCH_BYTES];
    assert!(matches!(
        builder.append(Timestamp::NONE, None, Some(&huge), &[]),
        Err(AppendError::TooLarge { size }) if size > MAX_BATCH_BYTES
    ));
    assert_eq!(builder.size(), size);
    assert_eq!(builder.record_count(), 1);
}

#[test]
fn a_producers_stamp_is_in_the_header() {
    let mut builder = BatchBuilder::new(Compression::None, 0);
    builder.append(Timestamp::new(1), None, None, &[]).unwrap();
    let batch = builder.finish(Some(ProducerStamp {
        id: ProducerId::new(77),
        epoch: ProducerEpoch::new(3),
        base_sequence: Sequence::new(1_000),
        transactional: true,
    }));
    let view = view(&batch);
    view.validate().unwrap();
    assert_eq!(view.producer_id(), Some(ProducerId::new(77)));
    assert_eq!(view.producer_epoch(), Some(ProducerEpoch::new(3)));
    assert_eq!(view.base_sequence(), Some(Sequence::new(1_000)));
    assert!(view.is_transactional());
    assert!(!view.is_control());
}

#[test]
fn the_base_offset_is_patched_without_a_new_crc() {
    let batch = batch_of(Compression::None, &[b"a", b"b"]);
    let crc = view(&batch).header().crc.get();
    let mut patched = BytesMut::from(&batch[..]);
    patch_base_offset(&mut patched, Offset::new(500), LeaderEpoch::new(7));
    let view = view(&patched);
    view.validate().unwrap();
    assert_eq!(view.header().crc.get(), crc);
    assert_eq!(view.base_offset(), Offset::new(500));
    assert_eq!(view.last_offset(), Offset::new(501));
    assert_eq!(view.partition_leader_epoch(), Some(LeaderEpoch::new(7)));
    let mut scratch = Vec::new();
    let offsets: Vec<_> = view
        .records(&mut scratch, LIMIT)
        .unwrap()
        .map(|record| record.unwrap().offset.get())
        .collect();
    assert_eq!(offsets, [500, 501]);
}

#[test]
fn log_append_time_is_every_records_time_and_has_a_new_crc() {
    let batch = batch_of(Compression::Lz4, &[b"a", b"b"]);
    let mut patched = BytesMut::from(&batch[..]);
    let now = Timestamp::new(9_999);
    patch_log_append_time(&mut patched, now);
    let view = view(&patched);
    view.verify_crc().unwrap();
    assert_eq!(view.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(view.compression(), Some(Compression::Lz4));
    assert_eq!(view.max_timestamp(), now);
    let mut scratch = Vec::new();
    for record in view.records(&mut scratch, LIMIT).unwrap() {
        assert_eq!(record.unwrap().timestamp, now);
    }
    // Only a broker sets it: from a producer it is refused.
    assert_eq!(view.validate(), Err(BatchError::LogAppendTime));
}

#[test]
fn a_payload_is_split_into_its_batches() {
    let first = batch_of(Compression::None, &[b"a"]);
    let second = batch_of(Compression::Zstd, &[b"b", b"c"]);
    let payload = Bytes::from([&first[..], &second[..]].concat());
    let batches: Vec<_> = split_batches(&payload).collect::<Result<_, _>>().unwrap();
    assert_eq!(batches, [view(&first), view(&second)]);
    assert!(split_batches(&[]).next().is_none());

    let decoded: Vec<_> = DecodedBatch::decode_all(payload.clone(), LIMIT)
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(decoded.len(), 2);
    assert_eq!(decoded[1].size_in_bytes(), second.len());
    assert_eq!(decoded[1].records().count(), 2);

    let mut cut = split_batches(&payload[..payload.len() - 1]);
    assert_eq!(cut.next(), Some(Ok(view(&first))));
    assert_eq!(
        cut.next(),
        Some(Err(BatchError::Truncated {
            needed: second.len(),
            available: second.len() - 1
        }))
    );
    assert_eq!(cut.next(), None);
    let decoded: Vec<_> =
        DecodedBatch::decode_all(payload.slice(..payload.len() - 1), LIMIT).collect();
    assert_eq!(decoded.len(), 2);
    assert!(decoded[1].is_err());
}

#[test]
fn decompression_stops_at_the_limit() {
    let value = vec![0u8; 1024 * 1024];
    for &compression in Compression::ALL {
        let batch = batch_of(compression, &[&value]);
        let mut scratch = Vec::new();
        let records = view(&batch).records(&mut scratch, LIMIT).unwrap();
        assert_eq!(records.count(), 1, "{compression}");
        let exact = scratch.len();
        if compression == Compression::None {
            continue;
        }
        for (limit, fits) in [(exact, true), (exact - 1, false), (0, false)] {
            let result = view(&batch).records(&mut scratch, limit);
            match result {
                Ok(_) => assert!(fits, "{compression} within {limit}"),
                Err(ReadBatchError::Compression(CompressionError::TooLarge { limit: named })) => {
                    assert!(!fits, "{compression} within {limit}");
                    assert_eq!(named, limit);
                }
                Err(other) => panic!("{compression} within {limit}: {other}"),
            }
        }
    }
}

#[test]
fn snappy_is_read_with_and_without_xerials_framing() {
    let framed = batch_of(Compression::Snappy, &[&[7; 100_000]]);
    let records = {
        let mut scratch = Vec::new();
        decompress(
            Compression::Snappy,
            view(&framed).records_bytes(),
            LIMIT,
            &mut scratch,
        )
        .unwrap();
        scratch
    };
    assert!(view(&framed).records_bytes().starts_with(b"\x82SNAPPY\0"));
    let bare = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    let mut out = Vec::new();
    decompress(Compression::Snappy, &bare, LIMIT, &mut out).unwrap();
    assert_eq!(out, records);
}

#[test]
fn lz4_is_read_in_every_form_of_the_frame() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    // Compressible over block boundaries, so that linked blocks do refer back.
    let input: Vec<u8> = (0..200_000u32)
        .flat_map(|i| (i / 7).wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(input.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let mut frames = encoder.finish().unwrap();
                frames.extend_from_within(..);
                let mut out = Vec::new();
                decompress(Compression::Lz4, &frames, LIMIT, &mut out).unwrap();
                assert!(
                    out == [&input[..], &input[..]].concat(),
                    "{mode:?} {size:?}"
                );
            }
        }
    }
}

#[test]
fn a_builder_takes_the_room_it_is_given_and_keeps_what_it_holds() {
    let value = [b'x'; 1000];
    let append = |builder: &mut BatchBuilder| {
        builder
            .append(Timestamp::new(7), None, Some(&value), &[])
            .unwrap();
    };
    let mut grown = BatchBuilder::new(Compression::None, 0);
    let mut whole = BatchBuilder::new(Compression::None, 64 * 1024);
    for room in [4096, 16 * 1024, 32 * 1024] {
        grown.make_room(room);
        while grown.estimated_size_after(Timestamp::new(7), None, Some(&value), &[]) <= room {
            append(&mut grown);
            append(&mut whole);
            assert_eq!(grown.capacity(), room);
        }
    }
    assert!(grown.record_count() > 30);
    assert_eq!(grown.finish(None), whole.finish(None));
}
