//! How much was moved, step by step: what a mean hides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One step of a [`Timeline`]. A run's JSON names it as `timeline_step_s`.
pub(crate) const STEP: Duration = Duration::from_millis(100);

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Megabytes (10^6 bytes) a second in each whole step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Timeline(pub(crate) Vec<f64>);

impl Timeline {
    /// Does `work`, and looks meanwhile at how far the counter of bytes has got.
    pub(crate) fn of<T>(bytes: &AtomicU64, work: impl FnOnce() -> T) -> (T, Self) {
        thread::scope(|scope| {
            let (working, done) = mpsc::channel::<()>();
            let watcher = scope.spawn(move || watch(bytes, &done));
            let worked = work();
            drop(working);
            let timeline = watcher.join().expect("looking at a counter does not panic");
            (worked, timeline)
        })
    }

    /// The steps of both, one after the other.
    pub(crate) fn join<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let parts = parts.into_iter();
        Self(parts.flat_map(|part| part.0.iter().copied()).collect())
    }

    /// At most `width` blocks, each as high as the mean of what it stands for; the highest is whole.
    pub(crate) fn sparkline(&self, width: usize) -> String {
        let each = self.0.len().div_ceil(width.max(1)).max(1);
        let means: Vec<f64> = self
            .0
            .chunks(each)
            .map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64)
            .collect();
        let highest = means.iter().copied().fold(0.0, f64::max);
        let block = |mean: &f64| match highest > 0.0 {
            true => BLOCKS[((mean / highest * 8.0).ceil() as usize).clamp(1, 8) - 1],
            false => BLOCKS[0],
        };
        means.iter().map(block).collect()
    }

    /// The slowest and the fastest step.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let lowest = self.0.iter().copied().reduce(f64::min)?;
        let highest = self.0.iter().copied().reduce(f64::max)?;
        Some((lowest, highest))
    }
}

/// Until the other side of `done` is dropped. What remains of a step at the end is left out: its rate would be a guess.
fn watch(bytes: &AtomicU64, done: &mpsc::Receiver<()>) -> Timeline {
    let mut steps = Vec::new();
    let mut moved = bytes.load(Ordering::Relaxed);
    let mut since = Instant::now();
    let mut next = since + STEP;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if done.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            return Timeline(steps);
        }
        let (now, so_far) = (Instant::now(), bytes.load(Ordering::Relaxed));
        let elapsed = (now - since).as_secs_f64();
        steps.push(so_far.saturating_sub(moved) as f64 / 1e6 / elapsed.max(1e-9));
        (moved, since) = (so_far, now);
        next = (next + STEP).max(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_moved_in_a_step_is_its_rate() {
        let bytes = AtomicU64::new(500);
        let began = Instant::now();
        let (told, timeline) = Timeline::of(&bytes, || {
            while began.elapsed() < 3 * STEP {
                bytes.fetch_add(1_000, Ordering::Relaxed);
                thread::yield_now();
            }
            "done"
        });
        assert_eq!(told, "done");
        assert!(!timeline.0.is_empty());
        let moved = (bytes.load(Ordering::Relaxed) - 500) as f64 / 1e6;
        let in_steps: f64 = timeline
            .0
            .iter()
            .map(|rate| rate * STEP.as_secs_f64())
            .sum();
        assert!(
            in_steps > 0.0 && in_steps <= moved * 1.5,
            "{in_steps} of {moved}"
        );
    }

    #[test]
    fn a_sparkline_shows_the_means_of_neighbours() {
        let timeline = Timeline(vec![8.0, 8.0, 4.0, 4.0, 0.0, 2.0, 1.0, 1.0]);
        assert_eq!(timeline.sparkline(8), "██▄▄▁▂▁▁");
        assert_eq!(timeline.sparkline(4), "█▄▁▁");
        assert_eq!(timeline.range().unwrap(), (0.0, 8.0));
        assert_eq!(Timeline(vec![0.0, 0.0]).sparkline(9), "▁▁");
        assert_eq!(Timeline::default().sparkline(9), "");
        assert_eq!(Timeline::default().range(), None);
    }
}
