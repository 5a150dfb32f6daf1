//! Keeps strangers from filling the log: so many lines a window, the rest is only counted.

use std::time::Duration;

use crate::runtime::Instant;

const WINDOW: Duration = Duration::from_secs(10);
const LINES_PER_WINDOW: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct LogLimit {
    window: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a line may be written now; if so, how many were not since the last one.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        let is_over = |window: Instant| now.duration_since(window) >= WINDOW;
        if self.window.is_none_or(is_over) {
            self.window = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES_PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;

    #[test]
    fn a_flood_writes_ten_lines_a_window_and_tells_how_many_are_missing() {
        let start = runtime::now();
        let mut limit = LogLimit::default();
        for _ in 0..10 {
            assert_eq!(limit.allow(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(limit.allow(start + Duration::from_secs(9)), None);
        }
        assert_eq!(limit.allow(start + WINDOW), Some(5));
        assert_eq!(limit.allow(start + WINDOW), Some(0));
    }
}
