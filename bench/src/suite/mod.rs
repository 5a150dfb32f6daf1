//! The run from its first figure to its last.
//!
//! Every broker figure is taken beside its ceiling: slices of broker and bare
//! loop alternate, so that a machine that is disturbed for a second disturbs
//! both, and the medians are compared.

mod group;
mod knee;
mod latency;
mod limits;
mod read_back;
mod slice;
mod tail;
mod throughput;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use corelog_protocol::Durability;

use crate::ceilings::Ceilings;
use crate::ceilings::disk::ZeroFilled;
use crate::interrupt;
use crate::latency::Latencies;
use crate::machine::{CpuTimes, Machine};
use crate::plan::{GroupPlan, Part, Plan};
use crate::progress::Progress;
use crate::report::{Recording, Report, Settings};
use crate::scratch::Scratch;
use crate::servers::Servers;
use crate::timeline;
use crate::workload::clients;
use crate::workload::ledger::Verdict;
use crate::workload::session::{Session, Topic};
use slice::Slice;

/// One run against one cluster.
pub(crate) struct Suite<'a> {
    plan: &'a Plan,
    session: Session<'a>,
    progress: Progress,
    /// Where the ceilings' files go; absent when the broker is not in this process.
    scratch: Option<&'a Scratch>,
    /// A topic that stood before the run, to be used for everything.
    existing: Option<Topic>,
    /// One for each of the broker's cores.
    zero_filled: Vec<ZeroFilled>,
    ceilings: Option<Ceilings>,
    verdict: Verdict,
    /// How fast every slice was read back.
    read_back: Vec<Slice>,
    recordings: Vec<Recording>,
    began: Instant,
}

impl<'a> Suite<'a> {
    pub(crate) fn new(plan: &'a Plan, servers: Servers, scratch: Option<&'a Scratch>) -> Self {
        Self {
            plan,
            session: Session::new(plan, servers),
            progress: Progress::start(planned(plan)),
            scratch,
            existing: None,
            zero_filled: Vec::new(),
            ceilings: None,
            verdict: Verdict::default(),
            read_back: Vec::new(),
            recordings: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Measures everything; after an interrupt, reports what was measured until then.
    pub(crate) fn run(mut self) -> Result<Report> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let cpu = CpuTimes::now();
        let session = &self.session;
        let existing = clients::run_one(&self.plan.cores, || session.existing_topic())?;
        let durability = existing.as_ref().and_then(|(_, durability)| *durability);
        self.existing = existing.map(|(topic, _)| topic);
        if let (Some(group), Some(topic)) = (&self.plan.group, &self.existing) {
            group.check_topic(&topic.name, topic.partitions)?;
        }
        let parts = self.plan.parts_at(durability);

        if let Some(scratch) = self.scratch {
            self.measure_ceilings(scratch)?;
        }
        let mut throughput = Vec::new();
        for part in &parts {
            throughput.extend(self.produce(part)?);
        }
        throughput.extend(self.consume_from_the_tail(parts[0].durability)?);
        throughput.extend(self.consumed_from_the_beginning());
        let mut latency = Vec::new();
        for durability in durabilities(&parts) {
            latency.extend(self.measure_latency(durability)?);
        }
        let knees = match self.plan.knee {
            Some(plan) => self.find_knees(plan, &parts)?,
            None => Vec::new(),
        };
        let group = match &self.plan.group {
            Some(plan) => self.measure_group(plan, &parts[0])?,
            None => None,
        };
        let cpu_now = CpuTimes::now();
        Ok(Report {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command_line(std::env::args()),
            started_unix_s: started.map_or(0, |since| since.as_secs()),
            machine: Machine::observe(self.scratch.map(Scratch::path)),
            settings: self.settings(),
            ceilings: self.ceilings,
            timeline_step_s: timeline::STEP.as_secs_f64(),
            throughput,
            latency,
            knees,
            group,
            verdict: self.verdict,
            broker: None,
            steal: cpu_now.steal_since(&cpu),
            others: cpu_now.others_since(&cpu),
            elapsed_s: self.began.elapsed().as_secs_f64(),
            interrupted: interrupt::requested(),
            recordings: self.recordings,
        })
    }

    /// Keeps what a figure was made of.
    fn keep(&mut self, what: &str, began: Instant, latencies: Latencies) {
        self.recordings.push(Recording {
            what: what.to_owned(),
            began: began.duration_since(self.began),
            took: began.elapsed(),
            latencies,
        });
    }

    fn settings(&self) -> Settings {
        let Plan { cores, brokers, .. } = self.plan;
        let layout = match brokers {
            Some(brokers) => format!("brokers {brokers}"),
            None => cores.to_string(),
        };
        Settings {
            brokers: brokers
                .as_ref()
                .map_or_else(|| "embedded".into(), Servers::to_string),
            broker_cores: cores.broker.clone(),
            client_cores: cores.clients.clone(),
            cores_shared: brokers.is_none() && cores.shared,
            partitions: match &self.existing {
                Some(topic) => topic.partitions,
                None => self.plan.partitions,
            },
            record_bytes: self.plan.record_size,
            producers: self.plan.producers,
            consumers: self.plan.consumers,
            acks: self.plan.acks.name().into(),
            compression: self.plan.compression.name().into(),
            layout,
        }
    }
}

/// Those of the parts, each once.
fn durabilities(parts: &[Part]) -> Vec<Durability> {
    let mut durabilities: Vec<_> = parts.iter().map(|part| part.durability).collect();
    durabilities.sort_unstable();
    durabilities.dedup();
    durabilities
}

/// As a shell would read it again.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(letter);
    let quoted =
        arguments.map(
            |argument| match !argument.is_empty() && argument.chars().all(is_plain) {
                true => argument,
                false => format!("'{}'", argument.replace('\'', r"'\''")),
            },
        );
    quoted.collect::<Vec<_>>().join(" ")
}

/// About how long the run takes, for the progress bar.
fn planned(plan: &Plan) -> Duration {
    let slices: Duration = plan
        .parts
        .iter()
        .map(|part| part.slice.expected() * part.slices * 3)
        .sum();
    let group = plan.group.as_ref().map(GroupPlan::expected);
    let knees = plan.knee.map(|knee| knee.expected() * 2);
    slices
        + knees.unwrap_or_default()
        + plan.times.ceiling * 7
        + plan.times.tail * 2
        + plan.times.latency * 2
        + group.unwrap_or_default()
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[count / 2],
        count => (figures[count / 2 - 1] + figures[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{command_line, median};

    #[test]
    fn a_command_line_can_be_given_again() {
        let arguments = ["bench", "--topic", "it's a", "", "0,2-3"].map(str::to_owned);
        let line = command_line(arguments.into_iter());
        assert_eq!(line, r"bench --topic 'it'\''s a' '' 0,2-3");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }
}
