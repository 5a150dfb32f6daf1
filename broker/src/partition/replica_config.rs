//! What a topic's configuration means to its replicas.

use std::time::Duration;

use super::append_rules::AppendRules;
use super::replica::ReplicaConfig;
use crate::config::TopicConfig;

impl From<&TopicConfig> for ReplicaConfig {
    fn from(config: &TopicConfig) -> Self {
        Self {
            durability: config.durability,
            min_insync_replicas: config.min_insync_replicas,
            deletes: config.cleanup_policy.delete,
            rules: AppendRules {
                max_batch_bytes: config.max_message_bytes.as_usize(),
                timestamp_type: config.message_timestamp_type,
                timestamp_before_max_ms: millis(config.message_timestamp_before_max_ms),
                timestamp_after_max_ms: millis(config.message_timestamp_after_max_ms),
                compacted: config.cleanup_policy.compact,
            },
        }
    }
}

/// Kafka writes "no bound" as the largest number, and adding it to a clock saturates.
fn millis(bound: Option<Duration>) -> i64 {
    bound.map_or(i64::MAX, |bound| {
        i64::try_from(bound.as_millis()).unwrap_or(i64::MAX)
    })
}
