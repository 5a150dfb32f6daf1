//! CreateTopics.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{ConfigEntry, error_code, read_tables, write_string, write_tables};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, root, topic_id, topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, TopicId};

/// Creates topics. The response comes when every shard of the cluster knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTopicsRequest {
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: u32,
    /// True to check the request and create nothing.
    pub validate_only: bool,
    /// The topics.
    pub topics: Vec<NewTopic>,
}

/// One topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; none: the broker's default. Not checked by the codec.
    pub partitions: Option<i32>,
    /// Replicas of each; none: the broker's default. Not checked by the codec.
    pub replication_factor: Option<i16>,
    /// Configuration keys and values.
    pub configs: Vec<(String, String)>,
}

impl EncodeMessage for CreateTopicsRequest {
    const API: ApiKey = ApiKey::CreateTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, NewTopic::write));
        let table = tables::CreateTopicsRequest::create(
            builder,
            &tables::CreateTopicsRequestArgs {
                timeout_ms: self.timeout_ms,
                validate_only: self.validate_only,
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for CreateTopicsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::CreateTopicsRequest<'_>>(metadata)?;
        Ok(Self {
            timeout_ms: table.timeout_ms(),
            validate_only: table.validate_only(),
            topics: read_tables(table.topics(), NewTopic::read)?,
        })
    }
}

impl NewTopic {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::NewTopic<'a>> {
        let name = Some(builder.create_string(&self.name));
        let configs = write_tables(builder, &self.configs, |(name, value), builder| {
            let name = Some(builder.create_string(name));
            let value = Some(builder.create_string(value));
            tables::ConfigSetting::create(builder, &tables::ConfigSettingArgs { name, value })
        });
        tables::NewTopic::create(
            builder,
            &tables::NewTopicArgs {
                name,
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                configs: Some(configs),
            },
        )
    }

    fn read(table: tables::NewTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            partitions: table.partitions(),
            replication_factor: table.replication_factor(),
            configs: read_tables(table.configs(), |setting| {
                Ok((setting.name().to_owned(), setting.value().to_owned()))
            })?,
        })
    }
}

/// What became of each topic, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicsResponse {
    /// The topics.
    pub topics: Vec<CreatedTopic>,
}

/// One topic that was created or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; zero if it was refused.
    pub id: TopicId,
    /// Why it was refused.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// The configuration in force.
    pub configs: Vec<ConfigEntry>,
}

impl EncodeMessage for CreateTopicsResponse {
    const API: ApiKey = ApiKey::CreateTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, CreatedTopic::write));
        let table = tables::CreateTopicsResponse::create(
            builder,
            &tables::CreateTopicsResponseArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for CreateTopicsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::CreateTopicsResponse<'_>>(metadata)?;
        Ok(Self {
            topics: read_tables(table.topics(), CreatedTopic::read)?,
        })
    }
}

impl CreatedTopic {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::CreatedTopic<'a>> {
        let name = Some(builder.create_string(&self.name));
        let error_message = write_string(builder, self.error_message.as_deref());
        let configs = Some(write_tables(builder, &self.configs, ConfigEntry::write));
        tables::CreatedTopic::create(
            builder,
            &tables::CreatedTopicArgs {
                name,
                id: Some(&topic_id_struct(self.id)),
                error: self.error.code(),
                error_message,
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                configs,
            },
        )
    }

    fn read(table: tables::CreatedTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            id: topic_id(table.id()),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            partitions: table.partitions(),
            replication_factor: table.replication_factor(),
            configs: read_tables(table.configs(), ConfigEntry::read)?,
        })
    }
}
