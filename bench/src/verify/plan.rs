//! What a verification does: the command line checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use corelog_protocol::Durability;

use crate::args::Args;
use crate::cores::CoreLayout;
use crate::quantity::ByteSize;
use crate::servers::Servers;
use crate::workload::payload::STAMP;

const PARTITIONS: i32 = 8;
/// Members of each group.
const GROUP: usize = 4;
const RATE: u64 = 10_000;
const RECORD_SIZE: ByteSize = ByteSize(128);
const LARGEST_RECORD: ByteSize = ByteSize(1 << 20);
/// The whole log is kept until it is judged.
const LARGEST_LOG: u64 = 3 << 30;
/// Bytes of a record beyond its value, about.
const OVERHEAD: u64 = 32;
/// Both groups' tables hold a byte and less for each record.
const MOST_RECORDS: u64 = 100_000_000;

#[derive(Clone, Debug)]
pub(crate) struct VerifyPlan {
    pub(crate) brokers: Option<String>,
    pub(crate) partitions: i32,
    pub(crate) producers: usize,
    /// Members of each of the two groups.
    pub(crate) group: usize,
    pub(crate) keys: usize,
    /// Records a second, of all producers together.
    pub(crate) rate: u64,
    pub(crate) record_size: usize,
    pub(crate) durability: Option<Durability>,
    pub(crate) duration: Duration,
    pub(crate) kill_every: Option<Duration>,
    pub(crate) churn_every: Option<Duration>,
    /// Of what is random: when the broker is killed, who comes and goes.
    pub(crate) seed: u64,
    pub(crate) cores: CoreLayout,
    pub(crate) data_dir: PathBuf,
}

impl VerifyPlan {
    pub(crate) fn new(args: &Args, available_cores: &[usize]) -> Result<Self> {
        let cores = CoreLayout::choose(
            available_cores,
            args.cores.as_ref(),
            args.client_cores.as_ref(),
        )?;
        let record_size = args.record_size.unwrap_or(RECORD_SIZE);
        let smallest = ByteSize(STAMP);
        ensure!(
            (smallest..=LARGEST_RECORD).contains(&record_size),
            "--record-size {record_size} is out of range: {smallest} to {LARGEST_RECORD} with --verify"
        );
        ensure!(
            args.brokers.as_ref().is_none_or(Servers::are_native),
            "--verify speaks Corelog's own protocol: name the brokers without kafka://"
        );
        let producers = usize::from(args.producers);
        let keys = args.keys as usize;
        ensure!(
            keys >= producers,
            "--keys {keys}: each of {producers} producers needs a key of its own"
        );
        let rate = args.rate.unwrap_or(RATE);
        let records = rate.saturating_mul(args.duration);
        let bytes = records.saturating_mul(record_size.0 as u64 + OVERHEAD);
        ensure!(
            records <= MOST_RECORDS && bytes <= LARGEST_LOG,
            "{rate} records/s of {record_size} for {} s make {} MB, which is too much to keep and \
             compare: lower --rate, --record-size or --duration",
            args.duration,
            bytes / 1_000_000
        );
        Ok(Self {
            brokers: args.brokers.as_ref().map(|it| it.list().to_owned()),
            partitions: args.partitions.unwrap_or(PARTITIONS),
            producers,
            group: args.group.map_or(GROUP, usize::from),
            keys,
            rate,
            record_size: record_size.0,
            durability: args.durability,
            duration: Duration::from_secs(args.duration),
            kill_every: args.kill_every.map(Duration::from_secs),
            churn_every: args.churn_every.map(Duration::from_secs),
            seed: args.seed.unwrap_or_else(|| rand::random::<u32>().into()),
            cores,
            data_dir: args.data_dir.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<VerifyPlan> {
        let arguments = [&["corelog-bench", "--verify"], arguments].concat();
        VerifyPlan::new(&Args::try_parse_from(arguments).unwrap(), &[0, 1])
    }

    #[test]
    fn a_verification_needs_nothing_said() {
        let plan = plan(&[]).unwrap();
        assert_eq!((plan.partitions, plan.group, plan.rate), (8, 4, 10_000));
        assert_eq!((plan.kill_every, plan.churn_every), (None, None));
    }

    #[test]
    fn the_groups_are_as_large_as_asked_for() {
        assert_eq!(plan(&["--group", "7"]).unwrap().group, 7);
    }

    #[test]
    fn what_cannot_be_verified_is_refused_by_name() {
        for (arguments, named) in [
            (&["--keys", "2", "--producers", "3"][..], "--keys 2"),
            (&["--record-size", "8"], "--record-size 8"),
            (&["--record-size", "2MiB"], "--record-size 2 MiB"),
            (&["--rate", "1000000", "--duration", "300"], "--rate"),
        ] {
            let error = plan(arguments).unwrap_err().to_string();
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }
}
