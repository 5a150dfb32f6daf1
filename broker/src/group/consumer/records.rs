//! What a consumer group writes to `__consumer_offsets`: the fields of Kafka's `ConsumerGroup*`
//! keys and values (`group-coordinator/src/main/resources/common/message`), without their bytes.
//!
//! A change whose value is `None` is a tombstone. The partition metadata of Kafka 4.0 is not
//! written: since 4.1 the metadata hash stands in its place (KIP-1101).

use std::collections::BTreeSet;

use super::Partitions;
use crate::group::{GroupId, MemberId};

/// The member epoch of a static member that is away and may come back under another member id.
pub const STATIC_MEMBER_AWAY: i32 = -2;

/// One record. The key is the group id and what the change names; the value is the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub group_id: GroupId,
    pub change: Change,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// `ConsumerGroupMetadata`. Its tombstone ends the group.
    Group(Option<GroupMetadata>),
    /// `ConsumerGroupMemberMetadata`.
    Member {
        member_id: MemberId,
        value: Option<MemberMetadata>,
    },
    /// `ConsumerGroupTargetAssignmentMetadata`.
    Target(Option<TargetAssignmentMetadata>),
    /// `ConsumerGroupTargetAssignmentMember`.
    TargetOfMember {
        member_id: MemberId,
        value: Option<Partitions>,
    },
    /// `ConsumerGroupCurrentMemberAssignment`.
    CurrentOfMember {
        member_id: MemberId,
        value: Option<CurrentAssignment>,
    },
    /// `ConsumerGroupRegularExpression`.
    Pattern {
        pattern: String,
        value: Option<ResolvedPattern>,
    },
}

impl Change {
    /// True if it takes something away.
    pub const fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::Member { value, .. } => value.is_none(),
            Self::Target(value) => value.is_none(),
            Self::TargetOfMember { value, .. } => value.is_none(),
            Self::CurrentOfMember { value, .. } => value.is_none(),
            Self::Pattern { value, .. } => value.is_none(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupMetadata {
    pub epoch: i32,
    /// Changes whenever a subscribed topic appears, disappears or gets partitions.
    pub metadata_hash: i64,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct MemberMetadata {
    /// Names a static member.
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: BTreeSet<String>,
    pub subscribed_topic_regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetAssignmentMetadata {
    /// The group epoch for which the target was computed.
    pub assignment_epoch: i32,
}

/// How far a member has come on its way to the target.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CurrentAssignment {
    /// What the member's next heartbeat must say; [`STATIC_MEMBER_AWAY`] while nobody may say
    /// anything.
    pub member_epoch: i32,
    /// What it may still say when the reply that raised the epoch was lost.
    pub previous_member_epoch: i32,
    pub state: MemberState,
    pub assigned: Partitions,
    /// What the member was told to give up and has not yet reported as given up.
    pub pending_revocation: Partitions,
}

/// Kafka's `MemberState`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// Holds what its epoch gives it.
    #[default]
    Stable,
    /// Must give up partitions before its epoch rises.
    UnrevokedPartitions,
    /// Waits for partitions that others have yet to give up.
    UnreleasedPartitions,
}

/// The topics that a pattern meant when it was last resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvedPattern {
    pub topics: BTreeSet<String>,
    /// The metadata offset of the image it was resolved against.
    pub version: i64,
    pub timestamp_ms: i64,
}
