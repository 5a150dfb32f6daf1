//! Between the machines' records and Kafka's, which go to `__consumer_offsets`.

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_protocol::kafka::{
    ClassicMember, ConsumerGroupMember, ConsumerGroupMetadata, CurrentMemberAssignment,
    GroupMetadata, GroupRecord, MemberState, OffsetCommit, RegularExpression,
    TargetAssignmentMetadata, TopicPartitions,
};
use corelog_protocol::{PartitionIndex, Timestamp, TopicId};

use crate::group::consumer::{self, Change, Partitions, TopicPartition};
use crate::group::{GroupId, MemberId, classic};

/// A record that was read, for the part of a group that it is about.
pub(super) enum Loaded<'a> {
    Offset {
        topic: &'a str,
        partition: PartitionIndex,
        value: Option<&'a OffsetCommit>,
    },
    Classic(classic::GroupRecord),
    Consumer(consumer::Record),
}

/// The group that a record is about; `None` if no group could have its name.
pub(crate) fn group_of(record: &GroupRecord) -> Option<GroupId> {
    let (GroupRecord::OffsetCommit { group_id, .. }
    | GroupRecord::GroupMetadata { group_id, .. }
    | GroupRecord::ConsumerGroupMetadata { group_id, .. }
    | GroupRecord::ConsumerGroupMember { group_id, .. }
    | GroupRecord::TargetAssignmentMetadata { group_id, .. }
    | GroupRecord::TargetAssignmentMember { group_id, .. }
    | GroupRecord::CurrentMemberAssignment { group_id, .. }
    | GroupRecord::RegularExpression { group_id, .. }) = record;
    GroupId::try_from(group_id.as_str()).ok()
}

pub(super) fn loaded<'a>(group_id: &GroupId, record: &'a GroupRecord) -> Loaded<'a> {
    let change = match record {
        GroupRecord::OffsetCommit {
            topic,
            partition,
            value,
            ..
        } => {
            return Loaded::Offset {
                topic,
                partition: *partition,
                value: value.as_ref(),
            };
        }
        GroupRecord::GroupMetadata { value, .. } => {
            return Loaded::Classic(classic::GroupRecord {
                group_id: group_id.clone(),
                metadata: value.as_ref().map(classic_metadata),
            });
        }
        GroupRecord::ConsumerGroupMetadata { value, .. } => {
            Change::Group(value.map(|group| consumer::GroupMetadata {
                epoch: group.epoch,
                metadata_hash: group.metadata_hash,
            }))
        }
        GroupRecord::ConsumerGroupMember {
            member_id, value, ..
        } => Change::Member {
            member_id: member(member_id),
            value: value.as_ref().map(member_metadata),
        },
        GroupRecord::TargetAssignmentMetadata { value, .. } => {
            Change::Target(value.map(|target| consumer::TargetAssignmentMetadata {
                assignment_epoch: target.assignment_epoch,
            }))
        }
        GroupRecord::TargetAssignmentMember {
            member_id, value, ..
        } => Change::TargetOfMember {
            member_id: member(member_id),
            value: value.as_deref().map(partitions),
        },
        GroupRecord::CurrentMemberAssignment {
            member_id, value, ..
        } => Change::CurrentOfMember {
            member_id: member(member_id),
            value: value.as_ref().map(current_assignment),
        },
        GroupRecord::RegularExpression {
            regular_expression,
            value,
            ..
        } => Change::Pattern {
            pattern: regular_expression.clone(),
            value: value.as_ref().map(|resolved| consumer::ResolvedPattern {
                topics: resolved.topics.iter().cloned().collect(),
                version: resolved.version,
                timestamp_ms: resolved.timestamp.get(),
            }),
        },
    };
    Loaded::Consumer(consumer::Record {
        group_id: group_id.clone(),
        change,
    })
}

/// A record's strings are short enough for an id: Kafka counts both in 16 bits.
fn member(id: &str) -> MemberId {
    MemberId::new(id)
}

fn member_metadata(member: &ConsumerGroupMember) -> consumer::MemberMetadata {
    consumer::MemberMetadata {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.server_assignor.clone(),
    }
}

fn current_assignment(current: &CurrentMemberAssignment) -> consumer::CurrentAssignment {
    consumer::CurrentAssignment {
        member_epoch: current.member_epoch,
        previous_member_epoch: current.previous_member_epoch,
        state: match current.state {
            MemberState::Stable => consumer::MemberState::Stable,
            MemberState::UnrevokedPartitions => consumer::MemberState::UnrevokedPartitions,
            // From a state of a later version the member's next step is worked out anew, as from this.
            MemberState::UnreleasedPartitions | MemberState::Unknown => {
                consumer::MemberState::UnreleasedPartitions
            }
        },
        assigned: partitions(&current.assigned_partitions),
        pending_revocation: partitions(&current.partitions_pending_revocation),
    }
}

