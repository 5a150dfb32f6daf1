//! Metadata: brokers, topics, and which shard of which broker leads each partition.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    TopicSelector, error_code, read_brokers, read_tables, write_brokers, write_tables,
};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, known, non_negative, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{BrokerId, Durability, ErrorCode, LeaderEpoch, PartitionIndex, ShardId, TopicId};

/// Asks about topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataRequest {
    /// The topics; none: all of them.
    pub topics: Option<Vec<TopicSelector>>,
}

impl EncodeMessage for MetadataRequest {
    const API: ApiKey = ApiKey::Metadata;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = self
            .topics
            .as_ref()
            .map(|topics| write_tables(builder, topics, TopicSelector::write));
        let table =
            tables::MetadataRequest::create(builder, &tables::MetadataRequestArgs { topics });
        builder.finish_minimal(table);
    }
}

impl Message for MetadataRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::MetadataRequest<'_>>(metadata)?;
        let topics = table
            .topics()
            .map(|topics| read_tables(topics, TopicSelector::read))
            .transpose()?;
        Ok(Self { topics })
    }
}

/// The cluster as the answering broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse {
    /// The cluster.
    pub cluster_id: String,
    /// The active controller.
    pub controller: Option<BrokerId>,
    /// How far the broker has applied the metadata log.
    pub metadata_offset: i64,
    /// The epoch of the metadata log's leader.
    pub metadata_epoch: i32,
    /// The live brokers.
    pub brokers: Vec<BrokerInfo>,
    /// The topics asked for.
    pub topics: Vec<TopicMetadata>,
}

/// One broker and where its native listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// The broker.
    pub id: BrokerId,
    /// Host name or address to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// How many shards it has.
    pub shards: u16,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Why there is no more to say of the topic.
    pub error: ErrorCode,
    /// Its name; empty if it was asked for by an id that is unknown.
    pub name: String,
    /// Its id; zero if it was asked for by a name that is unknown.
    pub id: TopicId,
    /// What an acknowledgement means on this topic.
    pub durability: Durability,
    /// True for a topic of the cluster's own.
    pub internal: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Why the partition cannot be used now.
    pub error: ErrorCode,
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
}

impl EncodeMessage for MetadataResponse {
    const API: ApiKey = ApiKey::Metadata;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let cluster_id = Some(builder.create_string(&self.cluster_id));
        let brokers = Some(write_tables(builder, &self.brokers, BrokerInfo::write));
        let topics = Some(write_tables(builder, &self.topics, TopicMetadata::write));
        let table = tables::MetadataResponse::create(
            builder,
            &tables::MetadataResponseArgs {
                cluster_id,
                controller: self.controller.map(BrokerId::get),
                metadata_offset: self.metadata_offset,
                metadata_epoch: self.metadata_epoch,
                brokers,
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for MetadataResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::MetadataResponse<'_>>(metadata)?;
        Ok(Self {
            cluster_id: table.cluster_id().to_owned(),
            controller: optional("controller", table.controller())?,
            metadata_offset: table.metadata_offset(),
            metadata_epoch: table.metadata_epoch(),
            brokers: read_tables(table.brokers(), BrokerInfo::read)?,
            topics: read_tables(table.topics(), TopicMetadata::read)?,
        })
    }
}

impl BrokerInfo {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::BrokerInfo<'a>> {
        let host = Some(builder.create_string(&self.host));
        tables::BrokerInfo::create(
            builder,
            &tables::BrokerInfoArgs {
                id: self.id.get(),
                host,
                port: self.port,
                shards: self.shards,
            },
        )
    }

    fn read(table: tables::BrokerInfo<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: non_negative("id", table.id())?,
            host: table.host().to_owned(),
            port: table.port(),
            shards: table.shards(),
        })
    }
}

impl TopicMetadata {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::TopicMetadata<'a>> {
        let name = Some(builder.create_string(&self.name));
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            PartitionMetadata::write,
        ));
        tables::TopicMetadata::create(
            builder,
            &tables::TopicMetadataArgs {
                error: self.error.code(),
                name,
                id: Some(&topic_id_struct(self.id)),
                durability: tables::Durability(self.durability.id()),
                internal: self.internal,
                partitions,
            },
        )
    }

    fn read(table: tables::TopicMetadata<'_>) -> Result<Self, DecodeError> {
        let durability = table.durability().0;
        Ok(Self {
            error: error_code(table.error())?,
            name: table.name().to_owned(),
            id: topic_id(table.id()),
            durability: known("durability", durability, Durability::from_id(durability))?,
            internal: table.internal(),
            partitions: read_tables(table.partitions(), PartitionMetadata::read)?,
        })
    }
}

impl PartitionMetadata {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::PartitionMetadata<'a>> {
        let replicas = Some(write_brokers(builder, &self.replicas));
        let in_sync_replicas = Some(write_brokers(builder, &self.in_sync_replicas));
        tables::PartitionMetadata::create(
            builder,
            &tables::PartitionMetadataArgs {
                error: self.error.code(),
                index: self.index.get(),
                leader: self.leader.map(BrokerId::get),
                leader_shard: self.leader_shard.get(),
                leader_epoch: self.leader_epoch.get(),
                replicas,
                in_sync_replicas,
            },
        )
    }

    fn read(table: tables::PartitionMetadata<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            error: error_code(table.error())?,
            index: non_negative("index", table.index())?,
            leader: optional("leader", table.leader())?,
            leader_shard: ShardId::new(table.leader_shard()),
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            replicas: read_brokers("replicas", table.replicas())?,
            in_sync_replicas: read_brokers("in_sync_replicas", table.in_sync_replicas())?,
        })
    }
}
