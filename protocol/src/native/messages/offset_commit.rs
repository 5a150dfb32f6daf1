//! OffsetCommit: how far a group has come.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::group_parts::{MemberEpoch, OffsetPartitionError};
use super::parts::{RouteHint, error_code, read_tables, write_string, write_tables, write_text};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, non_negative, offset, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Commits offsets of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group: String,
    /// Who commits; none: nobody of the group, which must have no members then.
    pub member: Option<MemberEpoch>,
    /// What.
    pub topics: Vec<OffsetCommitTopic>,
}

/// The offsets of one topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitTopic {
    /// The topic.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<OffsetCommitPartition>,
}

/// One partition's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// Where the group goes on: the offset after that of the last record processed.
    pub offset: Offset,
    /// The leader epoch of the last record processed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the member wants to find there again.
    pub metadata: String,
}

impl EncodeMessage for OffsetCommitRequest {
    const API: ApiKey = ApiKey::OffsetCommit;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let group = Some(builder.create_string(&self.group));
        let member = self.member.as_ref();
        let member_id = write_string(builder, member.map(|member| &*member.member_id));
        let topics = Some(write_tables(
            builder,
            &self.topics,
            OffsetCommitTopic::write,
        ));
        let table = tables::OffsetCommitRequest::create(
            builder,
            &tables::OffsetCommitRequestArgs {
                group,
                member_id,
                member_epoch: member.map(|member| member.epoch),
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetCommitRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetCommitRequest<'_>>(metadata)?;
        Ok(Self {
            group: table.group().to_owned(),
            member: MemberEpoch::read(
                "OffsetCommitRequest",
                table.member_id(),
                table.member_epoch(),
            )?,
            topics: read_tables(table.topics(), OffsetCommitTopic::read)?,
        })
    }
}

impl OffsetCommitTopic {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetCommitTopic<'a>> {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            OffsetCommitPartition::write,
        ));
        tables::OffsetCommitTopic::create(
            builder,
            &tables::OffsetCommitTopicArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partitions,
            },
        )
    }

    fn read(table: tables::OffsetCommitTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partitions: read_tables(table.partitions(), OffsetCommitPartition::read)?,
        })
    }
}

impl OffsetCommitPartition {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetCommitPartition<'a>> {
        let metadata = write_text(builder, &self.metadata);
        tables::OffsetCommitPartition::create(
            builder,
            &tables::OffsetCommitPartitionArgs {
                partition: self.partition.get(),
                offset: self.offset.get(),
                leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
                metadata,
            },
        )
    }

    fn read(table: tables::OffsetCommitPartition<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: non_negative("partition", table.partition())?,
            offset: offset("offset", table.offset())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            metadata: table.metadata().unwrap_or_default().to_owned(),
        })
    }
}

/// What became of each offset, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// Why nothing was committed; `topics` is empty then.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The topics.
    pub topics: Vec<OffsetCommitTopicResponse>,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

/// The answer about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitTopicResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<OffsetPartitionError>,
}

impl OffsetCommitResponse {
    /// The answer to a request that was refused as a whole.
    pub fn refused(error: ErrorCode, error_message: Option<String>) -> Self {
        Self {
            error,
            error_message,
            topics: Vec::new(),
            hint: None,
        }
    }
}

impl EncodeMessage for OffsetCommitResponse {
    const API: ApiKey = ApiKey::OffsetCommit;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let topics = Some(write_tables(
            builder,
            &self.topics,
            OffsetCommitTopicResponse::write,
        ));
        let hint = self.hint.map(|hint| hint.write(builder));
        let table = tables::OffsetCommitResponse::create(
            builder,
            &tables::OffsetCommitResponseArgs {
                error: self.error.code(),
                error_message,
                topics,
                hint,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetCommitResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetCommitResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            topics: read_tables(table.topics(), OffsetCommitTopicResponse::read)?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl OffsetCommitTopicResponse {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetCommitTopicResponse<'a>> {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            OffsetPartitionError::write,
        ));
        tables::OffsetCommitTopicResponse::create(
            builder,
            &tables::OffsetCommitTopicResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partitions,
            },
        )
    }

    fn read(table: tables::OffsetCommitTopicResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partitions: read_tables(table.partitions(), OffsetPartitionError::read)?,
        })
    }
}
