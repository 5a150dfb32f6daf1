//! Building a client.

use std::time::Duration;

use thiserror::Error;

use super::RequestError;

/// A setting that a client cannot be built with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The name is not a setting of this kind of client.
    #[error("`{name}` is no setting of the {role}; it knows: {known}")]
    UnknownName {
        /// The name given.
        name: String,
        /// The kind of client.
        role: String,
        /// Every name that this kind of client has.
        known: String,
    },
    /// A setting without a default was not given.
    #[error("{name} is required")]
    MissingValue {
        /// The setting.
        name: &'static str,
    },
    /// The value cannot be read or is out of its range.
    #[error("{name} = {value:?}: expected {expected}")]
    InvalidValue {
        /// The setting.
        name: &'static str,
        /// The text given.
        value: String,
        /// The values that are allowed.
        expected: String,
    },
}

impl ConfigError {
    /// Never: settings do not mend themselves.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        false
    }
}

/// A client that could not be built.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No bootstrap server gave an answer in time.
    #[error("no broker of {servers} answered within {} ms: {last}", .waited.as_millis())]
    Unreachable {
        /// `bootstrap.servers`.
        servers: String,
        /// How long they were tried.
        waited: Duration,
        /// What the last attempt met.
        last: RequestError,
    },
}

impl ConnectError {
    /// True if no server could be reached, false if a setting is wrong.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
