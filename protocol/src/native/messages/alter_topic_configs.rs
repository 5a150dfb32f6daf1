//! AlterTopicConfigs.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{error_code, read_tables, write_string, write_tables};
use crate::ErrorCode;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Changes the configuration of topics. Keys not named keep their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterTopicConfigsRequest {
    /// True to check the request and change nothing.
    pub validate_only: bool,
    /// The topics.
    pub topics: Vec<AlterTopic>,
}

/// The changes of one topic: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterTopic {
    /// Its name.
    pub name: String,
    /// The changes.
    pub changes: Vec<ConfigChange>,
}

/// The change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub name: String,
    /// The new value; none: back to the default.
    pub value: Option<String>,
}

impl EncodeMessage for AlterTopicConfigsRequest {
    const API: ApiKey = ApiKey::AlterTopicConfigs;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, AlterTopic::write));
        let table = tables::AlterTopicConfigsRequest::create(
            builder,
            &tables::AlterTopicConfigsRequestArgs {
                validate_only: self.validate_only,
                topics,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for AlterTopicConfigsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::AlterTopicConfigsRequest<'_>>(metadata)?;
        Ok(Self {
            validate_only: table.validate_only(),
            topics: read_tables(table.topics(), AlterTopic::read)?,
        })
    }
}

impl AlterTopic {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::AlterTopic<'a>> {
        let name = Some(builder.create_string(&self.name));
        let changes = write_tables(builder, &self.changes, |change, builder| {
            let name = Some(builder.create_string(&change.name));
            let value = write_string(builder, change.value.as_deref());
            tables::ConfigChange::create(builder, &tables::ConfigChangeArgs { name, value })
        });
        tables::AlterTopic::create(
            builder,
            &tables::AlterTopicArgs {
                name,
                changes: Some(changes),
            },
        )
    }

    fn read(table: tables::AlterTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            changes: read_tables(table.changes(), |change| {
                Ok(ConfigChange {
                    name: change.name().to_owned(),
                    value: change.value().map(str::to_owned),
                })
            })?,
        })
    }
}

/// What became of each topic, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterTopicConfigsResponse {
    /// The topics.
    pub topics: Vec<AlteredTopic>,
}

/// One topic that was changed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredTopic {
    /// Its name.
    pub name: String,
    /// Why it was not changed.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
}

impl EncodeMessage for AlterTopicConfigsResponse {
    const API: ApiKey = ApiKey::AlterTopicConfigs;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let topics = Some(write_tables(builder, &self.topics, AlteredTopic::write));
        let table = tables::AlterTopicConfigsResponse::create(
            builder,
            &tables::AlterTopicConfigsResponseArgs { topics },
        );
        builder.finish_minimal(table);
    }
}

impl Message for AlterTopicConfigsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::AlterTopicConfigsResponse<'_>>(metadata)?;
        Ok(Self {
            topics: read_tables(table.topics(), AlteredTopic::read)?,
        })
    }
}

impl AlteredTopic {
    pub(super) fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::AlteredTopic<'a>> {
        let name = Some(builder.create_string(&self.name));
        let error_message = write_string(builder, self.error_message.as_deref());
        tables::AlteredTopic::create(
            builder,
            &tables::AlteredTopicArgs {
                name,
                error: self.error.code(),
                error_message,
            },
        )
    }

    pub(super) fn read(table: tables::AlteredTopic<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
        })
    }
}
