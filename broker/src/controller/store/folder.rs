//! The files of the metadata folder: which there are, and in which order they come and go.

use std::path::{Path, PathBuf};

use super::{MetadataError, snapshot};
use crate::metadata::MetadataImage;
use crate::runtime::{File, OpenMode, Storage};

pub(super) const FOLDER: &str = "metadata";
pub(super) const SNAPSHOT: &str = "metadata/snapshot";

/// Folders that are empty or missing as long as nothing was ever appended.
const RECORD_FOLDERS: [&str; 2] = ["journal", "data"];

/// Creates the log `number` and then the snapshot that names it, each durable before the next step.
pub(super) async fn begin_log(
    storage: &Storage,
    image: &MetadataImage,
    number: u64,
) -> Result<File, MetadataError> {
    let path = log_path(number);
    // Left behind by a start or a snapshot that a crash cut short; no snapshot names it.
    if storage.exists(&path).await? {
        storage.remove_file(&path).await?;
    }
    let log = storage.open(&path, OpenMode::CreateNew).await?;
    storage.sync_dir(Path::new(FOLDER)).await?;
    let bytes = snapshot::encode(image, number);
    storage.replace_file(Path::new(SNAPSHOT), &bytes).await?;
    Ok(log)
}

/// A missing snapshot means a new folder only if nothing else was ever kept there.
pub(super) async fn refuse_used_folder(storage: &Storage) -> Result<(), MetadataError> {
    for folder in RECORD_FOLDERS {
        let folder = Path::new(folder);
        if storage.exists(folder).await? && !storage.list(folder).await?.is_empty() {
            return Err(MetadataError::SnapshotMissing {
                found: folder.display().to_string(),
            });
        }
    }
    for entry in storage.list(Path::new(FOLDER)).await? {
        if is_log(&entry.name) && entry.len > 0 {
            return Err(MetadataError::SnapshotMissing {
                found: format!("{FOLDER}/{}", entry.name),
            });
        }
    }
    Ok(())
}

/// Removes logs that a snapshot replaced, or that it never came to name.
pub(super) async fn remove_other_logs(
    storage: &Storage,
    log_number: u64,
) -> Result<(), MetadataError> {
    for entry in storage.list(Path::new(FOLDER)).await? {
        let path = Path::new(FOLDER).join(&entry.name);
        if is_log(&entry.name) && path != log_path(log_number) {
            storage.remove_file(&path).await?;
        }
    }
    Ok(())
}

fn is_log(name: &str) -> bool {
    name.starts_with("log-")
}

pub(super) fn log_path(number: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("log-{number:020}"))
}
