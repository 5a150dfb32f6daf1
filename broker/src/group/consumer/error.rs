use corelog_protocol::ErrorCode;

use super::{Assignors, STATIC_MEMBER_AWAY};
use crate::group::{GroupId, MemberId};

/// Why a group refused. Every sentence ends with what the member can do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GroupError {
    #[error("{what}: correct the request")]
    InvalidRequest { what: String },
    #[error("member {member_id} is not in group {group_id}: join with epoch 0")]
    UnknownMember {
        group_id: GroupId,
        member_id: MemberId,
    },
    #[error("no member of group {group_id} has the instance id `{instance_id}`: join with epoch 0")]
    UnknownInstance {
        group_id: GroupId,
        instance_id: String,
    },
    #[error(
        "{} says epoch {received}, but it is at {}: give up all partitions and join with epoch 0",
        member_id, shown(*expected)
    )]
    FencedEpoch {
        member_id: MemberId,
        received: i32,
        expected: i32,
    },
    #[error(
        "epoch {received} of member {member_id} is not its epoch {}: take the epoch of the next \
         heartbeat's reply and try again", shown(*expected)
    )]
    StaleEpoch {
        member_id: MemberId,
        received: i32,
        expected: i32,
    },
    #[error(
        "instance id `{instance_id}` belongs to member {holder}: give every running consumer an \
         instance id of its own"
    )]
    FencedInstance {
        instance_id: String,
        holder: MemberId,
    },
    #[error(
        "instance id `{instance_id}` is still in use by member {holder}: wait until that member \
         leaves or its session times out"
    )]
    UnreleasedInstance {
        instance_id: String,
        holder: MemberId,
    },
    #[error("there is no assignor `{name}` in `group.consumer.assignors`: use one of `{offered}`")]
    UnsupportedAssignor { name: String, offered: Assignors },
    #[error("the pattern `{pattern}` is not valid: {reason}")]
    InvalidPattern { pattern: String, reason: String },
    #[error(
        "group {group_id} has its {max_size} members: raise `group.consumer.max.size` or stop one"
    )]
    Full { group_id: GroupId, max_size: usize },
    #[error("group {group_id} has {members} members: stop them before it is deleted")]
    NotEmpty { group_id: GroupId, members: usize },
    #[error("the epochs of group {group_id} are used up: stop its members and delete the group")]
    EpochsExhausted { group_id: GroupId },
}

impl GroupError {
    /// The code on the wire, in both dialects.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            Self::UnknownMember { .. } | Self::UnknownInstance { .. } => ErrorCode::UnknownMemberId,
            Self::FencedEpoch { .. } => ErrorCode::FencedMemberEpoch,
            Self::StaleEpoch { .. } => ErrorCode::StaleMemberEpoch,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            Self::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            Self::InvalidPattern { .. } => ErrorCode::InvalidRegularExpression,
            Self::Full { .. } => ErrorCode::GroupMaxSizeReached,
            Self::NotEmpty { .. } => ErrorCode::NonEmptyGroup,
            Self::EpochsExhausted { .. } => ErrorCode::UnknownServerError,
        }
    }
}

fn shown(epoch: i32) -> String {
    match epoch {
        STATIC_MEMBER_AWAY => "away".to_owned(),
        epoch => epoch.to_string(),
    }
}
