//! A bound on the bytes that compaction reads and writes in a second.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::{Instant, now, sleep_until};

/// A debt smaller than this is not slept off at once: timers are coarser than that.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

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

    /// Waits until `bytes` more are within the bound. Time in which nothing was spent is not saved.
    pub(super) async fn spend(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let now = now();
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let paid_at = self.paid_at.get().unwrap_or(now).max(now) + cost;
        self.paid_at.set(Some(paid_at));
        if paid_at - now >= SHORTEST_SLEEP {
            sleep_until(paid_at).await;
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
                pace.spend(64 << 10).await;
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
            Pace::new(None).spend(u64::MAX).await;
            assert_eq!(now(), start);
        });
    }
}
