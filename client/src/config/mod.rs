//! Settings by Kafka's names.
//!
//! A [`ClientConfig`] is only a list of names and texts. It is read once, when a producer, consumer or admin is built:
//! a name that this kind of client does not know and a value out of its range are refused there, so that a typing error
//! never runs silently with a default.

mod group;
mod iso_duration;
mod keys;
mod settings;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use group::GroupSettings;
pub use iso_duration::parse_iso_duration;
pub(crate) use settings::{
    AdminSettings, BackoffSettings, ConnectionSettings, ConsumerSettings, ProducerSettings,
};
pub use settings::{AutoOffsetReset, FetchMode, Partitioner};

use crate::error::ConfigError;

/// Kafka-named settings of a client, in the order of their names.
///
/// Every client has those of connections; [`Producer`](crate::Producer), [`Consumer`](crate::Consumer) and
/// [`GroupConsumer`](crate::GroupConsumer) say which others they have. An [`Admin`](crate::Admin) adds
/// `default.api.timeout.ms`, 60000.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `bootstrap.servers` | required | brokers to find the cluster by: `host:port`, several separated by commas |
/// | `client.id` | `corelog` | what the program calls itself to the broker |
/// | `request.timeout.ms` | 30000 | how long one request waits for its answer |
/// | `retry.backoff.ms`, `retry.backoff.max.ms` | 100, 1000 | the first and the longest pause before something is tried again |
/// | `reconnect.backoff.ms`, `reconnect.backoff.max.ms` | 50, 1000 | the same before a connection is opened again |
/// | `socket.connection.setup.timeout.ms` | 10000 | how long a connection may take to open |
/// | `metadata.max.age.ms` | 300000 | when topics and leaders are looked up again |
/// | `send.buffer.bytes`, `receive.buffer.bytes` | -1 | of each socket; -1 leaves it to the operating system |
///
/// ```
/// use corelog_client::ClientConfig;
///
/// let config = ClientConfig::new()
///     .set("bootstrap.servers", "127.0.0.1:9190")
///     .set("linger.ms", 5);
/// assert_eq!(config.get("linger.ms"), Some("5"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    settings: BTreeMap<String, String>,
}

impl ClientConfig {
    /// An empty list: every setting has its default, except `bootstrap.servers`, which has none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one name, replacing an earlier value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.insert(name.into(), value.to_string());
        self
    }

    /// The text given for a name, if any.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Only the settings that every kind of client has, those of its connections: for a second client beside the first.
    #[must_use]
    pub fn of_connections(&self) -> Self {
        let names = ConnectionSettings::names();
        let mut settings = self.settings.clone();
        settings.retain(|name, _| names.contains(&name.as_str()));
        Self { settings }
    }

    /// All names and texts given, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Which client reads the settings; it decides which names exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    GroupConsumer,
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::GroupConsumer => "group consumer",
            Self::Admin => "admin client",
        })
    }
}

#[cfg(test)]
mod tests;
