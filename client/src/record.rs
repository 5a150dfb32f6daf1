//! Records as callers see them, going out and coming in.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, Timestamp};

pub use corelog_protocol::record::Header;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index in the topic.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record to send. It borrows everything: the producer copies it once, into its batch.
///
/// ```
/// use corelog_client::ProducerRecord;
///
/// let record = ProducerRecord::to("orders").key(b"customer-7").value(b"2 apples");
/// assert_eq!(record.topic, "orders");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition; `None` lets the key, or else `partitioner`, decide.
    pub partition: Option<PartitionIndex>,
    /// The key; records of one key go to one partition.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [Header<'a>],
    /// The record's time; `None` is the time of the call of `send`.
    pub timestamp: Option<Timestamp>,
}

impl<'a> ProducerRecord<'a> {
    /// An empty record to a topic.
    #[must_use]
    pub fn to(topic: &'a str) -> Self {
        Self {
            topic,
            partition: None,
            key: None,
            value: None,
            headers: &[],
            timestamp: None,
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn key<B: AsRef<[u8]> + ?Sized>(mut self, key: &'a B) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value<B: AsRef<[u8]> + ?Sized>(mut self, value: &'a B) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the record's time.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where an acknowledged record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition it was written to.
    pub partition: PartitionIndex,
    /// Its offset; `None` with `acks=0`, where the broker says nothing.
    pub offset: Option<Offset>,
    /// Its time: the sender's, or the broker's in topics with `message.timestamp.type=LogAppendTime`.
    pub timestamp: Timestamp,
}

/// A record read. Key, value and headers share the memory of the batch they came in: keep a copy of what is kept for
/// long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: PartitionIndex,
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// The epoch of the leader that wrote it, if the batch carries one.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<RecordHeader>,
}

/// A header of a record read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The header's key; keys may repeat.
    pub key: String,
    /// Its value.
    pub value: Option<Bytes>,
}
