//! Direct files and the directories they live in.
//!
//! A [`Storage`] is a root: a directory of the real file system, or a simulated disk. Paths are relative
//! to it. Files are opened past the page cache, so that a completed write is with the device, and
//! durable once [`File::sync_data`] returned; what exactly a sync covers is stated at the head of the
//! simulated disk. A name is durable only after [`Storage::sync_dir`] of its directory.
//!
//! Writes take whole blocks at block positions; reads take any position and length. A single I/O is at
//! most [`MAX_IO`] bytes, of a read [`MAX_READ`]; larger ones are split. Errors name the operation and the path and keep the
//! [`io::ErrorKind`]: a full file system is `StorageFull`.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::buffer::{AlignedBuffer, AppendBuffer, BLOCK, BufferSlice};
use super::read_buffer::ReadBuffer;
use super::real;
use super::sim::{SimulatedDisk, SimulatedFile};

/// Bytes of one I/O. Larger ones gain nothing and stall what comes behind them.
pub const MAX_IO: usize = 1 << 20;

/// Bytes of one read. A batch of 1 MiB comes in one piece wherever in its blocks it begins, with those that follow it:
/// what is read in pieces is copied.
pub(super) const MAX_READ: usize = 2 * MAX_IO;

/// How a file is opened. All but `Read` may also be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    Read,
    ReadWrite,
    CreateNew,
    CreateOrOpen,
}

/// What [`Storage::list`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    pub len: u64,
}

/// A root of files. A clone is the same root.
#[derive(Clone)]
pub struct Storage(Root);

#[derive(Clone)]
enum Root {
    Real(Rc<real::Directory>),
    Simulated(SimulatedDisk),
}

impl Storage {
    /// A directory of the real file system, created if it is missing. Call it once on every executor,
    /// before that executor opens any other file on the device: it decides how glommio reads there.
    pub async fn real(root: PathBuf) -> io::Result<Self> {
        Ok(Self(Root::Real(Rc::new(
            real::Directory::open(root).await?,
        ))))
    }

    pub fn simulated(disk: SimulatedDisk) -> Self {
        Self(Root::Simulated(disk))
    }

    pub async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let inner = match &self.0 {
            Root::Real(root) => FileInner::Real(root.open_file(path, mode).await?),
            Root::Simulated(disk) => {
                let file = disk.open(path, mode).await;
                FileInner::Simulated(file.map_err(|error| at("open", path, &error))?)
            }
        };
        Ok(File(inner))
    }

    /// Creates a directory and those above it. Durable once the directory above each was synced.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.create_dir_all(path).await,
            Root::Simulated(disk) => disk.create_dir_all(path).await,
        }
        .map_err(|error| at("create directory", path, &error))
    }

    /// Makes the names in a directory durable: files created, renamed or removed there before the call.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.sync_dir(path).await,
            Root::Simulated(disk) => disk.sync_dir(path).await,
        }
        .map_err(|error| at("sync directory", path, &error))
    }

    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.rename(from, to).await,
            Root::Simulated(disk) => disk.rename(from, to).await,
        }
        .map_err(|error| at("rename", from, &error))
    }

    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.remove_file(path).await,
            Root::Simulated(disk) => disk.remove_file(path).await,
        }
        .map_err(|error| at("remove", path, &error))
    }

    /// Removes an empty directory.
    pub async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.remove_dir(path).await,
            Root::Simulated(disk) => disk.remove_dir(path).await,
        }
        .map_err(|error| at("remove directory", path, &error))
    }

    /// The entries of a directory, sorted by name.
    pub async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match &self.0 {
            Root::Real(root) => root.list(path).await,
            Root::Simulated(disk) => disk.list(path).await,
        }
        .map_err(|error| at("list", path, &error))
    }

    pub async fn exists(&self, path: &Path) -> io::Result<bool> {
        match &self.0 {
            Root::Real(root) => root.exists(path).await,
            Root::Simulated(disk) => disk.exists(path).await,
        }
        .map_err(|error| at("look up", path, &error))
    }

    /// A small file in one go. One that is longer than `max_len` is an error, not a short read.
    pub async fn read_file(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        match &self.0 {
            Root::Real(root) => root.read_file(path, max_len).await,
            Root::Simulated(disk) => read_whole(disk, path, max_len).await,
        }
        .map_err(|error| at("read", path, &error))
    }

    /// Replaces a small file so that after a crash either the old or the new contents are there, and
    /// the new ones once this returned: writes `<path>.tmp`, syncs it, renames it, syncs the directory.
    pub async fn replace_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match &self.0 {
            Root::Real(root) => root.replace_file(path, bytes).await,
            Root::Simulated(disk) => replace_whole(disk, path, bytes).await,
        }
        .map_err(|error| at("replace", path, &error))
    }

    /// Bytes that can still be written.
    pub async fn free_space(&self) -> io::Result<u64> {
        match &self.0 {
            Root::Real(root) => root.free_space().await,
            Root::Simulated(disk) => Ok(disk.free_space()),
        }
    }
}

/// Puts the operation and the path into an error and keeps its kind.
pub(super) fn at(operation: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{operation} {}: {error}", path.display()),
    )
}

pub(super) fn too_long(len: u64, max_len: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the file has {len} bytes, more than the {max_len} it may have"),
    )
}

/// `<path>.tmp`, beside the file that it will replace.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

async fn read_whole(disk: &SimulatedDisk, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read).await?;
    let len = file.len()?;
    if len > max_len {
        return Err(too_long(len, max_len));
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    file.read_at(0, len).await
}

