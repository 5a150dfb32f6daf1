//! What a coordinator can be asked about a group, and its answers. Both dialects translate into this.

use std::fmt;

use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use uuid::Uuid;

use super::CoordinatorError;
use super::offsets::Committed;
use crate::group::consumer::{Heartbeat, HeartbeatReply, Topics};
use crate::group::{GroupId, MemberId, classic, consumer};
use crate::runtime::Instant;

/// What a decision is made of beside the command.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub now: Instant,
    /// For records: milliseconds since 1970.
    pub unix_millis: i64,
    pub topics: &'a Topics,
}

/// Something asked of one group. Topics and partitions named here exist, or did.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// KIP-848's one call.
    Heartbeat(Heartbeat),
    /// A member of the classic protocol joins. The UUID makes the id of one that has none its own.
    Join(classic::JoinRequest, Uuid),
    Sync(classic::SyncRequest),
    ClassicHeartbeat(classic::HeartbeatRequest),
    Leave(classic::LeaveRequest),
    CommitOffsets {
        by: Claim,
        commits: Vec<Commit>,
    },
    FetchOffsets {
        by: Claim,
        /// `None`: every offset of the group.
        topics: Option<Vec<(String, Vec<PartitionIndex>)>>,
    },
    /// By topic; each is named once.
    DeleteOffsets {
        topics: Vec<(String, Vec<PartitionIndex>)>,
    },
    Describe,
    /// Deletes a group without members, and its offsets: in several goes, if they are very many.
    Delete,
}

/// Who says that it acts for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// `None`: nobody's member; an administrator, or a consumer with partitions of its own choice.
    pub member_id: Option<MemberId>,
    pub instance_id: Option<String>,
    /// A member's epoch, or the generation of a classic group.
    pub epoch: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub topic: String,
    /// Which topic of that name: a member may still read one that was deleted.
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    /// Of the next record to process.
    pub offset: Offset,
    /// Of the last record processed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the committer wants to remember.
    pub metadata: String,
}

/// The answer to a [`Command`], of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Heartbeat(HeartbeatReply),
    /// A member waits for the others; its answer comes with a later decision, under this token.
    Later(classic::Token),
    Joined(classic::Joined),
    /// The member is to join again under this id.
    MemberIdRequired(MemberId),
    Synced(classic::Synced),
    ClassicHeartbeatTaken,
    Left(Vec<classic::Left>),
    OffsetsCommitted,
    Offsets(Vec<CommittedTopic>),
    /// By topic, in the command's order.
    OffsetsDeleted(Vec<Result<(), CoordinatorError>>),
    Described(Description),
    Deleted {
        /// False if offsets are left: the command is to be given again.
        is_complete: bool,
    },
}

/// The committed offsets of one topic's partitions; `None` where none was.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedTopic {
    pub topic: String,
    pub partitions: Vec<(PartitionIndex, Option<Committed>)>,
}

/// A group as administrators see it.
#[derive(Clone, Debug, PartialEq)]
pub enum Description {
    Consumer(consumer::GroupDescription),
    Classic(classic::GroupDescription),
    /// Nobody ever joined; there are only offsets.
    OffsetsOnly,
}

/// Which protocol the members of a group speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Consumer,
    /// Also the kind of groups that only have offsets, as in Kafka.
    Classic,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListedGroup {
    pub group_id: GroupId,
    pub kind: GroupKind,
    pub state: GroupState,
    /// `consumer` for groups of consumers; empty where nobody ever joined.
    pub protocol_type: String,
}

/// The states of groups of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Consumer(consumer::GroupState),
    Classic(classic::GroupState),
}

impl Command {
    /// True where the answer may wait for what other members do.
    pub(crate) fn waits_for_others(&self) -> bool {
        matches!(self, Self::Join(..) | Self::Sync(_))
    }

    /// True where the group need not exist.
    pub(super) fn begins_a_group(&self) -> bool {
        match self {
            Self::Heartbeat(heartbeat) => heartbeat.epoch == consumer::HeartbeatEpoch::Join,
            Self::Join(request, _) => request.member_id.is_none(),
            Self::CommitOffsets { by, .. } => by.epoch.is_none(),
            _ => false,
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer(state) => state.fmt(f),
            Self::Classic(state) => state.fmt(f),
        }
    }
}
