//! Every way in which a producer's batch can lie is refused by its own name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use corelog_protocol::record::*;
use corelog_protocol::{
    Compression, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType,
};
use zerocopy::FromBytes;

fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, 1024);
    for time in [1_000, 1_002, 1_001] {
        builder
            .append(Timestamp::new(time), Some(b"key"), Some(b"value"), &[])
            .unwrap();
    }
    builder.finish(None).to_vec()
}

/// Changes the header and sets the CRC that makes the change look intended.
fn forged(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut batch = batch(Compression::None);
    let (header, _) = BatchHeader::mut_from_prefix(&mut batch).unwrap();
    change(header);
    seal(&mut batch);
    batch
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    let (header, _) = BatchHeader::mut_from_prefix(batch).unwrap();
    header.crc.set(crc);
}

fn parsed(batch: &[u8]) -> Result<(), BatchError> {
    BatchView::parse(batch).map(|_| ())
}

fn validated(batch: &[u8]) -> Result<(), BatchError> {
    BatchView::parse(batch)?.0.validate()
}

#[test]
fn an_honest_batch_is_accepted_for_every_codec() {
    for &compression in Compression::ALL {
        assert_eq!(validated(&batch(compression)), Ok(()));
    }
}

#[test]
fn a_batch_cut_short_says_what_it_needs() {
    let whole = batch(Compression::None);
    for available in 0..whole.len() {
        let needed = if available < BATCH_HEADER_BYTES {
            BATCH_HEADER_BYTES
        } else {
            whole.len()
        };
        assert_eq!(
            parsed(&whole[..available]),
            Err(BatchError::Truncated { needed, available })
        );
    }
}

#[test]
fn a_length_below_the_headers_is_refused() {
    for length in [48, 0, -1, i32::MIN] {
        let batch = forged(|header| header.batch_length.set(length));
        assert_eq!(parsed(&batch), Err(BatchError::Length { length }));
    }
    let batch = forged(|header| header.batch_length.set(i32::MAX));
    assert!(matches!(parsed(&batch), Err(BatchError::Truncated { .. })));
}

#[test]
fn other_magics_are_refused() {
    for found in [0, 1, 3, -1] {
        let batch = forged(|header| header.magic = found);
        assert_eq!(parsed(&batch), Err(BatchError::Magic { found }));
    }
}

#[test]
fn offsets_out_of_range_are_refused() {
    for (base_offset, last_offset_delta) in [
        (-1, 2),
        (0, -1),
        (i64::MAX, 0),
        (i64::MAX - 2, 2),
        (0, i32::MIN),
    ] {
        let batch = forged(|header| {
            header.base_offset.set(base_offset);
            header.last_offset_delta.set(last_offset_delta);
        });
        assert_eq!(
            parsed(&batch),
            Err(BatchError::OffsetRange {
                base_offset,
                last_offset_delta
            })
        );
    }
    // The last batch that a partition can hold.
    let batch = forged(|header| header.base_offset.set(i64::MAX - 3));
    let (view, _) = BatchView::parse(&batch).unwrap();
    assert_eq!(view.next_offset().get(), i64::MAX);
}

#[test]
fn a_count_that_is_not_that_of_the_offsets_is_refused() {
    for count in [-1, 4, i32::MAX] {
        let batch = forged(|header| header.records_count.set(count));
        assert_eq!(
            parsed(&batch),
            Err(BatchError::Count {
                count,
                last_offset_delta: 2
            })
        );
    }
    // Fewer records than offsets: compaction leaves that, a producer does not.
    let batch = forged(|header| header.records_count.set(2));
    assert_eq!(parsed(&batch), Ok(()));
    assert_eq!(
        validated(&batch),
        Err(BatchError::Count {
            count: 2,
            last_offset_delta: 2
        })
    );
    let batch = forged(|header| header.records_count.set(0));
    assert_eq!(validated(&batch), Err(BatchError::Empty));
}

