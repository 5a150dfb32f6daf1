//! What a run found out: plain data, shown as text or JSON.

pub(crate) mod compare;
pub(crate) mod histograms;
pub(crate) mod html;
mod plot;
mod text;

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ceilings::Ceilings;
use crate::latency::{Distribution, Latencies, LatencySummary};
use crate::machine::{Machine, OTHERS_WORTH_SAYING, STEAL_WORTH_SAYING};
use crate::timeline::{self, Timeline};
use crate::workload::ledger::Verdict;

/// Everything a reader needs to judge the figures. The names are those of the
/// JSON form, whose later versions only add to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: Cow<'static, str>,
    /// The command line that made it.
    #[serde(default)]
    pub(crate) command: String,
    /// When the run began, in seconds since 1970.
    #[serde(default)]
    pub(crate) started_unix_s: u64,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// Absent where the broker's machine may be another one.
    pub(crate) ceilings: Option<Ceilings>,
    /// Seconds that a step of every timeline takes.
    #[serde(default = "timeline_step")]
    pub(crate) timeline_step_s: f64,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) latency: Vec<Latency>,
    /// Empty unless `--knee` was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) knees: Vec<Knee>,
    /// Absent unless `--group` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Group>,
    pub(crate) verdict: Verdict,
    pub(crate) broker: Option<BrokerFigures>,
    /// The share of the run's CPU time that the hypervisor gave to others.
    pub(crate) steal: f64,
    /// The share that went to other processes and to the kernel's own threads.
    pub(crate) others: f64,
    pub(crate) elapsed_s: f64,
    /// A signal ended the run before its time.
    pub(crate) interrupted: bool,
    /// The latencies themselves, for a log of histograms.
    #[serde(skip)]
    pub(crate) recordings: Vec<Recording>,
}

/// What one histogram was filled with, and when.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) what: String,
    /// Since the run began.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    pub(crate) latencies: Latencies,
}

/// Older reports have no timelines, and no need to know.
fn timeline_step() -> f64 {
    timeline::STEP.as_secs_f64()
}

/// The load as it was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// `embedded`, or the bootstrap servers.
    pub(crate) brokers: String,
    pub(crate) broker_cores: Vec<usize>,
    pub(crate) client_cores: Vec<usize>,
    pub(crate) cores_shared: bool,
    pub(crate) partitions: i32,
    pub(crate) record_bytes: usize,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    pub(crate) acks: Cow<'static, str>,
    pub(crate) compression: Cow<'static, str>,
    /// How cores and clients are said in one line.
    #[serde(default)]
    pub(crate) layout: String,
}

/// One line of the throughput table: medians of slices.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) what: String,
    pub(crate) mb_per_s: f64,
    pub(crate) records_per_s: f64,
    pub(crate) ceiling: Option<RateCeiling>,
    /// From `send` to the acknowledgement, under full load; producing only.
    pub(crate) acknowledged_after: Option<LatencySummary>,
    /// How busy the cores were, where broker and clients have their own.
    pub(crate) busy: Option<Busy>,
    pub(crate) slices_mb_per_s: Vec<f64>,
    pub(crate) ceiling_slices_mb_per_s: Vec<f64>,
    /// All slices, one after the other.
    #[serde(default)]
    pub(crate) timeline_mb_per_s: Timeline,
    /// Of [`Throughput::acknowledged_after`]; producing only.
    #[serde(default, skip_serializing_if = "Distribution::is_empty")]
    pub(crate) acknowledgements: Distribution,
}

/// What a rate is a share of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RateCeiling {
    pub(crate) name: Cow<'static, str>,
    pub(crate) mb_per_s: f64,
    pub(crate) share: f64,
}

impl RateCeiling {
    pub(crate) fn new(name: &'static str, ceiling: f64, reached: f64) -> Self {
        Self {
            name: name.into(),
            mb_per_s: ceiling,
            share: if ceiling > 0.0 {
                reached / ceiling
            } else {
                0.0
            },
        }
    }
}

/// Shares of the cores' time, from 0 to 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub(crate) broker: f64,
    pub(crate) clients: f64,
}

/// One line of the latency table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) what: String,
    /// Records a second, counted from the time each was due; `None` when each
    /// record waits for the acknowledgement of the one before.
    pub(crate) rate: Option<u64>,
    #[serde(flatten)]
    pub(crate) measured: LatencySummary,
    pub(crate) ceiling: Option<LatencyCeiling>,
    #[serde(default)]
    pub(crate) distribution: Distribution,
}

