//! The group's part of the report.

use std::fmt::{self, Write};
use std::slice;

use super::{counted, write_throughput};
use crate::latency::Micros;
use crate::quantity::Thousands;
use crate::report::{Group, Rebalance};

pub(super) fn write(group: &Group, out: &mut String) -> fmt::Result {
    let figures = slice::from_ref(&group.throughput);
    write_throughput("Consumer group", "beside", figures, out)?;
    if let Some(rebalance) = &group.rebalance {
        write_rebalance(rebalance, group, out)?;
    }
    let verdict = &group.verdict;
    if !verdict.is_good() {
        writeln!(
            out,
            "  FAILED: of {} records for the group {} were acknowledged, {} came whole; {} out of \
             order, {} with wrong bytes.",
            Thousands(verdict.sent),
            Thousands(verdict.acknowledged),
            Thousands(verdict.read_back),
            Thousands(verdict.reordered),
            Thousands(verdict.damaged)
        )?;
    }
    Ok(())
}

fn write_rebalance(rebalance: &Rebalance, group: &Group, out: &mut String) -> fmt::Result {
    let (members, partitions) = (group.members, group.partitions);
    let mut line = |what: &str, figure: &dyn fmt::Display, meaning: &str| {
        writeln!(out, "  {what:<26}{figure:>11}   {meaning}")
    };
    line(
        "one more member joins",
        &Micros(rebalance.joining_us),
        &format!(
            "until {} have their shares of {}, at {} records/s",
            counted(members + 1, "member"),
            counted(partitions, "partition"),
            Thousands::of(rebalance.records_per_s)
        ),
    )?;
    line(
        "it leaves again",
        &Micros(rebalance.leaving_us),
        "until its partitions are owned again",
    )?;
    if let Some(pause) = rebalance.longest_pause_us {
        let mut meaning = "without records of a partition that kept its owner".to_owned();
        if let Some(before) = rebalance.longest_pause_before_us {
            write!(meaning, "; {} while nobody came or went", Micros(before))?;
        }
        line("longest pause", &Micros(pause), &meaning)?;
    }
    line(
        "delivered twice",
        &Thousands(rebalance.delivered_twice),
        &format!("of {} records", Thousands(rebalance.records)),
    )
}
