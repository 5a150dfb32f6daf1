//! Where and when in a partition: offsets, leader epochs, timestamps.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::number::non_negative;

non_negative! {
    /// The place of a record in its partition.
    ///
    /// Ends of ranges (log end, high watermark, last stable offset) are exclusive; only a name
    /// that says `last_offset` is inclusive.
    Offset(i64)
}

impl Offset {
    /// The offset `count` records later; `None` past [`i64::MAX`] or for a result below zero.
    #[inline]
    pub const fn checked_add(self, count: i64) -> Option<Self> {
        match self.get().checked_add(count) {
            Some(sum) => Self::from_sentinel(sum),
            None => None,
        }
    }

    /// How many offsets lie between `earlier` and this one; negative if it comes later.
    #[inline]
    pub const fn distance_from(self, earlier: Self) -> i64 {
        // Both are zero or more, so the difference always fits.
        self.get() - earlier.get()
    }
}

non_negative! {
    /// The generation of a partition's leader, raised at every start of a leader.
    LeaderEpoch(i32)
}

impl LeaderEpoch {
    /// The epoch after this one; `None` past [`i32::MAX`].
    #[inline]
    pub const fn next(self) -> Option<Self> {
        match self.get().checked_add(1) {
            Some(next) => Some(Self::new(next)),
            None => None,
        }
    }
}

/// Milliseconds since 1970-01-01 UTC. A record without a timestamp has [`Timestamp::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Kafka's "no timestamp", -1: a value that records do carry, hence not an `Option`.
    pub const NONE: Self = Self(-1);

    /// Wraps milliseconds since the epoch.
    #[inline]
    pub const fn new(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the epoch.
    #[inline]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The wall clock's time, cut to milliseconds. A clock before 1970 reads as 0.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// This time moved by a number of milliseconds, kept within the range of `i64`.
    #[inline]
    pub const fn saturating_add(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_addition_stops_at_its_range() {
        assert_eq!(Offset::new(5).checked_add(3), Some(Offset::new(8)));
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::new(2).checked_add(-3), None);
        assert_eq!(Offset::new(9).distance_from(Offset::new(4)), 5);
        assert_eq!(Offset::ZERO.distance_from(Offset::MAX), -i64::MAX);
    }

    #[test]
    fn leader_epoch_ends_at_the_largest_i32() {
        assert_eq!(LeaderEpoch::ZERO.next(), Some(LeaderEpoch::new(1)));
        assert_eq!(LeaderEpoch::MAX.next(), None);
    }

    #[test]
    fn timestamps_count_milliseconds() {
        let time = UNIX_EPOCH + Duration::from_micros(1_234_567);
        assert_eq!(Timestamp::from(time), Timestamp::new(1_234));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::new(0));
    }
}
