//! Producing.

use std::time::Duration;

use corelog_protocol::{ErrorCode, PartitionIndex};
use thiserror::Error;

use crate::record::TopicPartition;

/// A record that was not accepted, or not acknowledged.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// No metadata of the topic came within `max.block.ms`.
    #[error("{topic}: no metadata within {} ms: {reason}", .waited.as_millis())]
    NoMetadata {
        /// The topic.
        topic: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// The cluster gave this producer no id within `max.block.ms`. Without one it cannot tell a retry from a new record;
    /// `enable.idempotence=false` does without.
    #[error("no producer id within {} ms: {reason}", .waited.as_millis())]
    NoProducerId {
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// The topic has no such partition.
    #[error("{topic} has no partition {partition}; it has {partitions}")]
    NoSuchPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: usize,
    },
    /// The record alone is larger than a setting allows.
    #[error("the record takes {size} bytes, more than {setting} = {limit}")]
    RecordTooLarge {
        /// Bytes of a batch that holds only this record, uncompressed.
        size: usize,
        /// The setting's value in bytes.
        limit: usize,
        /// The setting that forbids it.
        setting: &'static str,
    },
    /// The record cannot be written in Kafka's record format.
    #[error("the record cannot be encoded: {reason}")]
    Unencodable {
        /// The encoder's words.
        reason: String,
    },
    /// No room in `buffer.memory` within `max.block.ms`: records come faster than they are acknowledged.
    #[error("no room in buffer.memory ({limit} bytes) within {} ms", .waited.as_millis())]
    BufferFull {
        /// `buffer.memory`.
        limit: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// No acknowledgement within `delivery.timeout.ms` or within `retries`. The record may have been written.
    #[error("{partition}: not acknowledged after {attempts} attempts in {} ms: {reason}", .waited.as_millis())]
    DeliveryTimeout {
        /// Where the record was going.
        partition: TopicPartition,
        /// How often its batch was sent.
        attempts: u32,
        /// How long ago its batch was opened.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// The broker refused the batch for good.
    #[error("{partition}: {code}: {message}")]
    Broker {
        /// Where the record was going.
        partition: TopicPartition,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// The batch is more than the broker accepts in one request, and holds a single record.
    #[error("{partition}: the batch cannot be sent: {reason}")]
    Unsendable {
        /// Where the record was going.
        partition: TopicPartition,
        /// The limit that it exceeds.
        reason: String,
    },
    /// The producer was closed before the record was acknowledged. It may have been written.
    #[error("the producer is closed")]
    Closed,
    /// `close` or `flush` was given less time than the records needed.
    #[error("{batches} batches were not acknowledged within {} ms", .waited.as_millis())]
    FlushTimeout {
        /// How many batches were still under way.
        batches: usize,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl ProduceError {
    /// Whether the same record may be accepted later. A record of which this is an answer may still have been written,
    /// so that sending it again may write it twice.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NoMetadata { .. }
            | Self::NoProducerId { .. }
            | Self::BufferFull { .. }
            | Self::DeliveryTimeout { .. }
            | Self::FlushTimeout { .. } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            Self::NoSuchPartition { .. }
            | Self::RecordTooLarge { .. }
            | Self::Unencodable { .. }
            | Self::Unsendable { .. }
            | Self::Closed => false,
        }
    }
}
