//! The clock, timers and randomness. In the simulator all three come from the seed.

use std::future::{Future, poll_fn};
use std::ops::{Add, AddAssign, Sub};
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backend::{self, Backend};

/// A point on the monotonic clock of this process, or of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    pub(super) const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    pub(super) const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// Time from `earlier` to this point; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    pub fn elapsed(self) -> Duration {
        now().duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: a wait without end is the far end of the clock.
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(self.nanos.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(self.nanos.saturating_sub(nanos))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// The monotonic clock.
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    match backend::current() {
        Some(Backend::Simulated(core)) => core.now(),
        Some(Backend::Glommio) | None => {
            let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
            Instant::from_nanos(0) + elapsed
        }
    }
}

/// The wall clock in milliseconds since 1970; what a record's timestamp is made of.
pub fn unix_millis() -> i64 {
    match backend::current() {
        Some(Backend::Simulated(core)) => core.unix_millis(),
        Some(Backend::Glommio) | None => match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        },
    }
}

pub async fn sleep(duration: Duration) {
    match backend::expect_current() {
        Backend::Glommio => {
            glommio::timer::Timer::new(duration).await;
        }
        Backend::Simulated(core) => {
            let deadline = core.now() + duration;
            core.sleep_until(deadline).await;
        }
    }
}

pub async fn sleep_until(deadline: Instant) {
    sleep(deadline.duration_since(now())).await;
}

/// The time given to an operation ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Runs a future for at most `duration`, then drops it. When both are due at once the future wins.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(duration));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        timer.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// A timer that is set only when a deadline comes before the one it is set to: a stream of
/// requests, each with a later deadline than the one before, sets it once per time-out.
#[derive(Default)]
pub struct Alarm {
    set_to: Option<Instant>,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Alarm {
    /// Ready at `deadline`, or at an earlier one that it was set to before.
    pub fn poll_until(&mut self, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        if let Some(deadline) = deadline
            && self.set_to.is_none_or(|set_to| deadline < set_to)
        {
            self.set_to = Some(deadline);
            self.sleep = Some(Box::pin(sleep_until(deadline)));
        }
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.set_to = None;
        self.sleep = None;
        Poll::Ready(())
    }
}

/// Random bits; drawn from the seed in the simulator. Not for secrets.
pub fn random_u64() -> u64 {
    match backend::current() {
        Some(Backend::Simulated(core)) => core.random_u64(),
        Some(Backend::Glommio) | None => rand::random(),
    }
}
