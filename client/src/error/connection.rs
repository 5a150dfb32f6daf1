//! Connections and requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::{BrokerId, ErrorCode};
use thiserror::Error;

/// What went wrong on one connection to one broker.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The host name has no address.
    #[error("{address}: no address found: {source}")]
    Resolve {
        /// The `host:port` that was asked for.
        address: String,
        /// The resolver's error.
        source: Arc<io::Error>,
    },
    /// The operating system refused to connect, read or write.
    #[error("{address}: {action}: {source}")]
    Socket {
        /// The `host:port` of the broker.
        address: String,
        /// What was being done.
        action: &'static str,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// The connection or its Hello took longer than `socket.connection.setup.timeout.ms`.
    #[error("{address}: no connection within {} ms", .waited.as_millis())]
    SetupTimeout {
        /// The `host:port` of the broker.
        address: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The broker refused the Hello.
    #[error("{address}: the broker refused the connection: {code}: {message}")]
    Refused {
        /// The `host:port` of the broker.
        address: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// Another broker, or another cluster, answers at this address.
    #[error("{address}: expected {expected} but {found} answered")]
    WrongPeer {
        /// The `host:port` of the broker.
        address: String,
        /// Who was expected.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// The broker sent bytes that are no valid frame or message.
    #[error("{address}: the broker sent {what}: {reason}")]
    Malformed {
        /// The `host:port` of the broker.
        address: String,
        /// What was being read.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The connection ended while a reply was due.
    #[error("{address}: the connection was closed ({reason})")]
    Closed {
        /// The `host:port` of the broker.
        address: String,
        /// Why, as far as this side knows.
        reason: String,
    },
    /// A reply took longer than `request.timeout.ms`; the connection was given up.
    #[error("{address}: no reply to {request} within {} ms", .waited.as_millis())]
    RequestTimeout {
        /// The `host:port` of the broker.
        address: String,
        /// The request's name.
        request: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The request does not fit what the broker accepts.
    #[error("{address}: {request} cannot be sent: {reason}")]
    Unsendable {
        /// The `host:port` of the broker.
        address: String,
        /// The request's name.
        request: &'static str,
        /// The limit it exceeds.
        reason: String,
    },
    /// The cluster's metadata names no such broker.
    #[error("broker {broker} is not in the cluster's metadata")]
    UnknownBroker {
        /// The broker wanted.
        broker: BrokerId,
    },
}

impl ConnectionError {
    /// True unless the address answers but is the wrong one, or refuses this client for good.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable(),
            Self::WrongPeer { .. } | Self::Unsendable { .. } => false,
            _ => true,
        }
    }
}

/// A request that got no reply, or an error for a reply.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The broker answered with an error.
    #[error("{request} was refused: {code}: {message}")]
    Broker {
        /// The request's name.
        request: &'static str,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
}

impl RequestError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_retriable(),
            Self::Broker { code, .. } => code.is_retriable(),
        }
    }
}
