//! Parts that several messages share, and the reading and writing of their tables.

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};

use crate::native::message::{DecodeError, known, non_negative, topic_id, topic_id_struct};
use crate::native::tables;
use crate::{BrokerId, ErrorCode, ShardId, TopicId};

/// Vectors of tables, as the generated code takes and gives them.
pub(super) type TableVector<'a, T> = Vector<'a, ForwardsUOffset<T>>;
pub(super) type TableVectorOffset<'a, T> = WIPOffset<TableVector<'a, T>>;

/// Names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicSelector {
    /// By its name.
    Name(String),
    /// By its id, which a topic of the same name created later does not have.
    Id(TopicId),
}

impl TopicSelector {
    pub(super) fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::TopicSelector<'a>> {
        match self {
            Self::Name(name) => {
                let name = Some(builder.create_string(name));
                tables::TopicSelector::create(
                    builder,
                    &tables::TopicSelectorArgs { name, id: None },
                )
            }
            Self::Id(id) => {
                let id = topic_id_struct(*id);
                tables::TopicSelector::create(
                    builder,
                    &tables::TopicSelectorArgs {
                        name: None,
                        id: Some(&id),
                    },
                )
            }
        }
    }

    pub(super) fn read(table: tables::TopicSelector<'_>) -> Result<Self, DecodeError> {
        match (table.name(), table.id()) {
            (Some(name), None) => Ok(Self::Name(name.to_owned())),
            (None, Some(id)) => Ok(Self::Id(topic_id(id))),
            (Some(_), Some(_)) | (None, None) => Err(DecodeError::Inconsistent {
                table: "TopicSelector",
                rule: "exactly one of name and id must be present",
            }),
        }
    }
}

/// Where the next request for a partition should go: this one reached the wrong shard and was
/// forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteHint {
    /// The partition's leader.
    pub broker: BrokerId,
    /// The shard that owns the partition there.
    pub shard: ShardId,
}

impl RouteHint {
    pub(super) fn write<'a>(
        self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::RouteHint<'a>> {
        tables::RouteHint::create(
            builder,
            &tables::RouteHintArgs {
                broker: self.broker.get(),
                shard: self.shard.get(),
            },
        )
    }

    pub(super) fn read(table: tables::RouteHint<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            broker: non_negative("broker", table.broker())?,
            shard: ShardId::new(table.shard()),
        })
    }
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// The built-in default.
    Default,
    /// The broker's configuration.
    Broker,
    /// The topic's own configuration.
    Topic,
}

impl ConfigSource {
    pub(super) fn write(self) -> tables::ConfigSource {
        match self {
            Self::Default => tables::ConfigSource::default_value,
            Self::Broker => tables::ConfigSource::broker,
            Self::Topic => tables::ConfigSource::topic,
        }
    }

    pub(super) fn read(source: tables::ConfigSource) -> Result<Self, DecodeError> {
        let found = match source {
            tables::ConfigSource::default_value => Some(Self::Default),
            tables::ConfigSource::broker => Some(Self::Broker),
            tables::ConfigSource::topic => Some(Self::Topic),
            _ => None,
        };
        known("source", source.0, found)
    }
}

/// One configuration key of a topic and its value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's key, or ours.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: ConfigSource,
    /// True when it cannot be changed.
    pub read_only: bool,
}

impl ConfigEntry {
    pub(super) fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ConfigEntry<'a>> {
        let name = Some(builder.create_string(&self.name));
        let value = Some(builder.create_string(&self.value));
        tables::ConfigEntry::create(
            builder,
            &tables::ConfigEntryArgs {
                name,
                value,
                source: self.source.write(),
                read_only: self.read_only,
            },
        )
    }

    pub(super) fn read(table: tables::ConfigEntry<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: table.name().to_owned(),
            value: table.value().to_owned(),
            source: ConfigSource::read(table.source())?,
            read_only: table.read_only(),
        })
    }
}

/// Writes a vector of tables, each written by `write`.
pub(super) fn write_tables<'a, T, W>(
    builder: &mut FlatBufferBuilder<'a>,
    items: &[T],
    mut write: impl FnMut(&T, &mut FlatBufferBuilder<'a>) -> WIPOffset<W>,
) -> TableVectorOffset<'a, W>
where
    W: 'a,
{
    let offsets: Vec<_> = items.iter().map(|item| write(item, builder)).collect();
    builder.create_vector(&offsets)
}

/// Reads a vector of tables, each read by `read`.
///
/// The verifier has walked the vector, so its length is that of bytes which are there.
pub(super) fn read_tables<'a, T, R>(
    vector: TableVector<'a, T>,
    read: impl FnMut(T::Inner) -> Result<R, DecodeError>,
) -> Result<Vec<R>, DecodeError>
where
    T: flatbuffers::Follow<'a> + 'a,
{
    vector.iter().map(read).collect()
}

/// Writes a list of broker ids.
pub(super) fn write_brokers<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    brokers: &[BrokerId],
) -> WIPOffset<Vector<'a, i32>> {
    builder.create_vector_from_iter(brokers.iter().map(|broker| broker.get()))
}

/// Reads a list of broker ids.
pub(super) fn read_brokers(
    field: &'static str,
    brokers: Vector<'_, i32>,
) -> Result<Vec<BrokerId>, DecodeError> {
    brokers
        .iter()
        .map(|broker| non_negative(field, broker))
        .collect()
}

/// Writes a string that may be absent.
pub(super) fn write_string<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    text: Option<&str>,
) -> Option<WIPOffset<&'a str>> {
    text.map(|text| builder.create_string(text))
}

/// Writes a string that is left out when it is empty.
pub(super) fn write_text<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    text: &str,
) -> Option<WIPOffset<&'a str>> {
    (!text.is_empty()).then(|| builder.create_string(text))
}

/// Writes a list of strings.
pub(super) fn write_strings<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    texts: &[String],
) -> WIPOffset<Vector<'a, ForwardsUOffset<&'a str>>> {
    let offsets: Vec<_> = texts
        .iter()
        .map(|text| builder.create_string(text))
        .collect();
    builder.create_vector(&offsets)
}

/// Reads a list of strings. The verifier has walked them, and bounded what they add up to.
pub(super) fn read_strings<'a>(texts: Vector<'a, ForwardsUOffset<&'a str>>) -> Vec<String> {
    texts.iter().map(str::to_owned).collect()
}

/// Reads an error code.
pub(super) fn error_code(code: i16) -> Result<ErrorCode, DecodeError> {
    known("error", code, ErrorCode::from_code(code))
}
