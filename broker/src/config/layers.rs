//! The layers of a broker's configuration: file, environment, flags; the later one wins.

use std::collections::BTreeMap;
use std::fmt;

use super::table::InvalidValue;
use super::{BrokerConfig, Key, TopicConfig};

/// What every environment variable that sets a key begins with.
const PREFIX: &str = "CORELOG_";

/// Variables with the prefix that are not settings: the path of the configuration file, and what
/// the command-line tools and the tests read.
const NOT_SETTINGS: &[&str] = &["CORELOG_CONFIG", "CORELOG_BROKERS", "CORELOG_LOG"];
const TEST_PREFIX: &str = "CORELOG_TEST_";

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The configuration file, by its path.
    File(String),
    /// The environment variable, by its name.
    Environment(String),
    /// The command line.
    Flag,
    /// A program that embeds the broker.
    Code,
}

/// Why a configuration was refused.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {error}")]
    Invalid {
        origin: Origin,
        #[source]
        error: InvalidValue,
    },
    #[error("{origin}: there is no setting `{key}`{}", DidYouMean(.nearest))]
    UnknownKey {
        origin: Origin,
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("{origin}: {message}")]
    Toml { origin: Origin, message: String },
    #[error("{origin}: `{key}` must be a text, a number, true or false, or a list of these")]
    NotAValue { origin: Origin, key: String },
    #[error("{what}")]
    Contradiction { what: String },
}

/// Collects values by key; [`ConfigLayers::build`] makes the configuration of them.
#[derive(Default, Debug)]
pub struct ConfigLayers {
    config: BrokerConfig,
}

impl ConfigLayers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `text`, the contents of the TOML file at `path`. `log.segment.bytes` may be written
    /// as one dotted key or in tables.
    pub fn file(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::File(path.to_owned());
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let message = error.to_string();
            ConfigError::Toml {
                origin: origin.clone(),
                message: message.trim_end().to_owned(),
            }
        })?;
        self.table(&origin, "", &table)
    }

    fn table(
        &mut self,
        origin: &Origin,
        prefix: &str,
        table: &toml::Table,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = match prefix {
                "" => name.clone(),
                _ => format!("{prefix}.{name}"),
            };
            match value {
                toml::Value::Table(inner) => self.table(origin, &key, inner)?,
                value => {
                    let text = scalar_text(value).ok_or_else(|| ConfigError::NotAValue {
                        origin: origin.clone(),
                        key: key.clone(),
                    })?;
                    self.set(origin, &key, &text)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the variables that begin with `CORELOG_`: `CORELOG_LOG_SEGMENT_BYTES` sets
    /// `log.segment.bytes`.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        for (variable, value) in &variables {
            if !variable.starts_with(PREFIX)
                || variable.starts_with(TEST_PREFIX)
                || NOT_SETTINGS.contains(&variable.as_str())
            {
                continue;
            }
            let origin = Origin::Environment(variable.clone());
            let key = key_names().find(|key| variable_name(key) == *variable);
            let Some(key) = key else {
                let guess = variable[PREFIX.len()..].to_lowercase().replace('_', ".");
                return Err(ConfigError::UnknownKey {
                    origin,
                    nearest: nearest_key(&guess),
                    key: guess,
                });
            };
            self.set(&origin, key, value)?;
        }
        Ok(())
    }

    /// Sets one key from the command line.
    pub fn flag(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.set(&Origin::Flag, key, value)
    }

    /// The configuration, checked as a whole.
    pub fn build(self) -> Result<BrokerConfig, ConfigError> {
        self.config.validate()?;
        Ok(self.config)
    }

    fn set(&mut self, origin: &Origin, name: &str, value: &str) -> Result<(), ConfigError> {
        let outcome = if let Some(key) = BrokerConfig::key(name) {
            key.set(&mut self.config, value)
        } else if let Some((broker_name, key)) = topic_default(name) {
            key.set_as(broker_name, &mut self.config.topic_defaults, value)
        } else {
            return Err(ConfigError::UnknownKey {
                origin: origin.clone(),
                key: name.to_owned(),
                nearest: nearest_key(name),
            });
        };
        outcome.map_err(|error| ConfigError::Invalid {
            origin: origin.clone(),
            error,
        })
    }
}

/// The topic setting whose default the broker setting `name` gives.
fn topic_default(name: &str) -> Option<(&'static str, &'static Key<TopicConfig>)> {
    TopicConfig::KEYS
        .iter()
        .filter_map(|key| Some((key.broker_name?, key)))
        .find(|(broker_name, _)| *broker_name == name)
}

/// The name of every broker setting.
pub(super) fn key_names() -> impl Iterator<Item = &'static str> {
    BrokerConfig::KEYS
        .iter()
        .map(|key| key.name)
        .chain(TopicConfig::KEYS.iter().filter_map(|key| key.broker_name))
}

/// The environment variable that sets `key`.
pub(super) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "_"))
}

fn scalar_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar_text).collect();
            items.map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// The setting whose name needs the fewest edits to become `wanted`, if they are few.
fn nearest_key(wanted: &str) -> Option<&'static str> {
    let bounded: String = wanted.chars().take(100).collect();
    key_names()
        .map(|key| (edit_distance(key, &bounded), key))
        .min()
        .filter(|&(distance, key)| distance <= key.len() / 3)
        .map(|(_, key)| key)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
            Self::Code => f.write_str("broker configuration"),
        }
    }
}

struct DidYouMean<'a>(&'a Option<&'static str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "; did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}
