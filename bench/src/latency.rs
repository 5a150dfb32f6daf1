//! Latencies: recorded in nanoseconds, shown in microseconds or milliseconds.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies than this are recorded as this.
const LONGEST: Duration = Duration::from_secs(120);

/// Points of a distribution from one quantile to the one that is half as far from 1.
const STEPS_PER_HALF: u32 = 4;

/// A histogram with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).expect("two minutes fit");
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are sound"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// In nanoseconds.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The whole of it, with ever finer steps towards the largest.
    pub(crate) fn distribution(&self) -> Distribution {
        let steps = self.0.iter_quantiles(STEPS_PER_HALF);
        let point = |step: hdrhistogram::iterators::IterationValue<u64>| Point {
            quantile: step.quantile(),
            us: step.value_iterated_to() as f64 / 1_000.0,
        };
        Distribution(steps.map(point).collect())
    }

    pub(crate) fn summary(&self) -> LatencySummary {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        LatencySummary {
            count: self.0.len(),
            p50_us: micros(self.0.value_at_quantile(0.5)),
            p99_us: micros(self.0.value_at_quantile(0.99)),
            p999_us: micros(self.0.value_at_quantile(0.999)),
            max_us: micros(self.0.max()),
        }
    }
}

/// A histogram as a curve: what share of the latencies is at or below how much.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Distribution(pub(crate) Vec<Point>);

impl Distribution {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// From 0 to 1.
    pub(crate) quantile: f64,
    pub(crate) us: f64,
}

/// What the report shows of a histogram.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LatencySummary {
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// Shows microseconds with the unit that suits them.
pub(crate) struct Micros(pub(crate) f64);

impl fmt::Display for Micros {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            us if us < 10.0 => format!("{us:.1} µs"),
            us if us < 1_000.0 => format!("{us:.0} µs"),
            us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
            us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
            us => format!("{:.2} s", us / 1e6),
        };
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_summary_tells_the_quantiles_in_microseconds() {
        let mut latencies = Latencies::new();
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1_000);
        assert!((summary.p50_us - 500.0).abs() < 5.0, "{summary:?}");
        assert!((summary.p99_us - 990.0).abs() < 10.0, "{summary:?}");
        assert!((summary.max_us - 1_000.0).abs() < 2.0, "{summary:?}");
    }

    #[test]
    fn a_distribution_rises_from_the_median_to_the_largest() {
        let mut latencies = Latencies::new();
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let Distribution(points) = latencies.distribution();
        assert!(points.is_sorted_by(|a, b| a.quantile <= b.quantile && a.us <= b.us));
        let at = |quantile: f64| points.iter().find(|it| it.quantile >= quantile).unwrap().us;
        assert!((at(0.5) - 500.0).abs() < 5.0);
        assert!((at(1.0) - 1_000.0).abs() < 2.0);
        assert_eq!(Latencies::new().distribution(), Distribution::default());
    }

    #[test]
    fn latencies_beyond_the_longest_are_kept() {
        let mut latencies = Latencies::new();
        latencies.record(LONGEST * 2);
        assert_eq!(latencies.summary().count, 1);
        assert!(latencies.summary().max_us >= LONGEST.as_secs_f64() * 0.99e6);
    }

    #[test]
    fn micros_choose_their_unit() {
        let shown: Vec<String> = [1.23, 45.6, 1_234.0, 56_789.0, 2_500_000.0]
            .into_iter()
            .map(|us| Micros(us).to_string())
            .collect();
        assert_eq!(shown, ["1.2 µs", "46 µs", "1.23 ms", "56.8 ms", "2.50 s"]);
    }
}
