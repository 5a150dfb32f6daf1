//! Waiting between attempts: doubled each time up to a maximum, with jitter so that many clients that lost one broker do
//! not come back at the same instant.

use std::time::Duration;

use rand::Rng;

use crate::config::BackoffSettings;

/// How far a wait strays from its nominal length, as in Kafka (KIP-580).
const JITTER: f64 = 0.2;

#[derive(Debug)]
pub(crate) struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(settings: BackoffSettings) -> Self {
        Self {
            settings,
            attempts: 0,
        }
    }

    /// The next wait; each is nominally twice the one before.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = wait_after(self.settings, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }

    /// Starts again from the first wait.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The wait after `failures` earlier failures.
pub(crate) fn wait_after(settings: BackoffSettings, failures: u32) -> Duration {
    let nominal = settings
        .first
        .saturating_mul(1 << failures.min(20))
        .min(settings.max);
    nominal.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(BackoffSettings {
            first: Duration::from_millis(100),
            max: Duration::from_millis(1000),
        });
        for nominal in [100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0] {
            let wait = backoff.next_wait().as_secs_f64() * 1000.0;
            assert!(
                (nominal * 0.79..=nominal * 1.21).contains(&wait),
                "{wait} around {nominal}"
            );
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(120));
    }
}
