//! What the files say about the run before this one.
//!
//! They lie in `journal/`, and, when the start that set them aside was cut short before it wrote
//! its own `start.checkpoint`, in `journal/set-aside-<generation>/` too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::ShardId;

use super::PartitionStart;
use crate::log::checkpoint::{
    Checkpoint, LARGEST_CHECKPOINT, checkpoint_path, start_checkpoint_path,
};
use crate::log::shard_log::{DATA_FOLDER, JOURNAL_FOLDER};
use crate::log::{Generation, RecoveryError, TopicPartition, begun_blocks};
use crate::runtime::Storage;

/// A file of saved blocks, or a checkpoint, is copied up to this size.
const LARGEST_COPY: u64 = LARGEST_CHECKPOINT;

#[derive(Debug)]
pub(super) struct LastRun {
    pub(super) generation: Generation,
    pub(super) partitions: BTreeMap<TopicPartition, PartitionStart>,
    pub(super) suspects: BTreeMap<TopicPartition, String>,
    pub(super) shards: Vec<LastShard>,
}

/// The files of one shard.
#[derive(Debug, Clone)]
pub(super) struct LastShard {
    pub(super) id: ShardId,
    pub(super) journals: Vec<PathBuf>,
    pub(super) saved_blocks: Option<PathBuf>,
    checkpoint: Option<PathBuf>,
    /// The partitions that its checkpoint speaks of.
    pub(super) overlay: BTreeSet<TopicPartition>,
    /// Every group up to this one is in the segments.
    pub(super) covered_sequence: u64,
    /// What its checkpoint says was flushed.
    pub(super) flushed_sequence: u64,
}

/// Where the journals of a run are kept from being used again.
pub(super) fn set_aside_folder(generation: Generation) -> PathBuf {
    Path::new(JOURNAL_FOLDER).join(format!("set-aside-{}", generation.number))
}

impl LastRun {
    pub(super) async fn load(storage: &Storage) -> Result<LastRun, RecoveryError> {
        let journal_folder = Path::new(JOURNAL_FOLDER);
        let mut files = list_files(storage, journal_folder).await?;
        let path = start_checkpoint_path();
        let Some(start) = load_checkpoint(storage, &path).await? else {
            // No checkpoint is right once only: before the first start has written it, and then
            // there is no data either.
            let data = Path::new(DATA_FOLDER);
            let listed = storage.list(data).await;
            let folders = listed.map_err(RecoveryError::io("list", data))?;
            if !folders.is_empty() || files.iter().any(|path| journal_of(path).is_some()) {
                let problem = "missing".to_owned();
                return Err(RecoveryError::Checkpoint { path, problem });
            }
            return Ok(LastRun {
                generation: Generation { number: 0, salt: 0 },
                partitions: BTreeMap::new(),
                suspects: BTreeMap::new(),
                shards: Vec::new(),
            });
        };
        let aside = set_aside_folder(start.generation);
        let exists = storage.exists(&aside).await;
        if exists.map_err(RecoveryError::io("stat", &aside))? {
            files.extend(list_files(storage, &aside).await?);
        }
        let mut run = LastRun {
            generation: start.generation,
            partitions: start.partitions,
            suspects: start.suspects,
            shards: Vec::new(),
        };
        let shards: BTreeSet<ShardId> = files
            .iter()
            .filter_map(|path| journal_of(path).or(checkpoint_of(path)))
            .collect();
        for shard in shards {
            run.load_shard(storage, shard, &files).await?;
        }
        Ok(run)
    }

    async fn load_shard(
        &mut self,
        storage: &Storage,
        id: ShardId,
        files: &[PathBuf],
    ) -> Result<(), RecoveryError> {
        let of_this = |of: fn(&Path) -> Option<ShardId>| {
            let paths = files.iter().filter(move |path| of(path) == Some(id));
            paths.cloned()
        };
        let saved = begun_blocks::shard_path(id);
        let mut shard = LastShard {
            id,
            journals: of_this(journal_of).collect(),
            saved_blocks: files
                .iter()
                .find(|path| path.file_name() == saved.file_name())
                .cloned(),
            checkpoint: None,
            overlay: BTreeSet::new(),
            covered_sequence: 0,
            flushed_sequence: 0,
        };
        for path in of_this(checkpoint_of) {
            let Some(overlay) = load_checkpoint(storage, &path).await? else {
                continue;
            };
            if overlay.generation == self.generation {
                shard.checkpoint = Some(path);
                shard.overlay = overlay.partitions.keys().copied().collect();
                shard.covered_sequence = overlay.covered_sequence;
                shard.flushed_sequence = overlay.flushed_sequence;
                self.partitions.extend(overlay.partitions);
            }
        }
        self.shards.push(shard);
        Ok(())
    }

