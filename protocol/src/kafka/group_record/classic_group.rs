//! `GroupMetadataValue`, the value of key type 2: a group of the classic protocol.

use bytes::Bytes;

use crate::Timestamp;
use crate::kafka::{ReadError, Reader, WriteError, Writer};

/// What Kafka 4 writes: the last version that is not flexible.
const WRITTEN_VERSION: i16 = 3;
/// The first version with tagged fields.
const FLEXIBLE_VERSION: i16 = 4;
/// The smallest member is a flexible one: six lengths, two timeouts, no tagged fields. (Version 0,
/// with fewer fields but wider lengths, takes 18.)
const MEMBER_BYTES_MIN: usize = 6 + 2 * 4 + 1;

/// A group that its members have synced, or that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `consumer`, or what other protocol its members speak; empty where nobody ever joined.
    pub protocol_type: String,
    /// The generation.
    pub generation: i32,
    /// The assignor that the members agreed on.
    pub protocol: Option<String>,
    /// The member that computed the assignment.
    pub leader: Option<String>,
    /// When the group came into this state; `None` in records older than Kafka 2.1.
    pub current_state_timestamp: Option<Timestamp>,
    /// The members.
    pub members: Vec<ClassicMember>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// How long the member may take to join again. Version 0 has none: its members had the session
    /// timeout for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What it said for the chosen protocol: a
    /// [`ConsumerSubscription`](crate::kafka::ConsumerSubscription) for consumers.
    pub subscription: Bytes,
    /// What the leader gave it: a [`ConsumerAssignment`](crate::kafka::ConsumerAssignment) for
    /// consumers.
    pub assignment: Bytes,
}

impl GroupMetadata {
    pub(super) const NEWEST_VERSION: i16 = 4;

    pub(super) fn encode(&self) -> Result<Bytes, WriteError> {
        let mut value = Writer::new();
        value.int16(WRITTEN_VERSION);
        value.string("protocolType", &self.protocol_type)?;
        value.int32(self.generation);
        value.nullable_string("protocol", self.protocol.as_deref())?;
        value.nullable_string("leader", self.leader.as_deref())?;
        value.int64(self.current_state_timestamp.map_or(-1, Timestamp::get));
        value.array("members", &self.members, |value, member| {
            member.write(value)
        })?;
        Ok(value.finish())
    }

    pub(super) fn read(value: &mut Reader<'_>, version: i16) -> Result<Self, ReadError> {
        value.set_flexible(version >= FLEXIBLE_VERSION);
        let group = Self {
            protocol_type: value.string("protocolType")?,
            generation: value.int32("generation")?,
            protocol: value.nullable_string("protocol")?,
            leader: value.nullable_string("leader")?,
            current_state_timestamp: if version >= 2 {
                let timestamp = Timestamp::new(value.int64("currentStateTimestamp")?);
                Some(timestamp).filter(|&timestamp| timestamp != Timestamp::NONE)
            } else {
                None
            },
            members: value.array("members", MEMBER_BYTES_MIN, |value| {
                ClassicMember::read(value, version)
            })?,
        };
        value.skip_tagged_fields()?;
        Ok(group)
    }
}

impl ClassicMember {
    fn write(&self, value: &mut Writer) -> Result<(), WriteError> {
        value.string("memberId", &self.member_id)?;
        value.nullable_string("groupInstanceId", self.group_instance_id.as_deref())?;
        value.string("clientId", &self.client_id)?;
        value.string("clientHost", &self.client_host)?;
        value.int32(self.rebalance_timeout_ms);
        value.int32(self.session_timeout_ms);
        value.bytes("subscription", &self.subscription)?;
        value.bytes("assignment", &self.assignment)
    }

    fn read(value: &mut Reader<'_>, version: i16) -> Result<Self, ReadError> {
        let member_id = value.string("memberId")?;
        let group_instance_id = if version >= 3 {
            value.nullable_string("groupInstanceId")?
        } else {
            None
        };
        let client_id = value.string("clientId")?;
        let client_host = value.string("clientHost")?;
        let rebalance_timeout_ms = if version >= 1 {
            Some(value.int32("rebalanceTimeout")?)
        } else {
            None
        };
        let session_timeout_ms = value.int32("sessionTimeout")?;
        let subscription = value.bytes("subscription")?;
        let assignment = value.bytes("assignment")?;
        value.skip_tagged_fields()?;
        Ok(Self {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}
