//! Ctrl-C and SIGTERM: end the run early, but never leave files behind.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The folder that must not outlive this process.
static SCRATCH: OnceLock<PathBuf> = OnceLock::new();

/// How long an interrupted run may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The exit code of a run that a signal ended, as shells count it.
pub(crate) const EXIT_CODE: u8 = 130;

/// Every measuring loop asks this and ends at once when it is true.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Names the folder that goes even if the run does not end by itself.
pub(crate) fn remove_at_exit(scratch: &Path) {
    // There is one run and one folder in a process.
    let _first = SCRATCH.set(scratch.to_owned());
}

/// Watches for signals on a thread of its own. The first one asks the run to
/// end; a second one, or a run that does not end in time, removes the run's
/// folder and exits. To be called before that folder is made.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the signal watcher")?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    drop(guard);
    let watcher = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        REQUESTED.store(true, Ordering::Relaxed);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = tokio::time::sleep(GRACE) => {}
        }
        if let Some(scratch) = SCRATCH.get()
            && let Err(error) = std::fs::remove_dir_all(scratch)
        {
            eprintln!("cannot remove {}: {error}", scratch.display());
        }
        process::exit(EXIT_CODE.into());
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watcher))
        .context("cannot start the signal watcher")?;
    Ok(())
}
