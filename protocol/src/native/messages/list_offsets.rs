//! ListOffsets: finding offsets by place or time.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::fetch::isolation;
use super::parts::{RouteHint, error_code, read_tables, write_string, write_tables};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, known, non_negative, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

/// Asks for offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequest {
    /// Which records count.
    pub isolation: IsolationLevel,
    /// Where to look.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// One question about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The question.
    pub query: OffsetQuery,
}

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The log start offset.
    Earliest,
    /// The end of what the reader may see.
    Latest,
    /// The first record whose timestamp is this or later.
    Timestamp(Timestamp),
}

impl EncodeMessage for ListOffsetsRequest {
    const API: ApiKey = ApiKey::ListOffsets;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            ListOffsetsPartition::write,
        ));
        let table = tables::ListOffsetsRequest::create(
            builder,
            &tables::ListOffsetsRequestArgs {
                isolation: tables::IsolationLevel(self.isolation.id()),
                partitions,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ListOffsetsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ListOffsetsRequest<'_>>(metadata)?;
        Ok(Self {
            isolation: isolation(table.isolation())?,
            partitions: read_tables(table.partitions(), ListOffsetsPartition::read)?,
        })
    }
}

impl ListOffsetsPartition {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ListOffsetsPartition<'a>> {
        let (place, timestamp) = match self.query {
            OffsetQuery::Earliest => (tables::OffsetPlace::earliest, None),
            OffsetQuery::Latest => (tables::OffsetPlace::latest, None),
            OffsetQuery::Timestamp(time) => (tables::OffsetPlace::timestamp, Some(time.get())),
        };
        tables::ListOffsetsPartition::create(
            builder,
            &tables::ListOffsetsPartitionArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
                place,
                timestamp,
            },
        )
    }

    fn read(table: tables::ListOffsetsPartition<'_>) -> Result<Self, DecodeError> {
        let place = table.place();
        let query = match (place, table.timestamp()) {
            (tables::OffsetPlace::earliest, None) => OffsetQuery::Earliest,
            (tables::OffsetPlace::latest, None) => OffsetQuery::Latest,
            (tables::OffsetPlace::timestamp, Some(time)) => {
                OffsetQuery::Timestamp(Timestamp::new(time))
            }
            _ => {
                known("place", place.0, place.variant_name())?;
                return Err(DecodeError::Inconsistent {
                    table: "ListOffsetsPartition",
                    rule: "timestamp must be present when place is timestamp, and only then",
                });
            }
        };
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            query,
        })
    }
}

/// The offsets found, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponse {
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// The answer about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartitionResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Why there is no answer.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The offset; none if no record is that late.
    pub offset: Option<Offset>,
    /// The record's timestamp, when asked by timestamp.
    pub timestamp: Option<Timestamp>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

impl ListOffsetsPartitionResponse {
    /// The answer for a partition that could not be asked.
    pub fn refused(
        topic_id: TopicId,
        partition: PartitionIndex,
        error: ErrorCode,
        error_message: Option<String>,
    ) -> Self {
        Self {
            topic_id,
            partition,
            error,
            error_message,
            offset: None,
            timestamp: None,
            leader_epoch: LeaderEpoch::ZERO,
            hint: None,
        }
    }

    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ListOffsetsPartitionResponse<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let hint = self.hint.map(|hint| hint.write(builder));
        tables::ListOffsetsPartitionResponse::create(
            builder,
            &tables::ListOffsetsPartitionResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
                offset: self.offset.map(Offset::get),
                timestamp: self.timestamp.map(Timestamp::get),
                leader_epoch: self.leader_epoch.get(),
                hint,
            },
        )
    }

    fn read(table: tables::ListOffsetsPartitionResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            offset: optional("offset", table.offset())?,
            timestamp: table.timestamp().map(Timestamp::new),
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl EncodeMessage for ListOffsetsResponse {
    const API: ApiKey = ApiKey::ListOffsets;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            ListOffsetsPartitionResponse::write,
        ));
        let table = tables::ListOffsetsResponse::create(
            builder,
            &tables::ListOffsetsResponseArgs { partitions },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ListOffsetsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ListOffsetsResponse<'_>>(metadata)?;
        Ok(Self {
            partitions: read_tables(table.partitions(), ListOffsetsPartitionResponse::read)?,
        })
    }
}
