//! The group: its state, and how a decision becomes records.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::canary::{Canary, is_planted};
use super::deadlines::Deadlines;
use super::state::State;
use super::{
    Assignor, Change, ConsumerGroupConfig, GroupError, GroupMetadata, MemberState, Record,
    Subscriber, TargetAssignmentMetadata, Topics,
};
use crate::group::{GroupId, MemberId};

/// A group of the consumer protocol. See the module's head.
#[derive(Debug)]
pub struct ConsumerGroup {
    pub(super) id: GroupId,
    pub(super) config: Arc<ConsumerGroupConfig>,
    pub(super) state: State,
    pub(super) deadlines: Deadlines,
    /// The version of the topics that `state` was last compared with; `None` after a move.
    pub(super) compared_with: Option<i64>,
}

/// The records of one decision, in effect already.
pub(super) type Records = Vec<Record>;

impl ConsumerGroup {
    /// A group without members: new, or about to be rebuilt by [`ConsumerGroup::apply`].
    pub fn new(id: GroupId, config: Arc<ConsumerGroupConfig>) -> Self {
        Self {
            id,
            config,
            state: State::default(),
            deadlines: Deadlines::default(),
            compared_with: None,
        }
    }

    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// True when no member is left. Committed offsets may still be there.
    pub fn is_empty(&self) -> bool {
        self.state.members.is_empty()
    }

    /// True when nothing of the group is left in the log.
    pub fn is_gone(&self) -> bool {
        self.state == State::default()
    }

    /// True if a heartbeat of this member may be told something that the last one was not: that it is a
    /// member no more, that there is a newer target, that somebody has given up what it waits for.
    pub fn has_news(&self, member_id: &MemberId) -> bool {
        let Some(member) = self.state.members.get(member_id) else {
            return true;
        };
        match member.current.state {
            // It is its turn.
            MemberState::UnrevokedPartitions => false,
            MemberState::UnreleasedPartitions => true,
            MemberState::Stable => member.current.member_epoch != self.state.epoch,
        }
    }

    /// The topics that members read, by name or by a pattern: their offsets are in use.
    pub fn subscribed_topics(&self) -> BTreeSet<String> {
        let members = self.state.members.values();
        members
            .flat_map(|member| self.state.subscribed_names(&member.metadata))
            .map(str::to_owned)
            .collect()
    }

    /// True while a member reads the topic, so that its offsets may not be deleted.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let mut members = self.state.members.values();
        members.any(|member| {
            let mut names = self.state.subscribed_names(&member.metadata);
            names.any(|name| name == topic)
        })
    }

    /// Puts a record that was read from the log into effect. When all are read, call
    /// [`ConsumerGroup::loaded`].
    ///
    /// # Panics
    /// If the record is another group's.
    pub fn apply(&mut self, record: &Record) {
        assert_eq!(record.group_id, self.id, "a record goes to its own group");
        self.compared_with = None;
        self.state.apply(&record.change);
    }

    /// The tombstones that end a group without members.
    pub fn delete(&mut self) -> Result<Vec<Record>, GroupError> {
        if !self.is_empty() {
            return Err(GroupError::NotEmpty {
                group_id: self.id.clone(),
                members: self.state.members.len(),
            });
        }
        let mut records = Records::new();
        let patterns: Vec<String> = self.state.patterns.keys().cloned().collect();
        for pattern in patterns {
            let value = None;
            self.decide(&mut records, Change::Pattern { pattern, value });
        }
        self.decide(&mut records, Change::Target(None));
        self.decide(&mut records, Change::Group(None));
        Ok(records)
    }

    /// Puts a decision into effect, by the same way as it will come back from the log.
    pub(super) fn decide(&mut self, records: &mut Records, change: Change) {
        self.state.apply(&change);
        records.push(Record {
            group_id: self.id.clone(),
            change,
        });
    }

    pub(super) fn raise_epoch(&mut self, records: &mut Records, metadata_hash: i64) {
        let raised = GroupMetadata {
            epoch: self.state.epoch + 1,
            metadata_hash,
        };
        self.decide(records, Change::Group(Some(raised)));
    }

    /// Computes the target of the current group epoch.
    pub(super) fn assign(&mut self, topics: &Topics, records: &mut Records) {
        let members: Vec<MemberId> = self.state.members.keys().cloned().collect();
        let subscribers: Vec<Subscriber> = self
            .state
            .members
            .values()
            .map(|member| Subscriber {
                topics: self.state.subscribed_ids(&member.metadata, topics),
                target: member.target.clone(),
            })
            .collect();
        let partitions = topics
            .iter()
            .map(|(_, topic)| (topic.id, topic.partitions))
            .filter(|(id, _)| subscribers.iter().any(|s| s.topics.contains(id)))
            .collect();
        let assigned = self.assignor().assign(&subscribers, &partitions);
        let before = subscribers.into_iter().map(|subscriber| subscriber.target);
        for ((member_id, before), target) in members.into_iter().zip(before).zip(assigned) {
            if target != before {
                let value = Some(target);
                self.decide(records, Change::TargetOfMember { member_id, value });
            }
        }
        let computed = TargetAssignmentMetadata {
            assignment_epoch: self.state.epoch,
        };
        self.decide(records, Change::Target(Some(computed)));
    }

    /// The one that most members ask for, the first by name where two are asked for equally often. A
    /// member that asked before a restart may have asked for one that is not offered any more.
    pub(super) fn assignor(&self) -> Assignor {
        let assignors = &self.config.assignors;
        let votes = |assignor: Assignor| {
            let members = self.state.members.values();
            members
                .filter(|_| assignors.contains(assignor))
                .filter(|m| m.metadata.server_assignor.as_deref() == Some(assignor.name()))
                .count()
        };
        let (uniform, range) = (votes(Assignor::Uniform), votes(Assignor::Range));
        match (uniform, range) {
            (0, 0) => assignors.by_default(),
            (uniform, range) if uniform > range => Assignor::Uniform,
            _ => Assignor::Range,
        }
    }

    /// Takes the member's records away. The epoch is left to the caller.
    pub(super) fn remove_member(&mut self, records: &mut Records, member_id: &MemberId) {
        let id = || member_id.clone();
        let tombstones = [
            Change::CurrentOfMember {
                member_id: id(),
                value: None,
            },
            Change::TargetOfMember {
                member_id: id(),
                value: None,
            },
            Change::Member {
                member_id: id(),
                value: None,
            },
        ];
        for tombstone in tombstones {
            self.decide(records, tombstone);
        }
        self.deadlines.forget(member_id);
    }

    /// Tells the next heartbeat that somebody is missing.
    pub(super) fn members_departed(&mut self, records: &mut Records) {
        self.drop_unused_patterns(records);
        if is_planted(Canary::LostPartition) {
            return;
        }
        self.raise_epoch(records, self.state.metadata_hash);
    }

    pub(super) fn drop_unused_patterns(&mut self, records: &mut Records) {
        let is_used = |pattern: &String| {
            let mut members = self.state.members.values();
            members.any(|m| m.metadata.subscribed_topic_regex.as_ref() == Some(pattern))
        };
        let patterns = self.state.patterns.keys();
        let unused: Vec<String> = patterns.filter(|p| !is_used(p)).cloned().collect();
        for pattern in unused {
            let value = None;
            self.decide(records, Change::Pattern { pattern, value });
        }
    }
}
