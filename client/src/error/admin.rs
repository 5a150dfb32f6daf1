//! Managing topics and groups.

use std::time::Duration;

use corelog_protocol::ErrorCode;
use thiserror::Error;

use super::RequestError;
use crate::record::TopicPartition;

/// An admin call that failed, as a whole or for one of the things that it names.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The broker refused it for one topic.
    #[error("{topic}: {code}: {message}")]
    Topic {
        /// The topic's name, or its id where it was named by id.
        topic: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// The broker refused it for one broker.
    #[error("broker {broker}: {code}: {message}")]
    Broker {
        /// The broker's id, as it was asked for.
        broker: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// The broker refused it for one group.
    #[error("group {group}: {code}: {message}")]
    Group {
        /// The group's name.
        group: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The coordinator's words.
        message: String,
    },
    /// The broker refused it for one partition's offset of a group.
    #[error("group {group}: {partition}: {code}: {message}")]
    GroupOffset {
        /// The group's name.
        group: String,
        /// The partition.
        partition: TopicPartition,
        /// Kafka's error code.
        code: ErrorCode,
        /// The coordinator's words.
        message: String,
    },
    /// No answer within `default.api.timeout.ms`.
    #[error("{action} took longer than {} ms: {reason}", .waited.as_millis())]
    Timeout {
        /// What was being done.
        action: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// The request was sent and no answer came: it may have been carried out, wholly, in part or not at all. It is not
    /// sent again by itself, since a second time could fail over the first, or undo what somebody did in between.
    #[error("{action}: the answer was lost, look at what was done before trying again: {reason}")]
    OutcomeUnknown {
        /// What was being done.
        action: &'static str,
        /// What came in place of the answer.
        reason: String,
    },
    /// The request as a whole failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The broker's answer does not fit the question.
    #[error("the broker's answer to {action} misses {what}")]
    IncompleteAnswer {
        /// What was being done.
        action: &'static str,
        /// What should have been there.
        what: String,
    },
}

impl AdminError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Topic { code, .. }
            | Self::Broker { code, .. }
            | Self::Group { code, .. }
            | Self::GroupOffset { code, .. } => code.is_retriable(),
            Self::Timeout { .. } => true,
            Self::Request(error) => error.is_retriable(),
            Self::IncompleteAnswer { .. } | Self::OutcomeUnknown { .. } => false,
        }
    }
}
