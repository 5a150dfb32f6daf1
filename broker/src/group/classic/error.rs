use std::time::Duration;

use corelog_protocol::ErrorCode;

use crate::config::ByteSize;
use crate::group::{GroupId, MemberId};

/// Why a request to a classic group was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassicError {
    #[error("group `{0}` was removed; join again")]
    Removed(GroupId),

    #[error("group `{0}` moves to another coordinator; look it up and join again")]
    Moved(GroupId),

    #[error("`{0}` is no member of the group; join again without a member id")]
    UnknownMember(String),

    #[error(
        "instance id `{instance_id}` was taken over by another process; stop this one, or give it \
         a group.instance.id of its own"
    )]
    FencedInstance { instance_id: String },

    #[error("generation {given} is not the group's, which is {current}; join again")]
    IllegalGeneration { given: i32, current: i32 },

    #[error("the group rebalances; join again")]
    RebalanceInProgress,

    #[error(
        "protocol type `{protocol_type}` with the protocols offered shares none with all members \
         of the group; check partition.assignment.strategy"
    )]
    InconsistentProtocol { protocol_type: String },

    #[error(
        "session.timeout.ms={} lies outside of group.min.session.timeout.ms={} and \
         group.max.session.timeout.ms={}",
        given.as_millis(), min.as_millis(), max.as_millis()
    )]
    SessionTimeout {
        given: Duration,
        min: Duration,
        max: Duration,
    },

    #[error("join again as `{member_id}`")]
    MemberIdRequired { member_id: MemberId },

    #[error("the group has group.max.size={max} members")]
    GroupFull { max: usize },

    #[error("the subscriptions of the group would take more than group.metadata.max.bytes={max}")]
    MetadataTooLarge { max: ByteSize },

    #[error("the assignments take more than group.metadata.max.bytes={max}; assign less")]
    AssignmentsTooLarge { max: ByteSize },

    #[error("group `{0}` has members; stop them first")]
    NotEmpty(GroupId),
}

impl ClassicError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Removed(_) => ErrorCode::CoordinatorNotAvailable,
            Self::Moved(_) => ErrorCode::NotCoordinator,
            Self::UnknownMember(_) => ErrorCode::UnknownMemberId,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::InconsistentProtocol { .. } => ErrorCode::InconsistentGroupProtocol,
            Self::SessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::GroupFull { .. } | Self::MetadataTooLarge { .. } => {
                ErrorCode::GroupMaxSizeReached
            }
            Self::AssignmentsTooLarge { .. } => ErrorCode::UnknownServerError,
            Self::NotEmpty(_) => ErrorCode::NonEmptyGroup,
        }
    }
}
