//! What a run will do: the command line checked, the time shared out.

mod group;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use corelog_protocol::{Acks, Compression, Durability};

use crate::args::Args;
use crate::cores::CoreLayout;
use crate::quantity::ByteSize;
use crate::servers::Servers;
use crate::workload::payload::STAMP;

pub(crate) use group::GroupPlan;

/// The most that one slice writes: a slice is read back and its topic deleted
/// before the next one starts, which bounds the disk a run takes.
pub(crate) const SLICE_BYTES: u64 = 1_500_000_000;

/// Requests a producer keeps in flight on each connection; the bare loop's
/// generator keeps as many frames.
pub(crate) const IN_FLIGHT: usize = 5;

const RECORD_SIZE: ByteSize = ByteSize(1 << 10);
const SMALLEST_RECORD: ByteSize = ByteSize(32);
const LARGEST_RECORD: ByteSize = ByteSize(16 << 20);
const SMALLEST_BATCH: ByteSize = ByteSize(1 << 10);
const LARGEST_BATCH: ByteSize = ByteSize(16 << 20);

const LARGE_BATCH: ByteSize = ByteSize(1 << 20);
const SMALL_BATCH: ByteSize = ByteSize(64 << 10);

/// A checked command line.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) brokers: Option<Servers>,
    pub(crate) topic: Option<String>,
    pub(crate) partitions: i32,
    pub(crate) record_size: usize,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    pub(crate) linger_ms: Option<u32>,
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) rate: Option<u64>,
    pub(crate) cores: CoreLayout,
    pub(crate) data_dir: PathBuf,
    pub(crate) parts: Vec<Part>,
    pub(crate) times: Times,
    /// Absent unless the highest rate within a bound is looked for.
    pub(crate) knee: Option<KneePlan>,
    /// Absent unless a consumer group is to be measured.
    pub(crate) group: Option<GroupPlan>,
}

/// One produce figure: the median of its slices, each beside one of the bare loop.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) durability: Durability,
    pub(crate) batch_size: ByteSize,
    pub(crate) slices: u32,
    pub(crate) slice: Slice,
}

/// When a slice ends; at [`SLICE_BYTES`] at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) time: Option<Duration>,
    pub(crate) records: u64,
}

impl Slice {
    /// For a plan of the time; a slice of so many records takes as long as it takes.
    pub(crate) fn expected(&self) -> Duration {
        self.time.unwrap_or(Duration::from_secs(1))
    }

    /// When the bare loop ends at the latest.
    pub(crate) fn longest(&self) -> Duration {
        self.time.unwrap_or(Duration::from_secs(60))
    }
}

/// The search for the highest rate at which latencies stay within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KneePlan {
    /// The bound of the p99.
    pub(crate) p99: Duration,
    /// How long each rate is tried.
    pub(crate) step: Duration,
}

impl KneePlan {
    /// Steps of a search, about.
    const STEPS: u32 = 16;

    /// The searches take half as much time again as the rest of the run, at least a second for a step.
    fn new(p99_ms: u64, total: Duration, searches: usize) -> Self {
        let steps = Self::STEPS * u32::try_from(searches).unwrap_or(1).max(1);
        Self {
            p99: Duration::from_millis(p99_ms),
            step: (total / 2 / steps).max(Duration::from_secs(1)),
        }
    }

    /// For a plan of the time.
    pub(crate) fn expected(&self) -> Duration {
        self.step * Self::STEPS
    }
}

/// How long the rest of a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Each of the seven figures of the machine.
    pub(crate) ceiling: Duration,
    /// All slices of consuming from the tail; those of its ceiling take as long.
    pub(crate) tail: Duration,
    /// Each latency figure.
    pub(crate) latency: Duration,
}

impl Plan {
    pub(crate) fn new(args: &Args, available_cores: &[usize]) -> Result<Self> {
        let record_size = args.record_size.unwrap_or(RECORD_SIZE);
        within(
            "--record-size",
            record_size,
            SMALLEST_RECORD,
            LARGEST_RECORD,
        )?;
        if let Some(size) = args.batch_size {
            within("--batch-size", size, SMALLEST_BATCH, LARGEST_BATCH)?;
        }
        const { assert!(SMALLEST_RECORD.0 >= STAMP) };
        ensure!(
            args.topic.as_ref().is_none_or(|topic| !topic.is_empty()),
            "--topic: a name is needed"
        );
        let cores = CoreLayout::choose(
            available_cores,
            args.cores.as_ref(),
            args.client_cores.as_ref(),
        )?;
        let total = Duration::from_secs(args.duration);
        let parts = parts(args, record_size, total);
        let levels = if args.durability.is_some() { 1 } else { 2 };
        let knee = args.knee.map(|p99_ms| KneePlan::new(p99_ms, total, levels));
        ensure!(
            args.group.is_none() || args.brokers.as_ref().is_none_or(Servers::are_native),
            "--group measures groups of Corelog's own protocol: name the brokers without kafka://"
        );
        let group = args
            .group
            .map(|members| GroupPlan::new(args, members, total))
            .transpose()?;
        Ok(Self {
            brokers: args.brokers.clone(),
            topic: args.topic.clone(),
            partitions: args.partitions.unwrap_or(1),
            record_size: record_size.0,
            producers: args.producers.into(),
            consumers: args.consumers.into(),
            linger_ms: args.linger_ms,
            acks: args.acks,
            compression: args.compression,
            rate: args.rate,
            cores,
            data_dir: args.data_dir.clone(),
            parts,
            times: Times {
                ceiling: total.mul_f64(0.015),
                tail: total.mul_f64(0.05),
                latency: total.mul_f64(0.06),
            },
            knee,
            group,
        })
    }

