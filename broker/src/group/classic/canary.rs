//! Planted bugs. The property test is worth something only if it catches a coordinator that
//! cheats, so a test build can make it cheat; every other build compiles these questions to `false`.

/// A bug that a test build can plant on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canary {
    /// Assignments are taken from whoever sends some, of whatever generation.
    AnyLeaderAssigns,
    /// A member goes, and the others are not told to share what it had.
    DepartureUnnoticed,
    /// A join phase waits for members that will not come.
    JoinDeadlineForgotten,
    /// A static member is known by its instance id alone.
    FenceForgotten,
    /// A join that was answered still counts as waiting.
    AnsweredTwice,
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

    pub(in super::super) fn is_planted(canary: Canary) -> bool {
        PLANTED.get() == Some(canary)
    }

    pub(in super::super) fn plant(canary: Option<Canary>) {
        PLANTED.set(canary);
    }
}
