//! The segment files that a shard has open: at most so many, whatever the number of partitions.
//!
//! A file is opened when it is needed. At the limit, the file that was used the longest ago and is
//! not in use now is closed for it. A file in use is never closed, so more than the limit are open
//! while more are read and written at the same moment.
//!
//! What was written through a file closed since is synced through the next one: a sync is the
//! file's and not the descriptor's (fsync(2)), and a direct write tells its own errors.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};

use crate::runtime::{File, OpenMode, Semaphore, Storage};

/// The open segment files of one shard.
pub(crate) struct OpenFiles {
    limit: usize,
    /// The places of files that are open or being opened; those of dropped segments until the next
    /// look.
    places: RefCell<Vec<Weak<Place>>>,
    /// Counts uses.
    clock: Cell<u64>,
}

/// Where a segment keeps its file while it is open.
#[derive(Default)]
struct Place {
    file: RefCell<Option<Rc<File>>>,
    last_use: Cell<u64>,
}

impl Place {
    /// The file, unless it is closed or in use.
    fn take_unused(&self) -> Option<File> {
        let taken = self.file.take()?;
        match Rc::try_unwrap(taken) {
            Ok(file) => Some(file),
            Err(in_use) => {
                self.file.replace(Some(in_use));
                None
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.file
            .borrow()
            .as_ref()
            .is_some_and(|file| Rc::strong_count(file) == 1)
    }
}

impl OpenFiles {
    pub(crate) fn new(limit: usize) -> Rc<OpenFiles> {
        Rc::new(OpenFiles {
            limit,
            places: RefCell::default(),
            clock: Cell::new(0),
        })
    }

    /// Files that are open now.
    pub(crate) fn open(&self) -> usize {
        let places = self.places.borrow();
        let open = |place: &&Weak<Place>| {
            place
                .upgrade()
                .is_some_and(|place| place.file.borrow().is_some())
        };
        places.iter().filter(open).count()
    }

    fn note_use(&self, place: &Place) {
        self.clock.set(self.clock.get() + 1);
        place.last_use.set(self.clock.get());
    }

    /// Enters a file that is about to be opened, and returns those to close for it.
    fn admit(&self, admitted: &Rc<Place>) -> Vec<File> {
        let mut places = self.places.borrow_mut();
        places.retain(|place| place.strong_count() > 0);
        let mut closed = Vec::new();
        while places.len() >= self.limit {
            let unused = places
                .iter()
                .enumerate()
                .filter_map(|(index, place)| Some((index, place.upgrade()?)))
                .filter(|(_, place)| place.is_unused())
                .min_by_key(|(_, place)| place.last_use.get());
            let Some((index, place)) = unused else {
                break; // all are in use
            };
            closed.extend(place.take_unused());
            places.swap_remove(index);
        }
        places.push(Rc::downgrade(admitted));
        closed
    }

    fn forget(&self, closed: &Rc<Place>) {
        self.places
            .borrow_mut()
            .retain(|place| !std::ptr::eq(place.as_ptr(), Rc::as_ptr(closed)));
    }
}

/// The file of one segment: open or not.
pub(crate) struct SegmentFile {
    open_files: Rc<OpenFiles>,
    place: Rc<Place>,
    opening: Semaphore,
}

impl SegmentFile {
    pub(crate) fn new(open_files: &Rc<OpenFiles>) -> SegmentFile {
        SegmentFile {
            open_files: Rc::clone(open_files),
            place: Rc::default(),
            opening: Semaphore::new(1),
        }
    }

    pub(crate) fn open_files(&self) -> &Rc<OpenFiles> {
        &self.open_files
    }

    /// The open file at `path`; opens it in this mode when it is not. It stays open while the
    /// caller holds it.
    pub(crate) async fn get(
        &self,
        storage: &Storage,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<Rc<File>> {
        if let Some(file) = self.if_open() {
            return Ok(file);
        }
        let _permit = self.opening.acquire(1).await;
        if let Some(file) = self.if_open() {
            return Ok(file);
        }
        let mut admission = Admission {
            file: self,
            is_open: false,
        };
        for surplus in self.open_files.admit(&self.place) {
            if let Err(error) = surplus.close().await {
                tracing::warn!("a segment's file did not close: {error}");
            }
        }
        let file = Rc::new(storage.open(path, mode).await?);
        self.place.file.replace(Some(Rc::clone(&file)));
        self.open_files.note_use(&self.place);
        admission.is_open = true;
        Ok(file)
    }

    /// The file, unless it is closed.
    pub(crate) fn if_open(&self) -> Option<Rc<File>> {
        let file = self.place.file.borrow().clone()?;
        self.open_files.note_use(&self.place);
        Some(file)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.place.file.borrow().is_some()
    }

    /// Closes the file unless someone is using it.
    pub(crate) async fn close(&self) -> io::Result<()> {
        match self.take() {
            None => Ok(()),
            Some(file) => file.close().await,
        }
    }

    /// The file, which is not this one's any more, unless it is closed or someone is using it.
    pub(crate) fn take(&self) -> Option<File> {
        let file = self.place.take_unused()?;
        self.open_files.forget(&self.place);
        Some(file)
    }
}

/// Gives the place back when the file could not be opened, or nobody waits for it any more.
struct Admission<'a> {
    file: &'a SegmentFile,
    is_open: bool,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            self.file.open_files.forget(&self.file.place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::PathBuf;

    use futures_util::future::join_all;

    use super::*;
    use crate::runtime::{Simulator, launch_small};

    const CREATE: OpenMode = OpenMode::CreateOrOpen;

    fn path(number: usize) -> PathBuf {
        PathBuf::from(format!("{number}.log"))
    }

    /// Whether each file is open.
    fn open(files: &[SegmentFile]) -> Vec<bool> {
        let is_open = |file: &SegmentFile| file.place.file.borrow().is_some();
        files.iter().map(is_open).collect()
    }

    #[test]
    fn the_file_used_the_longest_ago_is_closed_at_the_limit() {
        let mut simulator = Simulator::new(1);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let open_files = OpenFiles::new(2);
            let files: Vec<_> = (0..3).map(|_| SegmentFile::new(&open_files)).collect();
            for number in [0, 1, 0, 2] {
                files[number]
                    .get(&storage, &path(number), CREATE)
                    .await
                    .unwrap();
            }
            assert_eq!(open(&files), [true, false, true]);
            files[1].get(&storage, &path(1), CREATE).await.unwrap();
            assert_eq!(open(&files), [false, true, true], "and opened again");
        });
    }

    #[test]
    fn a_file_in_use_stays_open() {
        let mut simulator = Simulator::new(2);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let open_files = OpenFiles::new(1);
            let files: Vec<_> = (0..3).map(|_| SegmentFile::new(&open_files)).collect();
            let held = files[0].get(&storage, &path(0), CREATE).await.unwrap();
            files[1].get(&storage, &path(1), CREATE).await.unwrap();
            files[0].close().await.unwrap();
            assert_eq!(open(&files), [true, true, false], "above the limit");
            drop(held);
            files[2].get(&storage, &path(2), CREATE).await.unwrap();
            assert_eq!(open(&files), [false, false, true], "at the limit again");
        });
    }

    #[test]
    fn a_file_that_does_not_open_takes_no_place() {
        let mut simulator = Simulator::new(3);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let open_files = OpenFiles::new(1);
            let files: Vec<_> = (0..2).map(|_| SegmentFile::new(&open_files)).collect();
            let nowhere = path(0).join("below-a-file");
            assert!(files[0].get(&storage, &nowhere, CREATE).await.is_err());
            assert_eq!(open_files.places.borrow().len(), 0);
            files[1].get(&storage, &path(1), CREATE).await.unwrap();
            drop(files);
            assert!(open_files.admit(&Rc::default()).is_empty());
            assert_eq!(open_files.places.borrow().len(), 1, "nor a dropped one");
        });
    }

    /// Descriptors of this process for files below `folder`.
    fn descriptors(folder: &Path) -> usize {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(folder))
            .filter(|target| target.extension().is_some_and(|it| it == "log"))
            .count()
    }

    #[test]
    fn a_thousand_segments_hold_no_more_descriptors_than_the_limit() {
        const LIMIT: usize = 64;
        // Beside the test binary: the system's temporary directory may be memory, without direct I/O.
        let binary = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(binary.parent().unwrap()).unwrap();
        let root = folder.path().to_owned();
        launch_small(|| async move {
            let storage = Storage::real(root.clone()).await.unwrap();
            let open_files = OpenFiles::new(LIMIT);
            let files: Vec<_> = (0..1000).map(|_| SegmentFile::new(&open_files)).collect();
            let uses = || {
                files.iter().enumerate().map(|(number, file)| {
                    let (storage, path) = (&storage, path(number));
                    async move { drop(file.get(storage, &path, CREATE).await.unwrap()) }
                })
            };
            for round in 0..2 {
                for (number, used) in uses().enumerate() {
                    used.await;
                    let held = descriptors(&root);
                    assert!(held <= LIMIT, "round {round}, file {number}: {held}");
                }
            }
            // As many as are used together are open together, and fewer again afterwards.
            join_all(uses().chain(uses())).await;
            files[0].close().await.unwrap();
            files[0].get(&storage, &path(0), CREATE).await.unwrap();
            assert!(descriptors(&root) <= LIMIT);
        })
        .join()
        .unwrap();
    }
}
