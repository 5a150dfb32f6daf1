//! One error type per operation. Each says what was asked, of whom, and what came back; `is_retriable` says whether the
//! same call can succeed later without a change by the caller.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::{BrokerId, ErrorCode, Offset, PartitionIndex};
use thiserror::Error;

use crate::TopicPartition;

/// A setting that a client cannot be built with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The name is not a setting of this kind of client.
    #[error("`{name}` is no setting of the {role}; it knows: {known}")]
    UnknownName {
        /// The name given.
        name: String,
        /// The kind of client.
        role: String,
        /// Every name that this kind of client has.
        known: String,
    },
    /// A setting without a default was not given.
    #[error("{name} is required")]
    MissingValue {
        /// The setting.
        name: &'static str,
    },
    /// The value cannot be read or is out of its range.
    #[error("{name} = {value:?}: expected {expected}")]
    InvalidValue {
        /// The setting.
        name: &'static str,
        /// The text given.
        value: String,
        /// The values that are allowed.
        expected: String,
    },
}

impl ConfigError {
    /// Never: settings do not mend themselves.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        false
    }
}

/// What went wrong on one connection to one broker.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The host name has no address.
    #[error("{address}: no address found: {source}")]
    Resolve {
        /// The `host:port` that was asked for.
        address: String,
        /// The resolver's error.
        source: Arc<io::Error>,
    },
    /// The operating system refused to connect, read or write.
    #[error("{address}: {action}: {source}")]
    Socket {
        /// The `host:port` of the broker.
        address: String,
        /// What was being done.
        action: &'static str,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// The connection or its Hello took longer than `socket.connection.setup.timeout.ms`.
    #[error("{address}: no connection within {} ms", .waited.as_millis())]
    SetupTimeout {
        /// The `host:port` of the broker.
        address: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The broker refused the Hello.
    #[error("{address}: the broker refused the connection: {code}: {message}")]
    Refused {
        /// The `host:port` of the broker.
        address: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// Another broker, or another cluster, answers at this address.
    #[error("{address}: expected {expected} but {found} answered")]
    WrongPeer {
        /// The `host:port` of the broker.
        address: String,
        /// Who was expected.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// The broker sent bytes that are no valid frame or message.
    #[error("{address}: the broker sent {what}: {reason}")]
    Malformed {
        /// The `host:port` of the broker.
        address: String,
        /// What was being read.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The connection ended while a reply was due.
    #[error("{address}: the connection was closed ({reason})")]
    Closed {
        /// The `host:port` of the broker.
        address: String,
        /// Why, as far as this side knows.
        reason: String,
    },
    /// A reply took longer than `request.timeout.ms`; the connection was given up.
    #[error("{address}: no reply to {request} within {} ms", .waited.as_millis())]
    RequestTimeout {
        /// The `host:port` of the broker.
        address: String,
        /// The request's name.
        request: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The request does not fit what the broker accepts.
    #[error("{address}: {request} cannot be sent: {reason}")]
    Unsendable {
        /// The `host:port` of the broker.
        address: String,
        /// The request's name.
        request: &'static str,
        /// The limit it exceeds.
        reason: String,
    },
    /// The cluster's metadata names no such broker.
    #[error("broker {broker} is not in the cluster's metadata")]
    UnknownBroker {
        /// The broker wanted.
        broker: BrokerId,
    },
}

impl ConnectionError {
    /// True unless the address answers but is the wrong one, or refuses this client for good.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable(),
            Self::WrongPeer { .. } | Self::Unsendable { .. } => false,
            _ => true,
        }
    }
}

/// A client that could not be built.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No bootstrap server gave an answer in time.
    #[error("no broker of {servers} answered within {} ms: {last}", .waited.as_millis())]
    Unreachable {
        /// `bootstrap.servers`.
        servers: String,
        /// How long they were tried.
        waited: Duration,
        /// What the last attempt met.
        last: RequestError,
    },
}

impl ConnectError {
    /// True if no server could be reached, false if a setting is wrong.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A request that got no reply, or an error for a reply.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The broker answered with an error.
    #[error("{request} was refused: {code}: {message}")]
    Broker {
        /// The request's name.
        request: &'static str,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
}

impl RequestError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_retriable(),
            Self::Broker { code, .. } => code.is_retriable(),
        }
    }
}

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
            | Self::BufferFull { .. }
            | Self::DeliveryTimeout { .. }
            | Self::FlushTimeout { .. } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            Self::NoSuchPartition { .. }
            | Self::RecordTooLarge { .. }
            | Self::Unencodable { .. }
            | Self::Closed => false,
        }
    }
}

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

/// An admin call that failed, as a whole or for one topic.
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
            Self::Topic { code, .. } => code.is_retriable(),
            Self::Timeout { .. } => true,
            Self::Request(error) => error.is_retriable(),
            Self::IncompleteAnswer { .. } => false,
        }
    }
}

/// Joins the broker's words with the code's own sentence where the broker said nothing.
pub(crate) fn words(code: ErrorCode, message: Option<impl fmt::Display>) -> String {
    match message {
        Some(message) => message.to_string(),
        None => code.message().to_owned(),
    }
}
