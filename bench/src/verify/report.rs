//! The verdict, for people and for scripts.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::VerifyPlan;
use super::churn::Churn;
use super::faults::Faults;
use crate::quantity::{ByteSize, Thousands};

#[derive(Debug, Serialize)]
pub(crate) struct VerifyReport {
    pub(crate) version: &'static str,
    /// What replays the moments of kills and of churn.
    pub(crate) seed: u64,
    record_bytes: usize,
    partitions: i32,
    producers: usize,
    keys: usize,
    group: usize,
    /// In the log, at the end.
    pub(crate) records: u64,
    pub(crate) acknowledged: u64,
    pub(crate) records_per_s: f64,
    /// Batches sent again.
    pub(crate) retries: u64,
    kills: usize,
    /// From a kill to the next acknowledgement, at the median and at most.
    recovery_median_ms: Option<f64>,
    recovery_max_ms: Option<f64>,
    churn: Churn,
    /// Times that a member was given partitions.
    pub(crate) rebalances: u64,
    /// Errors of consumers that they get over.
    pub(crate) consumer_errors: u64,
    pub(crate) commits_refused: u64,
    pub(crate) processed_again: u64,
    pub(crate) refused_by_store: u64,
    /// After the load.
    pub(crate) catching_up_s: f64,
    pub(crate) elapsed_s: f64,
    pub(crate) faults: Faults,
}

impl VerifyReport {
    pub(super) fn new(plan: &VerifyPlan) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            seed: plan.seed,
            record_bytes: plan.record_size,
            partitions: plan.partitions,
            producers: plan.producers,
            keys: plan.keys,
            group: plan.group,
            records: 0,
            acknowledged: 0,
            records_per_s: 0.0,
            retries: 0,
            kills: 0,
            recovery_median_ms: None,
            recovery_max_ms: None,
            churn: Churn::default(),
            rebalances: 0,
            consumer_errors: 0,
            commits_refused: 0,
            processed_again: 0,
            refused_by_store: 0,
            catching_up_s: 0.0,
            elapsed_s: 0.0,
            faults: Faults::default(),
        }
    }

    pub(super) fn note_recoveries(&mut self, mut recoveries: Vec<Duration>) {
        recoveries.sort_unstable();
        let millis = |duration: &Duration| duration.as_secs_f64() * 1e3;
        self.kills = recoveries.len();
        self.recovery_median_ms = recoveries.get(recoveries.len() / 2).map(millis);
        self.recovery_max_ms = recoveries.last().map(millis);
    }

    pub(super) fn add_churn(&mut self, churn: Churn) {
        self.churn.joined += churn.joined;
        self.churn.left += churn.left;
        self.churn.crashed += churn.crashed;
        self.churn.stalled += churn.stalled;
    }

    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes all text");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "Corelog {}: verified with {} records, {} producers, {} keys, {} partitions, two groups of \
             {} consumers, seed {}",
            self.version,
            ByteSize(self.record_bytes),
            self.producers,
            self.keys,
            self.partitions,
            self.group,
            self.seed
        )?;
        writeln!(
            out,
            "produced    {} records acknowledged, {} a second; {} in the log; {} batches sent again",
            Thousands(self.acknowledged),
            Thousands(self.records_per_s as u64),
            Thousands(self.records),
            Thousands(self.retries)
        )?;
        if let (Some(median), Some(max)) = (self.recovery_median_ms, self.recovery_max_ms) {
            writeln!(
                out,
                "broker      killed {} times; acknowledged again after {median:.0} ms, at most {max:.0} ms",
                self.kills
            )?;
        }
        let churn = self.churn;
        writeln!(
            out,
            "consumers   {} joined, {} left, {} crashed, {} stalled; partitions given out {} times; {} \
             errors got over",
            churn.joined,
            churn.left,
            churn.crashed,
            churn.stalled,
            self.rebalances,
            self.consumer_errors
        )?;
        writeln!(
            out,
            "committing  {} records processed again, {} commits refused",
            Thousands(self.processed_again),
            self.commits_refused
        )?;
        writeln!(
            out,
            "storing     {} records refused as stored before",
            Thousands(self.refused_by_store)
        )?;
        writeln!(
            out,
            "caught up   {:.1} s after the load; {:.0} s in all",
            self.catching_up_s, self.elapsed_s
        )?;
        if self.is_good() {
            return writeln!(
                out,
                "\nEvery acknowledged record is in the log once, those of each key in order; all were \
                 processed at least once, and exactly once where offsets are stored with results."
            );
        }
        writeln!(out, "\nFAULTS")?;
        for (kind, count) in &self.faults.counts {
            writeln!(out, "  {count} x {kind}")?;
        }
        for told in &self.faults.told {
            writeln!(out, "  {told}")?;
        }
        Ok(())
    }
}
