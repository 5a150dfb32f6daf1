//! How compaction shares the disk: a bound on the bytes that it reads and writes in a second, and small
//! steps with pauses between while records are appended.

use std::cell::Cell;
use std::time::Duration;

use crate::log::append_rate::AppendRate;
use crate::runtime::{Instant, now, sleep, sleep_until};

/// A debt smaller than this is not slept off at once: timers are coarser than that.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// A longer sleep is cut into slices: whoever is to end looks up in between.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Bytes of a read or write while records are appended: their sync waits for what the disk does
/// already.
const SMALL_STEP: usize = 64 << 10;

/// Behind a small step. Measured: with both, the p99 of a durable append is less than twice that
/// without a compaction; with 512 KiB and no pause it is five times.
const PAUSE: Duration = Duration::from_millis(1);

/// However much is appended, this many times as much is read and written: all of it twice and once,
/// and as much again of what was compacted before.
const TIMES_APPENDED: f64 = 6.0;

/// So long after the last append nobody is taken to append.
const APPEND_GAP: Duration = Duration::from_millis(50);

/// Spends time for bytes.
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When everything spent so far has been paid for.
    paid_at: Cell<Option<Instant>>,
    appends: Cell<Appends>,
    rate: AppendRate,
    last_spent_at: Cell<Option<Instant>>,
}

/// What was appended to the logs of the shard, by all that is known.
#[derive(Default, Clone, Copy)]
struct Appends {
    bytes: u64,
    /// When it last was more than before.
    at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace {
            bytes_per_second,
            paid_at: Cell::new(None),
            appends: Cell::default(),
            rate: AppendRate::default(),
            last_spent_at: Cell::new(None),
        }
    }

    /// Bytes of the next read or write, at most `largest`; `appended` is all that was so far.
    pub(super) fn step(&self, largest: usize, appended: u64) -> usize {
        match self.gives_way(appended) {
            true => largest.min(SMALL_STEP),
            false => largest,
        }
    }

    fn gives_way(&self, appended: u64) -> bool {
        let mut appends = self.appends.get();
        if appended != appends.bytes {
            appends = Appends {
                bytes: appended,
                at: Some(now()),
            };
            self.appends.set(appends);
        }
        appends.at.is_some_and(|at| now() - at < APPEND_GAP)
    }

    /// Waits until `bytes` more are within the bound, or `is_over`. Time in which nothing was spent is
    /// not saved.
    pub(super) async fn spend(&self, bytes: u64, appended: u64, is_over: impl Fn() -> bool) {
        if self.gives_way(appended) {
            sleep(self.pause_behind(bytes, appended)).await;
        }
        self.last_spent_at.set(Some(now()));
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

    /// [`PAUSE`] for a small step and its part for less; shorter where that would be slower than
    /// [`TIMES_APPENDED`].
    fn pause_behind(&self, bytes: u64, appended: u64) -> Duration {
        let pause = PAUSE.mul_f64((bytes as f64 / SMALL_STEP as f64).min(1.0));
        let allowed = self.rate.time_for(bytes, TIMES_APPENDED, appended);
        let taken = self
            .last_spent_at
            .get()
            .map_or(Duration::ZERO, |at| now() - at);
        pause.min(allowed.saturating_sub(taken))
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
                pace.spend(64 << 10, 0, || false).await;
            }
            let took = now() - start;
            let expected = Duration::from_secs(4);
            assert!(took >= expected - SHORTEST_SLEEP, "{took:?}");
            assert!(took <= expected + expected / 10, "{took:?}");
        });
    }

    #[test]
    fn steps_are_small_while_records_are_appended() {
        const LARGE: usize = 1 << 20;
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let pace = Pace::new(None);
            assert_eq!(pace.step(LARGE, 0), LARGE);
            assert_eq!(pace.step(LARGE, 1), SMALL_STEP);
            assert_eq!(pace.step(LARGE, 1), SMALL_STEP, "the append was just now");
            assert_eq!(pace.step(4096, 2), 4096);
            sleep_until(now() + APPEND_GAP).await;
            assert_eq!(pace.step(LARGE, 2), LARGE);
        });
    }

    #[test]
    fn few_appends_are_given_way_and_many_do_not_outrun_compaction() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let step = SMALL_STEP as u64;
            let work = Duration::from_micros(200);
            // In groups of 20 ms, as under load.
            let few = (PAUSE + work).as_secs_f64();
            let many = step as f64 / (50e6 * TIMES_APPENDED);
            for (group, expected) in [(1000, few), (1_000_000, many)] {
                let (pace, mut appended, mut spent) = (Pace::new(None), 0, 0);
                let start = now();
                let mut counted_from = start;
                while now() - start < Duration::from_secs(2) {
                    sleep(work).await;
                    let groups = (now() - start).as_millis() as u64 / 20;
                    appended = group * groups;
                    pace.spend(step, appended, || false).await;
                    spent += 1;
                    if now() - start < Duration::from_millis(500) {
                        (counted_from, spent) = (now(), 0);
                    }
                }
                let each = (now() - counted_from).as_secs_f64() / f64::from(spent);
                assert!(
                    (each / expected - 1.0).abs() < 0.15,
                    "{each} for {expected}"
                );
                assert!(appended > 0);
            }
        });
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let start = now();
            Pace::new(None).spend(u64::MAX, 0, || false).await;
            assert_eq!(now(), start);
        });
    }

    #[test]
    fn a_long_wait_ends_soon_after_its_reason_does() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let (pace, start) = (Pace::new(Some(1)), now());
            let is_over = || now() - start >= Duration::from_secs(1);
            pace.spend(1000, 0, is_over).await;
            assert!(now() - start <= Duration::from_secs(1) + LONGEST_SLEEP);
        });
    }
}
