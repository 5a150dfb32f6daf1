//! Consuming in a group.

use std::time::Duration;

use corelog_protocol::ErrorCode;
use thiserror::Error;

use super::{ConsumeError, RequestError};
use crate::record::TopicPartition;

/// What a consumer in a group could not do.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A subscription to nothing.
    #[error("a subscription names at least one topic, or a pattern that is not empty")]
    EmptySubscription,
    /// Polled without a subscription.
    #[error("group {group}: subscribe to topics before polling")]
    NotSubscribed {
        /// The group.
        group: String,
    },
    /// A commit of a partition that this member does not have, or no longer has: its offset is another member's matter.
    #[error("group {group}: {partition} is not this member's: {reason}")]
    NotOwned {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartition,
        /// How that came about, as far as this member knows.
        reason: String,
    },
    /// The coordinator has put this member out of the group. `poll` joins again.
    #[error("group {group}: this member was put out: {code}: {message}")]
    Fenced {
        /// The group.
        group: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The coordinator's words.
        message: String,
    },
    /// The coordinator refused for good.
    #[error("group {group}: {action}: {code}: {message}")]
    Refused {
        /// The group.
        group: String,
        /// What was being done.
        action: &'static str,
        /// Kafka's error code.
        code: ErrorCode,
        /// The coordinator's words.
        message: String,
    },
    /// One partition's offset was refused for good.
    #[error("group {group}: {action} of {partition}: {code}: {message}")]
    Partition {
        /// The group.
        group: String,
        /// What was being done.
        action: &'static str,
        /// The partition.
        partition: TopicPartition,
        /// Kafka's error code.
        code: ErrorCode,
        /// The coordinator's words.
        message: String,
    },
    /// Not done within `default.api.timeout.ms`.
    #[error("group {group}: {action} took longer than {} ms: {reason}", .waited.as_millis())]
    Timeout {
        /// The group.
        group: String,
        /// What was being done.
        action: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// Commits come faster than the coordinator answers.
    #[error("group {group}: {waiting} commits are waiting already")]
    TooManyCommits {
        /// The group.
        group: String,
        /// How many wait.
        waiting: usize,
    },
    /// A request failed for good.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A partition cannot be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}

impl GroupError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::TooManyCommits { .. } => true,
            Self::Refused { code, .. } | Self::Partition { code, .. } => code.is_retriable(),
            Self::Request(error) => error.is_retriable(),
            Self::Consume(error) => error.is_retriable(),
            Self::EmptySubscription
            | Self::NotSubscribed { .. }
            | Self::NotOwned { .. }
            | Self::Fenced { .. }
            | Self::Closed => false,
        }
    }
}
