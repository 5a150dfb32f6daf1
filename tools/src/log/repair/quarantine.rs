//! Changing files so that no byte is lost: what leaves its place goes to the quarantine first, and
//! a new file is whole and durable before it takes a name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// The folder that takes what a repair takes out of one partition.
pub(super) struct Quarantine {
    folder: PathBuf,
}

impl Quarantine {
    /// `root` is the data folder; the folder is made when the first file goes there.
    pub(super) fn new(root: &Path, partition: &str) -> Quarantine {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        let name = format!("{partition}-{millis}");
        Quarantine {
            folder: root.join("quarantine").join(name),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    fn place(&self, name: &str) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        for folder in self.folder.ancestors().take(3) {
            sync(folder)?;
        }
        let place = self.folder.join(name);
        anyhow::ensure!(!place.exists(), "{} is there already", place.display());
        Ok(place)
    }

    /// Moves a file, if it is there.
    pub(super) fn take(&self, file: &Path) -> anyhow::Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let place = self.place(&name)?;
        fs::rename(file, &place)
            .with_context(|| format!("cannot move {} to {}", file.display(), place.display()))?;
        sync(&self.folder)?;
        sync(file.parent().unwrap_or(file))
    }

    /// Copies a file, durably.
    pub(super) fn copy(&self, file: &Path) -> anyhow::Result<()> {
        let length = fs::metadata(file).with_context(|| unreadable(file))?.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        copy_parts(
            file,
            std::slice::from_ref(&(0..length)),
            &self.place(&name)?,
        )?;
        sync(&self.folder)
    }

    /// Copies the end of a file, durably, and then cuts it off.
    pub(super) fn cut(&self, file: &Path, position: u64) -> anyhow::Result<()> {
        let length = fs::metadata(file).with_context(|| unreadable(file))?.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let place = self.place(&format!("{name}.from-byte-{position}"))?;
        copy_parts(file, std::slice::from_ref(&(position..length)), &place)?;
        sync(&self.folder)?;
        let failed = || format!("cannot cut {}", file.display());
        let file = File::options()
            .write(true)
            .open(file)
            .with_context(failed)?;
        file.set_len(position).with_context(failed)?;
        file.sync_all().with_context(failed)
    }

    /// Moves a file and puts one in its place that holds these parts of it.
    pub(super) fn keep_parts(&self, file: &Path, parts: &[Range<u64>]) -> anyhow::Result<()> {
        let mut temporary = file.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        copy_parts(file, parts, &temporary)?;
        self.take(file)?;
        fs::rename(&temporary, file)
            .with_context(|| format!("cannot replace {}", file.display()))?;
        sync(file.parent().unwrap_or(file))
    }
}

/// Replaces a small file so that the old or the new one is there, whole.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut new = File::create(&temporary)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    sync(file.parent().unwrap_or(file))
}

fn copy_parts(from: &Path, parts: &[Range<u64>], to: &Path) -> anyhow::Result<()> {
    let copy = || -> io::Result<()> {
        let source = File::open(from)?;
        let mut target = File::create(to)?;
        let mut bytes = vec![0; 4 << 20];
        for part in parts {
            let mut position = part.start;
            while position < part.end {
                let left = usize::try_from(part.end - position).unwrap_or(usize::MAX);
                let step = left.min(bytes.len());
                source.read_exact_at(&mut bytes[..step], position)?;
                target.write_all(&bytes[..step])?;
                position += step as u64;
            }
        }
        target.sync_all()
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {}", file.display())
}
