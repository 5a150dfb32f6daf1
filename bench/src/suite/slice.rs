//! A slice of a figure, and the figure that slices make.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Suite, median};
use crate::ceilings::Transfer;
use crate::latency::Distribution;
use crate::machine::CpuTimes;
use crate::report::{Busy, RateCeiling, Throughput};
use crate::timeline::Timeline;
use crate::workload::consume::Consumed;

/// What all clients of one slice moved together.
pub(super) struct Slice {
    pub(super) records: u64,
    pub(super) transfer: Transfer,
    pub(super) observed: Observed,
}

/// What was to be seen while a slice ran.
pub(super) struct Observed {
    pub(super) busy: Busy,
    pub(super) timeline: Timeline,
}

impl Slice {
    pub(super) fn of_consumers(consumed: &[&Consumed], observed: Observed) -> Self {
        Self {
            records: consumed.iter().map(|part| part.records).sum(),
            transfer: Transfer {
                bytes: consumed.iter().map(|part| part.bytes).sum(),
                elapsed: span(consumed.iter().map(|part| (part.started, part.ended))),
            },
            observed,
        }
    }

    fn records_per_s(&self) -> f64 {
        self.records as f64 / self.transfer.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Suite<'_> {
    /// Does `work` and tells what was to be seen meanwhile.
    pub(super) fn watched<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Observed)> {
        let cores = &self.plan.cores;
        let before = CpuTimes::now();
        let (done, timeline) = Timeline::of(self.progress.bytes(), work);
        let after = CpuTimes::now();
        let busy = Busy {
            broker: after.busy_since(&before, &cores.broker),
            clients: after.busy_since(&before, &cores.clients),
        };
        Ok((done?, Observed { busy, timeline }))
    }

    /// The medians of the slices. `ceiling` gets the megabytes a second.
    pub(super) fn figure(
        &self,
        what: String,
        slices: &[Slice],
        ceiling: impl FnOnce(f64) -> Option<RateCeiling>,
    ) -> Throughput {
        let middle = |of: fn(&Slice) -> f64| median(slices.iter().map(of).collect());
        let mb_per_s = middle(|slice| slice.transfer.mb_per_s());
        let own_cores = self.plan.brokers.is_none() && !self.plan.cores.shared;
        Throughput {
            what,
            mb_per_s,
            records_per_s: middle(Slice::records_per_s),
            ceiling: ceiling(mb_per_s),
            acknowledged_after: None,
            busy: own_cores.then(|| Busy {
                broker: middle(|slice| slice.observed.busy.broker),
                clients: middle(|slice| slice.observed.busy.clients),
            }),
            slices_mb_per_s: slices
                .iter()
                .map(|slice| slice.transfer.mb_per_s())
                .collect(),
            ceiling_slices_mb_per_s: Vec::new(),
            timeline_mb_per_s: Timeline::join(slices.iter().map(|slice| &slice.observed.timeline)),
            acknowledgements: Distribution::default(),
        }
    }

    /// The ceiling of what comes from the broker's memory, or goes there only.
    pub(super) fn loopback_ceiling(&self, reached: f64) -> Option<RateCeiling> {
        let ceilings = self.ceilings.as_ref()?;
        let stream = ceilings.loopback_stream_mb_per_s;
        Some(RateCeiling::new("loopback stream", stream, reached))
    }
}

/// From the first start to the last end.
pub(super) fn span(times: impl Iterator<Item = (Instant, Instant)>) -> Duration {
    let (starts, ends): (Vec<_>, Vec<_>) = times.unzip();
    match (starts.into_iter().min(), ends.into_iter().max()) {
        (Some(start), Some(end)) => end - start,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lasts_from_the_first_start_to_the_last_end() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let times = [(at(10), at(20)), (at(5), at(12)), (at(11), at(30))];
        assert_eq!(span(times.into_iter()), Duration::from_millis(25));
        assert_eq!(span(std::iter::empty()), Duration::ZERO);
    }
}
