//! CreatePartitions: more partitions for topics that exist.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::alter_topic_configs::AlteredTopic;
use super::parts::{read_tables, write_tables};
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Adds partitions to topics. The response comes when every shard of the cluster knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatePartitionsRequest {
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: u32,
    /// True to check the request and create nothing.
    pub validate_only: bool,
    /// The topics.
    pub topics: Vec<MorePartitions>,
}

/// One topic that shall have more partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub name: String,
    /// Number of partitions that it shall have in all. Not checked by the codec.
    pub count: i32,
}

impl EncodeMessage for CreatePartitionsRequest {
    const API: ApiKey = ApiKey::CreatePartitions;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, MorePartitions::write));
        let table = tables::CreatePartitionsRequest::create(
            builder,
            &tables::CreatePartitionsRequestArgs {
                timeout_ms: self.timeout_ms,
                validate_only: self.validate_only,
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for CreatePartitionsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::CreatePartitionsRequest<'_>>(metadata)?;
        Ok(Self {
            timeout_ms: table.timeout_ms(),
            validate_only: table.validate_only(),
            topics: read_tables(table.topics(), MorePartitions::read)?,
        })
    }
}

impl MorePartitions {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::MorePartitions<'a>> {
        let name = Some(builder.create_string(&self.name));
        tables::MorePartitions::create(
            builder,
            &tables::MorePartitionsArgs {
                name,
                count: self.count,
            },
        )
    }

    fn read(table: tables::MorePartitions<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            count: table.count(),
        })
    }
}

/// What became of each topic, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitionsResponse {
    /// The topics.
    pub topics: Vec<AlteredTopic>,
}

impl EncodeMessage for CreatePartitionsResponse {
    const API: ApiKey = ApiKey::CreatePartitions;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, AlteredTopic::write));
        let table = tables::CreatePartitionsResponse::create(
            builder,
            &tables::CreatePartitionsResponseArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for CreatePartitionsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::CreatePartitionsResponse<'_>>(metadata)?;
        Ok(Self {
            topics: read_tables(table.topics(), AlteredTopic::read)?,
        })
    }
}
