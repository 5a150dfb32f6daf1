//! Planted bugs: the tests of retries and gaps are worth something only if they catch a partition
//! that cheats. Every other build compiles these questions to `false`.

/// A bug that a test build can plant on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Canary {
    /// Records that are missing before a batch are not missed.
    SequenceGapAccepted,
    /// A batch of an epoch that is over is taken for one of the current epoch.
    FenceForgotten,
    /// A batch that the log holds is appended once more.
    DuplicateAppended,
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
