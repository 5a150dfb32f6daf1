//! Counters of one core: no atomics, no locks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// A number that only grows.
#[derive(Default, Debug)]
pub struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down.
#[derive(Default, Debug)]
pub struct Gauge(Cell<u64>);

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    #[inline]
    pub fn increment(&self) {
        self.0.set(self.0.get() + 1);
    }

    #[inline]
    pub fn decrement(&self) {
        let value = self.0.get();
        assert!(value > 0, "a gauge is decremented once per increment");
        self.0.set(value - 1);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// One counter per label value. Label values come from the code, never from a request, so that a
/// stranger cannot make it grow.
#[derive(Default, Debug)]
pub struct LabeledCounter(RefCell<BTreeMap<&'static str, u64>>);

impl LabeledCounter {
    pub fn increment(&self, label: &'static str) {
        *self.0.borrow_mut().entry(label).or_insert(0) += 1;
    }

    pub fn get(&self, label: &str) -> u64 {
        self.0.borrow().get(label).copied().unwrap_or(0)
    }

    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.0.borrow().clone()
    }
}

/// The upper bounds of a latency histogram's buckets, in seconds: from a fast NVMe flush to a
/// disk that hangs. The last one holds the rest, as Prometheus wants it.
const BUCKET_SECONDS: [f64; 19] = [
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_2,
    0.000_4,
    0.000_8,
    0.001_5,
    0.003,
    0.006,
    0.012,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
    f64::INFINITY,
];

/// How long something took, counted in fixed buckets.
#[derive(Default, Debug)]
pub struct Histogram {
    /// Observations per bucket, not cumulative.
    buckets: [Cell<u64>; BUCKET_SECONDS.len()],
    count: Cell<u64>,
    sum_seconds: Cell<f64>,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKET_SECONDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].set(self.buckets[bucket].get() + 1);
        self.count.set(self.count.get() + 1);
        self.sum_seconds.set(self.sum_seconds.get() + seconds);
    }

    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: BUCKET_SECONDS
                .iter()
                .zip(&self.buckets)
                .map(|(&bound, count)| (bound, count.get()))
                .collect(),
            count: self.count.get(),
            sum_seconds: self.sum_seconds.get(),
        }
    }
}

/// A histogram at one moment.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct HistogramSnapshot {
    /// Upper bound in seconds and observations in that bucket alone.
    pub buckets: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    pub sum_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(25));
        histogram.observe(Duration::from_micros(26));
        histogram.observe(Duration::from_secs(60));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[0], (0.000_025, 1));
        assert_eq!(snapshot.buckets[1], (0.000_05, 1));
        assert_eq!(snapshot.buckets[18], (f64::INFINITY, 1));
        assert_eq!(snapshot.count, 3);
        assert!((snapshot.sum_seconds - 60.000_051).abs() < 1e-9);
    }

    #[test]
    fn labels_are_counted_apart() {
        let counter = LabeledCounter::default();
        counter.increment("crc");
        counter.increment("crc");
        counter.increment("magic");
        assert_eq!(counter.get("crc"), 2);
        assert_eq!(counter.snapshot().len(), 2);
        assert_eq!(counter.get("length"), 0);
    }
}
