//! Who and where: partitions, brokers, shards, producers.

use std::fmt;

use crate::number::non_negative;

non_negative! {
    /// The number of a partition within its topic, counted from 0.
    PartitionIndex(i32)
}

non_negative! {
    /// The id of a broker in its cluster.
    BrokerId(i32)
}

non_negative! {
    /// The id that the cluster gave to an idempotent or transactional producer.
    ProducerId(i64)
}

non_negative! {
    /// The generation of a producer id. A higher epoch fences every lower one.
    ProducerEpoch(i16)
}

non_negative! {
    /// The number of a record within one producer's stream to one partition.
    ///
    /// Counts from 0 to [`i32::MAX`] and then starts again at 0, as Kafka's does.
    Sequence(i32)
}

impl Sequence {
    /// The sequence `count` records later, wrapping from [`i32::MAX`] to 0.
    ///
    /// # Panics
    /// If `count` is negative.
    pub const fn advance(self, count: i32) -> Self {
        assert!(count >= 0, "a sequence only advances");
        let sum = self.get() as i64 + count as i64;
        Self::new((sum % (i32::MAX as i64 + 1)) as i32)
    }
}

/// One core of a broker: the shard that owns a partition is the only one that touches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// Wraps the number of a shard, counted from 0.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The number of the shard.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero_after_the_largest_i32() {
        assert_eq!(Sequence::new(5).advance(3), Sequence::new(8));
        assert_eq!(Sequence::MAX.advance(1), Sequence::ZERO);
        assert_eq!(Sequence::MAX.advance(i32::MAX), Sequence::new(i32::MAX - 1));
    }

    #[test]
    fn a_negative_number_is_refused_by_name() {
        let refused = PartitionIndex::try_from(-3).expect_err("negative");
        assert_eq!(
            refused.to_string(),
            "PartitionIndex must not be negative, found -3"
        );
        assert_eq!(BrokerId::from_sentinel(-1), None);
        assert_eq!(BrokerId::to_sentinel(None), -1);
        assert_eq!(BrokerId::from_sentinel(7), Some(BrokerId::new(7)));
    }
}
