//! How long deliveries take.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// One hour: above the longest `delivery.timeout.ms` that anybody sets.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Figures are right to a hundredth.
const DIGITS: u8 = 2;

/// How long records took from the first record of their batch, lingering included, to their acknowledgement. Each record
/// counts as its batch. Figures are right to a hundredth; zero where nothing was acknowledged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryLatency {
    /// The average.
    pub mean: Duration,
    /// Half of the records took no longer.
    pub p50: Duration,
    /// Nine in ten took no longer.
    pub p90: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// 999 in 1,000 took no longer.
    pub p999: Duration,
    /// The longest, up to an hour.
    pub max: Duration,
}

/// Counted a batch at a time.
pub(super) struct Latencies {
    histogram: Mutex<Histogram<u64>>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)
            .expect("these bounds are a histogram's");
        Self {
            histogram: Mutex::new(histogram),
        }
    }
}

impl Latencies {
    pub(super) fn note(&self, latency: Duration, records: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record_n(micros, records);
    }

    pub(super) fn summary(&self) -> DeliveryLatency {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if histogram.is_empty() {
            return DeliveryLatency::default();
        }
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        DeliveryLatency {
            mean: Duration::from_secs_f64(histogram.mean() / 1e6),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

impl fmt::Display for DeliveryLatency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p99,
            p999,
            max,
            ..
        } = self;
        write!(f, "p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {max:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(found: Duration, expected: Duration) -> bool {
        found.abs_diff(expected) <= expected / 100
    }

    #[test]
    fn each_record_counts_as_its_batch() {
        let latencies = Latencies::default();
        assert_eq!(latencies.summary(), DeliveryLatency::default());
        latencies.note(Duration::from_millis(2), 98);
        latencies.note(Duration::from_millis(100), 2);
        let summary = latencies.summary();
        assert!(is_about(summary.p50, Duration::from_millis(2)), "{summary}");
        assert!(is_about(summary.p90, Duration::from_millis(2)), "{summary}");
        assert!(
            is_about(summary.p99, Duration::from_millis(100)),
            "{summary}"
        );
        assert!(
            is_about(summary.mean, Duration::from_micros(3_960)),
            "{summary}"
        );
    }

    #[test]
    fn what_takes_longer_than_an_hour_counts_as_an_hour() {
        let latencies = Latencies::default();
        latencies.note(Duration::MAX, 1);
        let hour = Duration::from_secs(3_600);
        assert!(is_about(latencies.summary().max, hour));
    }
}
