//! The values of key types 3 and 5 to 16: groups of the consumer protocol (KIP-848). All have
//! version 0, which is flexible.

use bytes::Bytes;

use crate::kafka::{ReadError, Reader, WriteError, Writer};
use crate::{PartitionIndex, Timestamp, TopicId};

const METADATA_HASH_TAG: u32 = 0;
const CLASSIC_MEMBER_METADATA_TAG: u32 = 0;
/// How a structure that may be null begins, when it is not.
const PRESENT: i8 = 1;
/// The smallest string: its length.
const STRING_BYTES_MIN: usize = 1;
/// The smallest protocol: two lengths, no tagged fields.
const PROTOCOL_BYTES_MIN: usize = 3;
/// The smallest topic: its id, no partitions, no tagged fields.
const TOPIC_PARTITIONS_BYTES_MIN: usize = 16 + 1 + 1;

/// The state of a group that is in no member's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    /// Raised by every change of members, subscriptions or topics.
    pub epoch: i32,
    /// Hash of the subscribed topics as they were for this epoch (KIP-1101); 0: not known.
    pub metadata_hash: i64,
}

/// What a member said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupMember {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The rack it runs in.
    pub rack_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// Topics by name.
    pub subscribed_topic_names: Vec<String>,
    /// Topics by a regular expression.
    pub subscribed_topic_regex: Option<String>,
    /// How long it may take to give up partitions; -1: not known.
    pub rebalance_timeout_ms: i32,
    /// The assignor it asks for.
    pub server_assignor: Option<String>,
    /// The protocols of a member that speaks the classic protocol to a consumer group; `None` for
    /// others.
    pub classic_protocols: Option<Vec<ClassicProtocol>>,
}

/// An assignor that a classic member supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicProtocol {
    /// The assignor's name.
    pub name: String,
    /// What the member says for it.
    pub metadata: Bytes,
}

/// For which group epoch the target assignment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetAssignmentMetadata {
    /// The group epoch.
    pub assignment_epoch: i32,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Where a member stands on its way from one epoch to the next: Kafka's `MemberState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum MemberState {
    /// It has what its epoch gives it.
    Stable = 0,
    /// It must give up partitions before its epoch rises.
    UnrevokedPartitions = 1,
    /// It waits for partitions that others have yet to give up.
    UnreleasedPartitions = 2,
    /// A state of a later version.
    Unknown = 127,
}

/// The partitions that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentMemberAssignment {
    /// What its next heartbeat must say; -2 for a static member that is away.
    pub member_epoch: i32,
    /// What it may still say when the reply that raised the epoch was lost.
    pub previous_member_epoch: i32,
    /// How far it has come.
    pub state: MemberState,
    /// What it has.
    pub assigned_partitions: Vec<TopicPartitions>,
    /// What it was told to give up and may still have.
    pub partitions_pending_revocation: Vec<TopicPartitions>,
}

/// The topics of a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegularExpression {
    /// Their names.
    pub topics: Vec<String>,
    /// The version of the metadata that it was resolved against.
    pub version: i64,
    /// When it was resolved.
    pub timestamp: Timestamp,
}

/// A value that has its version and waits for its fields.
fn version_0() -> Writer {
    let mut value = Writer::new();
    value.int16(0);
    value.set_flexible(true);
    value
}

impl ConsumerGroupMetadata {
    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = version_0();
        value.int32(self.epoch);
        let hash = Bytes::copy_from_slice(&self.metadata_hash.to_be_bytes());
        let tags = [(METADATA_HASH_TAG, hash)];
        // A tagged field that has its default is left out.
        value.tagged_fields(if self.metadata_hash == 0 { &[] } else { &tags })?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>) -> Result<Self, ReadError> {
        value.set_flexible(true);
        let epoch = value.int32("Epoch")?;
        let mut metadata_hash = 0;
        value.tagged_fields(|tag, field| {
            if tag != METADATA_HASH_TAG {
                return Ok(false);
            }
            metadata_hash = field.int64("MetadataHash")?;
            Ok(true)
        })?;
        Ok(Self {
            epoch,
            metadata_hash,
        })
    }
}

impl ConsumerGroupMember {
    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = version_0();
        value.nullable_string("InstanceId", self.instance_id.as_deref())?;
        value.nullable_string("RackId", self.rack_id.as_deref())?;
        value.string("ClientId", &self.client_id)?;
        value.string("ClientHost", &self.client_host)?;
        value.array(
            "SubscribedTopicNames",
            &self.subscribed_topic_names,
            |value, name| value.string("SubscribedTopicNames", name),
        )?;
        value.nullable_string(
            "SubscribedTopicRegex",
            self.subscribed_topic_regex.as_deref(),
        )?;
        value.int32(self.rebalance_timeout_ms);
        value.nullable_string("ServerAssignor", self.server_assignor.as_deref())?;
        match &self.classic_protocols {
            Some(protocols) => {
                let protocols = encode_protocols(protocols)?;
                value.tagged_fields(&[(CLASSIC_MEMBER_METADATA_TAG, protocols)])?;
            }
            None => value.tagged_fields(&[])?,
        }
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>) -> Result<Self, ReadError> {
        value.set_flexible(true);
        let mut member = Self {
            instance_id: value.nullable_string("InstanceId")?,
            rack_id: value.nullable_string("RackId")?,
            client_id: value.string("ClientId")?,
            client_host: value.string("ClientHost")?,
            subscribed_topic_names: value.array(
                "SubscribedTopicNames",
                STRING_BYTES_MIN,
                |value| value.string("SubscribedTopicNames"),
            )?,
            subscribed_topic_regex: value.nullable_string("SubscribedTopicRegex")?,
            rebalance_timeout_ms: value.int32("RebalanceTimeoutMs")?,
            server_assignor: value.nullable_string("ServerAssignor")?,
            classic_protocols: None,
        };
        value.tagged_fields(|tag, field| {
            if tag != CLASSIC_MEMBER_METADATA_TAG {
                return Ok(false);
            }
            member.classic_protocols = read_protocols(field)?;
            Ok(true)
        })?;
        Ok(member)
    }
}

