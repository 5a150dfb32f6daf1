//! DeleteRecords: moving the start of logs forward.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{RouteHint, error_code, read_tables, write_string, write_tables};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, non_negative, optional, root, topic_id, topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Deletes the oldest records of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsRequest {
    /// How long to wait for the deletion to be durable.
    pub timeout_ms: u32,
    /// Where to delete.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// One partition to delete from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRecordsPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Which records go.
    pub until: DeleteUntil,
}

/// Which records are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteUntil {
    /// Everything that can be read now. Kafka writes this as offset -1.
    HighWatermark,
    /// Everything before this offset.
    Offset(Offset),
}

impl EncodeMessage for DeleteRecordsRequest {
    const API: ApiKey = ApiKey::DeleteRecords;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            DeleteRecordsPartition::write,
        ));
        let table = tables::DeleteRecordsRequest::create(
            builder,
            &tables::DeleteRecordsRequestArgs {
                timeout_ms: self.timeout_ms,
                partitions,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteRecordsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteRecordsRequest<'_>>(metadata)?;
        Ok(Self {
            timeout_ms: table.timeout_ms(),
            partitions: read_tables(table.partitions(), DeleteRecordsPartition::read)?,
        })
    }
}

impl DeleteRecordsPartition {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::DeleteRecordsPartition<'a>> {
        let before = match self.until {
            DeleteUntil::HighWatermark => None,
            DeleteUntil::Offset(offset) => Some(offset.get()),
        };
        tables::DeleteRecordsPartition::create(
            builder,
            &tables::DeleteRecordsPartitionArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
                before,
            },
        )
    }

    fn read(table: tables::DeleteRecordsPartition<'_>) -> Result<Self, DecodeError> {
        let before: Option<Offset> = optional("before", table.before())?;
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            until: before.map_or(DeleteUntil::HighWatermark, DeleteUntil::Offset),
        })
    }
}

/// What became of each deletion, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsResponse {
    /// The partitions.
    pub partitions: Vec<DeleteRecordsPartitionResponse>,
}

/// The answer about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsPartitionResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Why nothing was deleted.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The first offset that is left; none if the partition is not there to tell.
    pub log_start_offset: Option<Offset>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

impl DeleteRecordsPartitionResponse {
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
            log_start_offset: None,
            leader_epoch: LeaderEpoch::ZERO,
            hint: None,
        }
    }

    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::DeleteRecordsPartitionResponse<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let hint = self.hint.map(|hint| hint.write(builder));
        tables::DeleteRecordsPartitionResponse::create(
            builder,
            &tables::DeleteRecordsPartitionResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
                log_start_offset: self.log_start_offset.map(Offset::get),
                leader_epoch: self.leader_epoch.get(),
                hint,
            },
        )
    }

    fn read(table: tables::DeleteRecordsPartitionResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            log_start_offset: optional("log_start_offset", table.log_start_offset())?,
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl EncodeMessage for DeleteRecordsResponse {
    const API: ApiKey = ApiKey::DeleteRecords;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            DeleteRecordsPartitionResponse::write,
        ));
        let table = tables::DeleteRecordsResponse::create(
            builder,
            &tables::DeleteRecordsResponseArgs { partitions },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteRecordsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteRecordsResponse<'_>>(metadata)?;
        Ok(Self {
            partitions: read_tables(table.partitions(), DeleteRecordsPartitionResponse::read)?,
        })
    }
}
