//! DescribeConfigs: settings of topics and brokers, where they come from and what they mean.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    ConfigSource, error_code, read_strings, read_tables, write_string, write_strings, write_tables,
};
use crate::native::message::{DecodeError, EncodeMessage, Message, known, root};
use crate::native::{ApiKey, tables};
use crate::{BrokerId, ErrorCode};

/// Asks for settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeConfigsRequest {
    /// Whose.
    pub resources: Vec<ConfigResource>,
}

impl DescribeConfigsRequest {
    /// The most resources that one request may name: their settings, each with its explanation, fit
    /// the metadata of one frame.
    pub const MAX_RESOURCES: usize = 32;
}

/// One owner of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ConfigResourceKind,
    /// A topic's name, or a broker's id in decimal digits.
    pub name: String,
    /// The settings asked for; none: all of them.
    pub keys: Option<Vec<String>>,
}

impl ConfigResource {
    /// All settings of a topic.
    pub fn topic(name: impl Into<String>) -> Self {
        Self {
            kind: ConfigResourceKind::Topic,
            name: name.into(),
            keys: None,
        }
    }

    /// All settings of a broker.
    pub fn broker(id: BrokerId) -> Self {
        Self {
            kind: ConfigResourceKind::Broker,
            name: id.to_string(),
            keys: None,
        }
    }
}

/// What can have settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigResourceKind {
    /// A topic.
    Topic,
    /// A broker.
    Broker,
}

impl ConfigResourceKind {
    fn write(self) -> tables::ConfigResourceKind {
        match self {
            Self::Topic => tables::ConfigResourceKind::topic,
            Self::Broker => tables::ConfigResourceKind::broker,
        }
    }

    fn read(kind: tables::ConfigResourceKind) -> Result<Self, DecodeError> {
        let found = match kind {
            tables::ConfigResourceKind::topic => Some(Self::Topic),
            tables::ConfigResourceKind::broker => Some(Self::Broker),
            _ => None,
        };
        known("kind", kind.0, found)
    }
}

impl EncodeMessage for DescribeConfigsRequest {
    const API: ApiKey = ApiKey::DescribeConfigs;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let resources = Some(write_tables(
            builder,
            &self.resources,
            ConfigResource::write,
        ));
        let table = tables::DescribeConfigsRequest::create(
            builder,
            &tables::DescribeConfigsRequestArgs { resources },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeConfigsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeConfigsRequest<'_>>(metadata)?;
        Ok(Self {
            resources: read_tables(table.resources(), ConfigResource::read)?,
        })
    }
}

impl ConfigResource {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ConfigResource<'a>> {
        let name = Some(builder.create_string(&self.name));
        let keys = self
            .keys
            .as_deref()
            .map(|keys| write_strings(builder, keys));
        tables::ConfigResource::create(
            builder,
            &tables::ConfigResourceArgs {
                kind: self.kind.write(),
                name,
                keys,
            },
        )
    }

    fn read(table: tables::ConfigResource<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: ConfigResourceKind::read(table.kind())?,
            name: table.name().to_owned(),
            keys: table.keys().map(read_strings),
        })
    }
}

/// The settings of each resource, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeConfigsResponse {
    /// The resources.
    pub resources: Vec<ConfigResourceDescription>,
}

/// The settings of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigResourceDescription {
    /// What it is.
    pub kind: ConfigResourceKind,
    /// A topic's name, or a broker's id in decimal digits.
    pub name: String,
    /// Why there is no more to say of it.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Its settings.
    pub configs: Vec<ConfigDescription>,
}

/// Everything about one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDescription {
    /// Kafka's key, or ours.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: ConfigSource,
    /// True when it cannot be changed while the broker runs.
    pub read_only: bool,
    /// What values are made of.
    pub value_type: ConfigType,
    /// The value without any setting.
    pub default_value: String,
    /// What it does, for a person.
    pub documentation: String,
}

/// What values of a setting are made of. All are sent as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// Texts with commas between them.
    List,
    /// An integer of 16 bits.
    Short,
    /// An integer of 32 bits.
    Int,
    /// An integer of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
}

impl ConfigType {
    fn write(self) -> tables::ConfigType {
        match self {
            Self::Boolean => tables::ConfigType::boolean,
            Self::Text => tables::ConfigType::text,
            Self::List => tables::ConfigType::list,
            Self::Short => tables::ConfigType::integer_16,
            Self::Int => tables::ConfigType::integer_32,
            Self::Long => tables::ConfigType::integer_64,
            Self::Double => tables::ConfigType::decimal,
        }
    }

    fn read(value_type: tables::ConfigType) -> Result<Self, DecodeError> {
        let found = match value_type {
            tables::ConfigType::boolean => Some(Self::Boolean),
            tables::ConfigType::text => Some(Self::Text),
            tables::ConfigType::list => Some(Self::List),
            tables::ConfigType::integer_16 => Some(Self::Short),
            tables::ConfigType::integer_32 => Some(Self::Int),
            tables::ConfigType::integer_64 => Some(Self::Long),
            tables::ConfigType::decimal => Some(Self::Double),
            _ => None,
        };
        known("value_type", value_type.0, found)
    }
}

impl EncodeMessage for DescribeConfigsResponse {
    const API: ApiKey = ApiKey::DescribeConfigs;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let resources = Some(write_tables(
            builder,
            &self.resources,
            ConfigResourceDescription::write,
        ));
        let table = tables::DescribeConfigsResponse::create(
            builder,
            &tables::DescribeConfigsResponseArgs { resources },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeConfigsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeConfigsResponse<'_>>(metadata)?;
        Ok(Self {
            resources: read_tables(table.resources(), ConfigResourceDescription::read)?,
        })
    }
}

impl ConfigResourceDescription {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ConfigResourceDescription<'a>> {
        let name = Some(builder.create_string(&self.name));
        let error_message = write_string(builder, self.error_message.as_deref());
        let configs = Some(write_tables(
            builder,
            &self.configs,
            ConfigDescription::write,
        ));
        tables::ConfigResourceDescription::create(
            builder,
            &tables::ConfigResourceDescriptionArgs {
                kind: self.kind.write(),
                name,
                error: self.error.code(),
                error_message,
                configs,
            },
        )
    }

    fn read(table: tables::ConfigResourceDescription<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: ConfigResourceKind::read(table.kind())?,
            name: table.name().to_owned(),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            configs: read_tables(table.configs(), ConfigDescription::read)?,
        })
    }
}

impl ConfigDescription {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ConfigDescription<'a>> {
        let name = Some(builder.create_string(&self.name));
        let value = Some(builder.create_string(&self.value));
        let default_value = Some(builder.create_string(&self.default_value));
        let documentation = Some(builder.create_string(&self.documentation));
        tables::ConfigDescription::create(
            builder,
            &tables::ConfigDescriptionArgs {
                name,
                value,
                source: self.source.write(),
                read_only: self.read_only,
                value_type: self.value_type.write(),
                default_value,
                documentation,
            },
        )
    }

    fn read(table: tables::ConfigDescription<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            value: table.value().to_owned(),
            source: ConfigSource::read(table.source())?,
            read_only: table.read_only(),
            value_type: ConfigType::read(table.value_type())?,
            default_value: table.default_value().to_owned(),
            documentation: table.documentation().to_owned(),
        })
    }
}
