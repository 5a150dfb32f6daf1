//! Consuming.

use std::time::Duration;

use corelog_protocol::{ErrorCode, Offset};
use thiserror::Error;

use super::RequestError;
use crate::record::TopicPartition;

/// A position that cannot be found or a batch that cannot be read.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The partition is not assigned to this consumer.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition asked for.
        partition: TopicPartition,
    },
    /// The cluster has no such topic or partition.
    #[error("{partition} does not exist")]
    NoSuchPartition {
        /// The partition asked for.
        partition: TopicPartition,
    },
    /// The position is not in the log and `auto.offset.reset` is `none`.
    #[error("{partition}: offset {offset} is not in the log and auto.offset.reset is none")]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position that the log does not hold.
        offset: Offset,
    },
    /// The partition has no position and `auto.offset.reset` is `none`.
    #[error("{partition} has no position: seek first, or set auto.offset.reset")]
    NoPosition {
        /// The partition.
        partition: TopicPartition,
    },
    /// Records that this consumer had read are no longer in the log: a leader without them took over.
    #[error(
        "{partition}: the log was cut back to {end_offset} while this consumer was at {position}"
    )]
    LogTruncated {
        /// The partition.
        partition: TopicPartition,
        /// Where this consumer was.
        position: Offset,
        /// Where the log that both sides share ends.
        end_offset: Offset,
    },
    /// A batch fails its checks. The position stays before it: seek past it to go on.
    #[error("{partition}: the batch at offset {offset} is damaged: {reason}")]
    Corrupt {
        /// The partition.
        partition: TopicPartition,
        /// Where the batch stands.
        offset: Offset,
        /// The check that failed.
        reason: String,
    },
    /// The broker refused the partition for good.
    #[error("{partition}: {code}: {message}")]
    Broker {
        /// The partition.
        partition: TopicPartition,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
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
    /// A request failed for good.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}

impl ConsumeError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            Self::Request(error) => error.is_retriable(),
            _ => false,
        }
    }
}