/// `ClassicMemberMetadata`, a structure that may be null inside of a tagged field.
fn encode_protocols(protocols: &[ClassicProtocol]) -> Result<Bytes, WriteError> {
    let mut field = Writer::new();
    field.set_flexible(true);
    field.int8(PRESENT);
    field.array("SupportedProtocols", protocols, |field, protocol| {
        field.string("Name", &protocol.name)?;
        field.bytes("Metadata", &protocol.metadata)?;
        field.tagged_fields(&[])
    })?;
    field.tagged_fields(&[])?;
    Ok(field.finish())
}

fn read_protocols(field: &mut Reader<'_>) -> Result<Option<Vec<ClassicProtocol>>, ReadError> {
    if field.int8("ClassicMemberMetadata")? < 0 {
        return Ok(None);
    }
    let protocols = field.array("SupportedProtocols", PROTOCOL_BYTES_MIN, |field| {
        let protocol = ClassicProtocol {
            name: field.string("Name")?,
            metadata: field.bytes("Metadata")?,
        };
        field.skip_tagged_fields()?;
        Ok(protocol)
    })?;
    field.skip_tagged_fields()?;
    Ok(Some(protocols))
}

impl TargetAssignmentMetadata {
    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = version_0();
        value.int32(self.assignment_epoch);
        value.tagged_fields(&[])?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>) -> Result<Self, ReadError> {
        value.set_flexible(true);
        let assignment_epoch = value.int32("AssignmentEpoch")?;
        value.skip_tagged_fields()?;
        Ok(Self { assignment_epoch })
    }
}

/// `ConsumerGroupTargetAssignmentMemberValue`.
pub(super) fn encode_target(topics: &[TopicPartitions]) -> Result<Bytes, WriteError> {
    let mut value = version_0();
    write_topics(&mut value, "TopicPartitions", topics)?;
    value.tagged_fields(&[])?;
    Ok(value.finish())
}

pub(super) fn read_target(value: &mut Reader<'_>) -> Result<Vec<TopicPartitions>, ReadError> {
    value.set_flexible(true);
    let topics = read_topics(value, "TopicPartitions")?;
    value.skip_tagged_fields()?;
    Ok(topics)
}

fn write_topics(
    value: &mut Writer,
    field: &'static str,
    topics: &[TopicPartitions],
) -> Result<(), WriteError> {
    value.array(field, topics, |value, topic| {
        value.uuid(topic.topic_id);
        value.array("Partitions", &topic.partitions, |value, partition| {
            value.int32(partition.get());
            Ok(())
        })?;
        value.tagged_fields(&[])
    })
}

fn read_topics(
    value: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<TopicPartitions>, ReadError> {
    value.array(field, TOPIC_PARTITIONS_BYTES_MIN, |value| {
        let topic = TopicPartitions {
            topic_id: value.uuid("TopicId")?,
            partitions: value.array("Partitions", size_of::<i32>(), |value| {
                value.non_negative32("Partitions")
            })?,
        };
        value.skip_tagged_fields()?;
        Ok(topic)
    })
}

impl MemberState {
    /// The state with this number.
    pub const fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    /// Its number in the record.
    pub const fn number(self) -> i8 {
        self as i8
    }
}

impl CurrentMemberAssignment {
    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = version_0();
        value.int32(self.member_epoch);
        value.int32(self.previous_member_epoch);
        value.int8(self.state.number());
        write_topics(&mut value, "AssignedPartitions", &self.assigned_partitions)?;
        write_topics(
            &mut value,
            "PartitionsPendingRevocation",
            &self.partitions_pending_revocation,
        )?;
        value.tagged_fields(&[])?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>) -> Result<Self, ReadError> {
        value.set_flexible(true);
        let assignment = Self {
            member_epoch: value.int32("MemberEpoch")?,
            previous_member_epoch: value.int32("PreviousMemberEpoch")?,
            state: MemberState::from_number(value.int8("State")?),
            assigned_partitions: read_topics(value, "AssignedPartitions")?,
            partitions_pending_revocation: read_topics(value, "PartitionsPendingRevocation")?,
        };
        value.skip_tagged_fields()?;
        Ok(assignment)
    }
}

impl RegularExpression {
    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = version_0();
        value.array("Topics", &self.topics, |value, topic| {
            value.string("Topics", topic)
        })?;
        value.int64(self.version);
        value.int64(self.timestamp.get());
        value.tagged_fields(&[])?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>) -> Result<Self, ReadError> {
        value.set_flexible(true);
        let resolved = Self {
            topics: value.array("Topics", STRING_BYTES_MIN, |value| value.string("Topics"))?,
            version: value.int64("Version")?,
            timestamp: Timestamp::new(value.int64("Timestamp")?),
        };
        value.skip_tagged_fields()?;
        Ok(resolved)
    }
}
