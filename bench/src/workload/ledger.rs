//! Which of the records sent have been read back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use super::payload::Stamp;

/// A producer sends fewer records than this in one slice: more would mean
/// that a damaged stamp passed for a real one, and must not cost memory.
const MOST_RECORDS: u64 = 1 << 30;

/// What one consumer has seen.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By producer.
    seen: HashMap<u32, Seen>,
    /// The last sequence by partition and producer.
    last: HashMap<(i32, u32), u64>,
    duplicated: u64,
    reordered: u64,
    damaged: u64,
}

/// One bit a sequence.
#[derive(Default)]
struct Seen(Vec<u64>);

impl Seen {
    /// True if it was not there yet.
    fn insert(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn contains(&self, sequence: u64) -> bool {
        let word = self.0.get((sequence / 64) as usize).copied().unwrap_or(0);
        word & (1 << (sequence % 64)) != 0
    }

    fn merge(&mut self, other: &Self) -> u64 {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut twice = 0;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            twice += u64::from((*mine & theirs).count_ones());
            *mine |= theirs;
        }
        twice
    }
}

impl Ledger {
    /// Enters a record as it came; `None` is one whose bytes are wrong. True
    /// if it is a whole one that was not seen before.
    pub(crate) fn enter(&mut self, partition: i32, stamp: Option<Stamp>) -> bool {
        let Some(stamp) = stamp.filter(|stamp| stamp.sequence < MOST_RECORDS) else {
            self.damaged += 1;
            return false;
        };
        let new = self
            .seen
            .entry(stamp.producer)
            .or_default()
            .insert(stamp.sequence);
        let last = match self.last.entry((partition, stamp.producer)) {
            Entry::Vacant(entry) => {
                entry.insert(stamp.sequence);
                None
            }
            Entry::Occupied(mut entry) => {
                let last = *entry.get();
                entry.insert(last.max(stamp.sequence));
                Some(last)
            }
        };
        if !new {
            self.duplicated += 1;
        } else if last.is_some_and(|last| stamp.sequence < last) {
            self.reordered += 1;
        }
        new
    }

    /// Takes in what another consumer has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (producer, seen) in &other.seen {
            self.duplicated += self.seen.entry(*producer).or_default().merge(seen);
        }
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
    }

    /// Compares with what the producers sent: each its records from zero on.
    pub(crate) fn verdict(&self, sent: &[u64], acknowledged: u64) -> Verdict {
        let nothing = Seen::default();
        let mut read_back = 0;
        for (producer, &records) in (0u32..).zip(sent) {
            let seen = self.seen.get(&producer).unwrap_or(&nothing);
            read_back += (0..records)
                .filter(|&sequence| seen.contains(sequence))
                .count() as u64;
        }
        let sent = sent.iter().sum();
        Verdict {
            sent,
            acknowledged,
            read_back,
            duplicated: self.duplicated,
            reordered: self.reordered,
            damaged: self.damaged,
        }
    }
}

/// Whether every record sent was acknowledged and read back as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Different records that came back whole.
    pub(crate) read_back: u64,
    /// Records that came more than once: a producer without idempotence may
    /// write a batch again when an acknowledgement was lost.
    pub(crate) duplicated: u64,
    /// Records that stood behind a later one of their producer.
    pub(crate) reordered: u64,
    /// Records with wrong bytes, or that this run never sent.
    pub(crate) damaged: u64,
}

impl Verdict {
    /// Duplicates are allowed, nothing else is.
    pub(crate) fn is_good(&self) -> bool {
        self.acknowledged == self.sent
            && self.read_back == self.sent
            && self.reordered == 0
            && self.damaged == 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.read_back += other.read_back;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamp(producer: u32, sequence: u64) -> Option<Stamp> {
        let due = Duration::ZERO;
        Some(Stamp {
            producer,
            sequence,
            due,
        })
    }

    #[test]
    fn all_records_of_all_producers_make_a_good_verdict() {
        let (mut first, mut second) = (Ledger::default(), Ledger::default());
        for sequence in 0..1_000 {
            let ledger = if sequence % 2 == 0 {
                &mut first
            } else {
                &mut second
            };
            let partition = (sequence % 2) as i32;
            ledger.enter(partition, stamp(0, sequence));
            ledger.enter(partition, stamp(1, sequence));
        }
        first.merge(&second);
        let verdict = first.verdict(&[1_000, 1_000], 2_000);
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.read_back, verdict.duplicated), (2_000, 0));
    }

    #[test]
    fn a_lost_record_is_seen() {
        let mut ledger = Ledger::default();
        for sequence in (0..100).filter(|&sequence| sequence != 63) {
            ledger.enter(0, stamp(0, sequence));
        }
        let verdict = ledger.verdict(&[100], 100);
        assert_eq!(verdict.read_back, 99);
        assert!(!verdict.is_good());
    }

    #[test]
    fn a_record_without_acknowledgement_is_seen() {
        let mut ledger = Ledger::default();
        ledger.enter(0, stamp(0, 0));
        assert!(!ledger.verdict(&[1], 0).is_good());
    }

    #[test]
    fn a_record_read_twice_is_a_duplicate_and_no_fault() {
        let (mut first, mut second) = (Ledger::default(), Ledger::default());
        let new = [0, 1, 0, 1, 2].map(|sequence| first.enter(0, stamp(0, sequence)));
        assert_eq!(new, [true, true, false, false, true]);
        second.enter(1, stamp(0, 2));
        first.merge(&second);
        let verdict = first.verdict(&[3], 3);
        assert_eq!(verdict.duplicated, 3);
        assert!(verdict.is_good(), "{verdict:?}");
    }

    #[test]
    fn a_record_behind_a_later_one_of_its_partition_is_seen() {
        let mut ledger = Ledger::default();
        for sequence in [0, 2, 1] {
            ledger.enter(0, stamp(0, sequence));
        }
        let verdict = ledger.verdict(&[3], 3);
        assert_eq!((verdict.reordered, verdict.read_back), (1, 3));
        assert!(!verdict.is_good());
    }

    #[test]
    fn records_that_were_never_sent_are_damaged_and_cost_no_memory() {
        let mut ledger = Ledger::default();
        assert!(!ledger.enter(0, None));
        assert!(!ledger.enter(0, stamp(0, u64::MAX)));
        let verdict = ledger.verdict(&[0], 0);
        assert_eq!(verdict.damaged, 2);
        assert!(!verdict.is_good());
    }
}
