//! What clients tell about topics and their partitions.

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ShardId};

use crate::cluster::Topic;

/// A partition and where it is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition's index in its topic.
    pub partition: PartitionIndex,
    /// The broker that leads it, if one does.
    pub leader: Option<BrokerId>,
    /// The core of that broker which owns it.
    pub leader_shard: Option<ShardId>,
    /// Counts the leaders the partition has had.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The brokers that hold a copy.
    pub replicas: Vec<BrokerId>,
    /// Those of them that have everything acknowledged with `acks=all`.
    pub in_sync_replicas: Vec<BrokerId>,
}

impl PartitionInfo {
    pub(crate) fn list(topic: &Topic) -> Vec<Self> {
        topic
            .partitions
            .iter()
            .zip(0..)
            .map(|(partition, index)| Self {
                partition: PartitionIndex::new(index),
                leader: partition.leader.map(|node| node.broker),
                leader_shard: partition.leader.map(|node| node.shard),
                leader_epoch: partition.leader_epoch,
                replicas: partition.replicas.clone(),
                in_sync_replicas: partition.in_sync_replicas.clone(),
            })
            .collect()
    }
}
