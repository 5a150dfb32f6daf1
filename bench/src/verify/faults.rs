//! What a run must not find, by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The first of each kind are told in full, the others counted.
const TOLD_OF_EACH: u64 = 5;

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// The producer gave a record up.
    NotAcknowledged,
    /// A record is not in the log though it was acknowledged, or though a later one of its key is there.
    Lost,
    /// A record is in the log twice.
    Duplicate,
    /// A record stands before one of its key that was sent earlier.
    OutOfOrder,
    /// A key has records in two partitions.
    KeyMoved,
    /// A record that nobody sent.
    Stranger,
    /// A member was handed a record out of turn, or one of a partition that is not its own.
    WrongDelivery,
    /// The group went on behind records that nobody had processed.
    Skipped,
    /// A record was never processed.
    NotProcessed,
    /// A record counts twice, or not at all, where offsets are stored with what they stand for.
    NotExactlyOnce,
    /// A consumer failed for good.
    ConsumerFailed,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAcknowledged => "not acknowledged",
            Self::Lost => "lost",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out of order",
            Self::KeyMoved => "key in two partitions",
            Self::Stranger => "stranger",
            Self::WrongDelivery => "wrong delivery",
            Self::Skipped => "skipped",
            Self::NotProcessed => "not processed",
            Self::NotExactlyOnce => "not exactly once",
            Self::ConsumerFailed => "consumer failed",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) counts: BTreeMap<FaultKind, u64>,
    /// The first ones, as sentences.
    pub(crate) told: Vec<String>,
}

impl Faults {
    pub(crate) fn note(&mut self, kind: FaultKind, what: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_OF_EACH {
            self.told.push(format!("{kind}: {}", what()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.told.extend(other.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_all_are_counted() {
        let mut faults = Faults::default();
        for number in 0..20 {
            faults.note(FaultKind::Lost, || format!("record {number}"));
        }
        assert_eq!(faults.counts[&FaultKind::Lost], 20);
        assert_eq!(faults.told.len(), 5);
        assert_eq!(faults.told[0], "lost: record 0");
    }
}
