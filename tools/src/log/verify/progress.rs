//! How far a check has come, for people at a terminal.

use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Nothing is shown where stderr is no terminal.
    pub(super) fn new(bytes: u64) -> Progress {
        let style = ProgressStyle::with_template(
            "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress(ProgressBar::new(bytes).with_style(style))
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