async fn replace_whole(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let file = disk.open(&temporary, OpenMode::CreateOrOpen).await?;
    file.truncate(0).await?;
    file.write_at(bytes, 0).await?;
    file.sync_data().await?;
    disk.rename(&temporary, path).await?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(""))).await
}

/// An open file. All methods take `&self`: several I/Os may be under way at once, and complete in any
/// order. Close it with [`File::close`]; a file that is merely dropped is closed by the executor soon
/// after, unseen.
pub struct File(FileInner);

enum FileInner {
    Real(real::DirectFile),
    Simulated(SimulatedFile),
}

impl File {
    /// Writes the whole buffer and gives it back. Position and length are multiples of [`BLOCK`]. After
    /// an error, any part of it may have been written.
    pub async fn write_at(
        &self,
        buffer: AlignedBuffer,
        position: u64,
    ) -> (io::Result<()>, AlignedBuffer) {
        check_blocks(position, buffer.len());
        let mut buffer = buffer;
        let result = match &self.0 {
            FileInner::Real(file) => {
                let memory = buffer.fit_memory().dma();
                file.write_memory(memory, &buffer, position).await
            }
            FileInner::Simulated(file) => write_split(file, &buffer, position).await,
        };
        (result.map_err(|error| self.at("write", &error)), buffer)
    }

    /// Writes a full append buffer without copying it; it may be read meanwhile.
    ///
    /// # Panics
    /// When the buffer is not full: only whole memory can be written without a copy.
    pub async fn write_append_buffer_at(
        &self,
        buffer: &AppendBuffer,
        position: u64,
    ) -> io::Result<()> {
        assert!(
            buffer.remaining() == 0,
            "only a full append buffer can be written"
        );
        self.write_slice_at(buffer.slice(0..buffer.len()), position)
            .await
    }

    /// Writes a slice of whole blocks: without a copy if it is the whole of its buffer, otherwise
    /// through memory of its own.
    pub async fn write_slice_at(&self, slice: BufferSlice, position: u64) -> io::Result<()> {
        check_blocks(position, slice.len());
        match &self.0 {
            FileInner::Real(file) => match slice.whole_memory() {
                Some(memory) => file.write_memory(memory.dma(), &slice, position).await,
                None => file.write_copied(&slice, position).await,
            },
            FileInner::Simulated(file) => write_split(file, &slice, position).await,
        }
        .map_err(|error| self.at("write", &error))
    }

    /// Reads `len` bytes from `position`, fewer only at the end of the file. The caller bounds `len`;
    /// the memory is not charged to a pool (see [`super::BufferPool::charge`]).
    pub async fn read_at(&self, position: u64, len: usize) -> io::Result<ReadBuffer> {
        match &self.0 {
            FileInner::Real(file) => file.read_at(position, len).await,
            FileInner::Simulated(file) => {
                let bytes = file.read_at(position, len).await;
                bytes.map(|bytes| ReadBuffer::from_bytes(bytes.into()))
            }
        }
        .map_err(|error| self.at("read", &error))
    }

    /// Makes durable what completed writes, [`File::allocate`] and [`File::truncate`] did before this
    /// call. A failed sync is final: the kernel may have forgotten what it could not write, so that a
    /// second sync succeeds without having saved anything.
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            FileInner::Real(file) => file.sync_data().await,
            FileInner::Simulated(file) => file.sync_data().await,
        }
        .map_err(|error| self.at("sync", &error))
    }

    /// Reserves space up to `position + len` and extends the file to there if it was shorter. What was
    /// not written reads as zeroes.
    pub async fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        match &self.0 {
            FileInner::Real(file) => file.allocate(position, len).await,
            FileInner::Simulated(file) => file.allocate(position, len).await,
        }
        .map_err(|error| self.at("allocate", &error))
    }

    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            FileInner::Real(file) => file.truncate(len).await,
            FileInner::Simulated(file) => file.truncate(len).await,
        }
        .map_err(|error| self.at("truncate", &error))
    }

    pub async fn len(&self) -> io::Result<u64> {
        match &self.0 {
            FileInner::Real(file) => file.len(),
            FileInner::Simulated(file) => file.len(),
        }
        .map_err(|error| self.at("stat", &error))
    }

    /// How many names the file has: none once it was removed, more than one where someone linked it.
    pub async fn links(&self) -> io::Result<u64> {
        match &self.0 {
            FileInner::Real(file) => file.links(),
            FileInner::Simulated(file) => file.links(),
        }
        .map_err(|error| self.at("stat", &error))
    }

    pub async fn close(self) -> io::Result<()> {
        match self.0 {
            FileInner::Real(file) => file.close().await,
            FileInner::Simulated(_) => Ok(()),
        }
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        match &self.0 {
            FileInner::Real(file) => file.path(),
            FileInner::Simulated(file) => file.path(),
        }
    }

    fn at(&self, operation: &str, error: &io::Error) -> io::Error {
        at(operation, self.path(), error)
    }
}

fn check_blocks(position: u64, len: usize) {
    assert!(
        position.is_multiple_of(BLOCK as u64),
        "a direct write starts at a block"
    );
    assert!(len.is_multiple_of(BLOCK), "a direct write has whole blocks");
}

/// As the real back end does, so that what a crash leaves of a large write is alike.
async fn write_split(file: &SimulatedFile, bytes: &[u8], position: u64) -> io::Result<()> {
    for (index, part) in bytes.chunks(MAX_IO).enumerate() {
        file.write_at(part, position + (index * MAX_IO) as u64)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
