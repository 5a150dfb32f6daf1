//! The offsets that one group has committed.

use std::collections::BTreeMap;

use corelog_protocol::kafka::{GroupRecord, OffsetCommit};
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use super::command::{Commit, CommittedTopic};
use crate::group::GroupId;

/// Where a group goes on reading a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it expires, whatever the settings say: clients before Kafka 2.1 could ask for that.
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<PartitionIndex, Committed>>,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// Puts a record into effect: one that was just decided, or one that is read again.
    pub(super) fn apply(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        value: Option<&OffsetCommit>,
    ) {
        match value {
            Some(commit) => {
                let committed = Committed {
                    offset: commit.offset,
                    leader_epoch: commit.leader_epoch,
                    metadata: commit.metadata.clone(),
                    committed_at: commit.commit_timestamp,
                    expires_at: commit.expire_timestamp,
                };
                match self.by_topic.get_mut(topic) {
                    Some(partitions) => {
                        partitions.insert(partition, committed);
                    }
                    None => {
                        let partitions = BTreeMap::from([(partition, committed)]);
                        self.by_topic.insert(topic.to_owned(), partitions);
                    }
                }
            }
            None => {
                if let Some(partitions) = self.by_topic.get_mut(topic) {
                    partitions.remove(&partition);
                    if partitions.is_empty() {
                        self.by_topic.remove(topic);
                    }
                }
            }
        }
    }

    pub(super) fn commit(
        &mut self,
        group_id: &GroupId,
        commit: Commit,
        unix_millis: i64,
        records: &mut Vec<GroupRecord>,
    ) {
        let value = OffsetCommit {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            commit_timestamp: Timestamp::new(unix_millis),
            expire_timestamp: None,
            // Named, an older monitor could not read the record.
            topic_id: TopicId::ZERO,
        };
        self.apply(&commit.topic, commit.partition, Some(&value));
        records.push(GroupRecord::OffsetCommit {
            group_id: group_id.to_string(),
            topic: commit.topic,
            partition: commit.partition,
            value: Some(value),
        });
    }

    /// Deletes one offset. False if there was none.
    pub(super) fn delete(
        &mut self,
        group_id: &GroupId,
        topic: &str,
        partition: PartitionIndex,
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let partitions = self.by_topic.get(topic);
        if !partitions.is_some_and(|partitions| partitions.contains_key(&partition)) {
            return false;
        }
        self.apply(topic, partition, None);
        records.push(GroupRecord::OffsetCommit {
            group_id: group_id.to_string(),
            topic: topic.to_owned(),
            partition,
            value: None,
        });
        true
    }

    /// Deletes every offset that `is_over`.
    pub(super) fn delete_where(
        &mut self,
        group_id: &GroupId,
        is_over: impl Fn(&str, &Committed) -> bool,
        records: &mut Vec<GroupRecord>,
    ) {
        let over: Vec<(String, PartitionIndex)> = self
            .iter()
            .filter(|(topic, _, committed)| is_over(topic, committed))
            .map(|(topic, partition, _)| (topic.to_owned(), partition))
            .collect();
        for (topic, partition) in over {
            self.delete(group_id, &topic, partition, records);
        }
    }

    /// Those asked for, in the order asked for; `None`: all there are.
    pub(super) fn fetch(
        &self,
        topics: Option<Vec<(String, Vec<PartitionIndex>)>>,
    ) -> Vec<CommittedTopic> {
        let Some(topics) = topics else {
            let all = self.by_topic.iter().map(|(topic, partitions)| {
                let partitions = partitions.iter();
                CommittedTopic {
                    topic: topic.clone(),
                    partitions: partitions
                        .map(|(partition, committed)| (*partition, Some(committed.clone())))
                        .collect(),
                }
            });
            return all.collect();
        };
        let asked = topics.into_iter().map(|(topic, partitions)| {
            let known = self.by_topic.get(&topic);
            let committed = |partition| known.and_then(|known| known.get(partition)).cloned();
            let partitions = partitions.iter();
            CommittedTopic {
                partitions: partitions
                    .map(|partition| (*partition, committed(partition)))
                    .collect(),
                topic,
            }
        });
        asked.collect()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, PartitionIndex, &Committed)> {
        self.by_topic.iter().flat_map(|(topic, partitions)| {
            let partitions = partitions.iter();
            partitions.map(move |(partition, committed)| (topic.as_str(), *partition, committed))
        })
    }
}
