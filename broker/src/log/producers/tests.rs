#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use corelog_protocol::record::{BatchBuilder, BatchView, ProducerStamp, patch_log_append_time};
use corelog_protocol::{Compression, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

use super::{Producers, is_coherent};

/// The bytes of two producers, one of whose batches the leader stamped.
pub(in crate::log) fn example_producers() -> Bytes {
    let mut producers = Producers::default();
    note(&mut producers, (7, 2, 40, 3), 120, 1_700_000_000_000);
    note(&mut producers, (7, 2, 43, 1), 130, 1_700_000_000_500);
    let mut stamped = batch(9, 0, i32::MAX, 2);
    patch_log_append_time(&mut stamped, Timestamp::new(1_700_000_001_000));
    let (stamped, _) = BatchView::parse(&stamped).unwrap();
    producers.note(stamped.header(), Offset::new(188), 1_700_000_001_000);
    producers.encode_at(Offset::new(190))
}

fn batch(id: i64, epoch: i16, sequence: i32, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for _ in 0..records {
        builder
            .append(Timestamp::new(1), None, Some(b"x"), &[])
            .unwrap();
    }
    let stamp = ProducerStamp {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
        transactional: false,
    };
    builder.finish(Some(stamp)).to_vec()
}

fn note(
    producers: &mut Producers,
    (id, epoch, sequence, records): (i64, i16, i32, usize),
    base_offset: i64,
    now_ms: i64,
) -> bool {
    let bytes = batch(id, epoch, sequence, records);
    let (batch, _) = BatchView::parse(&bytes).unwrap();
    producers.note(batch.header(), Offset::new(base_offset), now_ms)
}

/// Id, epoch, and sequence and offset of each batch, in the order of ids.
type Told = Vec<(i64, i16, Vec<(i32, i64)>)>;

fn told(producers: &Producers) -> Told {
    let mut told: Told = producers
        .iter()
        .map(|producer| {
            let batches = producer.batches().iter();
            let batches = batches.map(|it| (it.base_sequence.get(), it.base_offset.get()));
            (
                producer.id().get(),
                producer.epoch().get(),
                batches.collect(),
            )
        })
        .collect();
    told.sort_unstable();
    told
}

#[test]
fn the_last_five_batches_of_an_epoch_are_remembered() {
    let mut producers = Producers::default();
    assert!(note(&mut producers, (1, 0, 0, 2), 10, 5));
    for number in 1..7 {
        assert!(!note(
            &mut producers,
            (1, 0, number * 2, 2),
            10 + 2 * i64::from(number),
            6
        ));
    }
    let last_five = (2..7).map(|n| (n * 2, 10 + 2 * i64::from(n))).collect();
    assert_eq!(told(&producers), [(1, 0, last_five)]);
    let next = producers.get(ProducerId::new(1)).unwrap().next_sequence();
    assert_eq!(next, Sequence::new(14));

    assert!(!note(&mut producers, (1, 1, 0, 1), 30, 7));
    assert_eq!(told(&producers), [(1, 1, vec![(0, 30)])]);
}

#[test]
fn a_sequence_goes_on_at_zero_behind_the_largest() {
    let mut producers = Producers::default();
    note(&mut producers, (1, 0, i32::MAX - 1, 4), 0, 0);
    let producer = producers.get(ProducerId::new(1)).unwrap();
    assert_eq!(producer.next_sequence(), Sequence::new(2));
    assert_eq!(producer.batches()[0].last_offset(), Offset::new(3));
}

#[test]
fn encoded_producers_come_back_and_damage_is_noticed() {
    let bytes = example_producers();
    assert!(is_coherent(&bytes));
    let mut producers = Producers::decode(&bytes, i64::MIN);
    assert_eq!(producers.encode_at(Offset::new(190)), bytes);
    let stamped = producers.get(ProducerId::new(9)).unwrap().batches()[0];
    assert_eq!(
        stamped.append_time(),
        Some(Timestamp::new(1_700_000_001_000))
    );
    let plain = producers.get(ProducerId::new(7)).unwrap().batches()[0];
    assert_eq!(plain.append_time(), None);

    let since = Producers::decode(&bytes, 1_700_000_000_501);
    assert_eq!(
        told(&since).len(),
        1,
        "the one idle for too long is left out"
    );
    for length in (1..bytes.len()).filter(|length| *length != 67) {
        assert!(!is_coherent(&bytes[..length]), "length {length}");
    }
}

#[test]
fn who_is_idle_is_forgotten_and_the_others_are_still_found() {
    let mut producers = Producers::default();
    for id in 0..6 {
        note(&mut producers, (id, 0, 0, 1), id, 100 + id % 3);
    }
    assert_eq!(producers.forget_idle(101, 1), 3, "0, 3 and one of 1 and 4");
    assert_eq!(producers.len(), 3);
    for (id, is_known) in [
        (0, false),
        (1, false),
        (2, true),
        (3, false),
        (4, true),
        (5, true),
    ] {
        let found = producers.get(ProducerId::new(id)).map(|it| it.id().get());
        assert_eq!(found, is_known.then_some(id));
    }
}

/// One batch of a random run: whose, whether a new epoch begins with it, and its records.
#[derive(Debug, Clone)]
struct Step {
    id: i64,
    raises_epoch: bool,
    records: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4_i64, prop::bool::weighted(0.15), 1..4_usize);
    let step = step.prop_map(|(id, raises_epoch, records)| Step {
        id,
        raises_epoch,
        records,
    });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// What is encoded for an earlier end is what was known when the log ended there.
    #[test]
    fn what_was_known_earlier_is_told_exactly(steps in steps(), written in 0..60_usize) {
        let mut producers = Producers::default();
        let mut next = [(0_i16, 0_i32); 4];
        let mut end = 0;
        let mut history = vec![(0, Told::new())];
        for step in &steps {
            let (epoch, sequence) = &mut next[usize::try_from(step.id).unwrap()];
            if step.raises_epoch {
                (*epoch, *sequence) = (*epoch + 1, 0);
            }
            note(&mut producers, (step.id, *epoch, *sequence, step.records), end, end);
            let records = i32::try_from(step.records).unwrap();
            *sequence += records;
            end += i64::from(records);
            history.push((end, told(&producers)));
        }
        let written = history[written.min(steps.len())].0;
        producers.written(Offset::new(written));
        for (end, expected) in history.iter().filter(|(end, _)| *end >= written) {
            let bytes = producers.encode_at(Offset::new(*end));
            let earlier = Producers::decode(&bytes, i64::MIN);
            prop_assert_eq!(&told(&earlier), expected, "the log ending at {}", end);
        }
    }
}