fn partitions(topics: &[TopicPartitions]) -> Partitions {
    let topics = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| TopicPartition {
            topic_id: topic.topic_id,
            partition: *partition,
        })
    });
    topics.collect()
}

fn by_topic(partitions: &Partitions) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
    for partition in partitions {
        let of_topic = topics.entry(partition.topic_id).or_default();
        of_topic.push(partition.partition);
    }
    let topics = topics.into_iter();
    topics
        .map(|(topic_id, partitions)| TopicPartitions {
            topic_id,
            partitions,
        })
        .collect()
}

fn classic_metadata(group: &GroupMetadata) -> classic::GroupMetadata {
    let members = group
        .members
        .iter()
        .map(|recorded| classic::MemberMetadata {
            member_id: member(&recorded.member_id),
            instance_id: recorded.group_instance_id.clone(),
            client_id: recorded.client_id.clone(),
            client_host: recorded.client_host.clone(),
            rebalance_timeout: millis(recorded.rebalance_timeout_ms),
            session_timeout: millis(recorded.session_timeout_ms),
            subscription: recorded.subscription.clone(),
            assignment: recorded.assignment.clone(),
        });
    classic::GroupMetadata {
        protocol_type: Some(group.protocol_type.clone()).filter(|it| !it.is_empty()),
        generation: group.generation,
        protocol: group.protocol.clone(),
        leader: group.leader.as_deref().map(member),
        state_timestamp: group.current_state_timestamp.map(Timestamp::get),
        members: members.collect(),
    }
}

/// A time-out as a record holds it.
fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::from(millis.max(0).unsigned_abs()))
}

fn in_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

pub(super) fn of_classic(record: &classic::GroupRecord) -> GroupRecord {
    let value = record.metadata.as_ref().map(|group| GroupMetadata {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.clone(),
        leader: group.leader.as_ref().map(MemberId::to_string),
        current_state_timestamp: group.state_timestamp.map(Timestamp::new),
        members: group.members.iter().map(of_classic_member).collect(),
    });
    GroupRecord::GroupMetadata {
        group_id: record.group_id.to_string(),
        value,
    }
}

fn of_classic_member(member: &classic::MemberMetadata) -> ClassicMember {
    ClassicMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: in_millis(member.rebalance_timeout),
        session_timeout_ms: in_millis(member.session_timeout),
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    }
}

pub(super) fn of_consumer(record: &consumer::Record) -> GroupRecord {
    let group_id = record.group_id.to_string();
    match &record.change {
        Change::Group(value) => GroupRecord::ConsumerGroupMetadata {
            group_id,
            value: value.map(|group| ConsumerGroupMetadata {
                epoch: group.epoch,
                metadata_hash: group.metadata_hash,
            }),
        },
        Change::Member { member_id, value } => GroupRecord::ConsumerGroupMember {
            group_id,
            member_id: member_id.to_string(),
            value: value.as_ref().map(of_member),
        },
        Change::Target(value) => GroupRecord::TargetAssignmentMetadata {
            group_id,
            value: value.map(|target| TargetAssignmentMetadata {
                assignment_epoch: target.assignment_epoch,
            }),
        },
        Change::TargetOfMember { member_id, value } => GroupRecord::TargetAssignmentMember {
            group_id,
            member_id: member_id.to_string(),
            value: value.as_ref().map(by_topic),
        },
        Change::CurrentOfMember { member_id, value } => GroupRecord::CurrentMemberAssignment {
            group_id,
            member_id: member_id.to_string(),
            value: value.as_ref().map(of_current),
        },
        Change::Pattern { pattern, value } => GroupRecord::RegularExpression {
            group_id,
            regular_expression: pattern.clone(),
            value: value.as_ref().map(|resolved| RegularExpression {
                topics: resolved.topics.iter().cloned().collect(),
                version: resolved.version,
                timestamp: Timestamp::new(resolved.timestamp_ms),
            }),
        },
    }
}

fn of_member(member: &consumer::MemberMetadata) -> ConsumerGroupMember {
    ConsumerGroupMember {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.server_assignor.clone(),
        classic_protocols: None,
    }
}

fn of_current(current: &consumer::CurrentAssignment) -> CurrentMemberAssignment {
    CurrentMemberAssignment {
        member_epoch: current.member_epoch,
        previous_member_epoch: current.previous_member_epoch,
        state: match current.state {
            consumer::MemberState::Stable => MemberState::Stable,
            consumer::MemberState::UnrevokedPartitions => MemberState::UnrevokedPartitions,
            consumer::MemberState::UnreleasedPartitions => MemberState::UnreleasedPartitions,
        },
        assigned_partitions: by_topic(&current.assigned),
        partitions_pending_revocation: by_topic(&current.pending_revocation),
    }
}
