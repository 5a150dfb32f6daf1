//! Planted bugs. The property test is worth something only if it catches a coordinator that
//! cheats, so a test build can make it cheat; every other build compiles these questions to
//! `false`.

/// A bug that a test build can plant on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canary {
    /// A member gets a partition that another one has not given up.
    TwoOwners,
    /// What a fenced member held is not assigned to anybody else.
    LostPartition,
    /// A member that never gives up its partitions is waited for without end.
    StuckRebalance,
    /// A member with an old epoch is let in.
    ForgottenFence,
}

#[cfg(test)]
pub(super) use planted::{is_planted, plant};

#[cfg(not(test))]
pub(super) const fn is_planted(_: Canary) -> bool {
    false
}

#[cfg(test)]
mod planted {
    use std::cell::Cell;

    use super::Canary;

    thread_local! {
        static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    pub(in crate::group::consumer) fn is_planted(canary: Canary) -> bool {
        PLANTED.get() == Some(canary)
    }

    pub(in crate::group::consumer) fn plant(canary: Option<Canary>) {
        PLANTED.set(canary);
    }
}
