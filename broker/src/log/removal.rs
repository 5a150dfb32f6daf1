//! Removing the files of segments that left their log.
//!
//! Kafka's way: the files are renamed to `.deleted` at once and removed `file.delete.delay.ms` later,
//! so that whoever still reads them may finish. One file at a time, with a pause before the next:
//! giving back the extents of a large file keeps the file system busy, and appends share it. When the
//! disk is full nothing is kept any longer.
//!
//! Nothing here is needed for a log to be right: its log start, or the segments it consists of, say
//! what it holds. What a crash leaves behind is found by the next [`super::folder::open`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::select;

use super::checksums;
use super::segment::Segment;
use super::shard_log::Shared;
use crate::runtime::{Instant, Notify, Semaphore, now, sleep, sleep_until};

/// What Kafka calls a file that is about to be removed.
pub(crate) const DELETED_SUFFIX: &str = "deleted";
/// The files of one segment.
const EXTENSIONS: [&str; 4] = ["log", "index", "timeindex", checksums::EXTENSION];
/// Between two files.
const PAUSE: Duration = Duration::from_millis(2);

/// What is to be removed on one shard.
pub(crate) struct Removal {
    retired: RefCell<VecDeque<Retired>>,
    /// Renamed files, by the time they are to go.
    renamed: RefCell<BTreeMap<(Instant, u64), PathBuf>>,
    next_key: Cell<u64>,
    work: Notify,
    /// Remove what is there without waiting for its time: the disk is full.
    hurried: Cell<bool>,
    /// Held while a file is renamed or removed.
    at_work: Semaphore,
    stopped: Cell<bool>,
}

/// A segment whose files still have their names.
struct Retired {
    segment: Rc<Segment>,
    delay: Duration,
}

impl Removal {
    pub(crate) fn new() -> Removal {
        Removal {
            retired: RefCell::default(),
            renamed: RefCell::default(),
            next_key: Cell::new(0),
            work: Notify::new(),
            hurried: Cell::new(false),
            at_work: Semaphore::new(1),
            stopped: Cell::new(false),
        }
    }

    /// Takes over the files of a segment that is no longer part of its log; no file is opened or
    /// created under its name any more.
    pub(crate) fn retire(&self, segment: Rc<Segment>, delay: Duration) {
        segment.retire();
        self.retired
            .borrow_mut()
            .push_back(Retired { segment, delay });
        self.work.notify_waiters();
    }

    /// Takes over files that an earlier run renamed, or left behind.
    pub(crate) fn take_over(&self, path: PathBuf) {
        self.remove_at(now(), path);
    }

    /// Removes what waits for its time: the disk is full.
    pub(crate) fn hurry(&self) {
        self.hurried.set(true);
        self.work.notify_waiters();
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.work.notify_waiters();
    }

    fn remove_at(&self, time: Instant, path: PathBuf) {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        self.renamed.borrow_mut().insert((time, key), path);
        self.work.notify_waiters();
    }

    /// Forgets everything in a folder that is removed as a whole, for as long as the guard is held.
    pub(crate) async fn leave(&self, folder: &Path) -> crate::runtime::Permit {
        let permit = self.at_work.acquire(1).await;
        self.retired
            .borrow_mut()
            .retain(|retired| retired.segment.path().parent() != Some(folder));
        self.renamed
            .borrow_mut()
            .retain(|_, path| path.parent() != Some(folder));
        permit
    }

    /// The next file whose time has come, or the time of the next one.
    fn next_due(&self) -> Result<PathBuf, Option<Instant>> {
        let mut renamed = self.renamed.borrow_mut();
        let Some(first) = renamed.first_entry() else {
            self.hurried.set(false);
            return Err(None);
        };
        let (due, _) = *first.key();
        if due <= now() || self.hurried.get() {
            return Ok(first.remove());
        }
        Err(Some(due))
    }
}

/// Renames and removes, until the log stops.
pub(crate) async fn remove_files(shared: Rc<Shared>) {
    let removal = &shared.removal;
    while !removal.stopped.get() {
        let permit = removal.at_work.acquire(1).await;
        let retired = removal.retired.borrow_mut().pop_front();
        if let Some(Retired { segment, delay }) = retired {
            let renamed = rename_files(&shared, &segment, now() + delay).await;
            report(segment.path(), "rename", renamed);
            drop(permit);
            continue;
        }
        match removal.next_due() {
            Ok(path) => {
                report(&path, "remove", shared.storage.remove_file(&path).await);
                drop(permit);
                sleep(PAUSE).await;
            }
            Err(due) => {
                drop(permit);
                let work = removal.work.notified();
                match due {
                    Some(due) => {
                        select(pin!(sleep_until(due)), work).await;
                    }
                    None => work.await,
                }
            }
        }
    }
}

/// Gives the files of a segment the name under which they wait for their removal. A segment of the
/// same name may be created afterwards.
pub(crate) async fn rename_files(
    shared: &Shared,
    segment: &Segment,
    remove_at: Instant,
) -> io::Result<()> {
    segment.retire();
    if let Err(error) = segment.close().await {
        tracing::warn!(path = %segment.path().display(), "close failed: {error}");
    }
    for extension in EXTENSIONS {
        let path = segment.path().with_extension(extension);
        let renamed = path.with_extension(format!("{extension}.{DELETED_SUFFIX}"));
        match shared.storage.rename(&path, &renamed).await {
            Ok(()) => shared.removal.remove_at(remove_at, renamed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    shared.count(|stats| {
        stats.segments_removed += 1;
        stats.segment_bytes_removed += segment.size();
    });
    Ok(())
}

/// What fails stays on the disk until the next start.
fn report(path: &Path, operation: &str, result: io::Result<()>) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "cannot {operation} a segment's file: {error}");
        }
        _ => {}
    }
}
