//! The folder of one run: the broker's data and the ceilings' files, on the
//! file system under test, gone when the run ends.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::ceilings::ring::Handle;

/// A run refuses to start with less free space than this. It holds at most
/// one slice of the workload, the broker's journal and one file of the
/// ceilings at a time, which is less.
pub(crate) const FREE_SPACE_NEEDED: u64 = 4 << 30;

/// A temporary folder; deleted on drop.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// Creates the folder below `parent`, if there is room.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        ensure_room(free_space(parent)?, parent)?;
        let folder = tempfile::Builder::new()
            .prefix(".corelog-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path inside the folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates a file for direct I/O, or empties an old one of that name.
    pub(crate) fn direct_file(&self, name: &str) -> Result<Handle> {
        let path = self.join(name);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .with_context(|| {
                format!(
                    "cannot open {} for direct I/O: does its file system support O_DIRECT?",
                    path.display()
                )
            })?;
        Ok(Arc::new(OwnedFd::from(file)))
    }

    /// Waits until the file system has nothing left to write, such as the
    /// removal of a large file, so that it does not disturb what comes next.
    pub(crate) fn settle(&self) -> Result<()> {
        let folder = fs::File::open(self.path()).context("cannot open the run's folder")?;
        rustix::fs::syncfs(folder).context("cannot sync the file system")
    }

    pub(crate) fn remove_file(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.join(name).display()))
            }
            _ => Ok(()),
        }
    }
}

fn ensure_room(free: u64, folder: &Path) -> Result<()> {
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    ensure!(
        free >= FREE_SPACE_NEEDED,
        "{} has {:.1} GiB free, a run needs {:.0}: name another file system with --data-dir",
        folder.display(),
        gib(free),
        gib(FREE_SPACE_NEEDED),
    );
    Ok(())
}

/// Bytes that a user may still write to the file system of `folder`.
fn free_space(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot tell the free space of {}", folder.display()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = tempfile::Builder::new().tempdir_in(parent.path()).unwrap();
        let scratch = Scratch { folder };
        fs::write(scratch.join("file"), b"bytes").unwrap();
        scratch.remove_file("file").unwrap();
        scratch.remove_file("file").unwrap();
        fs::write(scratch.join("other"), b"bytes").unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_run_is_refused_where_there_is_too_little_room() {
        let folder = Path::new("/data");
        assert!(ensure_room(FREE_SPACE_NEEDED, folder).is_ok());
        let error = ensure_room(FREE_SPACE_NEEDED - 1, folder).unwrap_err();
        assert!(
            error.to_string().contains("/data has 4.0 GiB free"),
            "{error}"
        );
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }

    #[test]
    fn the_free_space_of_a_folder_that_does_not_exist_is_an_error() {
        assert!(free_space(Path::new("/")).unwrap() > 0);
        let error = free_space(Path::new("/does/not/exist")).unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }
}
