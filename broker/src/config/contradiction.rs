//! Settings that exclude each other.
//!
//! Checked when a value is set, never when a topic is loaded: a topic that an older version let
//! contradict itself keeps being served, and its other settings can be changed.

use std::collections::BTreeMap;

use super::{Allowed, Key, TopicConfig};

/// A value that lies within its key's range but not within what another setting leaves of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{key}` cannot be `{value}`: it must be {range}, because `{other}` is `{other_value}`")]
pub struct Contradiction {
    pub key: &'static str,
    pub value: String,
    /// What the other setting leaves.
    pub range: String,
    pub other: &'static str,
    pub other_value: String,
}

/// How the larger of two settings relates to the smaller one.
struct Order {
    low: &'static str,
    high: &'static str,
}

/// Kafka lets the first one pass and refuses each batch that does not fit. `segment.jitter.ms` is
/// bounded by `segment.ms` when it is drawn, as in Kafka, so it contradicts nothing.
const ORDERS: [Order; 2] = [
    Order {
        low: "max.message.bytes",
        high: "segment.bytes",
    },
    Order {
        low: "min.compaction.lag.ms",
        high: "max.compaction.lag.ms",
    },
];

/// What only a topic whose old segments are deleted can keep to.
const OF_DELETION: [&str; 2] = ["retention.ms", "retention.bytes"];
const CLEANUP_POLICY: &str = "cleanup.policy";

impl TopicConfig {
    /// Refuses settings that exclude each other, where at least one of the two was `changed`.
    /// `self` is what is in force, `explicit` what the topic itself sets of it.
    pub fn check_agreement(
        &self,
        explicit: &BTreeMap<String, String>,
        changed: impl Fn(&str) -> bool,
    ) -> Result<(), Contradiction> {
        for order in &ORDERS {
            if (changed(order.low) || changed(order.high)) && !order.holds(self) {
                return Err(order.contradiction(self, &changed));
            }
        }
        if self.cleanup_policy.delete {
            return Ok(());
        }
        let limited = OF_DELETION.into_iter().find(|name| {
            let key = row(name);
            explicit
                .get(*name)
                .is_some_and(|value| key.allowed.number(value) != key.allowed.unlimited())
                && (changed(name) || changed(CLEANUP_POLICY))
        });
        limited.map_or(Ok(()), |name| {
            Err(self.limited_without_deletion(name, &changed))
        })
    }

    /// The defaults that a broker gives its topics, under the names of the broker's settings.
    pub(super) fn check_defaults(&self) -> Result<(), Contradiction> {
        let broker_name = |name| row(name).broker_name.unwrap_or(name);
        self.check_agreement(&BTreeMap::new(), |_| true)
            .map_err(|found| Contradiction {
                key: broker_name(found.key),
                other: broker_name(found.other),
                ..found
            })
    }

    fn limited_without_deletion(
        &self,
        name: &'static str,
        changed: impl Fn(&str) -> bool,
    ) -> Contradiction {
        let (retention, policy) = (row(name), row(CLEANUP_POLICY));
        if changed(name) {
            return Contradiction {
                key: name,
                value: retention.get(self),
                range: "-1 or not set".to_owned(),
                other: CLEANUP_POLICY,
                other_value: policy.get(self),
            };
        }
        Contradiction {
            key: CLEANUP_POLICY,
            value: policy.get(self),
            range: "`delete` or `compact,delete`".to_owned(),
            other: name,
            other_value: retention.get(self),
        }
    }
}

impl Order {
    fn holds(&self, config: &TopicConfig) -> bool {
        let number = |name| {
            let key = row(name);
            let number = key.allowed.number(&key.get(config));
            // No limit is above every limit.
            number.filter(|_| number != key.allowed.unlimited())
        };
        match (number(self.low), number(self.high)) {
            (Some(low), Some(high)) => low <= high,
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }

    fn contradiction(&self, config: &TopicConfig, changed: impl Fn(&str) -> bool) -> Contradiction {
        let (low, high) = (row(self.low), row(self.high));
        let (low_value, high_value) = (low.get(config), high.get(config));
        if changed(self.high) {
            return Contradiction {
                key: self.high,
                value: high_value,
                range: at_least(high.allowed, &low_value).to_string(),
                other: self.low,
                other_value: low_value,
            };
        }
        Contradiction {
            key: self.low,
            value: low_value,
            range: at_most(low.allowed, &high_value).to_string(),
            other: self.high,
            other_value: high_value,
        }
    }
}

/// `allowed` without what lies below `bound`.
fn at_least(mut allowed: Allowed, bound: &str) -> Allowed {
    if let Allowed::Bytes { min, .. } | Allowed::Millis { min, .. } = &mut allowed {
        *min = bound.parse().unwrap_or(*min);
    }
    allowed
}

/// `allowed` without what lies above `bound`.
fn at_most(mut allowed: Allowed, bound: &str) -> Allowed {
    if let Allowed::Bytes { max, unlimited, .. } | Allowed::Millis { max, unlimited, .. } =
        &mut allowed
    {
        *max = bound.parse().unwrap_or(*max);
        *unlimited = None;
    }
    allowed
}

fn row(name: &'static str) -> &'static Key<TopicConfig> {
    TopicConfig::key(name).expect("the rules name rows of the table")
}
