//! `OffsetCommitValue`, the value of key types 0 and 1.

use bytes::Bytes;

use crate::kafka::{ReadError, Reader, WriteError, Writer};
use crate::{LeaderEpoch, Offset, Timestamp, TopicId};

/// The first version with tagged fields.
const FLEXIBLE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The next offset that the group wants to read.
    pub offset: Offset,
    /// Leader epoch of the last record read. Version 1 does not hold it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the committer wanted to remember.
    pub metadata: String,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it expires, for clients before Kafka 2.1; `None`: as the broker's settings say.
    pub expire_timestamp: Option<Timestamp>,
    /// The topic that had the key's name; zero where nobody said.
    pub topic_id: TopicId,
}

impl OffsetCommit {
    pub(super) const NEWEST_VERSION: i16 = 4;

    /// Only version 1 holds an expiry, and only version 4 a topic id. The rest is written in
    /// version 3, which brokers since Kafka 2.1 read.
    fn version(&self) -> i16 {
        if self.expire_timestamp.is_some() {
            1
        } else if self.topic_id.is_zero() {
            3
        } else {
            4
        }
    }

    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let version = self.version();
        let mut value = Writer::new();
        value.int16(version);
        value.set_flexible(version >= FLEXIBLE_VERSION);
        value.int64(self.offset.get());
        if version >= 3 {
            value.int32(LeaderEpoch::to_sentinel(self.leader_epoch));
        }
        value.string("metadata", &self.metadata)?;
        value.int64(self.commit_timestamp.get());
        if version == 1 {
            value.int64(self.expire_timestamp.map_or(-1, Timestamp::get));
        }
        let topic_id = Bytes::copy_from_slice(self.topic_id.as_bytes());
        value.tagged_fields(&[(TOPIC_ID_TAG, topic_id)])?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>, version: i16) -> Result<Self, ReadError> {
        value.set_flexible(version >= FLEXIBLE_VERSION);
        let offset = value.non_negative64("offset")?;
        let leader_epoch = if version >= 3 {
            LeaderEpoch::from_sentinel(value.int32("leaderEpoch")?)
        } else {
            None
        };
        let metadata = value.string("metadata")?;
        let commit_timestamp = Timestamp::new(value.int64("commitTimestamp")?);
        let expire_timestamp = if version == 1 {
            Some(Timestamp::new(value.int64("expireTimestamp")?)).filter(|&t| t != Timestamp::NONE)
        } else {
            None
        };
        let mut topic_id = TopicId::ZERO;
        value.tagged_fields(|tag, field| {
            if tag != TOPIC_ID_TAG {
                return Ok(false);
            }
            topic_id = field.uuid("topicId")?;
            Ok(true)
        })?;
        Ok(Self {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp,
            topic_id,
        })
    }
}
