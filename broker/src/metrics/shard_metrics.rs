use std::collections::BTreeMap;

use corelog_protocol::ShardId;

use super::{Counter, Gauge, HistogramSnapshot, LabeledCounter};

/// Declares what a shard counts itself: the cells, their snapshot, and the name and help text
/// that Prometheus sees.
macro_rules! shard_metrics {
    (
        counters { $($(#[doc = $counter_doc:literal])+ $counter:ident;)+ }
        gauges { $($(#[doc = $gauge_doc:literal])+ $gauge:ident;)+ }
        labeled { $($(#[doc = $labeled_doc:literal])+ $labeled:ident by $label:ident;)+ }
    ) => {
        /// Everything one shard counts. Shared by `Rc` on the shard's core.
        #[derive(Default, Debug)]
        pub struct ShardMetrics {
            $($(#[doc = $counter_doc])+ pub $counter: Counter,)+
            $($(#[doc = $gauge_doc])+ pub $gauge: Gauge,)+
            $($(#[doc = $labeled_doc])+ pub $labeled: LabeledCounter,)+
        }

        impl ShardMetrics {
            /// The counts at this moment. The caller adds what the log, the memory pool and the
            /// machine know.
            pub fn snapshot(&self, shard: ShardId) -> ShardSnapshot {
                ShardSnapshot {
                    shard,
                    counters: vec![$(
                        (stringify!($counter), concat!($($counter_doc),+).trim_ascii(), self.$counter.get()),
                    )+],
                    gauges: vec![$(
                        (stringify!($gauge), concat!($($gauge_doc),+).trim_ascii(), self.$gauge.get()),
                    )+],
                    labeled: vec![$(
                        LabeledSnapshot {
                            name: stringify!($labeled),
                            help: concat!($($labeled_doc),+).trim_ascii(),
                            label: stringify!($label),
                            values: self.$labeled.snapshot(),
                        },
                    )+],
                    histograms: Vec::new(),
                    unusable_partitions: 0,
                    failure: None,
                }
            }
        }
    };
}

shard_metrics! {
    counters {
        /// Produce requests.
        produce_requests;
        /// Bytes of record batches appended.
        produce_bytes;
        /// Records appended.
        produce_records;
        /// Produces that were in the log already: an idempotent producer tried again.
        produce_retries;
        /// Fetch requests, subscriptions' reads included.
        fetch_requests;
        /// Bytes of record batches sent to readers.
        fetch_bytes;
        /// Requests forwarded to the shard that owns the partition.
        mesh_hops;
        /// Messages sent to other shards.
        mesh_messages;
        /// Times that a partition's segments were looked at for what may go.
        retention_checks;
        /// Heartbeats of members of groups.
        group_heartbeats;
        /// Times that a group shared its partitions anew.
        group_rebalances;
        /// Members of groups that were put out because they fell silent or gave up nothing in time.
        group_members_fenced;
        /// Offsets committed.
        offset_commits;
        /// Committed offsets that expired, or whose topic was deleted.
        offsets_expired;
        /// Times that the groups of a partition were read from its log.
        group_loads;
        /// Connections accepted.
        connections_accepted;
        /// Connections handed to the shard that their Hello asked for.
        connections_handed_off;
        /// Connections closed because they were silent for too long.
        connections_idle_closed;
    }
    gauges {
        /// Connections open now.
        connections;
        /// Subscriptions open now.
        subscriptions;
        /// Bytes of frames being received or carried out.
        receive_bytes;
        /// Partitions that this shard owns.
        partitions;
    }
    labeled {
        /// Connections closed at once, by reason.
        connections_rejected by reason;
        /// Frames that broke the protocol, by reason.
        bad_frames by reason;
        /// Requests or partitions answered with an error, by Kafka's name of the error.
        request_errors by error;
    }
}

/// One shard's counts at one moment. Plain data, so that it can leave the core.
#[derive(Clone, PartialEq, Debug)]
pub struct ShardSnapshot {
    pub shard: ShardId,
    /// Name (without `corelog_` and `_total`), help text, value.
    pub counters: Vec<(&'static str, &'static str, u64)>,
    /// Name (without `corelog_`), help text, value.
    pub gauges: Vec<(&'static str, &'static str, u64)>,
    pub labeled: Vec<LabeledSnapshot>,
    /// Name (without `corelog_`), help text, observations in seconds.
    pub histograms: Vec<(&'static str, &'static str, HistogramSnapshot)>,
    /// Partitions that are not served because their files cannot be trusted or opened.
    pub unusable_partitions: u64,
    /// Why this shard's log directory refuses writes, if it does.
    pub failure: Option<String>,
}

/// A family of counters that differ in one label.
#[derive(Clone, PartialEq, Debug)]
pub struct LabeledSnapshot {
    pub name: &'static str,
    pub help: &'static str,
    pub label: &'static str,
    pub values: BTreeMap<&'static str, u64>,
}
