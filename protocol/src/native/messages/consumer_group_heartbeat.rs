//! ConsumerGroupHeartbeat: joining, staying in and leaving a group (KIP-848).

use flatbuffers::FlatBufferBuilder;

use super::group_parts::{TopicPartitions, read_topics, write_topics};
use super::parts::{RouteHint, error_code, read_strings, write_string, write_strings};
use crate::ErrorCode;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// A sign of life of a group's member, and what it has to say. What is `None` is as said before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatRequest {
    /// The group.
    pub group: String,
    /// The member's own id, which it draws at random and keeps as long as it lives.
    pub member_id: String,
    /// The epoch that the last heartbeat was answered with;
    /// [`JOIN_EPOCH`](Self::JOIN_EPOCH), [`LEAVE_EPOCH`](Self::LEAVE_EPOCH) and
    /// [`LEAVE_FOR_NOW_EPOCH`](Self::LEAVE_FOR_NOW_EPOCH) have meanings of their own.
    pub member_epoch: i32,
    /// The name of a static member, which its next incarnation takes over.
    pub instance_id: Option<String>,
    /// Where the member is.
    pub rack_id: Option<String>,
    /// How long the member may take to give up partitions.
    pub rebalance_timeout_ms: Option<u32>,
    /// The topics subscribed to.
    pub topic_names: Option<Vec<String>>,
    /// A regular expression over the names of further topics; empty: none any more.
    pub topic_pattern: Option<String>,
    /// The assignor that the member wants.
    pub assignor: Option<String>,
    /// The partitions that the member has.
    pub owned: Option<Vec<TopicPartitions>>,
    /// How long the answer may wait until there is something to tell the member, in milliseconds. The coordinator answers
    /// earlier when the member sends another heartbeat, and may answer at once.
    pub wait_ms: u32,
}

impl ConsumerGroupHeartbeatRequest {
    /// The member joins.
    pub const JOIN_EPOCH: i32 = 0;
    /// The member leaves.
    pub const LEAVE_EPOCH: i32 = -1;
    /// The static member leaves and will be back: its partitions are kept for it.
    pub const LEAVE_FOR_NOW_EPOCH: i32 = -2;
}

impl EncodeMessage for ConsumerGroupHeartbeatRequest {
    const API: ApiKey = ApiKey::ConsumerGroupHeartbeat;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let group = Some(builder.create_string(&self.group));
        let member_id = Some(builder.create_string(&self.member_id));
        let instance_id = write_string(builder, self.instance_id.as_deref());
        let rack_id = write_string(builder, self.rack_id.as_deref());
        let topic_names = self
            .topic_names
            .as_deref()
            .map(|names| write_strings(builder, names));
        let topic_pattern = write_string(builder, self.topic_pattern.as_deref());
        let assignor = write_string(builder, self.assignor.as_deref());
        let owned = write_topics(builder, self.owned.as_deref());
        let table = tables::ConsumerGroupHeartbeatRequest::create(
            builder,
            &tables::ConsumerGroupHeartbeatRequestArgs {
                group,
                member_id,
                member_epoch: self.member_epoch,
                instance_id,
                rack_id,
                rebalance_timeout_ms: self.rebalance_timeout_ms,
                topic_names,
                topic_pattern,
                assignor,
                owned,
                wait_ms: self.wait_ms,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ConsumerGroupHeartbeatRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ConsumerGroupHeartbeatRequest<'_>>(metadata)?;
        Ok(Self {
            group: table.group().to_owned(),
            member_id: table.member_id().to_owned(),
            member_epoch: table.member_epoch(),
            instance_id: table.instance_id().map(str::to_owned),
            rack_id: table.rack_id().map(str::to_owned),
            rebalance_timeout_ms: table.rebalance_timeout_ms(),
            topic_names: table.topic_names().map(read_strings),
            topic_pattern: table.topic_pattern().map(str::to_owned),
            assignor: table.assignor().map(str::to_owned),
            owned: read_topics(table.owned())?,
            wait_ms: table.wait_ms(),
        })
    }
}

/// What the coordinator wants of the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatResponse {
    /// Why the heartbeat was refused.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The epoch that the next heartbeat says.
    pub member_epoch: i32,
    /// When the next heartbeat is due.
    pub heartbeat_interval_ms: u32,
    /// How long the member may be silent before it is taken for dead.
    pub session_timeout_ms: u32,
    /// The partitions that the member should have; none: as before.
    pub assignment: Option<Vec<TopicPartitions>>,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

impl ConsumerGroupHeartbeatResponse {
    /// The answer to a heartbeat that changed nothing.
    pub fn refused(error: ErrorCode, error_message: Option<String>) -> Self {
        Self {
            error,
            error_message,
            member_epoch: 0,
            heartbeat_interval_ms: 0,
            session_timeout_ms: 0,
            assignment: None,
            hint: None,
        }
    }
}

impl EncodeMessage for ConsumerGroupHeartbeatResponse {
    const API: ApiKey = ApiKey::ConsumerGroupHeartbeat;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let assignment = write_topics(builder, self.assignment.as_deref());
        let hint = self.hint.map(|hint| hint.write(builder));
        let table = tables::ConsumerGroupHeartbeatResponse::create(
            builder,
            &tables::ConsumerGroupHeartbeatResponseArgs {
                error: self.error.code(),
                error_message,
                member_epoch: self.member_epoch,
                heartbeat_interval_ms: self.heartbeat_interval_ms,
                session_timeout_ms: self.session_timeout_ms,
                assignment,
                hint,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ConsumerGroupHeartbeatResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ConsumerGroupHeartbeatResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            member_epoch: table.member_epoch(),
            heartbeat_interval_ms: table.heartbeat_interval_ms(),
            session_timeout_ms: table.session_timeout_ms(),
            assignment: read_topics(table.assignment())?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}
