//! A consumer group that reads what a run has written, or writes meanwhile.
//!
//! All members first wait at the end of what is there until each has its share
//! of the partitions; then they go to the beginning together. So the figures
//! hold no joining, and a group of one member and one of many read the same.
//!
//! | file | holds |
//! |---|---|
//! | `shares` | who has which partition, how far each has come, how long it paused: plain state |
//! | `member` | a consumer of the group |
//! | `load` | producers that go on while members come and go |
//! | `change` | one more member joins and leaves: what the others notice |

pub(crate) mod change;
pub(crate) mod load;
pub(crate) mod member;
mod shares;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use corelog_client::TopicPartition;

use super::consume::Stretch;
use crate::interrupt;
use shares::Shares;

/// Between two looks at what the others do.
const LOOK: Duration = Duration::from_millis(1);

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all clients around one group share.
pub(crate) struct Gathering {
    /// Members at the start.
    members: usize,
    /// What is to be read, partition by partition: nothing yet where a load follows.
    stretches: Vec<Stretch>,
    shares: Mutex<Shares>,
    /// All members had their share, and read from the beginning of the stretches on.
    going: AtomicBool,
    /// Producers that may still send.
    sending: AtomicUsize,
    sent: AtomicU64,
    newcomer: Newcomer,
    /// The load is to end.
    over: AtomicBool,
    /// A client failed, and the others wait for it in vain.
    failed: AtomicBool,
}

/// What the member that joins later is told, and when it did it.
#[derive(Default)]
struct Newcomer {
    may_join: AtomicBool,
    is_to_leave: AtomicBool,
    joined: OnceLock<Instant>,
    left: OnceLock<Instant>,
}

impl Gathering {
    /// Of a group of so many members that reads `stretches`, to which producers add.
    pub(crate) fn new(members: usize, stretches: &[Stretch], producers: usize) -> Arc<Self> {
        let length = stretches.iter().map(Stretch::length).sum();
        let starts = stretches.iter().map(|stretch| stretch.start.get());
        Arc::new(Self {
            members,
            stretches: stretches.to_vec(),
            shares: Mutex::new(Shares::new(starts, Instant::now())),
            going: AtomicBool::new(false),
            sending: AtomicUsize::new(producers),
            sent: AtomicU64::new(length),
            newcomer: Newcomer::default(),
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        })
    }

    /// To be held by each client until it is done, and to be taken before anything of it can fail.
    pub(crate) fn attendance(&self) -> Attendance<'_> {
        Attendance {
            gathering: self,
            is_done: false,
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be read of a partition.
    fn stretch(&self, partition: &TopicPartition) -> Option<&Stretch> {
        let index = usize::try_from(partition.partition.get()).ok()?;
        self.stretches.get(index)
    }

    fn is_going(&self) -> bool {
        self.going.load(Ordering::Acquire)
    }

    /// Has all members read if each has its share now.
    fn begin_when_complete(&self) -> bool {
        let mut shares = self.shares();
        let is_complete = shares.are_even(self.members);
        if is_complete && !self.is_going() {
            shares.watch(Instant::now());
            self.going.store(true, Ordering::Release);
        }
        is_complete
    }

    /// Nothing more is to be waited for.
    fn is_broken_off(&self) -> bool {
        interrupt::requested() || self.failed.load(Ordering::Acquire)
    }

    /// Everything that was sent has been read, or nothing more comes.
    fn is_read(&self) -> bool {
        if self.sending.load(Ordering::Acquire) > 0 {
            return false;
        }
        let shares = self.shares();
        shares.delivered() >= self.sent.load(Ordering::Acquire) || shares.idle() > PATIENCE
    }
}

/// Dropped before it was [done](Attendance::done), it says that its client failed.
pub(crate) struct Attendance<'a> {
    gathering: &'a Gathering,
    is_done: bool,
}

impl Attendance<'_> {
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.gathering.failed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_hear_of_a_client_that_fails_but_not_of_one_that_is_done() {
        let gathering = Gathering::new(2, &[], 0);
        gathering.attendance().done();
        assert!(!gathering.is_broken_off());
        drop(gathering.attendance());
        assert!(gathering.is_broken_off());
    }

    #[test]
    fn a_group_is_not_done_while_a_producer_may_send() {
        let gathering = Gathering::new(2, &[], 1);
        assert!(!gathering.is_read());
        gathering.sending.fetch_sub(1, Ordering::AcqRel);
        assert!(gathering.is_read());
        gathering.sent.fetch_add(1, Ordering::AcqRel);
        assert!(!gathering.is_read());
    }
}
