//! The limits of the native listener on one shard. The broker's configuration fills them in.

use std::time::Duration;

use corelog_protocol::native::FrameLimits;

use crate::config::{BrokerConfig, ByteSize};

/// The part of a shard's memory that received frames may take: one byte in so many.
const RECEIVE_SHARE: usize = 4;

#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// The largest frame accepted. Hello tells clients.
    pub frame_limits: FrameLimits,
    /// Connections of the whole broker; one more is told so and closed.
    pub max_connections: usize,
    /// Requests of one connection carried out at the same time; then its socket is not read
    /// until one is answered.
    pub max_in_flight_requests: usize,
    /// Bytes of one connection's requests and of the replies they may have; at or above it the
    /// socket is not read.
    pub max_in_flight_bytes: usize,
    /// Bytes of frames being received or carried out, over all connections of this shard.
    pub receive_budget: usize,
    /// Subscriptions that one connection may have; further ones are refused.
    pub max_subscriptions: usize,
    /// The most a fetch may ask for; more is cut to it.
    pub max_fetch_bytes: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// From accept to the last byte of Hello.
    pub hello_timeout: Duration,
    /// The longest pause inside a frame.
    pub frame_timeout: Duration,
    /// The longest a peer may take no bytes while some are ready for it.
    pub send_timeout: Duration,
    /// A connection that asked for nothing this long, and awaits nothing, is closed.
    pub idle_timeout: Duration,
    /// How often a silent peer is probed (TCP keepalive).
    pub keepalive: Duration,
    /// How long a connection that ends may wait for requests under way.
    pub drain_timeout: Duration,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self::from(&BrokerConfig::default())
    }
}

impl From<&BrokerConfig> for ListenerOptions {
    fn from(config: &BrokerConfig) -> Self {
        Self {
            frame_limits: FrameLimits {
                max_metadata: in_u32(config.frame_metadata_max_bytes),
                max_payload: in_u32(config.socket_request_max_bytes),
            },
            max_connections: config.max_connections,
            max_in_flight_requests: config.connection_requests_max,
            max_in_flight_bytes: in_memory(config.connection_memory_bytes),
            receive_budget: in_memory(config.shard_memory_bytes) / RECEIVE_SHARE,
            max_subscriptions: config.connection_subscriptions_max,
            max_fetch_bytes: in_memory(config.fetch_max_bytes),
            offset_metadata_max_bytes: config.offset_metadata_max_bytes as usize,
            hello_timeout: config.connection_hello_timeout,
            frame_timeout: config.connection_stall_timeout,
            send_timeout: config.connection_stall_timeout,
            idle_timeout: config.connections_max_idle,
            keepalive: config.connection_keepalive,
            drain_timeout: config.shutdown_drain,
        }
    }
}

/// A size that the configuration keeps far below the limit of the frame's fields.
fn in_u32(size: ByteSize) -> u32 {
    u32::try_from(size.get()).unwrap_or(u32::MAX)
}

fn in_memory(size: ByteSize) -> usize {
    usize::try_from(size.get()).unwrap_or(usize::MAX)
}
