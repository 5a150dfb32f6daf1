//! What is measured of a consumer group.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{RECORD_SIZE, SLICE_BYTES, Slice};
use crate::args::Args;

/// Partitions at least, where the command line does not tell: no member is
/// without one, and a newcomer takes several.
const LEAST_PARTITIONS: i32 = 16;

/// The load under which a member joins and leaves: well below what one core
/// consumes, so that what is measured is the group and not a backlog.
const LOAD_RECORDS_PER_S: u64 = 20_000;
const LOAD_BYTES_PER_S: u64 = 20 << 20;

/// Longer than this a stretch of that load shows nothing new.
const LONGEST_STRETCH: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct GroupPlan {
    pub(crate) members: usize,
    /// Of the topic that is created for it: more than members, since one more joins.
    pub(crate) partitions: i32,
    /// What is written once, for the group and for plain consumers to read in turn.
    pub(crate) written: Slice,
    /// How often each of the two reads it.
    pub(crate) slices: u32,
    /// Records a second while a member joins and leaves.
    pub(crate) rate: u64,
    /// How long that load goes on before the member leaves, and after that; twice as long before
    /// it joins.
    pub(crate) stretch: Duration,
}

impl GroupPlan {
    pub(super) fn new(args: &Args, members: u16, total: Duration) -> Result<Self> {
        let least = i32::from(members) + 1;
        if let Some(partitions) = args.partitions {
            ensure!(
                partitions >= least,
                "--group {members} with --partitions {partitions}: one more member joins, and each \
                 needs a partition, so --partitions {least} is the least"
            );
        }
        let record_size = args.record_size.unwrap_or(RECORD_SIZE).0 as u64;
        let limit = SLICE_BYTES / record_size;
        Ok(Self {
            members: members.into(),
            partitions: args
                .partitions
                .unwrap_or_else(|| LEAST_PARTITIONS.max(2 * least)),
            written: Slice {
                time: args.records.is_none().then(|| total.mul_f64(0.03)),
                records: args.records.map_or(limit, |records| records.min(limit)),
            },
            slices: if args.duration < 10 { 1 } else { 3 },
            rate: LOAD_RECORDS_PER_S
                .min(LOAD_BYTES_PER_S / record_size)
                .max(1),
            stretch: total.mul_f64(0.03).min(LONGEST_STRETCH),
        })
    }

    /// A topic that stood before the run has the partitions that it has.
    pub(crate) fn check_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let members = self.members;
        ensure!(
            usize::try_from(partitions).is_ok_and(|partitions| partitions > members),
            "--group {members}: one more member joins, and each needs a partition, but topic {name} \
             has only {partitions}"
        );
        Ok(())
    }

    /// About how long all of it takes.
    pub(crate) fn expected(&self) -> Duration {
        self.written.expected() * (1 + 2 * self.slices) + self.stretch * 4
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;
    use crate::plan::Plan;

    fn plan(arguments: &[&str]) -> Result<Plan> {
        let arguments = [&["corelog-bench"], arguments].concat();
        Plan::new(&Args::try_parse_from(arguments).unwrap(), &[0, 1])
    }

    fn group(arguments: &[&str]) -> GroupPlan {
        plan(arguments).unwrap().group.unwrap()
    }

    #[test]
    fn no_group_is_measured_unless_it_is_asked_for() {
        assert!(plan(&[]).unwrap().group.is_none());
    }

    #[test]
    fn a_group_gets_more_partitions_than_members_and_leaves_other_topics_alone() {
        let small = plan(&["--group", "4"]).unwrap();
        assert_eq!(small.partitions, 1);
        assert_eq!(small.group.unwrap().partitions, 16);
        assert_eq!(group(&["--group", "100"]).partitions, 202);
        assert_eq!(group(&["--group", "4", "--partitions", "5"]).partitions, 5);
    }

    #[test]
    fn members_that_would_be_left_without_a_partition_are_refused() {
        let error = plan(&["--group", "4", "--partitions", "4"]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("--partitions 5 is the least"), "{error}");
        let plan = group(&["--group", "4"]);
        assert!(plan.check_topic("orders", 5).is_ok());
        let error = plan.check_topic("orders", 4).unwrap_err().to_string();
        assert!(
            error.contains("--group 4") && error.contains("topic orders has only 4"),
            "{error}"
        );
    }

    #[test]
    fn a_default_run_with_a_group_takes_less_than_a_minute() {
        let plan = group(&["--group", "4"]);
        // Half a minute is left of a minute: twice what is expected fits.
        assert!(plan.expected() * 2 < Duration::from_secs(30), "{plan:?}");
    }

    #[test]
    fn what_is_written_is_bounded_whatever_the_arguments() {
        for arguments in [
            &["--group", "4"][..],
            &["--group", "4", "--records", "50000000"],
            &["--group", "4", "--record-size", "16MiB"],
            &["--group", "4", "--duration", "3600"],
        ] {
            let plan = plan(arguments).unwrap();
            let (group, size) = (plan.group.unwrap(), plan.record_size as u64);
            assert!(group.written.records * size <= SLICE_BYTES, "{arguments:?}");
            let load = group.rate as f64 * size as f64 * 4.0 * group.stretch.as_secs_f64();
            assert!(load <= SLICE_BYTES as f64, "{arguments:?}");
            assert!(group.rate >= 1, "{arguments:?}");
        }
    }
}
