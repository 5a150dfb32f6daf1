//! Segment files as a replay writes, reads back and cuts them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use corelog_protocol::Offset;
use corelog_protocol::record::BatchHeader;

use crate::log::RecoveryError;
use crate::log::batch_scan::{Source, WalkFrom, Walked, walk_with};
use crate::log::checksums;
use crate::log::index::SegmentIndex;
use crate::log::segment::{base_offset_of, log_file_name};
use crate::runtime::{BLOCK, BufferPool, File, OpenMode, Storage};

/// Bytes of one write.
pub(super) const WRITE_BYTES: usize = 1 << 20;
const LARGEST_INDEX_FILE: u64 = 64 << 20;
const INDEX_INTERVAL_BYTES: u64 = 4096;

/// Where replays write.
pub(super) struct Disk<'a> {
    pub(super) storage: &'a Storage,
    pub(super) pool: BufferPool,
}

/// Bytes at the end of a segment that are not in its file yet, or not for certain.
pub(super) struct Rest {
    /// Block-aligned position of the first of them.
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

impl Rest {
    pub(super) fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

pub(super) async fn open_for_writing(
    disk: &Disk<'_>,
    folder: &Path,
    path: &Path,
) -> Result<File, RecoveryError> {
    let created = disk.storage.create_dir_all(folder).await;
    created.map_err(RecoveryError::io("create", folder))?;
    let opened = disk.storage.open(path, OpenMode::CreateOrOpen).await;
    opened.map_err(RecoveryError::io("open", path))
}

/// Writes bytes from a block position on, the last block padded with zeros.
pub(super) async fn write_padded(
    disk: &Disk<'_>,
    file: &File,
    path: &Path,
    bytes: &[u8],
    position: u64,
) -> Result<(), RecoveryError> {
    let mut done = 0;
    for step in bytes.chunks(WRITE_BYTES) {
        let padded = step.len().next_multiple_of(BLOCK);
        let mut buffer = disk.pool.aligned_wait(padded).await;
        buffer[..step.len()].copy_from_slice(step);
        buffer[step.len()..].fill(0);
        let (written, _) = file.write_at(buffer, position + done).await;
        written.map_err(RecoveryError::io("write", path))?;
        done += step.len() as u64;
    }
    Ok(())
}

/// Walks what the journal says a segment holds, its end from memory, and looks at each good batch.
pub(super) async fn read_back(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    from: WalkFrom,
    rest: &Rest,
    look: impl FnMut(&BatchHeader),
) -> Result<Walked, RecoveryError> {
    let path = folder.join(log_file_name(base));
    let file = match disk.storage.open(&path, OpenMode::Read).await {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(RecoveryError::io("open", &path)(error)),
    };
    let source = Source {
        file: file.as_ref(),
        rest: &rest.bytes,
        rest_at: rest.at,
    };
    let walked = walk_with(&source, base, INDEX_INTERVAL_BYTES, from, rest.end(), look).await;
    let walked = walked.map_err(RecoveryError::io("read", &path))?;
    if let Some(file) = file {
        let closed = file.close().await;
        closed.map_err(RecoveryError::io("close", &path))?;
    }
    Ok(walked)
}

/// Writes a segment's end, cuts the file to its length and syncs it.
pub(super) async fn close_segment(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    rest: &Rest,
) -> Result<(), RecoveryError> {
    let path = folder.join(log_file_name(base));
    let file = open_for_writing(disk, folder, &path).await?;
    write_padded(disk, &file, &path, &rest.bytes, rest.at).await?;
    let cut = file.truncate(rest.end()).await;
    cut.map_err(RecoveryError::io("truncate", &path))?;
    let synced = file.sync_data().await;
    synced.map_err(RecoveryError::io("sync", &path))?;
    let closed = file.close().await;
    closed.map_err(RecoveryError::io("close", &path))
}

/// Writes a segment's index files when all of it was read back. Where only the part from `from` on
/// was, the files stay if they are right: who looks something up goes on from their last entry.
/// Wrong ones go, and are rebuilt then.
pub(super) async fn write_indexes(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    from: u64,
    index: SegmentIndex,
) -> Result<(), RecoveryError> {
    let path = folder.join(log_file_name(base));
    if from > 0 {
        let read = |extension: &'static str| {
            let path = path.with_extension(extension);
            async move { disk.storage.read_file(&path, LARGEST_INDEX_FILE).await }
        };
        let known = match (read("index").await, read("timeindex").await) {
            (Ok(offsets), Ok(times)) => {
                SegmentIndex::decode(base, INDEX_INTERVAL_BYTES, from, &offsets, &times)
            }
            _ => None,
        };
        return match known {
            Some(_) => Ok(()),
            None => remove_companions(disk, &path, &["index", "timeindex"]).await,
        };
    }
    for (extension, bytes) in [
        ("index", index.encode_offsets()),
        ("timeindex", index.encode_times()),
    ] {
        let path = path.with_extension(extension);
        let written = disk.storage.replace_file(&path, &bytes).await;
        written.map_err(RecoveryError::io("write", &path))?;
    }
    Ok(())
}

/// Removes the checksums of segments that are about to be rewritten.
pub(super) async fn remove_checksums(
    disk: &Disk<'_>,
    folder: &Path,
    bases: impl Iterator<Item = &Offset>,
) -> Result<(), RecoveryError> {
    for &base in bases {
        let path = folder.join(log_file_name(base));
        remove_companions(disk, &path, &[checksums::EXTENSION]).await?;
    }
    Ok(())
}

async fn remove_companions(
    disk: &Disk<'_>,
    segment: &Path,
    extensions: &[&str],
) -> Result<(), RecoveryError> {
    for extension in extensions {
        let path = segment.with_extension(extension);
        match disk.storage.remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RecoveryError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes segments behind `first` that the journal does not speak of: they were begun for appends
/// that were never acknowledged.
pub(super) async fn remove_strangers(
    disk: &Disk<'_>,
    folder: &Path,
    first: Offset,
    segments: &BTreeMap<Offset, Rest>,
) -> Result<(), RecoveryError> {
    let entries = disk.storage.list(folder).await;
    for entry in entries.map_err(RecoveryError::io("list", folder))? {
        let stranger = base_offset_of(&entry.name)
            .is_some_and(|base| base > first && !segments.contains_key(&base));
        if stranger {
            let path = folder.join(&entry.name);
            let removed = disk.storage.remove_file(&path).await;
            removed.map_err(RecoveryError::io("remove", &path))?;
        }
    }
    let synced = disk.storage.sync_dir(folder).await;
    synced.map_err(RecoveryError::io("sync", folder))
}
