//! The progress bar on standard error, where that is a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// A bar over the whole run, fed with the planned time of each step.
pub(crate) struct Progress {
    steps: Option<Sender<Step>>,
    painter: Option<JoinHandle<()>>,
    bytes: Arc<AtomicU64>,
}

struct Step {
    what: String,
    planned: Duration,
}

impl Progress {
    /// A bar for a run of about this length.
    pub(crate) fn start(total: Duration) -> Self {
        let bar = ProgressBar::new(millis(total));
        let template = "{bar:32} {percent:>3} %  {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is sound"));
        let bytes = Arc::new(AtomicU64::new(0));
        let (steps, incoming) = mpsc::channel();
        let counter = Arc::clone(&bytes);
        let painter = std::thread::spawn(move || {
            let mut painter = Painter::new(bar, counter);
            loop {
                match incoming.recv_timeout(TICK) {
                    Ok(step) => painter.begin(step),
                    Err(RecvTimeoutError::Timeout) => painter.tick(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            painter.bar.finish_and_clear();
        });
        Self {
            steps: Some(steps),
            painter: Some(painter),
            bytes,
        }
    }

    /// Says what the run does next, and for how long.
    pub(crate) fn step(&self, what: impl Into<String>, planned: Duration) {
        let what = what.into();
        if let Some(steps) = &self.steps {
            // The painter ends only after this sender was dropped.
            let _painted = steps.send(Step { what, planned });
        }
    }

    /// Bytes moved, to be counted up by whoever moves them.
    pub(crate) fn bytes(&self) -> &AtomicU64 {
        &self.bytes
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.steps.take());
        if let Some(painter) = self.painter.take() {
            let _cleared = painter.join();
        }
    }
}

struct Painter {
    bar: ProgressBar,
    bytes: Arc<AtomicU64>,
    step: Step,
    /// Planned milliseconds of the steps before.
    before: u64,
    began: Instant,
    bytes_before: u64,
}

impl Painter {
    fn new(bar: ProgressBar, bytes: Arc<AtomicU64>) -> Self {
        Self {
            bar,
            bytes,
            step: Step {
                what: String::new(),
                planned: Duration::ZERO,
            },
            before: 0,
            began: Instant::now(),
            bytes_before: 0,
        }
    }

    fn begin(&mut self, step: Step) {
        self.before += millis(self.step.planned);
        self.step = step;
        self.began = Instant::now();
        self.bytes_before = self.bytes.load(Ordering::Relaxed);
        self.tick();
    }

    fn tick(&self) {
        let elapsed = self.began.elapsed();
        let done = millis(elapsed.min(self.step.planned));
        let length = self.bar.length().unwrap_or(0);
        self.bar.set_position((self.before + done).min(length));
        let moved = self.bytes.load(Ordering::Relaxed) - self.bytes_before;
        let message = match moved {
            0 => self.step.what.clone(),
            moved => {
                let rate = moved as f64 / 1e6 / elapsed.as_secs_f64().max(0.001);
                format!("{}: {rate:.0} MB/s", self.step.what)
            }
        };
        self.bar.set_message(message);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
