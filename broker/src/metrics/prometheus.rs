//! Snapshots as Prometheus text (OpenMetrics 1.0).

use std::collections::BTreeMap;
use std::fmt;

use corelog_protocol::ShardId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::shard_metrics::LabeledSnapshot;
use super::{HistogramSnapshot, ShardSnapshot};

/// What every metric's name begins with.
const PREFIX: &str = "corelog";

/// The text that `/metrics` serves: every metric of every shard, with the label `shard`. Of the
/// shards that are `silent` it only says so.
pub fn encode(shards: Vec<ShardSnapshot>, silent: &[ShardId]) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Shards {
        answered: shards,
        silent: silent.to_vec(),
    }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Shards {
    answered: Vec<ShardSnapshot>,
    silent: Vec<ShardId>,
}

/// One metric's values over the shards: they must stand together under one heading.
type Family<'a, V> = BTreeMap<&'static str, (&'static str, Vec<(String, V)>)>;

fn family<'a, V: 'a>(
    shards: &'a [ShardSnapshot],
    values: impl Fn(&'a ShardSnapshot) -> Vec<(&'static str, &'static str, V)>,
) -> Family<'a, V> {
    let mut families = Family::new();
    for shard in shards {
        for (name, help, value) in values(shard) {
            let (_, of_shards) = families.entry(name).or_insert((help, Vec::new()));
            of_shards.push((shard.shard.to_string(), value));
        }
    }
    families
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut up = encoder.encode_descriptor(
            "shard_up",
            "1 when the shard answered this request.",
            None,
            MetricType::Gauge,
        )?;
        let answered = self.answered.iter().map(|shard| (shard.shard, 1u64));
        let silent = self.silent.iter().map(|shard| (*shard, 0u64));
        for (shard, value) in answered.chain(silent) {
            up.encode_family(&[("shard", shard.to_string())])?
                .encode_gauge(&value)?;
        }

        let counters = family(&self.answered, |shard| shard.counters.clone());
        for (name, (help, shards)) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, value) in shards {
                metric
                    .encode_family(&[("shard", shard)])?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }

        let mut gauges = family(&self.answered, |shard| shard.gauges.clone());
        let failed = family(&self.answered, |shard| {
            vec![(
                "log_directory_failed",
                "1 when the log directory refuses writes after an error.",
                u64::from(shard.failure.is_some()),
            )]
        });
        gauges.extend(failed);
        for (name, (help, shards)) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, value) in shards {
                metric
                    .encode_family(&[("shard", shard)])?
                    .encode_gauge(&value)?;
            }
        }

        let labeled = family(&self.answered, |shard| {
            shard
                .labeled
                .iter()
                .map(|family| (family.name, family.help, family))
                .collect()
        });
        for (name, (help, shards)) in labeled {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, LabeledSnapshot { label, values, .. }) in shards {
                for (value, count) in values {
                    metric
                        .encode_family(&[("shard", shard.as_str()), (label, value)])?
                        .encode_counter::<NoLabelSet, _, u64>(count, None)?;
                }
            }
        }

        let histograms = family(&self.answered, |shard| {
            shard
                .histograms
                .iter()
                .map(|(name, help, snapshot)| (*name, *help, snapshot))
                .collect()
        });
        for (name, (help, shards)) in histograms {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (shard, histogram) in shards {
                let HistogramSnapshot {
                    buckets,
                    count,
                    sum_seconds,
                } = histogram;
                metric
                    .encode_family(&[("shard", shard)])?
                    .encode_histogram::<NoLabelSet>(*sum_seconds, *count, buckets, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Histogram, ShardMetrics};

    #[test]
    fn every_metric_of_every_shard_is_encoded_under_one_heading() {
        let first = ShardMetrics::default();
        first.produce_requests.add(3);
        first.connections.increment();
        first.bad_frames.increment("crc");
        let second = ShardMetrics::default();
        second.mesh_hops.increment();
        let flushes = Histogram::default();
        flushes.observe(Duration::from_millis(2));

        let mut one = second.snapshot(ShardId::new(1));
        one.histograms.push((
            "journal_flush_seconds",
            "How long a flush took.",
            flushes.snapshot(),
        ));
        one.gauges
            .push(("memory_budget_bytes", "The bound on buffers.", 268_435_456));
        one.failure = Some("write failed".to_owned());
        let text = encode(
            vec![first.snapshot(ShardId::new(0)), one],
            &[ShardId::new(2)],
        );

        for line in [
            "corelog_produce_requests_total{shard=\"0\"} 3",
            "corelog_produce_requests_total{shard=\"1\"} 0",
            "corelog_mesh_hops_total{shard=\"1\"} 1",
            "corelog_shard_up{shard=\"1\"} 1",
            "corelog_shard_up{shard=\"2\"} 0",
            "corelog_connections{shard=\"0\"} 1",
            "corelog_bad_frames_total{shard=\"0\",reason=\"crc\"} 1",
            "corelog_memory_budget_bytes{shard=\"1\"} 268435456",
            "corelog_log_directory_failed{shard=\"0\"} 0",
            "corelog_log_directory_failed{shard=\"1\"} 1",
            "corelog_journal_flush_seconds_bucket{le=\"0.003\",shard=\"1\"} 1",
            "corelog_journal_flush_seconds_bucket{le=\"+Inf\",shard=\"1\"} 1",
            "corelog_journal_flush_seconds_count{shard=\"1\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in\n{text}"
            );
        }
        let headings = |name: &str| text.matches(&format!("# HELP {name} ")).count();
        assert_eq!(headings("corelog_produce_requests"), 1);
        assert_eq!(headings("corelog_bad_frames"), 1);
        assert!(text.ends_with("# EOF\n"));
    }
}
