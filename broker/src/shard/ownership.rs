//! What a new metadata image changes for one shard.

use std::sync::Arc;

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ShardId};

use crate::log::TopicPartition;
use crate::metadata::{MetadataImage, TopicImage, shard_of};

/// Which partitions are a shard's: those its broker leads and that are placed on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) broker: BrokerId,
    pub(super) shard: ShardId,
    pub(super) shards: u16,
}

/// The steps from one image to the next. Deletions come first: a topic that was deleted and
/// created again has the folders of its predecessor.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) deleted: Vec<TopicPartition>,
    pub(super) updated: Vec<OwnedPartition>,
    pub(super) opened: Vec<OwnedPartition>,
}

#[derive(Clone, Debug)]
pub(super) struct OwnedPartition {
    pub(super) id: TopicPartition,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) topic: Arc<TopicImage>,
}

impl OwnedPartition {
    /// The partition's folder below `data/`, named as Kafka names it.
    pub(super) fn folder(&self) -> String {
        self.topic.partition_folder(self.id.partition)
    }
}

impl Owner {
    /// Topics that did not change are the same `Arc` in both images and cost one comparison.
    pub(super) fn changes(self, old: &MetadataImage, new: &MetadataImage) -> Changes {
        let mut changes = Changes::default();
        for topic in old.topics() {
            let survives = |id: &TopicPartition| {
                new.topic_by_id(topic.id)
                    .is_some_and(|topic| self.owned(topic, id.partition).is_some())
            };
            if new
                .topic_by_id(topic.id)
                .is_some_and(|new_topic| Arc::ptr_eq(new_topic, topic))
            {
                continue;
            }
            let gone = self
                .partitions(topic)
                .map(|owned| owned.id)
                .filter(|id| !survives(id));
            changes.deleted.extend(gone);
        }
        for topic in new.topics() {
            let old_topic = old.topic_by_id(topic.id);
            if old_topic.is_some_and(|old_topic| Arc::ptr_eq(old_topic, topic)) {
                continue;
            }
            for owned in self.partitions(topic) {
                let known = old_topic
                    .is_some_and(|old_topic| self.owned(old_topic, owned.id.partition).is_some());
                if known {
                    changes.updated.push(owned);
                } else {
                    changes.opened.push(owned);
                }
            }
        }
        changes
    }

    /// The partitions of `topic` that are this shard's.
    fn partitions(self, topic: &Arc<TopicImage>) -> impl Iterator<Item = OwnedPartition> + '_ {
        topic
            .indexed_partitions()
            .filter_map(move |(index, _)| self.owned(topic, index))
    }

    fn owned(self, topic: &Arc<TopicImage>, index: PartitionIndex) -> Option<OwnedPartition> {
        let partition = topic.partition(index)?;
        let is_here = partition.leader == Some(self.broker)
            && shard_of(topic.id, index, self.shards) == self.shard;
        is_here.then(|| OwnedPartition {
            id: TopicPartition {
                topic_id: topic.id,
                partition: index,
            },
            leader_epoch: partition.leader_epoch,
            topic: Arc::clone(topic),
        })
    }
}
