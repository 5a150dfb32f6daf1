//! One segment: a run of a partition's batches in one `.log` file, opened when it is needed.
//!
//! The file is extended in steps ahead of the bytes in memory, so that an append is acknowledged
//! only when the file system has already given room for it; it is cut to its exact length when
//! the segment is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::Offset;
use corelog_protocol::record::BatchHeader;
use zerocopy::FromBytes;

use super::batch_scan::{Source, WalkFrom, walk};
use super::checksums::{self, Checksums};
use super::index::SegmentIndex;
use super::open_files::{OpenFiles, SegmentFile};
use crate::runtime::{BLOCK, File, OpenMode, Permit, Semaphore, Storage, random_u64};

const SMALLEST_STEP: u64 = 64 << 10;
const LARGEST_STEP: u64 = 16 << 20;
/// Positions in Kafka's indexes are 32-bit and signed.
pub(crate) const LARGEST_SEGMENT: u64 = i32::MAX as u64;
/// An index file is refused, and rebuilt, beyond this size.
const LARGEST_INDEX_FILE: u64 = 64 << 20;

pub(crate) fn log_file_name(base_offset: Offset) -> String {
    format!("{:020}.log", base_offset.get())
}

/// The base offset in a file name such as `00000000000000000042.log`.
pub fn base_offset_of(file_name: &str) -> Option<Offset> {
    let digits = file_name.strip_suffix(".log")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        .then(|| digits.parse::<i64>().ok())
        .flatten()
        .and_then(Offset::from_sentinel)
}

/// A segment of one partition. Shared by the tail, the reader and the write-out of one core.
pub(crate) struct Segment {
    base_offset: Offset,
    path: PathBuf,
    file: SegmentFile,
    /// Bytes appended, those still in memory included.
    size: Cell<u64>,
    /// The file's length: bytes the file system has given.
    allocated: Cell<u64>,
    /// When its first record was appended, in wall-clock milliseconds.
    pub(crate) first_append_ms: Cell<Option<i64>>,
    /// How much of `segment.jitter.ms` this segment is closed earlier, in 1/2^32.
    jitter: u32,
    /// The largest timestamp of its first batch, once someone looked.
    first_timestamp: Cell<Option<i64>>,
    /// No more appends.
    sealed: Cell<bool>,
    /// It left its log: no file is opened or created under its name any more.
    retired: Cell<bool>,
    /// Written since the last sync.
    unsynced: Cell<bool>,
    /// The folder entry is not known to be durable.
    folder_unsynced: Cell<bool>,
    syncing: Semaphore,
    pub(crate) checksums: RefCell<Checksums>,
    pub(crate) index: RefCell<SegmentIndex>,
    /// When the index was last used, on the clock of `LoadedIndexes`.
    pub(crate) index_used: Cell<u64>,
    /// The valid bytes it had when it was found on disk.
    found_size: Cell<u64>,
    /// The index covers the segment from its start; `false` until an old segment's index was read.
    index_loaded: Cell<bool>,
    /// The index's largest timestamp is the segment's: that stays when its entries are forgotten.
    largest_timestamp_known: Cell<bool>,
    /// How often the index was forgotten or begun anew: what was read before belongs to another.
    index_revision: Cell<u64>,
    loading: Semaphore,
}

impl Segment {
    /// A segment that does not exist yet.
    pub(crate) fn create(
        open_files: &Rc<OpenFiles>,
        folder: &Path,
        base_offset: Offset,
        index_interval_bytes: u64,
    ) -> Segment {
        Segment {
            base_offset,
            path: folder.join(log_file_name(base_offset)),
            file: SegmentFile::new(open_files),
            size: Cell::new(0),
            found_size: Cell::new(0),
            allocated: Cell::new(0),
            first_append_ms: Cell::new(None),
            jitter: (random_u64() >> 32) as u32,
            first_timestamp: Cell::new(None),
            sealed: Cell::new(false),
            retired: Cell::new(false),
            unsynced: Cell::new(false),
            folder_unsynced: Cell::new(true),
            syncing: Semaphore::new(1),
            checksums: RefCell::new(Checksums::new(0)),
            index: RefCell::new(SegmentIndex::new(base_offset, index_interval_bytes)),
            index_used: Cell::new(0),
            index_loaded: Cell::new(true),
            largest_timestamp_known: Cell::new(true),
            index_revision: Cell::new(0),
            loading: Semaphore::new(1),
        }
    }

