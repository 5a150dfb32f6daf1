//! The blobs that consumers of a classic group send each other through the coordinator:
//! `ConsumerProtocolSubscription` in JoinGroup, `ConsumerProtocolAssignment` in SyncGroup.
//!
//! An int16, the version, and a body that is never flexible. Later versions only add fields at the
//! end, so a version above ours is read as ours, and bytes after the last field are ignored.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::{ReadError, ReadProblem, Reader, WriteError, Writer};
use crate::PartitionIndex;

/// The newest version of both blobs.
const NEWEST_VERSION: i16 = 3;
const STRING_BYTES_MIN: usize = 2;
const TOPIC_BYTES_MIN: usize = STRING_BYTES_MIN + 4;

/// What a member wants, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerSubscription {
    /// Topics to consume.
    pub topics: Vec<String>,
    /// For the assignor.
    pub user_data: Option<Bytes>,
    /// What the member has; versions 1 and up.
    pub owned_partitions: Vec<TopicPartitionNames>,
    /// The generation in which it got them; versions 2 and up, `None` without (wire: -1).
    pub generation_id: Option<i32>,
    /// The rack it runs in; version 3.
    pub rack_id: Option<String>,
}

/// What a member got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerAssignment {
    /// Its partitions.
    pub assigned_partitions: Vec<TopicPartitionNames>,
    /// For the assignor.
    pub user_data: Option<Bytes>,
}

/// Partitions of one topic, which is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitionNames {
    /// The topic's name.
    pub topic: String,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

impl ConsumerSubscription {
    /// Writes a version from 0 to 3; fields that the version does not have are left out.
    ///
    /// # Errors
    /// When a text is longer than Kafka's 32,767 bytes.
    ///
    /// # Panics
    /// For another version.
    pub fn encode(&self, version: i16) -> Result<Bytes, WriteError> {
        let mut blob = begin(version);
        blob.array("Topics", &self.topics, |blob, topic| {
            blob.string("Topics", topic)
        })?;
        blob.nullable_bytes("UserData", self.user_data.as_deref())?;
        if version >= 1 {
            write_partitions(&mut blob, "OwnedPartitions", &self.owned_partitions)?;
        }
        if version >= 2 {
            blob.int32(self.generation_id.unwrap_or(-1));
        }
        if version >= 3 {
            blob.nullable_string("RackId", self.rack_id.as_deref())?;
        }
        Ok(blob.finish())
    }

    /// Reads the blob.
    ///
    /// # Errors
    /// Names the field that is damaged.
    pub fn decode(blob: &[u8]) -> Result<Self, ReadError> {
        let mut blob = Reader::new(blob);
        let version = read_version(&mut blob)?;
        let mut subscription = Self {
            topics: blob.array("Topics", STRING_BYTES_MIN, |blob| blob.string("Topics"))?,
            user_data: blob.nullable_bytes("UserData")?,
            ..Self::default()
        };
        if version >= 1 {
            subscription.owned_partitions = read_partitions(&mut blob, "OwnedPartitions")?;
        }
        if version >= 2 {
            subscription.generation_id = Some(blob.int32("GenerationId")?).filter(|&id| id >= 0);
        }
        if version >= 3 {
            subscription.rack_id = blob.nullable_string("RackId")?;
        }
        Ok(subscription)
    }
}

impl ConsumerAssignment {
    /// Writes a version from 0 to 3, which differ in nothing but their number.
    ///
    /// # Errors
    /// When a text is longer than Kafka's 32,767 bytes.
    ///
    /// # Panics
    /// For another version.
    pub fn encode(&self, version: i16) -> Result<Bytes, WriteError> {
        let mut blob = begin(version);
        write_partitions(&mut blob, "AssignedPartitions", &self.assigned_partitions)?;
        blob.nullable_bytes("UserData", self.user_data.as_deref())?;
        Ok(blob.finish())
    }

    /// Reads the blob.
    ///
    /// # Errors
    /// Names the field that is damaged.
    pub fn decode(blob: &[u8]) -> Result<Self, ReadError> {
        let mut blob = Reader::new(blob);
        read_version(&mut blob)?;
        Ok(Self {
            assigned_partitions: read_partitions(&mut blob, "AssignedPartitions")?,
            user_data: blob.nullable_bytes("UserData")?,
        })
    }
}

fn begin(version: i16) -> Writer {
    assert!(
        (0..=NEWEST_VERSION).contains(&version),
        "the consumer protocol has versions 0 to {NEWEST_VERSION}"
    );
    let mut blob = Writer::new();
    blob.int16(version);
    blob
}

fn read_version(blob: &mut Reader<'_>) -> Result<i16, ReadError> {
    let position = blob.position();
    let version = blob.int16("version")?;
    if version < 0 {
        let found = i64::from(version);
        let problem = ReadProblem::Negative { found };
        return Err(Reader::error_at(position, "version", problem));
    }
    Ok(version)
}

fn write_partitions(
    blob: &mut Writer,
    field: &'static str,
    topics: &[TopicPartitionNames],
) -> Result<(), WriteError> {
    blob.array(field, topics, |blob, topic| {
        blob.string("Topic", &topic.topic)?;
        blob.array("Partitions", &topic.partitions, |blob, partition| {
            blob.int32(partition.get());
            Ok(())
        })
    })
}

fn read_partitions(
    blob: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<TopicPartitionNames>, ReadError> {
    blob.array(field, TOPIC_BYTES_MIN, |blob| {
        Ok(TopicPartitionNames {
            topic: blob.string("Topic")?,
            partitions: blob.array("Partitions", size_of::<i32>(), |blob| {
                blob.non_negative32("Partitions")
            })?,
        })
    })
}
