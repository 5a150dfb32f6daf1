//! The records of `__consumer_offsets`: what group coordinators remember.
//!
//! A key is an int16, the record's type, and a body that is never flexible. A value is an int16,
//! its version, and a body; a record without value, a tombstone, deletes what its key names.
//! `docs/consumer_offsets.md` shows every field.

mod classic_group;
mod consumer_group;
mod offset_commit;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::{ReadError, Reader, WriteError, Writer};
use crate::PartitionIndex;

pub use classic_group::{ClassicMember, GroupMetadata};
pub use consumer_group::{
    ClassicProtocol, ConsumerGroupMember, ConsumerGroupMetadata, CurrentMemberAssignment,
    MemberState, RegularExpression, TargetAssignmentMetadata, TopicPartitions,
};
pub use offset_commit::OffsetCommit;

/// The types of records, as their keys begin.
mod record_type {
    pub(super) const LEGACY_OFFSET_COMMIT: i16 = 0;
    pub(super) const OFFSET_COMMIT: i16 = 1;
    pub(super) const GROUP_METADATA: i16 = 2;
    pub(super) const CONSUMER_GROUP_METADATA: i16 = 3;
    pub(super) const CONSUMER_GROUP_PARTITION_METADATA: i16 = 4;
    pub(super) const CONSUMER_GROUP_MEMBER_METADATA: i16 = 5;
    pub(super) const CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA: i16 = 6;
    pub(super) const CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER: i16 = 7;
    pub(super) const CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT: i16 = 8;
    pub(super) const CONSUMER_GROUP_REGULAR_EXPRESSION: i16 = 16;
}

/// One record of `__consumer_offsets`. A `value` of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// The offset that a group of either protocol committed for a partition.
    OffsetCommit {
        /// The group.
        group_id: String,
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The commit.
        value: Option<OffsetCommit>,
    },
    /// A classic group, with its members.
    GroupMetadata {
        /// The group.
        group_id: String,
        /// Its state.
        value: Option<GroupMetadata>,
    },
    /// The epoch of a consumer group (KIP-848).
    ConsumerGroupMetadata {
        /// The group.
        group_id: String,
        /// Its epoch.
        value: Option<ConsumerGroupMetadata>,
    },
    /// What a member of a consumer group said of itself.
    ConsumerGroupMember {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
        /// What it said.
        value: Option<ConsumerGroupMember>,
    },
    /// The group epoch for which the target assignment was computed.
    TargetAssignmentMetadata {
        /// The group.
        group_id: String,
        /// The epoch.
        value: Option<TargetAssignmentMetadata>,
    },
    /// The partitions that a member shall have.
    TargetAssignmentMember {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
        /// The partitions.
        value: Option<Vec<TopicPartitions>>,
    },
    /// The partitions that a member has, and how far it has come on its way to its target.
    CurrentMemberAssignment {
        /// The group.
        group_id: String,
        /// The member.
        member_id: String,
        /// The assignment.
        value: Option<CurrentMemberAssignment>,
    },
    /// The topics that a member's regular expression was resolved to.
    RegularExpression {
        /// The group.
        group_id: String,
        /// The expression, in RE2's syntax.
        regular_expression: String,
        /// The topics.
        value: Option<RegularExpression>,
    },
}

/// The bytes of a record: its key, and its value unless it is a tombstone.
pub type EncodedGroupRecord = (Bytes, Option<Bytes>);

/// What a key and a value were.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, which a box would only cost an allocation each"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodedGroupRecord {
    /// A record that coordinators of this version keep.
    Record(GroupRecord),
    /// Kafka 4.0's `ConsumerGroupPartitionMetadata`, which the metadata hash replaced (KIP-1101).
    /// Its value is not read.
    PartitionMetadata {
        /// The group.
        group_id: String,
    },
    /// A record of another kind of group, or of a later version. Nothing of it is read.
    UnknownType {
        /// The key's first two bytes.
        record_type: i16,
    },
}