    /// A segment found on disk, whose valid bytes end at `size`.
    pub(crate) fn existing(
        open_files: &Rc<OpenFiles>,
        folder: &Path,
        base_offset: Offset,
        index_interval_bytes: u64,
        size: u64,
        allocated: u64,
        sealed: bool,
    ) -> Segment {
        let segment = Segment::create(open_files, folder, base_offset, index_interval_bytes);
        segment.size.set(size);
        segment.found_size.set(size);
        *segment.checksums.borrow_mut() = Checksums::new(size);
        segment.allocated.set(allocated);
        segment.sealed.set(sealed);
        segment.folder_unsynced.set(false);
        segment.index_loaded.set(size == 0);
        segment.largest_timestamp_known.set(size == 0);
        segment
    }

    /// The segment that follows this one in its folder; it does not exist yet.
    pub(crate) fn successor(&self, base_offset: Offset, index_interval_bytes: u64) -> Segment {
        let folder = self.folder();
        Segment::create(
            self.file.open_files(),
            folder,
            base_offset,
            index_interval_bytes,
        )
    }

    fn folder(&self) -> &Path {
        self.path
            .parent()
            .expect("a segment lies in its partition's folder")
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.get()
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.get()
    }

    pub(crate) fn seal(&self) {
        self.sealed.set(true);
        self.index.borrow_mut().close();
    }

    pub(crate) fn grow(&self, bytes: usize) {
        self.size.set(self.size.get() + bytes as u64);
    }

