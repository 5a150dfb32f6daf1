//! A directory of the real file system.
//!
//! Operations on names and small files are ordinary system calls on the executor's blocking thread.
//! None is on the path of a record, and glommio's own versions cover only half of them.

#![expect(
    unsafe_code,
    reason = "statvfs has no safe form in the standard library"
)]

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glommio::io::{DmaFile, OpenOptions};

use super::super::buffer::BLOCK;
use super::super::fs::{DirEntry, OpenMode, at, temporary, too_long};
use super::blocking::blocking;
use super::file::{DirectFile, plain};
use super::gate::gated;

/// Holds one block of data; see [`Directory::settle_polling`].
const POLLING_PROBE: &str = ".polling-probe";

pub(in crate::runtime) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(in crate::runtime) async fn open(root: PathBuf) -> io::Result<Self> {
        let directory = Self { root };
        directory
            .settle_polling()
            .await
            .map_err(|error| at("open storage", &directory.root, &error))?;
        Ok(directory)
    }

    /// Opens a file that holds data before any other on this device. glommio reads from the first file
    /// it opens to find out whether the device can be polled. On an empty file that read succeeds
    /// without reaching the device, and every later read fails with EOPNOTSUPP.
    async fn settle_polling(&self) -> io::Result<()> {
        let path = self.root.join(POLLING_PROBE);
        let root = self.root.clone();
        let probe = path.clone();
        blocking(move || {
            fs::create_dir_all(root)?;
            if fs::metadata(&probe).is_ok_and(|found| found.len() >= BLOCK as u64) {
                return Ok(());
            }
            // Written, not extended: a hole is answered by the file system.
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(probe)?;
            file.write_all(&[0; BLOCK])?;
            file.sync_all()
        })
        .await?;
        let file = gated(DmaFile::open(&path)).await.map_err(plain)?;
        gated(file.close()).await.map_err(plain)
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    pub(in crate::runtime) async fn open_file(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<DirectFile> {
        let full = self.path(path);
        let file = open_direct(&full, mode).await;
        let file = file.map_err(|error| at("open", &full, &error))?;
        Ok(DirectFile::new(file, full))
    }

    pub(in crate::runtime) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || fs::create_dir_all(path)).await
    }

    pub(in crate::runtime) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || fs::File::open(path)?.sync_all()).await
    }

    pub(in crate::runtime) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        blocking(move || fs::rename(from, to)).await
    }

    pub(in crate::runtime) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || fs::remove_file(path)).await
    }

    pub(in crate::runtime) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = self.path(path);
        blocking(move || fs::remove_dir(path)).await
    }

    pub(in crate::runtime) async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = self.path(path);
        let mut entries = blocking(move || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let name = entry.file_name().into_string().map_err(|name| {
                    let message = format!("a name that is not UTF-8: {}", name.display());
                    io::Error::new(io::ErrorKind::InvalidData, message)
                })?;
                entries.push(DirEntry {
                    name,
                    is_dir: metadata.is_dir(),
                    len: if metadata.is_dir() { 0 } else { metadata.len() },
                });
            }
            Ok(entries)
        })
        .await?;
        entries.retain(|entry| entry.name != POLLING_PROBE);
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    pub(in crate::runtime) async fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = self.path(path);
        blocking(move || path.try_exists()).await
    }

    pub(in crate::runtime) async fn read_file(
        &self,
        path: &Path,
        max_len: u64,
    ) -> io::Result<Vec<u8>> {
        let path = self.path(path);
        blocking(move || {
            let file = fs::File::open(path)?;
            let len = file.metadata()?.len();
            if len > max_len {
                return Err(too_long(len, max_len));
            }
            let mut bytes = Vec::new();
            file.take(max_len).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await
    }

    pub(in crate::runtime) async fn replace_file(
        &self,
        path: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        let path = self.path(path);
        let bytes = bytes.to_vec();
        blocking(move || {
            let temporary = temporary(&path);
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            fs::File::open(parent)?.sync_all()
        })
        .await
    }

    pub(in crate::runtime) async fn free_space(&self) -> io::Result<u64> {
        let root = CString::new(self.root.as_os_str().as_bytes())?;
        blocking(move || {
            let mut stat = MaybeUninit::<libc::statvfs>::uninit();
            // SAFETY: the path ends with a nul, and `stat` has room for the answer.
            if unsafe { libc::statvfs(root.as_ptr(), stat.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call succeeded and filled it.
            let stat = unsafe { stat.assume_init() };
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
        .await
        .map_err(|error| at("stat file system of", &self.root, &error))
    }
}

/// Opens a file that may lose its name meanwhile. glommio asks for the file system of what it has
/// opened by its path and panics when that is gone, so it gets one that lasts: that of an open
/// descriptor.
async fn open_direct(path: &Path, mode: OpenMode) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read);
    let mut named = options.clone();
    match mode {
        OpenMode::Read | OpenMode::ReadWrite => {}
        OpenMode::CreateNew => {
            named.create_new(true);
        }
        OpenMode::CreateOrOpen => {
            named.create(true);
        }
    }
    let named = gated(named.buffered_open(path)).await.map_err(plain)?;
    let lasting = format!("/proc/self/fd/{}", named.as_raw_fd());
    let direct = gated(options.dma_open(&lasting)).await.map_err(plain);
    gated(named.close()).await.map_err(plain)?;
    direct
}