    /// Moves the files of these shards to a folder where no journal is ever written, with copies of
    /// what the start overwrites. They are found there until the next `start.checkpoint` is written.
    pub(super) async fn set_aside(
        &self,
        storage: &Storage,
        shards: &[LastShard],
    ) -> Result<(), RecoveryError> {
        let folder = set_aside_folder(self.generation);
        let created = storage.create_dir_all(&folder).await;
        created.map_err(RecoveryError::io("create", &folder))?;
        // Before anything moves into it: what lies in a folder without a name is lost.
        let journal_folder = Path::new(JOURNAL_FOLDER);
        let synced = storage.sync_dir(journal_folder).await;
        synced.map_err(RecoveryError::io("sync", journal_folder))?;
        for path in [start_checkpoint_path(), begun_blocks::path()] {
            let Some(name) = path.file_name() else {
                continue;
            };
            let copy = folder.join(name);
            match storage.read_file(&path, LARGEST_COPY).await {
                Ok(bytes) => {
                    let written = storage.replace_file(&copy, &bytes).await;
                    written.map_err(RecoveryError::io("write", &copy))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(RecoveryError::io("read", &path)(error)),
            }
        }
        for shard in shards {
            let others = shard.checkpoint.iter().chain(&shard.saved_blocks);
            for path in shard.journals.iter().chain(others) {
                let Some(name) = path.file_name() else {
                    continue;
                };
                let target = folder.join(name);
                if *path == target {
                    continue; // an earlier attempt came this far
                }
                let exists = storage.exists(&target).await;
                if exists.map_err(RecoveryError::io("stat", &target))? {
                    let error = io::Error::from(io::ErrorKind::AlreadyExists);
                    return Err(RecoveryError::io("set aside a journal as", &target)(error));
                }
                let moved = storage.rename(path, &target).await;
                moved.map_err(RecoveryError::io("move", path))?;
            }
        }
        // The new names first: a file must not be in neither folder.
        for folder in [&folder, Path::new(JOURNAL_FOLDER)] {
            let synced = storage.sync_dir(folder).await;
            synced.map_err(RecoveryError::io("sync", folder))?;
        }
        Ok(())
    }
}

/// Removes the checkpoints of shards from the journal folder: `start.checkpoint` replaces them.
pub(super) async fn remove_shard_checkpoints(storage: &Storage) -> Result<(), RecoveryError> {
    for path in list_files(storage, Path::new(JOURNAL_FOLDER)).await? {
        if checkpoint_of(&path).is_some() {
            let removed = storage.remove_file(&path).await;
            removed.map_err(RecoveryError::io("remove", &path))?;
        }
    }
    Ok(())
}

async fn list_files(storage: &Storage, folder: &Path) -> Result<Vec<PathBuf>, RecoveryError> {
    let listed = storage.list(folder).await;
    let entries = listed.map_err(RecoveryError::io("list", folder))?;
    let files = entries.into_iter().filter(|entry| !entry.is_dir);
    Ok(files.map(|entry| folder.join(entry.name)).collect())
}

async fn load_checkpoint(
    storage: &Storage,
    path: &Path,
) -> Result<Option<Checkpoint>, RecoveryError> {
    let exists = storage.exists(path).await;
    if !exists.map_err(RecoveryError::io("stat", path))? {
        return Ok(None);
    }
    let read = storage.read_file(path, LARGEST_CHECKPOINT).await;
    let bytes = read.map_err(RecoveryError::io("read", path))?;
    Checkpoint::decode(&bytes)
        .map(Some)
        .map_err(|problem| RecoveryError::Checkpoint {
            path: path.to_owned(),
            problem,
        })
}

/// The shard of a file such as `shard-3-0.journal`.
fn journal_of(path: &Path) -> Option<ShardId> {
    let name = path.file_name()?.to_str()?;
    let (shard, index) = name
        .strip_prefix("shard-")?
        .strip_suffix(".journal")?
        .split_once('-')?;
    index.parse::<u32>().ok()?;
    shard.parse().ok().map(ShardId::new)
}

/// The shard of a file such as `shard-3.checkpoint`.
fn checkpoint_of(path: &Path) -> Option<ShardId> {
    let name = path.file_name()?.to_str()?;
    let shard = name.strip_prefix("shard-")?.strip_suffix(".checkpoint")?;
    let shard = shard.parse().ok().map(ShardId::new)?;
    (checkpoint_path(shard).file_name() == path.file_name()).then_some(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_their_shard() {
        let journal = |name: &str| journal_of(Path::new(name));
        let checkpoint = |name: &str| checkpoint_of(Path::new(name));
        assert_eq!(
            journal("journal/shard-12-3.journal"),
            Some(ShardId::new(12))
        );
        assert_eq!(journal("journal/shard-12.journal"), None);
        assert_eq!(
            checkpoint("journal/shard-7.checkpoint"),
            Some(ShardId::new(7))
        );
        assert_eq!(checkpoint("journal/start.checkpoint"), None);
    }
}
