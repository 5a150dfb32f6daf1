//! What happens to batches by time alone: lingering ends, and deliveries time out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;
use super::settle::{fail, timeout};
use super::shared::Shared;

/// How often undelivered batches are looked over for those whose time is up.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Open batches in the order in which their lingering ends; each batch is noted once, when it is opened. One that was
/// full before its time stays here until then, and is passed over.
pub(super) struct Lingering {
    linger: Duration,
    batches: Mutex<VecDeque<Entry>>,
    first_noted: Notify,
}

struct Entry {
    ends: Instant,
    lane: Arc<Lane>,
    number: u64,
}

impl Lingering {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            linger,
            batches: Mutex::new(VecDeque::new()),
            first_noted: Notify::new(),
        }
    }

    pub(super) fn note(&self, lane: &Arc<Lane>, number: u64) {
        let mut batches = self.batches();
        batches.push_back(Entry {
            ends: Instant::now() + self.linger,
            lane: Arc::clone(lane),
            number,
        });
        if batches.len() == 1 {
            self.first_noted.notify_one();
        }
    }

    fn batches(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_end(&self) -> Option<Instant> {
        self.batches().front().map(|entry| entry.ends)
    }

    fn take_ended(&self, now: Instant) -> Vec<Entry> {
        let mut batches = self.batches();
        let ended = batches.partition_point(|entry| entry.ends <= now);
        batches.drain(..ended).collect()
    }

    /// Lets every open batch leave at once: memory is short, and only acknowledged batches give it back.
    pub(super) fn end_all(&self, shared: &Shared) {
        let all: Vec<Entry> = self.batches().drain(..).collect();
        release(all, shared);
    }
}

fn release(entries: Vec<Entry>, shared: &Shared) {
    for entry in entries {
        if entry.lane.end_linger(entry.number) {
            shared.list(&entry.lane);
        }
    }
}

/// Runs until the producer is shut down.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    loop {
        let now = Instant::now();
        release(shared.lingering.take_ended(now), &shared);
        if now >= next_sweep {
            sweep(&shared, now);
            next_sweep = now + SWEEP_INTERVAL;
        }
        let next_end = shared.lingering.next_end();
        let wake = next_end.map_or(next_sweep, |end| end.min(next_sweep));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = shared.lingering.first_noted.notified(), if next_end.is_none() => {}
        }
    }
}

/// Gives up batches that wait longer than `delivery.timeout.ms`. Those under way are looked at when their answer comes,
/// at most `request.timeout.ms` after they were sent.
fn sweep(shared: &Arc<Shared>, now: Instant) {
    if shared.memory.in_use() == 0 {
        return;
    }
    let Some(opened) = now.checked_sub(shared.settings.delivery_timeout) else {
        return;
    };
    for lane in shared.lanes() {
        for batch in lane.take_expired(opened) {
            let error = timeout(&lane, &batch, None);
            fail(batch, error, shared);
        }
    }
}
