use corelog_protocol::{PartitionIndex, ShardId, TopicId};

/// The shard that owns a partition on a broker with `shards` shards.
///
/// Computed, never stored: a broker that starts with another number of cores just works. The
/// partitions of one topic go round the shards, so that they spread evenly however few they are;
/// each topic begins at another shard.
pub fn shard_of(topic_id: TopicId, partition: PartitionIndex, shards: u16) -> ShardId {
    assert!(shards > 0, "a broker has at least one shard");
    let start = u64::from(crc32c::crc32c(topic_id.as_bytes()));
    let position = start + u64::from(partition.get().unsigned_abs());
    ShardId::new((position % u64::from(shards)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_topic_spread_evenly() {
        let topic = TopicId::from_bytes([7; 16]);
        for shards in [1u16, 2, 3, 8] {
            let mut counts = vec![0; usize::from(shards)];
            for partition in 0..64 {
                let shard = shard_of(topic, PartitionIndex::new(partition), shards);
                counts[usize::from(shard.get())] += 1;
            }
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least <= 1)
            );
        }
    }

    #[test]
    fn topics_of_one_partition_spread_over_the_shards() {
        let mut counts = [0; 4];
        for number in 0..1000u128 {
            let topic = TopicId::from_bytes(number.to_be_bytes());
            counts[usize::from(shard_of(topic, PartitionIndex::ZERO, 4).get())] += 1;
        }
        assert!(counts.iter().all(|&count| count > 150), "{counts:?}");
    }
}
