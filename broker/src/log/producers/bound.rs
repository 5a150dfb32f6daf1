//! How many producers the logs of one shard know, and who is forgotten at the bound.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::log::partition_log::PartitionLog;
use crate::log::shard_log::Shared;
use crate::runtime::unix_millis;

/// At the bound, one producer in so many goes at once: finding the oldest looks at all of them.
const SHARE_FORGOTTEN: usize = 16;

/// Counts the producers of a shard's logs. A producer counts once for each partition it writes to.
pub(in crate::log) struct KnownProducers {
    most: usize,
    /// No less than there are: logs that go, and producers that are forgotten for their age, are
    /// counted until the bound seems reached.
    at_most: Cell<usize>,
    forgotten: Cell<u64>,
}

impl KnownProducers {
    pub(in crate::log) fn new(most: usize) -> KnownProducers {
        KnownProducers {
            most,
            at_most: Cell::new(0),
            forgotten: Cell::new(0),
        }
    }

    /// Producers that went because there were too many.
    pub(in crate::log) fn forgotten(&self) -> u64 {
        self.forgotten.get()
    }
}

impl Shared {
    /// A log got to know so many more producers. Beyond the bound those that were idle the longest
    /// go, whatever their partition. Called without a borrow of any log's state.
    pub(in crate::log) fn note_new_producers(&self, more: usize) {
        let known = &self.known_producers;
        known.at_most.set(known.at_most.get() + more);
        if known.at_most.get() > known.most {
            self.forget_producers_beyond_bound();
        }
    }

    fn forget_producers_beyond_bound(&self) {
        let known = &self.known_producers;
        let logs: Vec<Rc<PartitionLog>> = self.logs.borrow().values().cloned().collect();
        let mut last_active: Vec<i64> = Vec::new();
        for log in &logs {
            last_active.extend(log.state.borrow().producers.last_active());
        }
        known.at_most.set(last_active.len());
        if last_active.len() <= known.most {
            return;
        }
        let keep = known.most - known.most / SHARE_FORGOTTEN;
        let surplus = last_active.len() - keep;
        let (older, &mut newest, _) = last_active.select_nth_unstable(surplus - 1);
        // Of those that were last active in the same millisecond only some need go.
        let before = older.iter().filter(|time| **time < newest).count();
        let mut at_that_time = surplus - before;
        let mut gone = 0;
        for log in &logs {
            let (went, then) = log.forget_idle_producers(newest, at_that_time);
            at_that_time -= then;
            gone += went;
        }
        known.at_most.set(last_active.len() - gone);
        known.forgotten.set(known.forgotten.get() + gone as u64);
        tracing::warn!(
            shard = self.shard.get(),
            forgotten = gone,
            bound = known.most,
            "the bound shard.producers.max was reached: the producers idle the longest were \
             forgotten, and a retry of theirs would not be recognised"
        );
    }
}

impl PartitionLog {
    /// Producers that this log knows.
    pub(in crate::log) fn known_producers(&self) -> usize {
        self.state.borrow().producers.len()
    }

    /// Forgets the producers that were idle for longer than `producer.id.expiration.ms`.
    pub(crate) fn expire_producers(&self) {
        if let Some(shared) = self.shared() {
            let since = active_since(shared.options.producer_expiration);
            self.forget_idle_producers(since, 0);
        }
    }

    /// Forgets the producers last active before a time, and at most `at_that_time` of those active
    /// exactly then. How many went, and how many of them were active then.
    fn forget_idle_producers(&self, before_ms: i64, at_that_time: usize) -> (usize, usize) {
        let mut state = self.state.borrow_mut();
        let then = state.producers.last_active();
        let then = then.filter(|time| *time == before_ms).count();
        let went = state.producers.forget_idle(before_ms, at_that_time);
        if went > 0 {
            // The next checkpoint is rid of them as well.
            state.revision += 1;
        }
        (went, then.min(at_that_time))
    }
}

/// Who was last active before this time has expired.
pub(in crate::log) fn active_since(expiration: Duration) -> i64 {
    let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
    unix_millis().saturating_sub(expiration)
}
