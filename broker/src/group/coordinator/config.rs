use std::sync::Arc;
use std::time::Duration;

use crate::config::BrokerConfig;
use crate::group::classic::ClassicConfig;
use crate::group::consumer::ConsumerGroupConfig;

/// The settings of coordinators, under Kafka's keys where Kafka has them.
#[derive(Clone, PartialEq, Debug)]
pub struct CoordinatorConfig {
    pub consumer: Arc<ConsumerGroupConfig>,
    pub classic: ClassicConfig,
    /// `offsets.retention.minutes`: how long an offset is kept that nobody reads on from.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// `group.coordinator.groups.max`: groups of one partition of `__consumer_offsets`. A command that
    /// would begin one more is refused with POLICY_VIOLATION.
    pub groups_max: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            consumer: Arc::default(),
            classic: ClassicConfig::default(),
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(600),
            groups_max: 20_000,
        }
    }
}

impl From<&BrokerConfig> for CoordinatorConfig {
    fn from(config: &BrokerConfig) -> Self {
        Self {
            consumer: Arc::new(ConsumerGroupConfig {
                session_timeout: config.group_consumer_session_timeout,
                heartbeat_interval: config.group_consumer_heartbeat_interval,
                max_size: config.group_consumer_max_size as usize,
                assignors: config.group_consumer_assignors.clone(),
                ..ConsumerGroupConfig::default()
            }),
            classic: ClassicConfig {
                min_session_timeout: config.group_min_session_timeout,
                max_session_timeout: config.group_max_session_timeout,
                initial_rebalance_delay: config.group_initial_rebalance_delay,
                max_members: config.group_max_size as usize,
                ..ClassicConfig::default()
            },
            offsets_retention: Duration::from_secs(
                60 * u64::from(config.offsets_retention_minutes),
            ),
            offsets_retention_check_interval: config.offsets_retention_check_interval,
            groups_max: config.group_coordinator_groups_max as usize,
        }
    }
}
