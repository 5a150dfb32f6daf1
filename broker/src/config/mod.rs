//! The broker's and the topics' configuration, each as one declarative table.
//!
//! A row of a table holds a key's name, default, allowed values and explanation; parsing,
//! checking, `DescribeConfigs` and `docs/configuration.md` all come from that row. Nothing here
//! does I/O: texts come in, checked values go out, and a refusal names the key and its range.

mod allowed;
mod assignors;
mod broker_config;
mod byte_size;
mod contradiction;
mod cores;
mod description;
#[cfg(test)]
mod document;
mod layers;
mod listen_address;
mod table;
mod topic_config;
mod value;

#[cfg(test)]
mod tests;

pub use allowed::Allowed;
pub use assignors::{Assignor, Assignors};
pub use broker_config::BrokerConfig;
pub(crate) use broker_config::{KAFKA_NODES_PER_BROKER, is_cluster_id};
pub use byte_size::ByteSize;
pub use contradiction::Contradiction;
pub use cores::{Cores, CoresError};
pub use description::{ConfigDescription, ValueSource, ValueType};
pub use layers::{ConfigError, ConfigLayers, Origin};
pub use listen_address::ListenAddress;
pub use table::{InvalidValue, Key};
pub use topic_config::{CleanupPolicy, TopicConfig, TopicConfigError};
