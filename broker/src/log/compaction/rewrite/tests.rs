#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use corelog_protocol::record::{
    Attributes, BatchBuilder, BatchHeader, ProducerStamp, patch_base_offset, split_batches,
};
use corelog_protocol::{Compression, LeaderEpoch, ProducerEpoch, Sequence};
use zerocopy::FromBytes;

use super::*;
use crate::log::compaction::key_hash::HashKey;

const NOW: i64 = 1_700_000_000_000;
/// Bytes that a batch decompresses to.
const LIMIT: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Batches side by side, as a segment holds them.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    next: i64,
}

impl Log {
    fn push(&mut self, records: &[(&str, Option<&str>)], producer: Option<ProducerStamp>) {
        let mut builder = BatchBuilder::new(Compression::None, 1024);
        for (key, value) in records {
            let key = (!key.is_empty()).then_some(key.as_bytes());
            builder
                .append(Timestamp::new(5), key, value.map(str::as_bytes), &[])
                .unwrap();
        }
        let mut batch = builder.finish(producer).to_vec();
        patch_base_offset(&mut batch, Offset::new(self.next), LeaderEpoch::ZERO);
        self.next += records.len() as i64;
        self.bytes.extend(batch);
    }

    fn with(batches: &[&[(&str, Option<&str>)]]) -> Log {
        let mut log = Log::default();
        for batch in batches {
            log.push(batch, None);
        }
        log
    }

    /// One round over everything from `first_dirty` on, at this time.
    fn compact(&self, first_dirty: i64, now: i64) -> Log {
        self.compact_with(first_dirty, now, 1 << 20).0
    }

    /// The same with so many bytes for the key map; also how far it came.
    fn compact_with(&self, first_dirty: i64, now: i64, map_bytes: usize) -> (Log, i64) {
        let map = KeyMap::new(map_bytes, 0.9, HashKey(1, 2));
        let mut round = Round::new(map, Offset::new(first_dirty), Timestamp::new(now), DAY);
        let batches: Vec<_> = split_batches(&self.bytes).map(Result::unwrap).collect();
        if batches
            .iter()
            .all(|batch| round.note(batch, LIMIT).unwrap())
        {
            round.noted_all(Offset::new(self.next));
        }
        let mut bytes = Vec::new();
        for (n, batch) in batches.iter().enumerate() {
            let before = bytes.len();
            let is_last = n + 1 == batches.len();
            let outcome = round.rewrite(batch, is_last, LIMIT, &mut bytes).unwrap();
            assert_eq!(outcome == Outcome::Rewritten, bytes.len() > before);
            if outcome == Outcome::Unchanged {
                bytes.extend_from_slice(batch.bytes());
            }
        }
        let end = round.end().get();
        (
            Log {
                bytes,
                next: self.next,
            },
            end,
        )
    }

    fn records(&self) -> Vec<(i64, String, Option<String>)> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        for batch in split_batches(&self.bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let key = record.key.map(text).unwrap_or_default();
                found.push((record.offset.get(), key, record.value.map(text)));
            }
        }
        found
    }

    fn offsets(&self) -> Vec<i64> {
        self.records()
            .into_iter()
            .map(|(offset, ..)| offset)
            .collect()
    }

    /// Base offset, last offset and number of records of every batch.
    fn batches(&self) -> Vec<(i64, i64, u32)> {
        split_batches(&self.bytes)
            .map(|batch| {
                let batch = batch.unwrap();
                let (base, last) = (batch.base_offset(), batch.last_offset());
                (base.get(), last.get(), batch.record_count())
            })
            .collect()
    }
}

fn producer(id: i64, sequence: i32) -> Option<ProducerStamp> {
    Some(ProducerStamp {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::new(sequence),
        transactional: false,
    })
}

#[test]
fn the_newest_record_of_a_key_stays() {
    let log = Log::with(&[
        &[("a", Some("1")), ("b", Some("1"))],
        &[("a", Some("2"))],
        &[("c", Some("1")), ("a", Some("3")), ("b", Some("2"))],
    ]);
    let compacted = log.compact(0, NOW);
    assert_eq!(compacted.offsets(), [3, 4, 5]);
    assert_eq!(compacted.batches(), [(3, 5, 3)]);
}

#[test]
fn a_log_without_anything_superseded_stays_as_it_is() {
    let log = Log::with(&[&[("a", Some("1")), ("b", Some("1"))], &[("c", Some("2"))]]);
    assert_eq!(log.compact(0, NOW).bytes, log.bytes);
}

#[test]
fn what_was_compacted_gives_way_to_newer_records_and_to_nothing_else() {
    let log = Log::with(&[&[("a", Some("1")), ("b", Some("1"))], &[("a", Some("2"))]]);
    assert_eq!(log.compact(2, NOW).offsets(), [1, 2]);
    assert_eq!(log.compact(3, NOW).bytes, log.bytes, "nothing is dirty");
}

#[test]
fn records_without_a_key_stay() {
    let log = Log::with(&[&[("", Some("1"))], &[("", Some("2")), ("a", None)]]);
    assert_eq!(log.compact(0, NOW).offsets(), [0, 1, 2]);
}

