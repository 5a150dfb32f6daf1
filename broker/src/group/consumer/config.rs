use std::time::Duration;

use super::Assignors;

/// The settings of consumer groups, under Kafka's keys where Kafka has them.
#[derive(Clone, PartialEq, Debug)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`: a member that is silent for so long is fenced.
    pub session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: what members are told.
    pub heartbeat_interval: Duration,
    /// `group.consumer.max.size`: members of one group. One more is refused with
    /// GROUP_MAX_SIZE_REACHED. Kafka has no bound unless told; ours is 1,000.
    pub max_size: usize,
    /// `group.consumer.assignors`: what members may ask for, the first of which is used while no
    /// member does. UNSUPPORTED_ASSIGNOR for any other.
    pub assignors: Assignors,
    /// Bytes of what one member says about itself: names, pattern, ids, client. More is refused
    /// with INVALID_REQUEST, because its record must fit a batch.
    pub member_metadata_bytes_max: usize,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            max_size: 1_000,
            assignors: Assignors::default(),
            member_metadata_bytes_max: 256 * 1024,
        }
    }
}
