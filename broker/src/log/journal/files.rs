//! The journal's files: preallocated, filled with zeros once, written from front to back, and
//! recycled when a checkpoint covers what they hold. They never grow: a sync of a file whose size
//! or blocks change is five times slower than one that overwrites.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_protocol::ShardId;

use crate::log::LogFailure;
use crate::runtime::{BLOCK, BufferPool, File, Notify, OpenMode, Storage};

/// One write while filling a new file with zeros.
const FILL_BYTES: usize = 1 << 20;

/// The name of a journal file inside the journal folder.
fn shard_journal_name(shard: ShardId, index: usize) -> String {
    format!("shard-{}-{index}.journal", shard.get())
}

/// Where a group goes.
pub(crate) struct JournalSlot {
    pub(crate) file: Rc<File>,
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    /// The group opened another file than the one before it: the last one is full.
    pub(crate) file_changed: bool,
}

struct JournalFile {
    file: Rc<File>,
    path: PathBuf,
    /// The last group in it; `None` while it is free.
    last_sequence: Option<u64>,
}

/// The ring of files of one shard.
pub(crate) struct JournalFiles {
    file_bytes: u64,
    files: RefCell<Vec<JournalFile>>,
    active: Cell<usize>,
    position: Cell<u64>,
    room: Notify,
}

impl JournalFiles {
    /// Opens the first file; [`JournalFiles::prepare`] adds the others while the shard already
    /// works.
    pub(crate) async fn open(
        storage: &Storage,
        pool: &BufferPool,
        folder: &Path,
        shard: ShardId,
        file_bytes: u64,
    ) -> Result<JournalFiles, LogFailure> {
        let files = JournalFiles {
            file_bytes,
            files: RefCell::new(Vec::new()),
            active: Cell::new(0),
            position: Cell::new(0),
            room: Notify::new(),
        };
        files.prepare(storage, pool, folder, shard, 0).await?;
        Ok(files)
    }

    /// Adds the file with this index, creating it or filling it with zeros when its size is
    /// another. An old file of the right size is taken as it is: its groups belong to an earlier
    /// generation.
    pub(crate) async fn prepare(
        &self,
        storage: &Storage,
        pool: &BufferPool,
        folder: &Path,
        shard: ShardId,
        index: usize,
    ) -> Result<(), LogFailure> {
        let path = folder.join(shard_journal_name(shard, index));
        let failed = |operation| {
            let path = path.clone();
            move |error: io::Error| LogFailure::new(operation, &path, &error)
        };
        let file = storage
            .open(&path, OpenMode::CreateOrOpen)
            .await
            .map_err(failed("open"))?;
        if file.len().await.map_err(failed("stat"))? != self.file_bytes {
            fill_with_zeros(&file, pool, self.file_bytes)
                .await
                .map_err(failed("allocation"))?;
            file.sync_data().await.map_err(failed("sync"))?;
            storage
                .sync_dir(folder)
                .await
                .map_err(failed("folder sync"))?;
        }
        self.files.borrow_mut().push(JournalFile {
            file: Rc::new(file),
            path,
            last_sequence: None,
        });
        self.room.notify_waiters();
        Ok(())
    }

    /// Whether a group of at most `length` bytes, or the longest that a file takes, has a place.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        let length = (length as u64).min(self.file_bytes);
        let files = self.files.borrow();
        self.position.get() + length <= self.file_bytes
            || (0..files.len())
                .any(|index| index != self.active.get() && files[index].last_sequence.is_none())
    }

    /// The place of the next group, or `None` while every file holds groups that no checkpoint
    /// covers.
    pub(crate) fn place(&self, length: usize, sequence: u64) -> Option<JournalSlot> {
        let length = length as u64;
        assert!(length <= self.file_bytes, "a group fits an empty file");
        let mut files = self.files.borrow_mut();
        let mut index = self.active.get();
        let mut position = self.position.get();
        let file_changed = position + length > self.file_bytes;
        if file_changed {
            index = (0..files.len())
                .map(|step| (index + 1 + step) % files.len())
                .find(|&candidate| files[candidate].last_sequence.is_none())?;
            position = 0;
        }
        let chosen = &mut files[index];
        chosen.last_sequence = Some(sequence);
        self.active.set(index);
        self.position.set(position + length);
        Some(JournalSlot {
            file: chosen.file.clone(),
            path: chosen.path.clone(),
            position,
            file_changed,
        })
    }

    /// Frees the files whose groups are all at or below `through`, but for the active one.
    pub(crate) fn recycle(&self, through: u64) {
        let mut files = self.files.borrow_mut();
        for (index, file) in files.iter_mut().enumerate() {
            if index != self.active.get() && file.last_sequence.is_some_and(|last| last <= through)
            {
                file.last_sequence = None;
            }
        }
        drop(files);
        self.room.notify_waiters();
    }

    /// Wakes whoever waits for room, to look whether the log has stopped.
    pub(crate) fn wake(&self) {
        self.room.notify_waiters();
    }

    /// Resolves when a file may have become free.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Half of the files are full. A checkpoint costs the less the more it covers, and appends need the
    /// other half while it is written.
    pub(crate) fn is_half_used(&self) -> bool {
        self.files_in_use() > self.files.borrow().len() / 2
    }

    /// Files that hold groups no checkpoint covers, the active one included.
    pub(crate) fn files_in_use(&self) -> usize {
        self.files
            .borrow()
            .iter()
            .filter(|file| file.last_sequence.is_some())
            .count()
    }
}

async fn fill_with_zeros(file: &File, pool: &BufferPool, bytes: u64) -> io::Result<()> {
    let step = FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES));
    let mut buffer = pool.aligned_wait(step.next_multiple_of(BLOCK)).await;
    buffer.fill(0);
    file.truncate(0).await?;
    file.allocate(0, bytes).await?;
    let mut position = 0;
    while position < bytes {
        let length = usize::try_from(bytes - position)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        buffer.truncate(length);
        let (written, back) = file.write_at(buffer, position).await;
        written?;
        buffer = back;
        position += length as u64;
    }
    Ok(())
}