#[test]
fn a_tombstone_deletes_at_once_and_goes_at_its_horizon() {
    let log = Log::with(&[&[("a", Some("1"))], &[("a", None)], &[("b", Some("1"))]]);
    let first = log.compact(0, NOW);
    assert_eq!(first.offsets(), [1, 2]);
    let horizon = NOW + 24 * 3600 * 1000;
    let tombstone = split_batches(&first.bytes).next().unwrap().unwrap();
    assert_eq!(tombstone.delete_horizon(), Some(Timestamp::new(horizon)));
    let early = first.compact(3, horizon - 1);
    assert_eq!(early.bytes, first.bytes, "the horizon is set once");
    assert_eq!(first.compact(3, horizon).offsets(), [2]);
}

#[test]
fn a_tombstone_that_is_superseded_goes_at_once() {
    let log = Log::with(&[&[("a", None)], &[("a", Some("1"))]]);
    assert_eq!(log.compact(0, NOW).offsets(), [1]);
}

#[test]
fn a_tombstone_behind_what_is_compacted_gets_no_horizon() {
    // Room for one key: the round ends before the second.
    let log = Log::with(&[&[("a", Some("1")), ("a", Some("2"))], &[("b", None)]]);
    let (compacted, end) = log.compact_with(0, NOW, 48);
    assert_eq!(end, 2);
    assert_eq!(compacted.offsets(), [1, 2]);
    let last = split_batches(&compacted.bytes).last().unwrap().unwrap();
    assert_eq!(last.delete_horizon(), None);
}

#[test]
fn a_full_map_ends_the_round_inside_a_batch_and_the_next_goes_on() {
    let keys: Vec<String> = (0..40).map(|n| format!("k{}", n % 20)).collect();
    let records: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
    let mut log = Log::with(&[&records]);
    let (mut from, mut rounds) = (0, 0);
    while from < log.next {
        let (compacted, end) = log.compact_with(from, NOW, 10 * 24);
        assert!(end > from, "every round gets on");
        (log, from) = (compacted, end);
        rounds += 1;
    }
    assert!(rounds > 2);
    assert_eq!(log.offsets(), (20..40).collect::<Vec<_>>());
}

#[test]
fn a_segment_ends_where_its_sources_ended() {
    let log = Log::with(&[&[("a", Some("2"))], &[("b", None), ("b", None)]]);
    let first = log.compact(0, NOW);
    assert_eq!(first.offsets(), [0, 2]);
    let later = first.compact(3, NOW + 48 * 3600 * 1000);
    assert_eq!(
        later.batches(),
        [(0, 0, 1), (1, 2, 0)],
        "empty, for its end"
    );
    let mut longer = later;
    longer.push(&[("c", Some("1"))], None);
    assert_eq!(longer.compact(3, NOW).batches(), [(0, 0, 1), (3, 3, 1)]);
}

#[test]
fn the_last_batch_of_a_producer_stays_for_its_sequence() {
    let mut log = Log::default();
    log.push(&[("a", Some("1"))], producer(7, 0));
    log.push(&[("a", Some("2")), ("a", Some("3"))], producer(7, 1));
    log.push(&[("a", Some("4"))], producer(8, 0));
    let compacted = log.compact(0, NOW);
    assert_eq!(compacted.batches(), [(1, 2, 0), (3, 3, 1)]);
    let empty = split_batches(&compacted.bytes).next().unwrap().unwrap();
    assert_eq!(empty.producer_id(), Some(ProducerId::new(7)));
    assert_eq!(empty.base_sequence(), Some(Sequence::new(1)));
    let mut longer = compacted;
    longer.push(&[("b", Some("1"))], producer(7, 3));
    assert_eq!(longer.compact(4, NOW).batches(), [(3, 3, 1), (4, 4, 1)]);
}

#[test]
fn transactions_stay_whole_and_delete_nothing() {
    let transactional = producer(9, 0).map(|stamp| ProducerStamp {
        transactional: true,
        ..stamp
    });
    let mut log = Log::with(&[&[("a", Some("1"))]]);
    log.push(&[("a", Some("2")), ("b", Some("1"))], transactional);
    log.push(&[("commit", None)], transactional);
    let at = log.bytes.len()
        - split_batches(&log.bytes)
            .last()
            .unwrap()
            .unwrap()
            .size_in_bytes();
    let marker = BatchHeader::mut_from_prefix(&mut log.bytes[at..])
        .unwrap()
        .0;
    let attributes = Attributes::from_bits(marker.attributes.get()).with_control(true);
    marker.attributes.set(attributes.bits());
    let crc = crc32c::crc32c(&log.bytes[at + 21..]);
    log.bytes[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
    log.push(&[("b", None), ("c", Some("1"))], None);
    let first = log.compact(0, NOW);
    assert_eq!(first.offsets(), [0, 1, 2, 3, 4, 5]);
    let later = first.compact(6, NOW + 48 * 3600 * 1000);
    assert_eq!(
        later.offsets(),
        [0, 1, 2, 3, 4, 5],
        "what it deletes is still there"
    );
}