/// A key or value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRecordError {
    /// The key is not as its type says.
    #[error("the key of a record of __consumer_offsets is damaged: {0}")]
    Key(#[source] ReadError),
    /// The value is not as its version says.
    #[error(
        "the value of a record of type {record_type} of __consumer_offsets is damaged: {error}"
    )]
    Value {
        /// The type in the key.
        record_type: i16,
        /// What is wrong.
        #[source]
        error: ReadError,
    },
    /// The value has a version that we do not know, so a newer broker wrote it.
    #[error(
        "the value of a record of type {record_type} of __consumer_offsets has version {found}, \
         versions 0 to {newest} are known"
    )]
    ValueVersion {
        /// The type in the key.
        record_type: i16,
        /// The version found.
        found: i16,
        /// The newest version known.
        newest: i16,
    },
}

impl GroupRecord {
    /// The record's bytes, in the versions that Kafka 4 writes.
    ///
    /// # Errors
    /// When a text is longer than Kafka's 32,767 bytes.
    pub fn encode(&self) -> Result<EncodedGroupRecord, WriteError> {
        use record_type::*;
        match self {
            Self::OffsetCommit {
                group_id,
                topic,
                partition,
                value,
            } => {
                let mut key = Writer::new();
                key.int16(OFFSET_COMMIT);
                key.string("group", group_id)?;
                key.string("topic", topic)?;
                key.int32(partition.get());
                Ok((key.finish(), encoded(value, OffsetCommit::encode)?))
            }
            Self::GroupMetadata { group_id, value } => Ok((
                group_key(GROUP_METADATA, group_id)?,
                encoded(value, GroupMetadata::encode)?,
            )),
            Self::ConsumerGroupMetadata { group_id, value } => Ok((
                group_key(CONSUMER_GROUP_METADATA, group_id)?,
                encoded(value, ConsumerGroupMetadata::encode)?,
            )),
            Self::ConsumerGroupMember {
                group_id,
                member_id,
                value,
            } => Ok((
                member_key(CONSUMER_GROUP_MEMBER_METADATA, group_id, member_id)?,
                encoded(value, ConsumerGroupMember::encode)?,
            )),
            Self::TargetAssignmentMetadata { group_id, value } => Ok((
                group_key(CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA, group_id)?,
                encoded(value, TargetAssignmentMetadata::encode)?,
            )),
            Self::TargetAssignmentMember {
                group_id,
                member_id,
                value,
            } => Ok((
                member_key(CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER, group_id, member_id)?,
                encoded(value, |value| consumer_group::encode_target(value))?,
            )),
            Self::CurrentMemberAssignment {
                group_id,
                member_id,
                value,
            } => Ok((
                member_key(
                    CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT,
                    group_id,
                    member_id,
                )?,
                encoded(value, CurrentMemberAssignment::encode)?,
            )),
            Self::RegularExpression {
                group_id,
                regular_expression,
                value,
            } => {
                let mut key = Writer::new();
                key.int16(CONSUMER_GROUP_REGULAR_EXPRESSION);
                key.string("GroupId", group_id)?;
                key.string("RegularExpression", regular_expression)?;
                Ok((key.finish(), encoded(value, RegularExpression::encode)?))
            }
        }
    }

