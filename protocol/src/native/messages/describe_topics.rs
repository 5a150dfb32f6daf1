//! DescribeTopics: configuration, placement and offsets of topics.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    ConfigEntry, TopicSelector, error_code, read_brokers, read_tables, write_brokers, write_string,
    write_tables,
};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, non_negative, offset, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId};

/// Asks for everything about topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeTopicsRequest {
    /// The topics; none: all of them.
    pub topics: Option<Vec<TopicSelector>>,
}

impl EncodeMessage for DescribeTopicsRequest {
    const API: ApiKey = ApiKey::DescribeTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = self
            .topics
            .as_ref()
            .map(|topics| write_tables(builder, topics, TopicSelector::write));
        let table = tables::DescribeTopicsRequest::create(
            builder,
            &tables::DescribeTopicsRequestArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeTopicsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeTopicsRequest<'_>>(metadata)?;
        let topics = table
            .topics()
            .map(|topics| read_tables(topics, TopicSelector::read))
            .transpose()?;
        Ok(Self { topics })
    }
}

/// The topics asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTopicsResponse {
    /// The topics.
    pub topics: Vec<TopicDescription>,
}

/// Everything about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Why there is no more to say of the topic.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Its name; empty if it was asked for by an id that is unknown.
    pub name: String,
    /// Its id; zero if it was asked for by a name that is unknown.
    pub id: TopicId,
    /// True for a topic of the cluster's own.
    pub internal: bool,
    /// The configuration in force.
    pub configs: Vec<ConfigEntry>,
    /// Its partitions.
    pub partitions: Vec<PartitionDescription>,
}

/// Everything about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub index: PartitionIndex,
    /// The broker that leads it.
    pub leader: Option<BrokerId>,
    /// The shard that owns it there.
    pub leader_shard: ShardId,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The brokers that should hold it.
    pub replicas: Vec<BrokerId>,
    /// Those of them that keep up.
    pub in_sync_replicas: Vec<BrokerId>,
    /// Offset of the first record kept.
    pub log_start_offset: Offset,
    /// End of what readers may see.
    pub high_watermark: Offset,
    /// End of what readers of committed records may see.
    pub last_stable_offset: Offset,
    /// End of the log.
    pub log_end_offset: Offset,
    /// Bytes of record batches kept.
    pub size_bytes: u64,
}

impl EncodeMessage for DescribeTopicsResponse {
    const API: ApiKey = ApiKey::DescribeTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, TopicDescription::write));
        let table = tables::DescribeTopicsResponse::create(
            builder,
            &tables::DescribeTopicsResponseArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeTopicsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeTopicsResponse<'_>>(metadata)?;
        Ok(Self {
            topics: read_tables(table.topics(), TopicDescription::read)?,
        })
    }
}

impl TopicDescription {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::TopicDescription<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let name = Some(builder.create_string(&self.name));
        let configs = Some(write_tables(builder, &self.configs, ConfigEntry::write));
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            PartitionDescription::write,
        ));
        tables::TopicDescription::create(
            builder,
            &tables::TopicDescriptionArgs {
                error: self.error.code(),
                error_message,
                name,
                id: Some(&topic_id_struct(self.id)),
                internal: self.internal,
                configs,
                partitions,
            },
        )
    }

    fn read(table: tables::TopicDescription<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            name: table.name().to_owned(),
            id: topic_id(table.id()),
            internal: table.internal(),
            configs: read_tables(table.configs(), ConfigEntry::read)?,
            partitions: read_tables(table.partitions(), PartitionDescription::read)?,
        })
    }
}

impl PartitionDescription {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::PartitionDescription<'a>> {
        let replicas = Some(write_brokers(builder, &self.replicas));
        let in_sync_replicas = Some(write_brokers(builder, &self.in_sync_replicas));
        tables::PartitionDescription::create(
            builder,
            &tables::PartitionDescriptionArgs {
                index: self.index.get(),
                leader: self.leader.map(BrokerId::get),
                leader_shard: self.leader_shard.get(),
                leader_epoch: self.leader_epoch.get(),
                replicas,
                in_sync_replicas,
                log_start_offset: self.log_start_offset.get(),
                high_watermark: self.high_watermark.get(),
                last_stable_offset: self.last_stable_offset.get(),
                log_end_offset: self.log_end_offset.get(),
                size_bytes: self.size_bytes,
            },
        )
    }

    fn read(table: tables::PartitionDescription<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: non_negative("index", table.index())?,
            leader: optional("leader", table.leader())?,
            leader_shard: ShardId::new(table.leader_shard()),
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            replicas: read_brokers("replicas", table.replicas())?,
            in_sync_replicas: read_brokers("in_sync_replicas", table.in_sync_replicas())?,
            log_start_offset: offset("log_start_offset", table.log_start_offset())?,
            high_watermark: offset("high_watermark", table.high_watermark())?,
            last_stable_offset: offset("last_stable_offset", table.last_stable_offset())?,
            log_end_offset: offset("log_end_offset", table.log_end_offset())?,
            size_bytes: table.size_bytes(),
        })
    }
}
