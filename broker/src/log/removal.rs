//! Removing the files of segments that left their log.
//!
//! Kafka's way: the files are renamed to `.deleted` at once and removed `file.delete.delay.ms` later,
//! so that whoever still reads them may finish. One file at a time, a large one in steps from its end,
//! with pauses between: giving back many extents at once keeps the device busy (the more so where the
//! file system discards them), and appends share it. When the disk is full nothing is kept any longer.
//!
//! Nothing here is needed for a log to be right: its log start, or the segments it consists of, say
//! what it holds. What a crash leaves behind is found by the next [`super::folder::open`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::future::select;

use super::append_rate::AppendRate;
use super::segment::Segment;
use super::shard_log::Shared;
use super::{LogFailure, checksums};
use crate::runtime::{File, Instant, Notify, OpenMode, Permit, Semaphore, now, sleep, sleep_until};

/// What Kafka calls a file that is about to be removed.
pub(crate) const DELETED_SUFFIX: &str = "deleted";
/// The files of one segment.
const EXTENSIONS: [&str; 4] = ["log", "index", "timeindex", checksums::EXTENSION];
/// Behind a whole step: 5 ms and 1 MiB are 200 MB/s. Behind less, its share.
const PAUSE: Duration = Duration::from_millis(5);
/// However much is appended, this many times as much is given back.
const TIMES_APPENDED: f64 = 2.0;
/// At least so long behind every file and every step.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// What is to be removed on one shard.
pub(crate) struct Removal {
    retired: RefCell<VecDeque<Retired>>,
    waiting: RefCell<Waiting>,
    /// Files without a name whose bytes are being given back.
    emptied: RefCell<VecDeque<File>>,
    /// Files that are held open to be emptied; more go at once.
    most_emptied: usize,
    work: Notify,
    /// Remove what is there without waiting for its time: the disk is full.
    hurried: Cell<bool>,
    /// Held while files are renamed, removed or emptied, and while a folder is removed.
    at_work: Semaphore,
    stopped: Cell<bool>,
}

/// A segment whose files still have their names.
struct Retired {
    segment: Rc<Segment>,
    delay: Duration,
}

/// Renamed files that wait for their time.
#[derive(Default)]
struct Waiting {
    by_time: BTreeSet<(Instant, Rc<Path>)>,
    files: BTreeMap<Rc<Path>, Renamed>,
}

struct Renamed {
    remove_at: Instant,
    /// Whose file it is. One found at the start is nobody's.
    segment: Option<Weak<Segment>>,
}

impl Waiting {
    /// A file of this name that waited was replaced by this one.
    fn insert(&mut self, path: PathBuf, file: Renamed) {
        self.remove(&path);
        let path: Rc<Path> = path.into();
        self.by_time.insert((file.remove_at, Rc::clone(&path)));
        self.files.insert(path, file);
    }

    fn remove(&mut self, path: &Path) -> Option<Renamed> {
        let (path, file) = self.files.remove_entry(path)?;
        self.by_time.remove(&(file.remove_at, path));
        Some(file)
    }
}

impl Renamed {
    /// Someone has the file open.
    async fn is_read(&self) -> bool {
        let Some(segment) = self.segment.as_ref().and_then(Weak::upgrade) else {
            return false;
        };
        if let Err(error) = segment.close().await {
            tracing::warn!(path = %segment.path().display(), "close failed: {error}");
        }
        segment.is_open()
    }
}

