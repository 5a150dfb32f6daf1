//! The log at the end of a run, record by record: each that was acknowledged is there once, and those
//! of one key stand in the order in which they were sent.

use std::collections::BTreeSet;

use super::faults::{FaultKind, Faults};

/// Records that are missed so far, at most: beyond that it does not matter which.
const MISSED_MAX: usize = 10_000;

/// What became of one key's records on their way out. Their sequence numbers begin with zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    /// All below were acknowledged.
    pub(crate) acknowledged: u64,
}

/// Reads a log that should hold what was sent.
pub(crate) struct LogJudge {
    keys: Vec<Key>,
    /// Not seen when a later one of its key was: key and sequence number.
    missed: BTreeSet<(u32, u64)>,
    records: u64,
    faults: Faults,
}

#[derive(Clone, Default)]
struct Key {
    next: u64,
    partition: Option<i32>,
}

impl LogJudge {
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            keys: vec![Key::default(); keys],
            missed: BTreeSet::new(),
            records: 0,
            faults: Faults::default(),
        }
    }

    /// The next record of a partition. `found` is its key and sequence number, if it is one of ours.
    pub(crate) fn read(&mut self, partition: i32, offset: i64, found: Option<(u32, u64)>) {
        self.records += 1;
        let at = || format!("partition {partition}, offset {offset}");
        let known = found.and_then(|(key, sequence)| {
            let state = self.keys.get_mut(key as usize)?;
            Some((key, sequence, state))
        });
        let Some((key, sequence, state)) = known else {
            self.faults.note(FaultKind::Stranger, at);
            return;
        };
        let home = *state.partition.get_or_insert(partition);
        if home != partition {
            let what = || format!("key {key} is also in partition {home}: {}", at());
            self.faults.note(FaultKind::KeyMoved, what);
        }
        let what = || format!("key {key}, record {sequence}: {}", at());
        if sequence >= state.next {
            let room = MISSED_MAX.saturating_sub(self.missed.len());
            let missed = (state.next..sequence).map(|sequence| (key, sequence));
            self.missed.extend(missed.take(room));
            state.next = sequence + 1;
        } else if self.missed.remove(&(key, sequence)) {
            self.faults.note(FaultKind::OutOfOrder, what);
        } else {
            self.faults.note(FaultKind::Duplicate, what);
        }
    }

    /// The verdict, and how many records there are.
    pub(crate) fn finish(mut self, sent: &[Sent]) -> (Faults, u64) {
        for (key, sequence) in &self.missed {
            let what = || format!("key {key}, record {sequence}: later ones are there");
            self.faults.note(FaultKind::Lost, what);
        }
        for (key, (found, sent)) in self.keys.iter().zip(sent).enumerate() {
            for sequence in found.next..sent.acknowledged {
                let what = || format!("key {key}, record {sequence}: it was acknowledged");
                self.faults.note(FaultKind::Lost, what);
            }
            if found.next > sent.sent {
                let what = || format!("key {key}: {} found, {} sent", found.next, sent.sent);
                self.faults.note(FaultKind::Stranger, what);
            }
        }
        (self.faults, self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys of three records each, all acknowledged; the log as given: partition, key, sequence.
    fn judged(log: &[(i32, u32, u64)]) -> Vec<FaultKind> {
        let mut judge = LogJudge::new(2);
        for (offset, (partition, key, sequence)) in log.iter().enumerate() {
            judge.read(*partition, offset as i64, Some((*key, *sequence)));
        }
        let sent = Sent {
            sent: 3,
            acknowledged: 3,
        };
        let (faults, records) = judge.finish(&[sent; 2]);
        assert_eq!(records, log.len() as u64);
        assert_eq!(faults.told.is_empty(), faults.is_empty());
        faults.counts.into_keys().collect()
    }

    const GOOD: [(i32, u32, u64); 6] = [
        (0, 0, 0),
        (1, 1, 0),
        (0, 0, 1),
        (0, 0, 2),
        (1, 1, 1),
        (1, 1, 2),
    ];

    #[test]
    fn a_log_that_holds_everything_once_and_in_order_is_good() {
        assert_eq!(judged(&GOOD), []);
    }

    #[test]
    fn a_lost_record_is_found_in_the_midst_and_at_the_end() {
        for lost in 0..GOOD.len() {
            let mut log = GOOD.to_vec();
            log.remove(lost);
            assert_eq!(judged(&log), [FaultKind::Lost], "{lost}");
        }
    }

    #[test]
    fn a_duplicate_is_found_wherever_it_stands() {
        for (twice, record) in GOOD.into_iter().enumerate() {
            for place in twice + 1..=GOOD.len() {
                let mut log = GOOD.to_vec();
                log.insert(place, record);
                assert_eq!(judged(&log), [FaultKind::Duplicate], "{twice} at {place}");
            }
        }
    }

    #[test]
    fn swapped_records_of_one_key_are_out_of_order() {
        let mut log = GOOD.to_vec();
        log.swap(2, 3);
        assert_eq!(judged(&log), [FaultKind::OutOfOrder]);
    }

    #[test]
    fn a_key_that_changes_its_partition_is_found() {
        let mut log = GOOD.to_vec();
        log[5].0 = 0;
        assert_eq!(judged(&log), [FaultKind::KeyMoved]);
    }

    #[test]
    fn what_nobody_sent_is_a_stranger() {
        for stranger in [(0, 7, 0), (0, 0, 3)] {
            let mut log = GOOD.to_vec();
            log.push(stranger);
            assert_eq!(judged(&log), [FaultKind::Stranger], "{stranger:?}");
        }
        let mut judge = LogJudge::new(1);
        judge.read(0, 0, None);
        let (faults, _) = judge.finish(&[Sent::default()]);
        assert_eq!(faults.counts[&FaultKind::Stranger], 1);
    }

    #[test]
    fn what_was_sent_and_not_acknowledged_may_be_there_or_not() {
        let sent = Sent {
            sent: 2,
            acknowledged: 1,
        };
        for there in [1, 2] {
            let mut judge = LogJudge::new(1);
            for sequence in 0..there {
                judge.read(0, sequence as i64, Some((0, sequence)));
            }
            assert!(judge.finish(&[sent]).0.is_empty(), "{there}");
        }
    }
}