    /// The open file; opens it when it is not, and creates it unless the segment is closed. Of a
    /// segment that left its log only a file that is still open: the name may be another's now.
    pub(crate) async fn file(&self, storage: &Storage) -> io::Result<Rc<File>> {
        if self.retired.get() {
            return self.file.if_open().ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "the segment left its log")
            });
        }
        let mode = if self.sealed.get() {
            OpenMode::ReadWrite
        } else {
            OpenMode::CreateOrOpen
        };
        self.file.get(storage, &self.path, mode).await
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The segment left its log. Who reads it goes on as long as its file is open.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    /// `segment.ms` for this segment: up to `jitter` less, and never less than half.
    pub(crate) fn largest_age(&self, age: Duration, jitter: Duration) -> Duration {
        let share = f64::from(self.jitter) / (f64::from(u32::MAX) + 1.0);
        age.saturating_sub(jitter.min(age / 2).mul_f64(share))
    }

    /// Closes the file unless someone is using it.
    pub(crate) async fn close(&self) -> io::Result<()> {
        self.file.close().await
    }

    /// The file of a segment that left its log, unless it is closed or someone is using it.
    pub(crate) fn take_file(&self) -> Option<File> {
        self.file.take()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.is_open()
    }

    /// Makes sure that the file system has given room for every byte below `end`.
    pub(crate) async fn reserve(&self, storage: &Storage, end: u64, limit: u64) -> io::Result<()> {
        let allocated = self.allocated.get();
        if end <= allocated {
            return Ok(());
        }
        let step = allocated.clamp(SMALLEST_STEP, LARGEST_STEP);
        let target = (allocated + step)
            .min(limit)
            .max(end)
            .next_multiple_of(BLOCK as u64);
        let file = self.file(storage).await?;
        let exact = end.next_multiple_of(BLOCK as u64);
        match file.allocate(allocated, target - allocated).await {
            // Nearly full: take what is needed and no more.
            Err(error) if error.kind() == io::ErrorKind::StorageFull && exact < target => {
                file.allocate(allocated, exact - allocated).await?;
                self.allocated.set(exact);
            }
            other => {
                other?;
                self.allocated.set(target);
            }
        }
        self.unsynced.set(true);
        Ok(())
    }

    pub(crate) fn mark_written(&self) {
        self.unsynced.set(true);
    }

    /// Makes everything written so far durable, the folder entry included.
    pub(crate) async fn sync(&self, storage: &Storage) -> io::Result<()> {
        // One at a time: whoever finds nothing left to sync must not return before the sync that
        // took the work has ended.
        let _permit = self.syncing.acquire(1).await;
        if self.unsynced.replace(false) {
            let file = self.file(storage).await?;
            file.sync_data().await?;
        }
        // A segment that took the place of an idle one has no file before its first append.
        let exists = self.allocated.get() > 0;
        if exists && self.folder_unsynced.replace(false) {
            storage.sync_dir(self.folder()).await?;
        }
        Ok(())
    }

    /// Cuts the file to the bytes appended; what was allocated beyond goes back.
    pub(crate) async fn cut(&self, storage: &Storage) -> io::Result<()> {
        if self.allocated.get() > self.size.get() {
            let file = self.file(storage).await?;
            file.truncate(self.size.get()).await?;
            self.allocated.set(self.size.get());
            self.unsynced.set(true);
        }
        Ok(())
    }

    /// Ends the segment at `size` bytes and lets it take appends again. Its index and its checksums
    /// begin anew: the files of the old ones must be gone.
    pub(crate) fn reopen_at(&self, size: u64) {
        let interval = self.index.borrow().interval_bytes();
        *self.index.borrow_mut() = SegmentIndex::new(self.base_offset, interval);
        self.index_loaded.set(size == 0);
        self.largest_timestamp_known.set(size == 0);
        self.index_revision.set(self.index_revision.get() + 1);
        self.found_size.set(size);
        *self.checksums.borrow_mut() = Checksums::new(size);
        self.size.set(size);
        self.sealed.set(false);
    }

    /// Gives back what the file holds behind the segment's end, in whole blocks: cutting inside a
    /// block would make the file system rewrite it.
    pub(crate) async fn give_back_blocks(&self, storage: &Storage) -> io::Result<()> {
        let kept = self.size.get().next_multiple_of(BLOCK as u64);
        if self.allocated.get() > kept {
            let file = self.file(storage).await?;
            file.truncate(kept).await?;
            self.allocated.set(kept);
            self.unsynced.set(true);
        }
        Ok(())
    }

    /// The largest timestamp of the first batch, which lies in the file; read once.
    pub(crate) async fn first_timestamp(&self, storage: &Storage) -> Option<i64> {
        if let Some(known) = self.first_timestamp.get() {
            return Some(known);
        }
        let file = self.file(storage).await.ok()?;
        let bytes = file.read_at(0, size_of::<BatchHeader>()).await.ok()?;
        // Not the base timestamp: compaction may have put the delete horizon there.
        let header = BatchHeader::ref_from_bytes(&bytes).ok()?;
        let timestamp = header.max_timestamp.get();
        self.first_timestamp.set(Some(timestamp));
        Some(timestamp)
    }

    /// When the segment was begun, as far as that is known, in wall-clock milliseconds: of one found
    /// on disk its first record's time, once that was read.
    pub(crate) fn begun_ms(&self) -> Option<i64> {
        let first = self.first_timestamp.get().filter(|first| *first >= 0);
        first.or(self.first_append_ms.get())
    }

    /// Batches lay in it when it was found on disk, and none of their times was read yet.
    pub(crate) fn has_unknown_age(&self) -> bool {
        self.found_size.get() > 0 && self.first_timestamp.get().is_none()
    }

    /// Batches were appended since the segment was opened.
    pub(crate) fn was_appended_to(&self) -> bool {
        self.first_append_ms.get().is_some()
    }

    /// Writes the index files. They are caches: no sync.
    pub(crate) async fn write_indexes(&self, storage: &Storage) -> io::Result<()> {
        let (offsets, times) = {
            let index = self.index.borrow();
            (index.encode_offsets(), index.encode_times())
        };
        storage
            .replace_file(&self.path.with_extension("index"), &offsets)
            .await?;
        storage
            .replace_file(&self.path.with_extension("timeindex"), &times)
            .await
    }

    /// Writes the checksums of a closed segment, if any of it was appended since it was opened, and
    /// gives back their memory.
    pub(crate) async fn write_checksums(&self, storage: &Storage) -> io::Result<()> {
        let checksums = self.checksums.replace(Checksums::new(self.size.get()));
        if checksums.is_empty() {
            return Ok(());
        }
        let path = self.path.with_extension(checksums::EXTENSION);
        let bytes = checksums.encode(self.base_offset);
        storage.replace_file(&path, &bytes).await
    }

    /// Takes an index that was made from the whole of the segment.
    pub(crate) fn set_index(&self, index: SegmentIndex) {
        *self.index.borrow_mut() = index;
        self.index_revision.set(self.index_revision.get() + 1);
        self.index_loaded.set(true);
        self.largest_timestamp_known.set(true);
    }

    /// Gives back the memory of an index whose files are written and whose segment is in its file
    /// whole. The next lookup reads it again.
    pub(crate) fn forget_index(&self) {
        self.index.borrow_mut().forget_entries();
        self.index_revision.set(self.index_revision.get() + 1);
        self.found_size.set(self.size.get());
        self.index_loaded.set(self.size.get() == 0);
    }

    /// Reads the index files of an old segment, once, and goes on from their last entry to the end
    /// of the file: what they lack, and files that are missing or wrong, are made up for by reading
    /// the batches. A segment that cannot be read keeps an index that makes lookups slower and no
    /// less right.
    pub(crate) async fn load_index(&self, storage: &Storage) {
        if self.index_loaded.get() {
            return;
        }
        // One at a time: who comes second finds it read.
        let _permit = self.loading.acquire(1).await;
        if self.index_loaded.get() {
            return;
        }
        let revision = self.index_revision.get();
        let read = self.rebuild_index(storage).await;
        // Of a retired segment, what was read may belong to the one that took the name.
        if self.retired.get() || revision != self.index_revision.get() {
            return;
        }
        match read {
            Ok(older) => {
                self.index.borrow_mut().prepend(&older);
                self.largest_timestamp_known.set(true);
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), "index not loaded: {error}");
            }
        }
        self.index_loaded.set(true);
    }

    /// As long as this is held, nobody takes what is in the file for the segment's batches.
    pub(crate) async fn keep_from_loading(&self) -> Permit {
        self.loading.acquire(1).await
    }

    /// Its index is being loaded, or kept from it.
    pub(crate) fn is_kept_from_loading(&self) -> bool {
        self.loading.available() == 0
    }

    pub(crate) fn has_whole_index(&self) -> bool {
        self.index_loaded.get()
    }

    /// The largest timestamp of its records, if that is known without reading the index.
    pub(crate) fn known_largest_timestamp(&self) -> Option<Option<i64>> {
        let known = self.largest_timestamp_known.get();
        known.then(|| self.index.borrow().largest_timestamp())
    }

    async fn rebuild_index(&self, storage: &Storage) -> io::Result<SegmentIndex> {
        let read = |extension| {
            let path = self.path.with_extension(extension);
            async move { storage.read_file(&path, LARGEST_INDEX_FILE).await }
        };
        let interval = self.index.borrow().interval_bytes();
        let end = self.found_size.get();
        let known = match (read("index").await, read("timeindex").await) {
            (Ok(offsets), Ok(times)) => {
                SegmentIndex::decode(self.base_offset, interval, end, &offsets, &times)
            }
            _ => None,
        };
        let file = self.file(storage).await?;
        let source = Source {
            file: Some(&file),
            rest: &[],
            rest_at: end,
        };
        if let Some(mut known) = known {
            let (entry, position) = known.last_entry().unzip();
            let from = self.walk_from(position.unwrap_or(0));
            let behind = walk(&source, self.base_offset, interval, from, end).await?;
            // The entry is right when a batch of that last offset begins there.
            if entry.is_none() || behind.first_last_offset == entry {
                known.append(&behind.index);
                if self.is_sealed() {
                    known.close();
                }
                return Ok(known);
            }
        }
        tracing::info!(path = %self.path.display(), "the index is missing or wrong: rebuilding it");
        let walked = walk(&source, self.base_offset, interval, self.walk_from(0), end).await?;
        if let Some(problem) = walked.stopped {
            tracing::warn!(path = %self.path.display(), "the index ends early: {problem}");
        }
        let mut index = walked.index;
        if self.is_sealed() {
            index.close();
        }
        Ok(index)
    }

    fn walk_from(&self, position: u64) -> WalkFrom {
        WalkFrom {
            position,
            next_offset: self.base_offset,
            epoch: None,
            dense: false,
        }
    }
}
