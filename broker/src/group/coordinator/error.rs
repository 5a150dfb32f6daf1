use corelog_protocol::ErrorCode;

use crate::group::GroupId;
use crate::group::classic::ClassicError;
use crate::group::consumer::GroupError;

/// Why a coordinator refused a command.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum CoordinatorError {
    #[error(transparent)]
    Consumer(#[from] GroupError),
    #[error(transparent)]
    Classic(#[from] ClassicError),
    #[error("there is no group `{0}`")]
    NotFound(GroupId),
    #[error(
        "group `{0}` has members of the classic protocol: stop them first, or join with \
         group.protocol=classic"
    )]
    IsClassic(GroupId),
    #[error(
        "group `{0}` has members of the consumer protocol: stop them first, or join with \
         group.protocol=consumer"
    )]
    IsConsumer(GroupId),
    #[error(
        "group `{0}` has members, and only they commit its offsets: stop them before somebody else does"
    )]
    Inhabited(GroupId),
    #[error(
        "members of the group read topic `{topic}`: stop them, or have them unsubscribe from it, \
         before its offsets are deleted"
    )]
    Subscribed { topic: String },
    #[error("topic `{topic}` has just been deleted, or made: try again")]
    TopicChanged { topic: String },
    #[error(
        "this coordinator has its {max} groups: delete some, or raise group.coordinator.groups.max"
    )]
    TooManyGroups { max: usize },
}

impl CoordinatorError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Consumer(error) => error.code(),
            Self::Classic(error) => error.code(),
            Self::NotFound(_) | Self::IsClassic(_) => ErrorCode::GroupIdNotFound,
            Self::IsConsumer(_) => ErrorCode::InconsistentGroupProtocol,
            Self::Inhabited(_) => ErrorCode::UnknownMemberId,
            Self::Subscribed { .. } => ErrorCode::GroupSubscribedToTopic,
            // The next try finds the topic gone, or there.
            Self::TopicChanged { .. } => ErrorCode::CoordinatorLoadInProgress,
            Self::TooManyGroups { .. } => ErrorCode::PolicyViolation,
        }
    }
}
