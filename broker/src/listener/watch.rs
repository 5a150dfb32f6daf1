//! What a connection is waiting for, and since when.
//!
//! Time is counted in sweeps of the server, which look at every connection of the core: a
//! request costs no clock reading and no timer.

use std::cell::Cell;
use std::time::Duration;

use super::close::Close;
use super::options::ListenerOptions;

/// As much of a frame must arrive within the frame time-out, or its end.
const PROGRESS_BYTES: usize = 64 * 1024;

/// How long a peer may hold records and take nothing of them while other readers wait for memory.
const HELD_UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// What the connection's receiver is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    AwaitingHello,
    BetweenFrames,
    /// Part of a frame has arrived and the rest is awaited.
    MidFrame,
    /// The broker itself holds the connection back: in-flight limits or memory.
    HeldBack,
}

/// A sweep's number.
pub(super) type Tick = u64;

#[derive(Debug)]
pub(super) struct Watch {
    phase: Cell<Phase>,
    since: Cell<Tick>,
    /// Of the frame under way: how often [`PROGRESS_BYTES`] had arrived at `since`.
    steps: Cell<usize>,
    sending_since: Cell<Option<Tick>>,
    /// Records wait for the peer, and none of them got on since.
    holding_since: Cell<Option<Tick>>,
}

impl Watch {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            phase: Cell::new(Phase::AwaitingHello),
            since: Cell::new(now),
            steps: Cell::new(0),
            sending_since: Cell::new(None),
            holding_since: Cell::new(None),
        }
    }

    /// The Hello was accepted.
    pub(super) fn greeted(&self, now: Tick) {
        self.phase.set(Phase::BetweenFrames);
        self.since.set(now);
    }

    /// The receiver enters `phase`. Until the Hello is accepted its one time-out goes on, whatever
    /// the peer sends meanwhile.
    pub(super) fn enter(&self, phase: Phase, now: Tick) {
        if self.phase.get() != Phase::AwaitingHello {
            self.phase.set(phase);
            self.since.set(now);
        }
    }

    /// The receiver awaits the rest of a frame of which it has `received` bytes. A byte now and
    /// then is no progress: the time-out starts again with every [`PROGRESS_BYTES`].
    pub(super) fn enter_frame(&self, received: usize, now: Tick) {
        let steps = received / PROGRESS_BYTES;
        if self.phase.get() != Phase::MidFrame || self.steps.replace(steps) != steps {
            self.steps.set(steps);
            self.enter(Phase::MidFrame, now);
        }
    }

    /// Something was done for the peer: from now on it is idle, if it asks for nothing.
    pub(super) fn served(&self, now: Tick) {
        if self.phase.get() == Phase::BetweenFrames {
            self.since.set(now);
        }
    }

    /// A send to the peer begins (`Some`) or is over.
    pub(super) fn set_sending(&self, since: Option<Tick>) {
        self.sending_since.set(since);
    }

    /// Records begin to wait for the peer, or some of them got on (`Some`), or none wait.
    pub(super) fn set_holding(&self, since: Option<Tick>) {
        self.holding_since.set(since);
    }

    /// The time-out that has passed, if one has. `is_used`: something is under way for the peer.
    /// `pressed`: other readers wait for memory.
    pub(super) fn overdue(
        &self,
        now: Tick,
        is_used: bool,
        pressed: bool,
        limits: &Timeouts,
    ) -> Option<Close> {
        if let Some(since) = self.sending_since.get()
            && limits.send.has_passed(since, now)
        {
            return Some(Close::SendTimedOut(limits.send.duration));
        }
        // A request that waits behind a send may have been lent memory as well.
        let since = self.holding_since.get().or(self.sending_since.get());
        if pressed
            && let Some(since) = since
            && limits.held.has_passed(since, now)
        {
            return Some(Close::HeldMemory(limits.held.duration));
        }
        let since = self.since.get();
        match self.phase.get() {
            Phase::AwaitingHello if limits.hello.has_passed(since, now) => {
                Some(Close::HelloTimedOut(limits.hello.duration))
            }
            Phase::MidFrame if limits.frame.has_passed(since, now) => {
                Some(Close::FrameTimedOut(limits.frame.duration))
            }
            Phase::BetweenFrames if !is_used && limits.idle.has_passed(since, now) => {
                Some(Close::Idle(limits.idle.duration))
            }
            _ => None,
        }
    }
}

/// A time-out in sweeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeout {
    duration: Duration,
    sweeps: u64,
}

impl Timeout {
    fn new(duration: Duration, interval: Duration) -> Self {
        let sweeps = duration.as_nanos().div_ceil(interval.as_nanos().max(1));
        Self {
            duration,
            // The wait began somewhere between two sweeps.
            sweeps: u64::try_from(sweeps).unwrap_or(u64::MAX - 1) + 1,
        }
    }

    fn has_passed(&self, since: Tick, now: Tick) -> bool {
        now.saturating_sub(since) >= self.sweeps
    }
}

