//! A bound on the bytes that compaction reads and writes in a second.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::{Instant, now, sleep_until};

/// A debt smaller than this is not slept off at once: timers are coarser than that.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// A longer sleep is cut into slices: whoever is to end looks up in between.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Spends time for bytes.
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When everything spent so far has been paid for.
    paid_at: Cell<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace {
            bytes_per_second,
            paid_at: Cell::new(None),
        }
    }

    /// Waits until `bytes` more are within the bound, or `is_over`. Time in which nothing was spent is
    /// not saved.
    pub(super) async fn spend(&self, bytes: u64, is_over: impl Fn() -> bool) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let paid_at = self.paid_at.get().map_or(now(), |at| at.max(now())) + cost;
        self.paid_at.set(Some(paid_at));
        if paid_at - now() < SHORTEST_SLEEP {
            return;
        }
        while now() < paid_at && !is_over() {
            sleep_until(paid_at.min(now() + LONGEST_SLEEP)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Simulator;

    #[test]
    fn bytes_take_the_time_that_the_bound_says() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let pace = Pace::new(Some(1 << 20));
            let start = now();
            for _ in 0..64 {
                pace.spend(64 << 10, || false).await;
            }
            let took = now() - start;
            let expected = Duration::from_secs(4);
            assert!(took >= expected - SHORTEST_SLEEP, "{took:?}");
            assert!(took <= expected + expected / 10, "{took:?}");
        });
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let start = now();
            Pace::new(None).spend(u64::MAX, || false).await;
            assert_eq!(now(), start);
        });
    }

    #[test]
    fn a_long_wait_ends_soon_after_its_reason_does() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let (pace, start) = (Pace::new(Some(1)), now());
            let is_over = || now() - start >= Duration::from_secs(1);
            pace.spend(1000, is_over).await;
            assert!(now() - start <= Duration::from_secs(1) + LONGEST_SLEEP);
        });
    }
}
