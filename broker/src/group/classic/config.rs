use std::time::Duration;

use crate::config::ByteSize;

/// The bounds that the broker's configuration sets, and one that has no key yet. Where Kafka has the
/// key, the default is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after the
    /// first; each that comes in time extends it, up to the first one's rebalance time-out.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of one group, and, counted apart, ids given out that nobody has
    /// joined with. GROUP_MAX_SIZE_REACHED beyond. By default `max_metadata` is what ends a group's
    /// growth: no member is free of charge.
    pub max_members: usize,
    /// `group.metadata.max.bytes`: what the names and subscriptions of all members of one group may
    /// take together (GROUP_MAX_SIZE_REACHED beyond), and, counted apart, their assignments
    /// (UNKNOWN_SERVER_ERROR beyond, as when Kafka's record becomes too large for its topic).
    pub max_metadata: ByteSize,
}

impl Default for ClassicConfig {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            max_members: i32::MAX as usize,
            max_metadata: ByteSize::mib(4),
        }
    }
}
