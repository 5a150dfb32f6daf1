//! What happens per record, or per request of a producer, takes nothing from the allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting_allocator;
mod samples;

use bytes::BytesMut;
use corelog_protocol::native::*;
use corelog_protocol::record::*;
use corelog_protocol::{Compression, LeaderEpoch, Offset, Timestamp};
use counting_allocator::{Taken, measure};

const NOTHING: Taken = Taken {
    calls: 0,
    peak_bytes: 0,
};

#[test]
fn the_allocator_counts() {
    let (kept, taken) = measure(|| vec![0u8; 1_000]);
    assert_eq!(kept.len(), 1_000);
    assert_eq!(
        taken,
        Taken {
            calls: 1,
            peak_bytes: 1_000
        }
    );
}

#[test]
fn appending_a_record_takes_nothing_once_the_batch_has_its_memory() {
    for &compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compression, 2 * 1024 * 1024);
        let headers = [Header {
            key: "trace",
            value: Some(b"0123456789"),
        }];
        let append = |builder: &mut BatchBuilder, i: i64| {
            let value = [7; 100];
            builder
                .append(Timestamp::new(i), Some(b"key"), Some(&value), &headers)
                .unwrap()
        };
        append(&mut builder, 0);
        let ((), taken) = measure(|| {
            for i in 1..10_000 {
                append(&mut builder, i);
            }
        });
        assert_eq!(taken, NOTHING, "{compression}");
        assert_eq!(builder.record_count(), 10_000);
    }
}

#[test]
fn a_builder_reuses_its_memory_when_the_last_batch_is_gone() {
    let mut builder = BatchBuilder::new(Compression::None, 64 * 1024);
    let round = |builder: &mut BatchBuilder| {
        for i in 0..500 {
            builder
                .append(Timestamp::new(i), None, Some(&[7; 100]), &[])
                .unwrap();
        }
        drop(builder.finish(None));
    };
    round(&mut builder);
    let ((), taken) = measure(|| (0..100).for_each(|_| round(&mut builder)));
    // Sharing a buffer takes a small counter the first time, never another buffer.
    assert!(taken.peak_bytes < 200, "{taken:?}");
}

#[test]
fn a_leader_checks_and_patches_a_batch_in_place() {
    let mut builder = BatchBuilder::new(Compression::None, 64 * 1024);
    for i in 0..500 {
        builder
            .append(Timestamp::new(i), None, Some(&[7; 100]), &[])
            .unwrap();
    }
    let mut batch = BytesMut::from(&builder.finish(None)[..]);
    let ((), taken) = measure(|| {
        for batch in split_batches(&batch) {
            batch.unwrap().validate().unwrap();
        }
        patch_base_offset(&mut batch, Offset::new(9), LeaderEpoch::new(1));
        patch_log_append_time(&mut batch, Timestamp::new(5));
    });
    assert_eq!(taken, NOTHING);
}

#[test]
fn uncompressed_records_are_read_in_place() {
    let mut builder = BatchBuilder::new(Compression::None, 64 * 1024);
    let headers = [Header {
        key: "trace",
        value: None,
    }];
    for i in 0..500 {
        builder
            .append(Timestamp::new(i), None, Some(&[7; 100]), &headers)
            .unwrap();
    }
    let batch = builder.finish(None);
    let (records, taken) = measure(|| {
        let (view, _) = BatchView::parse(&batch).unwrap();
        let mut scratch = Vec::new();
        let records = view.records(&mut scratch, 0).unwrap();
        records
            .map(|record| record.unwrap().headers.count())
            .sum::<usize>()
    });
    assert_eq!(records, 500);
    assert_eq!(taken, NOTHING);
}

#[test]
fn a_produce_request_is_decoded_in_place() {
    let partitions = [samples::produce_partitions(); 32].concat();
    let request = samples::produce_request(&partitions);
    let frame = encode_frame(FrameKind::Request, 1, &request, 0).unwrap();
    let (head, metadata) = frame.split_first_chunk().unwrap();
    let (length, taken) = measure(|| {
        let header = FrameHeader::decode(head, &FrameLimits::default()).unwrap();
        header.verify(metadata).unwrap();
        let view = ProduceRequest::decode(metadata).unwrap();
        view.partitions()
            .map(|it| u64::from(it.length))
            .sum::<u64>()
    });
    assert_eq!(length, 32 * 131);
    assert_eq!(taken, NOTHING);
}
