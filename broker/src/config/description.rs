//! Settings as they are in force, each with where its value comes from and what it means.

use std::collections::BTreeMap;

use super::table::paragraph;
use super::{Allowed, BrokerConfig, Key, TopicConfig};

/// One setting as it is in force.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfigDescription {
    pub name: &'static str,
    /// What the broker calls it: another name for a topic's setting.
    pub broker_name: &'static str,
    pub value: String,
    pub source: ValueSource,
    /// The table's default, whatever the broker says.
    pub default_value: String,
    /// It stays what it is until the broker starts again.
    pub read_only: bool,
    allowed: Allowed,
    doc: &'static [&'static str],
}

/// Where a setting's value comes from. What somebody set to the table's default is not told from
/// what nobody set, unless a topic itself sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueSource {
    /// The table's default.
    Default,
    /// The broker's configuration.
    Broker,
    /// The topic itself.
    Topic,
}

/// Kafka's type of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    Boolean,
    Text,
    Int,
    Long,
    Double,
    List,
}

impl ConfigDescription {
    /// What the setting does, and the values it takes.
    pub fn documentation(&self) -> String {
        format!("{} Allowed: {}.", paragraph(self.doc), self.allowed)
    }

    pub fn value_type(&self) -> ValueType {
        match self.allowed {
            // Times are longs, as most of Kafka's are, also where their range would fit an int.
            Allowed::Millis { .. } | Allowed::Micros { .. } => ValueType::Long,
            Allowed::Bytes { max, unlimited, .. } => narrowest(i64::try_from(max).ok(), unlimited),
            Allowed::Integer { max, unlimited, .. } => narrowest(Some(max), unlimited),
            Allowed::Decimal { .. } => ValueType::Double,
            Allowed::Boolean => ValueType::Boolean,
            Allowed::AnyOf(_) | Allowed::Ranked(_) => ValueType::List,
            Allowed::OneOf(_) | Allowed::Text(_) | Allowed::OptionalText(_) => ValueType::Text,
        }
    }
}

/// The type that holds the largest number and the one that stands for no limit.
fn narrowest(max: Option<i64>, unlimited: Option<i64>) -> ValueType {
    let fits = |number: i64| i32::try_from(number).is_ok();
    if max.is_some_and(fits) && unlimited.is_none_or(fits) {
        ValueType::Int
    } else {
        ValueType::Long
    }
}

impl TopicConfig {
    /// Every setting of a topic that sets `explicit` on a broker whose own defaults are `self`.
    ///
    /// `explicit` comes from the metadata, which holds checked values only; a value that this
    /// version no longer accepts is shown as it stands.
    pub fn describe(&self, explicit: &BTreeMap<String, String>) -> Vec<ConfigDescription> {
        let built_in = Self::default();
        let describe = |key: &Key<Self>| {
            let mut description = key.describe(key.name, self, &built_in);
            if let Some(value) = explicit.get(key.name) {
                description.value = value.clone();
                description.source = ValueSource::Topic;
            }
            description
        };
        Self::KEYS.iter().map(describe).collect()
    }
}

impl BrokerConfig {
    /// Every setting of the broker, those included that give topics their defaults. They were read
    /// at its start.
    pub fn describe(&self) -> Vec<ConfigDescription> {
        let built_in = Self::default();
        let broker = Self::KEYS
            .iter()
            .map(|key| key.describe(key.name, self, &built_in));
        let (topics, built_in) = (&self.topic_defaults, &built_in.topic_defaults);
        let topics = TopicConfig::KEYS
            .iter()
            .filter_map(|key| Some(key.describe(key.broker_name?, topics, built_in)));
        broker
            .chain(topics)
            .map(|description| ConfigDescription {
                read_only: true,
                ..description
            })
            .collect()
    }
}

impl<C> Key<C> {
    /// The setting as `config` has it, under the name by which it was asked for.
    fn describe(&self, name: &'static str, config: &C, built_in: &C) -> ConfigDescription {
        let (value, default_value) = (self.get(config), self.get(built_in));
        ConfigDescription {
            name,
            broker_name: self.broker_name.unwrap_or(self.name),
            source: if value == default_value {
                ValueSource::Default
            } else {
                ValueSource::Broker
            },
            value,
            default_value,
            read_only: false,
            allowed: self.allowed,
            doc: self.doc,
        }
    }
}
