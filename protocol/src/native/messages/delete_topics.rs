//! DeleteTopics.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{TopicSelector, error_code, read_tables, write_string, write_tables};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, root, topic_id, topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, TopicId};

/// Deletes topics with all their records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteTopicsRequest {
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: u32,
    /// The topics.
    pub topics: Vec<TopicSelector>,
}

impl EncodeMessage for DeleteTopicsRequest {
    const API: ApiKey = ApiKey::DeleteTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, TopicSelector::write));
        let table = tables::DeleteTopicsRequest::create(
            builder,
            &tables::DeleteTopicsRequestArgs {
                timeout_ms: self.timeout_ms,
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteTopicsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteTopicsRequest<'_>>(metadata)?;
        Ok(Self {
            timeout_ms: table.timeout_ms(),
            topics: read_tables(table.topics(), TopicSelector::read)?,
        })
    }
}

/// What became of each topic, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicsResponse {
    /// The topics.
    pub topics: Vec<DeletedTopic>,
}

/// One topic that was deleted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name, if the broker knows it.
    pub name: Option<String>,
    /// Its id, if the broker knows it.
    pub id: Option<TopicId>,
    /// Why it was not deleted.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
}

impl EncodeMessage for DeleteTopicsResponse {
    const API: ApiKey = ApiKey::DeleteTopics;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, DeletedTopic::write));
        let table = tables::DeleteTopicsResponse::create(
            builder,
            &tables::DeleteTopicsResponseArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteTopicsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteTopicsResponse<'_>>(metadata)?;
        Ok(Self {
            topics: read_tables(table.topics(), DeletedTopic::read)?,
        })
    }
}

impl DeletedTopic {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::DeletedTopic<'a>> {
        let name = write_string(builder, self.name.as_deref());
        let error_message = write_string(builder, self.error_message.as_deref());
        let id = self.id.map(topic_id_struct);
        tables::DeletedTopic::create(
            builder,
            &tables::DeletedTopicArgs {
                name,
                id: id.as_ref(),
                error: self.error.code(),
                error_message,
            },
        )
    }

    fn read(table: tables::DeletedTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().map(str::to_owned),
            id: table.id().map(topic_id),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
        })
    }
}