    /// Reads a record's key and value. Types 0 and 1 of keys both become
    /// [`GroupRecord::OffsetCommit`], which is written as type 1.
    ///
    /// # Errors
    /// When the bytes are not what the key's type and the value's version say.
    pub fn decode(
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<DecodedGroupRecord, GroupRecordError> {
        use record_type::*;
        let mut key = Reader::new(key);
        let record_type = key.int16("type").map_err(GroupRecordError::Key)?;
        let value = Value { record_type, value };
        let record = match record_type {
            LEGACY_OFFSET_COMMIT | OFFSET_COMMIT => {
                let (group_id, topic, partition) =
                    offset_commit_key(key).map_err(GroupRecordError::Key)?;
                Self::OffsetCommit {
                    group_id,
                    topic,
                    partition,
                    value: value.read(OffsetCommit::NEWEST_VERSION, OffsetCommit::read)?,
                }
            }
            GROUP_METADATA => Self::GroupMetadata {
                group_id: group_of(key)?,
                value: value.read(GroupMetadata::NEWEST_VERSION, GroupMetadata::read)?,
            },
            CONSUMER_GROUP_METADATA => Self::ConsumerGroupMetadata {
                group_id: group_of(key)?,
                value: value.read(0, |r, _| ConsumerGroupMetadata::read(r))?,
            },
            CONSUMER_GROUP_PARTITION_METADATA => {
                let group_id = group_of(key)?;
                return Ok(DecodedGroupRecord::PartitionMetadata { group_id });
            }
            CONSUMER_GROUP_MEMBER_METADATA => {
                let (group_id, member_id) = pair_of(key, "MemberId")?;
                Self::ConsumerGroupMember {
                    group_id,
                    member_id,
                    value: value.read(0, |r, _| ConsumerGroupMember::read(r))?,
                }
            }
            CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA => Self::TargetAssignmentMetadata {
                group_id: group_of(key)?,
                value: value.read(0, |r, _| TargetAssignmentMetadata::read(r))?,
            },
            CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER => {
                let (group_id, member_id) = pair_of(key, "MemberId")?;
                Self::TargetAssignmentMember {
                    group_id,
                    member_id,
                    value: value.read(0, |r, _| consumer_group::read_target(r))?,
                }
            }
            CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT => {
                let (group_id, member_id) = pair_of(key, "MemberId")?;
                Self::CurrentMemberAssignment {
                    group_id,
                    member_id,
                    value: value.read(0, |r, _| CurrentMemberAssignment::read(r))?,
                }
            }
            CONSUMER_GROUP_REGULAR_EXPRESSION => {
                let (group_id, regular_expression) = pair_of(key, "RegularExpression")?;
                Self::RegularExpression {
                    group_id,
                    regular_expression,
                    value: value.read(0, |r, _| RegularExpression::read(r))?,
                }
            }
            record_type => return Ok(DecodedGroupRecord::UnknownType { record_type }),
        };
        Ok(DecodedGroupRecord::Record(record))
    }
}

fn group_key(record_type: i16, group_id: &str) -> Result<Bytes, WriteError> {
    let mut key = Writer::new();
    key.int16(record_type);
    key.string("GroupId", group_id)?;
    Ok(key.finish())
}

fn member_key(record_type: i16, group_id: &str, member_id: &str) -> Result<Bytes, WriteError> {
    let mut key = Writer::new();
    key.int16(record_type);
    key.string("GroupId", group_id)?;
    key.string("MemberId", member_id)?;
    Ok(key.finish())
}

fn encoded<T>(
    value: &Option<T>,
    encode: impl FnOnce(&T) -> Result<Bytes, WriteError>,
) -> Result<Option<Bytes>, WriteError> {
    value.as_ref().map(encode).transpose()
}

fn offset_commit_key(mut key: Reader<'_>) -> Result<(String, String, PartitionIndex), ReadError> {
    let group_id = key.string("group")?;
    let topic = key.string("topic")?;
    let partition = key.non_negative32("partition")?;
    key.finish("key")?;
    Ok((group_id, topic, partition))
}

fn group_of(mut key: Reader<'_>) -> Result<String, GroupRecordError> {
    let group_id = key.string("GroupId").map_err(GroupRecordError::Key)?;
    key.finish("key").map_err(GroupRecordError::Key)?;
    Ok(group_id)
}

/// A key of the group's id and one more text.
fn pair_of(
    mut key: Reader<'_>,
    second: &'static str,
) -> Result<(String, String), GroupRecordError> {
    let group_id = key.string("GroupId").map_err(GroupRecordError::Key)?;
    let text = key.string(second).map_err(GroupRecordError::Key)?;
    key.finish("key").map_err(GroupRecordError::Key)?;
    Ok((group_id, text))
}

/// The bytes of a value, and whose they are.
struct Value<'a> {
    record_type: i16,
    value: Option<&'a [u8]>,
}

impl Value<'_> {
    /// Reads the version and then, with `body`, the rest, to its end.
    fn read<T>(
        &self,
        newest: i16,
        body: impl FnOnce(&mut Reader<'_>, i16) -> Result<T, ReadError>,
    ) -> Result<Option<T>, GroupRecordError> {
        let record_type = self.record_type;
        let damaged = |error| GroupRecordError::Value { record_type, error };
        let Some(value) = self.value else {
            return Ok(None);
        };
        let mut reader = Reader::new(value);
        let found = reader.int16("version").map_err(damaged)?;
        if !(0..=newest).contains(&found) {
            return Err(GroupRecordError::ValueVersion {
                record_type,
                found,
                newest,
            });
        }
        let value = body(&mut reader, found).map_err(damaged)?;
        reader.finish("value").map_err(damaged)?;
        Ok(Some(value))
    }
}
