//! Planted bugs. The crash tests are worth something only if they catch a log that cheats, so a
//! test build can make it cheat; every other build compiles these questions to `false`.

/// A bug that a test build can plant on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Canary {
    /// Groups are acknowledged as flushed without a flush.
    FlushRemoved,
    /// The journal is recycled although the segments were not synced.
    RecycleBeforeSegmentSync,
    /// A start does not mind flushed groups that are damaged.
    DamagedGroupsIgnored,
    /// A start does not mind flushed groups that are missing.
    MissingGroupsIgnored,
    /// A start does not mind whom a group it cannot read may have named.
    DoubtsForgotten,
    /// A start finds suspects and does not tell the next one.
    SuspectsForgotten,
    /// A log start is acknowledged before it is flushed.
    LogStartNotAwaited,
    /// Compaction removes segments although what replaces them was not synced.
    SourcesRemovedBeforeSwap,
    /// Compaction remembers how far it came before it has come there.
    FirstDirtyBeforeSwap,
    /// A checkpoint remembers batches of producers that are in memory only.
    ProducersAheadOfCheckpoint,
    /// A start does not mind the producers of batches that no checkpoint covers.
    ProducersNotReplayed,
}

#[cfg(test)]
pub(crate) use planted::{is_planted, plant};

#[cfg(not(test))]
pub(crate) const fn is_planted(_: Canary) -> bool {
    false
}

#[cfg(test)]
mod planted {
    use std::cell::Cell;

    use super::Canary;

    thread_local! {
        static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    pub(crate) fn is_planted(canary: Canary) -> bool {
        PLANTED.get() == Some(canary)
    }

    pub(crate) fn plant(canary: Option<Canary>) {
        PLANTED.set(canary);
    }
}
