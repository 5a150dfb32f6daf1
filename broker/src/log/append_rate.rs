//! How fast the logs of a shard grow, for work in the background that has to keep up with it.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::{Instant, now};

/// Measured over at least so long: what is appended comes in groups tens of milliseconds apart.
const SPAN: Duration = Duration::from_millis(100);

/// Bytes appended in a second, of late.
#[derive(Default)]
pub(super) struct AppendRate {
    /// Where the span under way began, and what had been appended by then.
    since: Cell<Option<(Instant, u64)>>,
    bytes_per_second: Cell<f64>,
}

impl AppendRate {
    /// How long it may take to go over `bytes` by whoever is to be so many `times` as fast as appends;
    /// `appended` is all that was so far.
    pub(super) fn time_for(&self, bytes: u64, times: f64, appended: u64) -> Duration {
        self.look(appended);
        let seconds = bytes as f64 / (self.bytes_per_second.get() * times);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    fn look(&self, appended: u64) {
        let now = now();
        let Some((since, before)) = self.since.get() else {
            self.since.set(Some((now, appended)));
            return;
        };
        let span = now - since;
        if span >= SPAN {
            let rate = (appended - before) as f64 / span.as_secs_f64();
            self.bytes_per_second.set(rate);
            self.since.set(Some((now, appended)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Simulator, sleep};

    #[test]
    fn groups_far_apart_are_a_rate_all_the_same() {
        let mut simulator = Simulator::new(1);
        simulator.run(async {
            let (rate, mut appended) = (AppendRate::default(), 0);
            assert_eq!(rate.time_for(1, 1.0, appended), Duration::MAX);
            for step in 0..200 {
                sleep(Duration::from_millis(2)).await;
                if step % 20 == 0 {
                    appended += 4_000_000; // 100 MB/s
                }
                rate.time_for(1, 1.0, appended);
            }
            let took = rate.time_for(1_000_000, 2.0, appended).as_secs_f64();
            assert!((0.004..0.007).contains(&took), "{took}");
            sleep(Duration::from_secs(1)).await;
            assert_eq!(rate.time_for(1, 1.0, appended), Duration::MAX);
        });
    }
}
