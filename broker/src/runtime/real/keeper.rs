//! Keeps glommio 0.9 from sleeping while tasks are ready to run.
//!
//! Before each round of tasks, glommio sets a timer that ends the round so that the rings are looked at.
//! If the thread loses its core between the setting and the round for longer than the timer runs, the
//! round ends before its first task, the executor takes that for having nothing to do, and sleeps with
//! all its tasks in the queue until some event comes: on a quiet shard, never. A longer timer makes this
//! rarer, and completed I/O wait longer on a busy core.
//!
//! The executor does not go to sleep when one of a task's own timers is found expired. So this task
//! always has several set, the next of them sooner than the end of a round: whenever a round was lost,
//! one has expired too. Further ones, each twice as far, bound the wait should the nearer ones be lost
//! with the round. An executor that has been idle sets them further apart, since each wakes it up.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// How long a round of tasks runs before the rings are looked at.
pub(in crate::runtime) const ROUND: Duration = Duration::from_millis(2);

const BUSY_PERIOD: Duration = Duration::from_micros(1_500);
const IDLE_PERIOD: Duration = Duration::from_millis(100);
const _: () = assert!(BUSY_PERIOD.as_micros() < ROUND.as_micros());

/// Timers set at once: the last is 2,048 periods away.
const RUNGS: u32 = 12;

/// A period in which no more tasks ran than this was idle. The keeper itself is one of them.
const IDLE_TASKS: u64 = 4;

struct Rung {
    timer: Timer,
    due: Instant,
}

impl Rung {
    fn set(period: Duration, context: &mut Context<'_>) -> Self {
        let due = Instant::now() + period;
        let mut timer = Timer::new(period);
        // Sets it. One that has expired already is found when the task runs next.
        if Pin::new(&mut timer).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Self { timer, due }
    }

    /// Sets the timer again once it has expired or less than half of its period is left.
    fn renew(&mut self, period: Duration, context: &mut Context<'_>) {
        let left = self.due.saturating_duration_since(Instant::now());
        if left < period / 2 || left > period || Pin::new(&mut self.timer).poll(context).is_ready()
        {
            *self = Self::set(period, context);
        }
    }
}

/// Runs for as long as the executor.
pub(in crate::runtime) async fn keep_awake() {
    let mut rungs: Vec<Rung> = Vec::new();
    poll_fn(|context| {
        let tasks = glommio::executor().executor_stats().tasks_executed();
        let first = if tasks > IDLE_TASKS {
            BUSY_PERIOD
        } else {
            IDLE_PERIOD
        };
        for index in 0..RUNGS {
            let period = first * 2_u32.pow(index);
            match rungs.get_mut(index as usize) {
                Some(rung) => rung.renew(period, context),
                None => rungs.push(Rung::set(period, context)),
            }
        }
        Poll::<()>::Pending
    })
    .await;
}