impl Removal {
    /// Files of removed segments, at most so many, may be open until they are emptied.
    pub(crate) fn new(most_emptied: usize) -> Removal {
        Removal {
            most_emptied,
            retired: RefCell::default(),
            waiting: RefCell::default(),
            emptied: RefCell::default(),
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
        self.remove_at(now(), path, None);
    }

    /// Takes over a file that was removed and that nobody uses. One that an operator has linked keeps
    /// its bytes.
    pub(crate) async fn empty(&self, file: File) -> io::Result<()> {
        let is_linked = file.links().await.map_or(true, |links| links > 0);
        let has_room = self.emptied.borrow().len() < self.most_emptied;
        if is_linked || !has_room || self.hurried.get() || self.stopped.get() {
            return file.close().await;
        }
        self.emptied.borrow_mut().push_back(file);
        self.work.notify_waiters();
        Ok(())
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

    fn remove_at(&self, remove_at: Instant, path: PathBuf, segment: Option<Weak<Segment>>) {
        let file = Renamed { remove_at, segment };
        self.waiting.borrow_mut().insert(path, file);
        self.work.notify_waiters();
    }

    /// Nothing is renamed or removed for as long as this is held.
    pub(crate) async fn at_rest(&self) -> Permit {
        self.at_work.acquire(1).await
    }

    /// Forgets everything in a folder that is removed as a whole, for as long as the guard is held.
    pub(crate) async fn leave(&self, folder: &Path) -> Permit {
        let permit = self.at_rest().await;
        self.retired
            .borrow_mut()
            .retain(|retired| retired.segment.path().parent() != Some(folder));
        let mut waiting = self.waiting.borrow_mut();
        waiting
            .files
            .retain(|path, _| path.parent() != Some(folder));
        waiting
            .by_time
            .retain(|(_, path)| path.parent() != Some(folder));
        permit
    }

    /// The next file whose time has come, or the time of the next one.
    fn next_due(&self) -> Result<Rc<Path>, Option<Instant>> {
        let waiting = self.waiting.borrow();
        let Some((due, path)) = waiting.by_time.first() else {
            return Err(None);
        };
        if *due <= now() || self.hurried.get() {
            return Ok(Rc::clone(path));
        }
        Err(Some(*due))
    }
}

/// Renames and removes, until the log stops.
pub(crate) async fn remove_files(shared: Rc<Shared>) {
    let removal = &shared.removal;
    let mut pace = Pace::default();
    while !removal.stopped.get() {
        let permit = removal.at_work.acquire(1).await;
        if removal.stopped.get() {
            break; // while this waited
        }
        let retired = removal.retired.borrow_mut().pop_front();
        if let Some(Retired { segment, delay }) = retired {
            let renamed = rename_files(&shared, &segment, now() + delay).await;
            report(segment.path(), "rename", renamed);
            drop(permit);
            continue;
        }
        if let Some(bytes) = give_back(&shared).await {
            drop(permit);
            let pause = pace.pause_behind(&shared, bytes);
            let is_urgent = removal.hurried.get();
            sleep(if is_urgent { SHORTEST_PAUSE } else { pause }).await;
            continue;
        }
        match removal.next_due() {
            Ok(path) => {
                report(&path, "remove", remove(&shared, &path).await);
                drop(permit);
                if is_log(&path) {
                    sleep(SHORTEST_PAUSE).await;
                }
            }
            Err(due) => {
                drop(permit);
                removal.hurried.set(false);
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
    // The process may go on without this log.
    for file in removal.emptied.take() {
        report(Path::new("a removed segment"), "close", file.close().await);
    }
}

/// Removes a renamed file; a long one that nobody reads is emptied afterwards.
async fn remove(shared: &Shared, path: &Path) -> io::Result<()> {
    let removal = &shared.removal;
    let taken = removal.waiting.borrow_mut().remove(path);
    let Some(renamed) = taken else { return Ok(()) };
    // Who reads an open file can go on when it has no name, but not when it has no bytes.
    let at_once = removal.hurried.get() || !is_log(path) || renamed.is_read().await;
    let opened = match at_once {
        true => None,
        false => match open_to_empty(shared, path).await {
            Ok(opened) => opened,
            Err(failure) => {
                shared.fail(failure);
                return Ok(());
            }
        },
    };
    shared.storage.remove_file(path).await?;
    match opened {
        Some(file) => removal.empty(file).await,
        None => Ok(()),
    }
}

/// `00000000000000000042.log.deleted`; the other files of a segment are small.
fn is_log(path: &Path) -> bool {
    let name = path.file_stem().map(Path::new);
    name.and_then(Path::extension) == Some(OsStr::new("log"))
}

/// Opens a file of more than one step, to be emptied once it has no name: after a power cut it must not
/// be there as a segment of its log with a part of its bytes.
async fn open_to_empty(shared: &Shared, path: &Path) -> Result<Option<File>, LogFailure> {
    let Ok(file) = shared.storage.open(path, OpenMode::ReadWrite).await else {
        return Ok(None); // its space goes at once
    };
    let length = file.len().await.unwrap_or(0);
    if length <= shared.options.removal_step_bytes {
        report(path, "close", file.close().await);
        return Ok(None);
    }
    let folder = path.parent().expect("a segment lies in a folder");
    match shared.storage.sync_dir(folder).await {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A partition that could not be opened went as a whole, and this file with it.
            report(path, "close", file.close().await);
            Ok(None)
        }
        Err(error) => Err(LogFailure::new("sync", folder, &error)),
    }
}

/// Removes a file that nobody uses of a folder that goes as a whole, and empties it afterwards.
pub(crate) async fn remove_and_empty(shared: &Shared, path: &Path) -> io::Result<()> {
    let opened = shared.storage.open(path, OpenMode::ReadWrite).await;
    shared.storage.remove_file(path).await?;
    match opened {
        Ok(file) => shared.removal.empty(file).await,
        Err(_) => Ok(()), // its space goes at once
    }
}

/// Takes a step from the end of the next file without a name, and closes it when no more than a step
/// is left or the disk is full. Returns how many bytes went.
async fn give_back(shared: &Shared) -> Option<u64> {
    let removal = &shared.removal;
    let file = removal.emptied.borrow_mut().pop_front()?;
    let step = shared.options.removal_step_bytes;
    let shortened = async {
        let length = file.len().await?;
        if length <= step || removal.hurried.get() {
            return Ok((length, 0));
        }
        let kept = (length - 1) / step * step;
        file.truncate(kept).await?;
        io::Result::Ok((length, kept))
    };
    let (length, kept) = shortened.await.unwrap_or_else(|error| {
        tracing::warn!("the space of a removed segment goes at once: {error}");
        (0, 0)
    });
    if kept > 0 {
        removal.emptied.borrow_mut().push_front(file);
    } else if let Err(error) = file.close().await {
        tracing::warn!("the file of a removed segment did not close: {error}");
    }
    Some(length - kept)
}

/// Gives back twice as fast as appends take, at least: a log at its retention deletes what it is given.
#[derive(Default)]
struct Pace {
    rate: AppendRate,
    last: Option<Instant>,
}

impl Pace {
    /// How long to wait after so many bytes went: [`PAUSE`] for a step, and less where that would be
    /// slower than [`TIMES_APPENDED`].
    fn pause_behind(&mut self, shared: &Shared, bytes: u64) -> Duration {
        let allowed = self.rate.time_for(bytes, TIMES_APPENDED, appended(shared));
        let taken = self.last.map_or(Duration::ZERO, |last| now() - last);
        let share = bytes as f64 / shared.options.removal_step_bytes as f64;
        let pause = PAUSE
            .mul_f64(share.min(1.0))
            .min(allowed.saturating_sub(taken))
            .max(SHORTEST_PAUSE);
        self.last = Some(now() + pause);
        pause
    }
}

fn appended(shared: &Shared) -> u64 {
    let stats = shared.stats.get();
    stats.journal_bytes + stats.bypass_bytes + stats.compaction_written_bytes
}

/// Gives the files of a segment the name under which they wait for their removal. A segment of the
/// same name may be created afterwards.
pub(crate) async fn rename_files(
    shared: &Shared,
    segment: &Rc<Segment>,
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
            Ok(()) => {
                let segment = Rc::downgrade(segment);
                shared.removal.remove_at(remove_at, renamed, Some(segment));
            }
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
fn report<T>(path: &Path, operation: &str, result: io::Result<T>) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "cannot {operation} a segment's file: {error}");
        }
        _ => {}
    }
}