#[test]
fn more_records_than_the_bytes_can_hold_are_refused() {
    let bytes = batch(Compression::None).len() - BATCH_HEADER_BYTES;
    let batch = forged(|header| {
        header.records_count.set(1_000_000);
        header.last_offset_delta.set(999_999);
    });
    assert_eq!(
        validated(&batch),
        Err(BatchError::CountBeyondBytes {
            count: 1_000_000,
            bytes
        })
    );
}

#[test]
fn a_flipped_bit_anywhere_after_the_crc_is_found() {
    let whole = batch(Compression::Lz4);
    for position in CRC_COVERS_FROM..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << bit;
            let refused = BatchView::parse(&damaged).and_then(|(view, _)| view.verify_crc());
            assert!(refused.is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn marks_that_only_a_broker_sets_are_refused() {
    let with = |attributes: Attributes| {
        validated(&forged(|header| header.attributes.set(attributes.bits())))
    };
    let plain = Attributes::default();
    assert_eq!(with(plain.with_control(true)), Err(BatchError::Control));
    assert_eq!(
        with(plain.with_timestamp_type(TimestampType::LogAppendTime)),
        Err(BatchError::LogAppendTime)
    );
    assert_eq!(
        with(Attributes::from_bits(1 << 6)),
        Err(BatchError::DeleteHorizon)
    );
    for id in [5, 6, 7] {
        assert_eq!(
            with(Attributes::from_bits(i16::from(id))),
            Err(BatchError::UnknownCodec { id })
        );
    }
}

#[test]
fn timestamps_out_of_range_or_order_are_refused() {
    for (base_timestamp, max_timestamp) in [(-2, 5), (6, 5), (0, -1), (i64::MIN, i64::MIN)] {
        let batch = forged(|header| {
            header.base_timestamp.set(base_timestamp);
            header.max_timestamp.set(max_timestamp);
        });
        assert_eq!(
            validated(&batch),
            Err(BatchError::Timestamps {
                base_timestamp,
                max_timestamp
            })
        );
    }
    let batch = forged(|header| {
        header.base_timestamp.set(-1);
        header.max_timestamp.set(-1);
    });
    assert_eq!(validated(&batch), Ok(()));
}

#[test]
fn a_producer_id_comes_with_epoch_and_sequence() {
    let with = |id: i64, epoch: i16, sequence: i32, transactional: bool| {
        validated(&forged(|header| {
            header.producer_id.set(id);
            header.producer_epoch.set(epoch);
            header.base_sequence.set(sequence);
            let attributes = Attributes::default().with_transactional(transactional);
            header.attributes.set(attributes.bits());
        }))
    };
    assert_eq!(with(-1, -1, -1, false), Ok(()));
    assert_eq!(with(0, 0, 0, false), Ok(()));
    assert_eq!(with(0, 0, 0, true), Ok(()));
    // As kafkajs and aiokafka send it.
    assert_eq!(with(-1, 0, 0, false), Ok(()));
    assert_eq!(with(-1, -1, 0, false), Ok(()));
    for (id, epoch, sequence, transactional) in [
        (0, -1, -1, false),
        (0, 0, -1, false),
        (-2, 0, 0, false),
        (-1, -1, -1, true),
    ] {
        assert_eq!(
            with(id, epoch, sequence, transactional),
            Err(BatchError::Producer {
                id,
                epoch,
                sequence
            })
        );
    }
}

/// Records of a batch that was forged to say `count` records up to `last_offset_delta`.
fn records_of(
    records: &[u8],
    count: i32,
    last_offset_delta: i32,
) -> Vec<Result<i64, RecordProblem>> {
    let mut batch = batch(Compression::None);
    batch.truncate(BATCH_HEADER_BYTES);
    batch.extend_from_slice(records);
    let length = (batch.len() - BATCH_PREFIX_BYTES) as i32;
    let (header, _) = BatchHeader::mut_from_prefix(&mut batch).unwrap();
    header.batch_length.set(length);
    header.records_count.set(count);
    header.last_offset_delta.set(last_offset_delta);
    let (view, _) = BatchView::parse(&batch).unwrap();
    let mut scratch = Vec::new();
    view.records(&mut scratch, 0)
        .unwrap()
        .map(|record| {
            record
                .map(|record| record.offset.get())
                .map_err(|error| error.problem)
        })
        .collect()
}

/// Length 6, attributes, timestamp delta 0, offset delta (zigzag), null key, null value, headers.
fn record(offset_delta: u8, headers: u8) -> [u8; 7] {
    [12, 0, 0, offset_delta << 1, 1, 1, headers << 1]
}

#[test]
fn records_that_lie_end_the_iteration_with_the_reason() {
    use RecordProblem::*;
    let two = [record(0, 0), record(1, 0)].concat();
    assert_eq!(records_of(&two, 2, 1), [Ok(0), Ok(1)]);
    // Compaction leaves gaps.
    let gap = [record(1, 0), record(4, 0)].concat();
    assert_eq!(records_of(&gap, 2, 5), [Ok(1), Ok(4)]);

    assert_eq!(
        records_of(&two, 1, 1),
        [Ok(0), Err(TrailingBytes { count: 7 })]
    );
    assert_eq!(records_of(&two[..7], 2, 1), [Ok(0), Err(Truncated)]);
    assert_eq!(records_of(&two[..9], 2, 1), [Ok(0), Err(Truncated)]);
    let same = [record(0, 0), record(0, 0)].concat();
    assert_eq!(
        records_of(&same, 2, 1),
        [Ok(0), Err(OffsetDelta { delta: 0 })]
    );
    assert_eq!(
        records_of(&record(3, 0), 1, 2),
        [Err(OffsetDelta { delta: 3 })]
    );
    assert_eq!(
        records_of(&[12, 0, 0, 1, 1, 1, 0], 1, 2),
        [Err(OffsetDelta { delta: -1 })]
    );
    assert_eq!(records_of(&record(0, 1), 1, 0), [Err(Truncated)]);
    assert_eq!(
        records_of(&[12, 0, 0, 0, 1, 1, 1], 1, 0),
        [Err(Length { length: -1 })]
    );
    assert_eq!(
        records_of(&[12, 0, 0, 0, 3, 1, 0], 1, 0),
        [Err(Length { length: -2 })]
    );
    assert_eq!(records_of(&[12, 0, 0, 0, 20, 1, 0], 1, 0), [Err(Truncated)]);
    assert_eq!(records_of(&[1], 1, 0), [Err(Length { length: -1 })]);
    assert_eq!(records_of(&[0x80; 6], 1, 0), [Err(VarintTooLong)]);
    assert_eq!(
        records_of(&[14, 0, 0, 0, 1, 1, 0, 9], 1, 0),
        [Err(TrailingBytes { count: 1 })]
    );
    // One header whose key is the byte 0xff.
    assert_eq!(
        records_of(&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], 1, 0),
        [Err(HeaderKey)]
    );
}

#[test]
fn a_timestamp_delta_beyond_the_range_is_refused() {
    // The base is 1000; the delta is i64::MAX.
    let mut record = vec![30, 0];
    record.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    record.extend([0, 1, 1, 0]);
    record[0] = ((record.len() - 1) as u8) << 1;
    assert_eq!(
        records_of(&record, 1, 0),
        [Err(RecordProblem::TimestampDelta { delta: i64::MAX })]
    );
}

#[test]
fn a_stamp_is_accepted() {
    let mut builder = BatchBuilder::new(Compression::None, 0);
    builder.append(Timestamp::new(1), None, None, &[]).unwrap();
    let batch = builder.finish(Some(ProducerStamp {
        id: ProducerId::ZERO,
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::ZERO,
        transactional: false,
    }));
    assert_eq!(validated(&batch), Ok(()));
}