    /// The parts to run on a topic whose durability is given: those that
    /// differ in nothing else run once.
    pub(crate) fn parts_at(&self, durability: Option<Durability>) -> Vec<Part> {
        let mut parts = self.parts.clone();
        if let Some(durability) = durability {
            let first = parts[0].durability;
            parts.retain(|part| part.durability == first);
            parts
                .iter_mut()
                .for_each(|part| part.durability = durability);
        }
        parts
    }

    /// The largest batch of any part.
    pub(crate) fn largest_batch(&self) -> usize {
        let sizes = self.parts.iter().map(|part| part.batch_size.0);
        sizes.max().unwrap_or(LARGE_BATCH.0)
    }
}

/// The parts in the order they run. Slices get half of the time: the other
/// half goes to reading them back and to the bare loop's files.
fn parts(args: &Args, record_size: ByteSize, total: Duration) -> Vec<Part> {
    let levels = match args.durability {
        Some(level) => vec![level],
        None => vec![Durability::Written, Durability::Sync],
    };
    let sizes = match args.batch_size {
        Some(size) => vec![size],
        None => vec![LARGE_BATCH, SMALL_BATCH],
    };
    // Medians of three where the time allows slices that are long enough.
    let most = if args.duration < 10 { 1 } else { 3 };
    let mut parts = Vec::new();
    for (pass, &batch_size) in sizes.iter().enumerate() {
        for &durability in &levels {
            let slices = if pass == 0 { most } else { most.min(2) };
            parts.push((durability, batch_size, slices));
        }
    }
    let count: u32 = parts.iter().map(|(_, _, slices)| 2 * slices).sum();
    let time = total.mul_f64(0.5) / count;
    let limit = SLICE_BYTES / record_size.0 as u64;
    parts
        .into_iter()
        .map(|(durability, batch_size, slices)| {
            let (slices, slice) = match args.records {
                None => (
                    slices,
                    Slice {
                        time: Some(time),
                        records: limit,
                    },
                ),
                Some(records) => split(records, slices, limit),
            };
            Part {
                durability,
                batch_size,
                slices,
                slice,
            }
        })
        .collect()
}

/// Shares records out to slices that stay below the limit.
fn split(records: u64, slices: u32, limit: u64) -> (u32, Slice) {
    let needed = u32::try_from(records.div_ceil(limit.max(1))).unwrap_or(u32::MAX);
    let most = u32::try_from(records).unwrap_or(u32::MAX);
    let slices = slices.min(most).max(needed);
    let records = records.div_ceil(slices.into());
    (
        slices,
        Slice {
            time: None,
            records,
        },
    )
}

fn within(flag: &str, size: ByteSize, smallest: ByteSize, largest: ByteSize) -> Result<()> {
    ensure!(
        (smallest..=largest).contains(&size),
        "{flag} {size} is out of range: {smallest} to {largest}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan> {
        let arguments = [&["corelog-bench"], arguments].concat();
        Plan::new(&Args::try_parse_from(arguments).unwrap(), &[0, 1])
    }

    #[test]
    fn with_no_arguments_both_durabilities_and_both_batch_sizes_are_measured() {
        let plan = plan(&[]).unwrap();
        let parts: Vec<_> = plan
            .parts
            .iter()
            .map(|part| (part.durability, part.batch_size.0 >> 10))
            .collect();
        assert_eq!(
            parts,
            [
                (Durability::Written, 1024),
                (Durability::Sync, 1024),
                (Durability::Written, 64),
                (Durability::Sync, 64),
            ]
        );
        assert_eq!(plan.parts[0].slices, 3);
    }

    #[test]
    fn a_topic_that_stands_already_decides_the_durability() {
        let parts = plan(&[]).unwrap().parts_at(Some(Durability::Memory));
        let parts: Vec<_> = parts
            .iter()
            .map(|part| (part.durability, part.batch_size.0 >> 10))
            .collect();
        assert_eq!(
            parts,
            [(Durability::Memory, 1024), (Durability::Memory, 64)]
        );
    }

    #[test]
    fn the_parts_take_no_more_than_the_time_given() {
        for seconds in ["3", "30", "300"] {
            let plan = plan(&["--duration", seconds]).unwrap();
            let slices: Duration = plan
                .parts
                .iter()
                .map(|part| part.slice.time.unwrap() * part.slices * 2)
                .sum();
            let total =
                slices + plan.times.ceiling * 7 + plan.times.tail * 2 + plan.times.latency * 2;
            assert!(total <= Duration::from_secs(seconds.parse().unwrap()));
        }
    }

    #[test]
    fn records_are_shared_out_and_no_slice_outgrows_the_disk() {
        let few = plan(&["--records", "100000"]).unwrap();
        assert_eq!(
            (few.parts[0].slices, few.parts[0].slice.records),
            (3, 33_334)
        );
        let one = plan(&["--records", "1"]).unwrap();
        assert_eq!((one.parts[0].slices, one.parts[0].slice.records), (1, 1));
        let many = plan(&["--records", "50000000"]).unwrap();
        let slice = many.parts[0].slice;
        assert!(slice.records * 1024 <= SLICE_BYTES);
        assert!(slice.records * u64::from(many.parts[0].slices) >= 50_000_000);
    }

    #[test]
    fn sizes_out_of_range_are_refused_with_the_range() {
        for (flag, size) in [
            ("--record-size", "31"),
            ("--record-size", "17MiB"),
            ("--batch-size", "1000"),
            ("--batch-size", "17MiB"),
        ] {
            let error = plan(&[flag, size]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains("16 MiB"), "{error}");
        }
    }
}
