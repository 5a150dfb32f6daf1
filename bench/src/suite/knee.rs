//! The knee: the highest rate at which latencies stay within a bound.
//!
//! The rate doubles until it cannot be sustained, and then the gap between the highest that could and the lowest that could
//! not is halved again and again. A rate is sustained if what was due was sent and its p99, counted from when each record
//! was due, is within the bound; what fails is tried once more before it is believed.

use std::time::Duration;

use anyhow::Result;
use corelog_protocol::Durability;

use super::{Suite, durabilities};
use crate::plan::{KneePlan, Part};
use crate::report::{Knee, KneeStep};

/// Records a second of the first step.
const FIRST: u64 = 1_000;
/// Beyond this it is the generator that is measured.
const HIGHEST: u64 = 50_000_000;
/// How often the gap is halved.
const HALVINGS: u32 = 4;
/// What is sent of what was due, at least: the last records of a step fall due at its very end.
const SENT: f64 = 0.98;

/// The search, without what it searches in.
struct Search {
    sustained: Option<u64>,
    exceeded: Option<u64>,
    /// Failed once: the machine may have been disturbed, so it is tried again.
    doubted: Option<u64>,
    halvings: u32,
}

impl Search {
    fn new() -> Self {
        Self {
            sustained: None,
            exceeded: None,
            doubted: None,
            halvings: HALVINGS,
        }
    }

    /// The rate to try next; `None` once the knee is known.
    fn next(&mut self) -> Option<u64> {
        if self.doubted.is_some() {
            return self.doubted;
        }
        match (self.sustained, self.exceeded) {
            (None, None) => Some(FIRST),
            (Some(sustained), None) => (sustained < HIGHEST).then(|| sustained * 2),
            // Slower than the first step there is nothing worth saying.
            (None, Some(_)) => None,
            (Some(low), Some(high)) => {
                self.halvings = self.halvings.checked_sub(1)?;
                Some(low.midpoint(high))
            }
        }
    }

    fn enter(&mut self, rate: u64, is_sustained: bool) {
        let was_doubted = self.doubted.take().is_some();
        match is_sustained {
            true => self.sustained = Some(rate),
            false if was_doubted => self.exceeded = Some(rate),
            false => self.doubted = Some(rate),
        }
    }
}

impl Suite<'_> {
    /// One for each durability, until the run is interrupted.
    pub(super) fn find_knees(&mut self, plan: KneePlan, parts: &[Part]) -> Result<Vec<Knee>> {
        let mut knees = Vec::new();
        for durability in durabilities(parts) {
            knees.extend(self.find_knee(plan, durability)?);
        }
        Ok(knees)
    }

    /// `None` if it was interrupted before its end.
    fn find_knee(&mut self, plan: KneePlan, durability: Durability) -> Result<Option<Knee>> {
        let mut search = Search::new();
        let mut steps = Vec::new();
        while let Some(rate) = search.next() {
            let what = format!("{durability}, {rate} records/s");
            let exchanged = self.exchange_at(durability, Some(rate), plan.step, &what)?;
            let Some(exchanged) = exchanged else {
                return Ok(None);
            };
            let measured = exchanged.latencies.summary();
            let is_sustained = exchanged.records as f64 >= exchanged.due as f64 * SENT
                && Duration::from_secs_f64(measured.p99_us / 1e6) <= plan.p99;
            search.enter(rate, is_sustained);
            steps.push(KneeStep {
                rate,
                records: exchanged.records,
                is_sustained,
                measured,
            });
        }
        Ok(Some(Knee {
            what: durability.to_string(),
            p99_bound_us: plan.p99.as_secs_f64() * 1e6,
            highest_rate: search.sustained,
            steps,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(capacity: u64) -> (Option<u64>, usize) {
        let mut search = Search::new();
        let mut steps = 0;
        while let Some(rate) = search.next() {
            search.enter(rate, rate <= capacity);
            steps += 1;
        }
        (search.sustained, steps)
    }

    #[test]
    fn the_knee_is_found_within_a_sixteenth_of_the_last_doubling() {
        for capacity in [1_000, 1_500, 77_777, 1_000_000] {
            let (knee, steps) = found(capacity);
            let knee = knee.expect("the first step is sustained");
            assert!(
                knee <= capacity && knee + knee / 8 >= capacity,
                "{knee} of {capacity}"
            );
            assert!(steps <= 24, "{steps} steps");
        }
        assert_eq!(found(999), (None, 2));
        assert!(found(u64::MAX).0 >= Some(HIGHEST));
    }

    #[test]
    fn a_single_failure_is_not_believed() {
        let mut search = Search::new();
        let (mut is_disturbed, mut steps) = (true, 0);
        while let Some(rate) = search.next() {
            let fails = rate > 100_000 || (rate == 8_000 && std::mem::take(&mut is_disturbed));
            search.enter(rate, !fails);
            steps += 1;
        }
        assert!(search.sustained > Some(90_000), "{:?}", search.sustained);
        assert!(steps < 24);
    }
}