/// The least that a record's way can take on this machine, at the median.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LatencyCeiling {
    pub(crate) name: Cow<'static, str>,
    pub(crate) p50_us: f64,
    /// How much of the measured median that is.
    pub(crate) share: f64,
}

impl LatencyCeiling {
    pub(crate) fn new(name: &'static str, ceiling_us: f64, measured_us: f64) -> Self {
        Self {
            name: name.into(),
            p50_us: ceiling_us,
            share: if measured_us > 0.0 {
                ceiling_us / measured_us
            } else {
                0.0
            },
        }
    }
}

/// The highest rate at which the p99 stays within a bound.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Knee {
    pub(crate) what: String,
    pub(crate) p99_bound_us: f64,
    /// Records a second; `None` if not even the first step was sustained.
    pub(crate) highest_rate: Option<u64>,
    /// In the order in which they were tried.
    pub(crate) steps: Vec<KneeStep>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KneeStep {
    /// Records a second that were due.
    pub(crate) rate: u64,
    /// Records that were sent.
    pub(crate) records: u64,
    pub(crate) is_sustained: bool,
    #[serde(flatten)]
    pub(crate) measured: LatencySummary,
}

/// What was measured of a consumer group.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) members: usize,
    pub(crate) partitions: usize,
    /// Read from the beginning; the ceiling is what plain consumers make of the same records.
    pub(crate) throughput: Throughput,
    /// Absent if the run was interrupted before.
    pub(crate) rebalance: Option<Rebalance>,
    /// Of all that the group should have read: each record as often as it was to be read.
    pub(crate) verdict: Verdict,
}

/// One more member joins the group under load, and leaves it again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rebalance {
    /// Records a second that were to be sent, and that were sent.
    pub(crate) rate: u64,
    pub(crate) records_per_s: f64,
    /// From the newcomer's subscription until every member has its share.
    pub(crate) joining_us: f64,
    /// From the newcomer's farewell until the others own its partitions.
    pub(crate) leaving_us: f64,
    /// The longest time between two polls that returned records of a partition,
    /// of those that kept their owner; `None` if all changed hands.
    pub(crate) longest_pause_us: Option<f64>,
    /// The same of all partitions, before the newcomer joined.
    pub(crate) longest_pause_before_us: Option<f64>,
    /// Records of the load.
    pub(crate) records: u64,
    pub(crate) delivered_twice: u64,
}

/// From the broker's own metrics, at the end of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BrokerFigures {
    /// Requests that reached a core that does not own their partition.
    pub(crate) mesh_hops: u64,
    /// Bytes appended, by shard.
    pub(crate) bytes_by_shard: Vec<u64>,
}

impl Report {
    /// Every record came back whole, through the group as well.
    pub(crate) fn is_good(&self) -> bool {
        let group = self.group.as_ref();
        self.verdict.is_good() && group.is_none_or(|group| group.verdict.is_good())
    }

    /// Every line about throughput, the group's as well.
    fn all_throughput(&self) -> Vec<&Throughput> {
        let group = self.group.iter().map(|group| &group.throughput);
        self.throughput.iter().chain(group).collect()
    }

    /// The hypervisor took so much that what stands beyond the medians of latencies says nothing.
    fn tails_are_void(&self) -> bool {
        self.steal > STEAL_WORTH_SAYING
    }

    /// What keeps the figures from being what they could be, as sentences.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.interrupted {
            remarks.push("Interrupted: the figures are of a part of the run.".to_owned());
        }
        if self.tails_are_void() {
            remarks.push(format!(
                "The hypervisor gave {:.0} % of this machine's CPU time to others: trust the \
                 shares more than the figures, and latencies in brackets not at all.",
                self.steal * 100.0
            ));
        }
        // A broker in a process of its own would count as one of the others.
        if self.others > OTHERS_WORTH_SAYING && self.ceilings.is_some() {
            remarks.push(format!(
                "Other processes took {:.0} % of this machine's CPU time: the figures are too low, \
                 the latencies too high.",
                self.others * 100.0
            ));
        }
        if self.settings.cores_shared {
            remarks.push(
                "Broker and clients share cores: they slow each other down, and latencies hold \
                 the clients' own waiting."
                    .to_owned(),
            );
        }
        if self
            .machine
            .governor
            .as_deref()
            .is_some_and(|governor| governor != "performance")
        {
            remarks.push("The frequency governor is not `performance`.".to_owned());
        }
        remarks
    }

    pub(crate) fn to_text(&self) -> String {
        text::render(self)
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
