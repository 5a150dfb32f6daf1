//! Which partition a record goes to.

use std::sync::atomic::Ordering;

use corelog_protocol::{PartitionIndex, partition_for_key};
use rand::Rng;

use super::shared::TopicLanes;
use crate::config::Partitioner;
use crate::error::ProduceError;
use crate::record::ProducerRecord;

/// The caller's own rule: of a record that names no partition, and the number of its topic's partitions, the partition.
pub(super) type CustomPartitioner =
    Box<dyn Fn(&ProducerRecord<'_>, usize) -> PartitionIndex + Send + Sync>;

/// Where a record goes, and whether it may go elsewhere instead.
pub(super) struct Choice {
    pub(super) index: usize,
    /// The record is bound to no partition: when a new batch would have to be opened, another partition has its turn.
    pub(super) sticky: bool,
}

/// An explicit partition, else the custom partitioner's, else the key's, else the partitioner's.
pub(super) fn choose(
    record: &ProducerRecord<'_>,
    topic: &TopicLanes,
    partitioner: Partitioner,
    custom: Option<&CustomPartitioner>,
) -> Result<Choice, ProduceError> {
    let count = topic.lanes.len();
    let fixed = |index| Choice {
        index,
        sticky: false,
    };
    let named = record
        .partition
        .or_else(|| custom.map(|custom| custom(record, count)));
    if let Some(partition) = named {
        return usize::try_from(partition.get())
            .ok()
            .filter(|index| *index < count)
            .map(fixed)
            .ok_or_else(|| ProduceError::NoSuchPartition {
                topic: record.topic.to_owned(),
                partition,
                partitions: count,
            });
    }
    let partitions = i32::try_from(count).expect("partition counts are i32 on the wire");
    if let Some(key) = record.key {
        let partition = partition_for_key(key, partitions);
        return Ok(fixed(usize::try_from(partition.get()).expect(
            "a partition for a key is between 0 and the number of partitions",
        )));
    }
    Ok(match partitioner {
        Partitioner::Sticky => Choice {
            index: topic.sticky.load(Ordering::Relaxed) as usize % count,
            sticky: true,
        },
        Partitioner::RoundRobin => {
            fixed(topic.next_round.fetch_add(1, Ordering::Relaxed) as usize % count)
        }
    })
}

/// Moves the sticky partition on, to any other one that has a leader.
pub(super) fn move_on(topic: &TopicLanes, from: usize) -> usize {
    let count = topic.lanes.len();
    if count == 1 {
        return from;
    }
    let start = (from + rand::rng().random_range(1..count)) % count;
    let index = (0..count)
        .map(|step| (start + step) % count)
        .find(|index| *index != from && topic.lanes[*index].has_route())
        .unwrap_or(start);
    topic.sticky.store(
        u32::try_from(index).expect("partition counts are i32 on the wire"),
        Ordering::Relaxed,
    );
    index
}
