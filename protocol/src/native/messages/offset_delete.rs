//! OffsetDelete: forgetting where a group goes on.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::group_parts::{OffsetPartitionError, read_partitions, write_partitions};
use super::parts::{RouteHint, error_code, read_tables, write_string, write_tables};
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, PartitionIndex};

/// Deletes committed offsets of topics that no member of the group subscribes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group: String,
    /// What.
    pub topics: Vec<OffsetDeleteTopic>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteTopic {
    /// The topic, which need not exist any more.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

impl EncodeMessage for OffsetDeleteRequest {
    const API: ApiKey = ApiKey::OffsetDelete;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let group = Some(builder.create_string(&self.group));
        let topics = Some(write_tables(
            builder,
            &self.topics,
            OffsetDeleteTopic::write,
        ));
        let table = tables::OffsetDeleteRequest::create(
            builder,
            &tables::OffsetDeleteRequestArgs { group, topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetDeleteRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetDeleteRequest<'_>>(metadata)?;
        Ok(Self {
            group: table.group().to_owned(),
            topics: read_tables(table.topics(), OffsetDeleteTopic::read)?,
        })
    }
}

impl OffsetDeleteTopic {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetDeleteTopic<'a>> {
        let name = Some(builder.create_string(&self.name));
        let partitions = Some(write_partitions(builder, &self.partitions));
        tables::OffsetDeleteTopic::create(
            builder,
            &tables::OffsetDeleteTopicArgs { name, partitions },
        )
    }

    fn read(table: tables::OffsetDeleteTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            partitions: read_partitions(table.partitions())?,
        })
    }
}

/// What became of each offset, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteResponse {
    /// Why nothing was deleted; `topics` is empty then.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The topics.
    pub topics: Vec<OffsetDeleteTopicResponse>,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

/// The answer about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteTopicResponse {
    /// The topic.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<OffsetPartitionError>,
}

impl OffsetDeleteResponse {
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

impl EncodeMessage for OffsetDeleteResponse {
    const API: ApiKey = ApiKey::OffsetDelete;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let topics = Some(write_tables(
            builder,
            &self.topics,
            OffsetDeleteTopicResponse::write,
        ));
        let hint = self.hint.map(|hint| hint.write(builder));
        let table = tables::OffsetDeleteResponse::create(
            builder,
            &tables::OffsetDeleteResponseArgs {
                error: self.error.code(),
                error_message,
                topics,
                hint,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for OffsetDeleteResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::OffsetDeleteResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            topics: read_tables(table.topics(), OffsetDeleteTopicResponse::read)?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl OffsetDeleteTopicResponse {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetDeleteTopicResponse<'a>> {
        let name = Some(builder.create_string(&self.name));
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            OffsetPartitionError::write,
        ));
        tables::OffsetDeleteTopicResponse::create(
            builder,
            &tables::OffsetDeleteTopicResponseArgs { name, partitions },
        )
    }

    fn read(table: tables::OffsetDeleteTopicResponse<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            partitions: read_tables(table.partitions(), OffsetPartitionError::read)?,
        })
    }
}
