//! OffsetFetch: where a group goes on.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::group_parts::{MemberEpoch, TopicPartitions, read_topics, write_topics};
use super::parts::{RouteHint, error_code, read_tables, write_string, write_tables, write_text};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, non_negative, optional, root, topic_id, topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Asks for a group's committed offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The group.
    pub group: String,
    /// Who asks; none: anybody, who is not checked.
    pub member: Option<MemberEpoch>,
    /// The partitions; none: all that have an offset.
    pub topics: Option<Vec<TopicPartitions>>,
}

impl EncodeMessage for OffsetFetchRequest {
    const API: ApiKey = ApiKey::OffsetFetch;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let group = Some(builder.create_string(&self.group));
        let member = self.member.as_ref();
        let member_id = write_string(builder, member.map(|member| &*member.member_id));
        let topics = write_topics(builder, self.topics.as_deref());
        let table = tables::OffsetFetchRequest::create(
            builder,
            &tables::OffsetFetchRequestArgs {
                group,
                member_id,
                member_epoch: member.map(|member| member.epoch),
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetFetchRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetFetchRequest<'_>>(metadata)?;
        Ok(Self {
            group: table.group().to_owned(),
            member: MemberEpoch::read(
                "OffsetFetchRequest",
                table.member_id(),
                table.member_epoch(),
            )?,
            topics: read_topics(table.topics())?,
        })
    }
}

/// The offsets: in the request's order, or all that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// Why nothing was looked up; `topics` is empty then.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The topics.
    pub topics: Vec<OffsetFetchTopicResponse>,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

/// The offsets of one topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchTopicResponse {
    /// The topic; zero if it is gone and its offsets are not.
    pub topic_id: TopicId,
    /// Its name; empty if the id is unknown.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<OffsetFetchPartitionResponse>,
}

/// One partition's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchPartitionResponse {
    /// The partition.
    pub partition: PartitionIndex,
    /// Why it was not looked up.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Where the group goes on; none: nothing was committed.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record processed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the member stored along with it.
    pub metadata: String,
}

impl OffsetFetchResponse {
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

impl EncodeMessage for OffsetFetchResponse {
    const API: ApiKey = ApiKey::OffsetFetch;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let topics = Some(write_tables(
            builder,
            &self.topics,
            OffsetFetchTopicResponse::write,
        ));
        let hint = self.hint.map(|hint| hint.write(builder));
        let table = tables::OffsetFetchResponse::create(
            builder,
            &tables::OffsetFetchResponseArgs {
                error: self.error.code(),
                error_message,
                topics,
                hint,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetFetchResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetFetchResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            topics: read_tables(table.topics(), OffsetFetchTopicResponse::read)?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl OffsetFetchTopicResponse {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetFetchTopicResponse<'a>> {
        let name = Some(builder.create_string(&self.name));
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            OffsetFetchPartitionResponse::write,
        ));
        tables::OffsetFetchTopicResponse::create(
            builder,
            &tables::OffsetFetchTopicResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                name,
                partitions,
            },
        )
    }

    fn read(table: tables::OffsetFetchTopicResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            name: table.name().to_owned(),
            partitions: read_tables(table.partitions(), OffsetFetchPartitionResponse::read)?,
        })
    }
}

impl OffsetFetchPartitionResponse {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetFetchPartitionResponse<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let metadata = write_text(builder, &self.metadata);
        tables::OffsetFetchPartitionResponse::create(
            builder,
            &tables::OffsetFetchPartitionResponseArgs {
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
                offset: self.offset.map(Offset::get),
                leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
                metadata,
            },
        )
    }

    fn read(table: tables::OffsetFetchPartitionResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            offset: optional("offset", table.offset())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            metadata: table.metadata().unwrap_or_default().to_owned(),
        })
    }
}