/// The time-outs of every connection, and how often to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) interval: Duration,
    hello: Timeout,
    frame: Timeout,
    send: Timeout,
    held: Timeout,
    idle: Timeout,
}

impl Timeouts {
    /// A time-out is noticed at most a quarter of the shortest one, or a second, too late.
    pub(super) fn new(options: &ListenerOptions) -> Self {
        let interval = [
            options.hello_timeout,
            options.frame_timeout,
            options.send_timeout,
            options.idle_timeout,
        ]
        .into_iter()
        .fold(Duration::from_secs(4), Duration::min)
            / 4;
        let interval = interval.max(Duration::from_millis(1));
        let timeout = |duration| Timeout::new(duration, interval);
        Self {
            interval,
            hello: timeout(options.hello_timeout),
            frame: timeout(options.frame_timeout),
            send: timeout(options.send_timeout),
            held: timeout(options.send_timeout.min(HELD_UNDER_PRESSURE)),
            idle: timeout(options.idle_timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts::new(&ListenerOptions {
            hello_timeout: Duration::from_secs(1),
            frame_timeout: Duration::from_secs(2),
            send_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(4),
            ..ListenerOptions::default()
        })
    }

    fn greeted_watch() -> Watch {
        let watch = Watch::new(0);
        watch.greeted(0);
        watch
    }

    /// The sweep, counted from the start of the wait, at which `watch` is found overdue.
    fn first_overdue(watch: &Watch, is_used: bool) -> Option<Tick> {
        (0..100).find(|&now| watch.overdue(now, is_used, false, &timeouts()).is_some())
    }

    #[test]
    fn each_phase_has_its_own_time_out() {
        let timeouts = timeouts();
        assert_eq!(timeouts.interval, Duration::from_millis(250));
        let watch = Watch::new(0);
        assert_eq!(first_overdue(&watch, false), Some(5));
        watch.enter_frame(30, 4);
        assert_eq!(
            first_overdue(&watch, false),
            Some(5),
            "half a Hello is none"
        );
        watch.greeted(0);
        watch.enter_frame(30, 0);
        assert_eq!(first_overdue(&watch, true), Some(9));
        watch.enter(Phase::BetweenFrames, 0);
        assert_eq!(first_overdue(&watch, false), Some(17));
        assert!(matches!(
            watch.overdue(17, false, false, &timeouts),
            Some(Close::Idle(_))
        ));
    }

    #[test]
    fn progress_starts_the_wait_again() {
        let watch = greeted_watch();
        watch.enter_frame(100, 0);
        watch.enter_frame(PROGRESS_BYTES, 8);
        assert_eq!(first_overdue(&watch, false), Some(17));
    }

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let watch = greeted_watch();
        watch.enter_frame(1, 0);
        for now in 1..9 {
            watch.enter_frame(1 + now as usize, now);
        }
        assert_eq!(first_overdue(&watch, false), Some(9));
    }

    #[test]
    fn a_connection_that_is_used_or_held_back_is_not_idle() {
        let watch = greeted_watch();
        watch.enter(Phase::BetweenFrames, 0);
        assert_eq!(first_overdue(&watch, true), None);
        watch.enter(Phase::HeldBack, 0);
        assert_eq!(first_overdue(&watch, false), None);
    }

    #[test]
    fn a_connection_that_was_answered_is_idle_from_then_on() {
        let watch = greeted_watch();
        watch.enter(Phase::BetweenFrames, 0);
        watch.served(30);
        assert_eq!(first_overdue(&watch, false), Some(30 + 17));
        watch.enter_frame(30, 40);
        watch.served(45);
        assert_eq!(
            first_overdue(&watch, false),
            Some(40 + 9),
            "a frame under way is none"
        );
    }

    #[test]
    fn a_peer_that_holds_records_is_overdue_only_while_others_wait_for_memory() {
        let watch = greeted_watch();
        watch.enter(Phase::HeldBack, 0);
        watch.set_holding(Some(1));
        let overdue = |now, pressed| watch.overdue(now, true, pressed, &timeouts());
        assert!(overdue(1 + 4, true).is_none());
        assert!(matches!(overdue(1 + 5, true), Some(Close::HeldMemory(_))));
        assert!(overdue(1 + 5, false).is_none());
        watch.set_holding(Some(3));
        assert!(overdue(1 + 5, true).is_none(), "some of them got on");
        watch.set_holding(None);
        assert!(overdue(99, true).is_none());
    }

    #[test]
    fn a_peer_that_takes_no_bytes_is_overdue_in_any_phase() {
        let watch = greeted_watch();
        watch.enter(Phase::HeldBack, 0);
        watch.set_sending(Some(2));
        assert_eq!(first_overdue(&watch, true), Some(2 + 13));
        watch.set_sending(None);
        assert_eq!(first_overdue(&watch, true), None);
    }
}
