//! The offsets that one group has committed.

use std::collections::{BTreeMap, BTreeSet};

use corelog_protocol::kafka::{GroupRecord, OffsetCommit};
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use super::command::{Commit, CommittedTopic};
use crate::group::GroupId;
use crate::group::consumer::{Topic, Topics};

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
    by_topic: BTreeMap<String, OfTopic>,
}

/// The offsets of one topic; there is at least one.
#[derive(Debug, PartialEq)]
struct OfTopic {
    /// Which topic of the name. `None`: read from the log, which tells names only.
    topic_id: Option<TopicId>,
    partitions: BTreeMap<PartitionIndex, Committed>,
}

impl OfTopic {
    /// True if the topic is there that they were committed for.
    fn is_current(&self, topic: Option<&Topic>) -> bool {
        topic.is_some_and(|topic| self.topic_id.is_none_or(|id| id == topic.id))
    }
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
                    Some(known) => {
                        known.partitions.insert(partition, committed);
                    }
                    None => {
                        let first = OfTopic {
                            topic_id: None,
                            partitions: BTreeMap::from([(partition, committed)]),
                        };
                        self.by_topic.insert(topic.to_owned(), first);
                    }
                }
            }
            None => {
                if let Some(known) = self.by_topic.get_mut(topic) {
                    known.partitions.remove(&partition);
                    if known.partitions.is_empty() {
                        self.by_topic.remove(topic);
                    }
                }
            }
        }
    }

    /// Records an offset, of a topic that is there.
    pub(super) fn commit(
        &mut self,
        group_id: &GroupId,
        commit: Commit,
        unix_millis: i64,
        records: &mut Vec<GroupRecord>,
    ) {
        let known = self.by_topic.get(&commit.topic);
        let is_another = known
            .and_then(|known| known.topic_id)
            .is_some_and(|id| id != commit.topic_id);
        if is_another {
            let is_over = |topic: &str, _: &Committed| topic == commit.topic;
            self.delete_where(group_id, is_over, usize::MAX, records);
        }
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
        if let Some(known) = self.by_topic.get_mut(&commit.topic) {
            known.topic_id = Some(commit.topic_id);
        }
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
        let known = self.by_topic.get(topic);
        if !known.is_some_and(|known| known.partitions.contains_key(&partition)) {
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

    /// Deletes the offsets that are over, `most` of them. False if there are more.
    pub(super) fn delete_where(
        &mut self,
        group_id: &GroupId,
        is_over: impl Fn(&str, &Committed) -> bool,
        most: usize,
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let over: Vec<(String, PartitionIndex)> = self
            .iter()
            .filter(|(topic, _, committed)| is_over(topic, committed))
            .map(|(topic, partition, _)| (topic.to_owned(), partition))
            .take(most)
            .collect();
        let is_complete = over.len() < most;
        for (topic, partition) in over {
            self.delete(group_id, &topic, partition, records);
        }
        is_complete
    }

    /// Deletes the offsets of topics that are no more, also where another one has the name now; `most` of
    /// them. False if there are more.
    pub(super) fn forget_gone(
        &mut self,
        group_id: &GroupId,
        topics: &Topics,
        most: usize,
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let mut gone = BTreeSet::new();
        for (name, known) in &mut self.by_topic {
            let topic = topics.get(name);
            if !known.is_current(topic) {
                gone.insert(name.clone());
            } else if let Some(topic) = topic {
                known.topic_id = Some(topic.id);
            }
        }
        if gone.is_empty() {
            return true;
        }
        self.delete_where(group_id, |topic, _| gone.contains(topic), most, records)
    }

    /// Those asked for, in the order asked for; `None`: all there are. Offsets of topics that are no more are
    /// none.
    pub(super) fn fetch(
        &self,
        asked: Option<Vec<(String, Vec<PartitionIndex>)>>,
        topics: &Topics,
    ) -> Vec<CommittedTopic> {
        let Some(asked) = asked else {
            let current = self.by_topic.iter();
            let current = current.filter(|(name, known)| known.is_current(topics.get(name)));
            let all = current.map(|(topic, known)| {
                let partitions = known.partitions.iter();
                CommittedTopic {
                    topic: topic.clone(),
                    partitions: partitions
                        .map(|(partition, committed)| (*partition, Some(committed.clone())))
                        .collect(),
                }
            });
            return all.collect();
        };
        let found = asked.into_iter().map(|(topic, partitions)| {
            let known = self.by_topic.get(&topic);
            let known = known.filter(|known| known.is_current(topics.get(&topic)));
            let committed = |partition| known?.partitions.get(partition).cloned();
            let partitions = partitions.iter();
            CommittedTopic {
                partitions: partitions
                    .map(|partition| (*partition, committed(partition)))
                    .collect(),
                topic,
            }
        });
        found.collect()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, PartitionIndex, &Committed)> {
        self.by_topic.iter().flat_map(|(topic, known)| {
            let partitions = known.partitions.iter();
            partitions.map(move |(partition, committed)| (topic.as_str(), *partition, committed))
        })
    }
}
