//! The start: what the checkpoints say, plus what the journals of the last run hold beyond them.
//!
//! One executor does this before any shard opens a log, for the journals of all shards there were,
//! whatever the number of shards now. Entries are applied in the order they were written; each
//! partition's bytes are rewritten from its checkpointed position on, because a segment that was
//! not synced proves nothing, and the rest of its file is cut. Afterwards one checkpoint for all
//! partitions begins a new generation, and the old journals mean nothing any more.

mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use corelog_protocol::{LeaderEpoch, Offset, ShardId, TopicId};

use super::checkpoint::{Checkpoint, LARGEST_CHECKPOINT, checkpoint_path, start_checkpoint_path};
use super::journal::scan_shard_journals;
use super::shard_log::{DATA_FOLDER, JOURNAL_FOLDER};
use super::{Generation, RecoveryError, TopicPartition};
use crate::runtime::{Storage, random_u64};
use replay::Replay;

/// What the metadata knows about partitions.
#[derive(Debug, Clone, Default)]
pub struct KnownTopics {
    /// Every partition this broker holds, with the name of its folder (`<topic>-<n>`).
    pub partitions: BTreeMap<TopicPartition, String>,
    /// Ids of topics known to be deleted: their entries are skipped.
    pub deleted: BTreeSet<TopicId>,
}

/// Where a partition's log stands, as its segments hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStart {
    /// Entries of journal groups up to this one are in the segments.
    pub(super) applied_sequence: u64,
    /// Base offset of the active segment.
    pub(super) segment_base: Offset,
    /// Bytes of the active segment.
    pub(super) position: u64,
    /// The log end.
    pub(super) next_offset: Offset,
    pub(super) log_start: Offset,
    /// CRC-32C of the bytes of the last, begun block.
    pub(super) block_crc: u32,
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
}

impl PartitionStart {
    pub(super) fn empty() -> PartitionStart {
        PartitionStart {
            applied_sequence: 0,
            segment_base: Offset::ZERO,
            position: 0,
            next_offset: Offset::ZERO,
            log_start: Offset::ZERO,
            block_crc: 0,
            epochs: Vec::new(),
        }
    }

    /// The log end that recovery found.
    pub fn log_end_offset(&self) -> Offset {
        self.next_offset
    }
}

/// A partition whose bytes are not what was acknowledged. It must not be led; nothing was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// What was found.
    pub reason: String,
}

/// What a start found.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The generation of the run that begins.
    pub generation: Generation,
    /// Where each partition stands; one that is missing here is new.
    pub partitions: BTreeMap<TopicPartition, PartitionStart>,
    /// Partitions that must not be opened.
    pub suspects: Vec<Suspect>,
    /// One sentence for the log.
    pub report: String,
}

/// Replays every journal into the segments and begins a new generation.
pub async fn recover(storage: &Storage, topics: &KnownTopics) -> Result<Recovered, RecoveryError> {
    let journal_folder = Path::new(JOURNAL_FOLDER);
    for folder in [journal_folder, Path::new(DATA_FOLDER)] {
        storage
            .create_dir_all(folder)
            .await
            .map_err(RecoveryError::io("create", folder))?;
    }
    storage
        .sync_dir(Path::new(""))
        .await
        .map_err(RecoveryError::io("sync", Path::new(".")))?;
    let names: Vec<String> = storage
        .list(journal_folder)
        .await
        .map_err(RecoveryError::io("list", journal_folder))?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let last_run = load_last_run(storage, &names).await?;
    let mut journals = Vec::new();
    for (shard, files, flushed) in last_run.shards {
        let generation = last_run.generation;
        let mut journal = scan_shard_journals(storage, journal_folder, &files, shard, generation)
            .await
            .map_err(RecoveryError::io("read", journal_folder))?;
        journal.flushed_sequence = journal.flushed_sequence.max(flushed);
        journals.push((shard, journal));
    }
    let mut replay = Replay::new(storage, topics, last_run.partitions);
    replay
        .secure_begun_blocks(&journals, last_run.generation)
        .await?;
    for (shard, journal) in journals {
        replay.apply_journal(shard, journal).await?;
    }
    let outcome = replay.finish().await?;
    // A checkpoint without them would void the journals that still tell what is wrong, and the next
    // start would take their folders for new ones.
    if !outcome.suspects.is_empty() {
        let suspects: Vec<String> = outcome
            .suspects
            .iter()
            .map(|suspect| format!("{}: {}", suspect.topic_partition, suspect.reason))
            .collect();
        return Err(RecoveryError::Suspects(suspects.join("; ")));
    }
    let generation = Generation {
        number: last_run.generation.number + 1,
        salt: random_u64(),
    };
    let partitions: BTreeMap<_, _> = outcome
        .partitions
        .iter()
        .map(|(id, start)| (*id, start.clone()))
        .collect();
    let checkpoint = Checkpoint {
        generation,
        flushed_sequence: 0,
        partitions,
    };
    let path = start_checkpoint_path();
    let written = storage.replace_file(&path, &checkpoint.encode()).await;
    written.map_err(RecoveryError::io("write", &path))?;
    for name in names
        .iter()
        .filter(|name| parse_shard_checkpoint(name).is_some())
    {
        let path = journal_folder.join(name);
        storage
            .remove_file(&path)
            .await
            .map_err(RecoveryError::io("remove", &path))?;
    }
    Ok(Recovered {
        generation,
        report: format!(
            "generation {}: {} partitions, {} journal groups replayed ({} bytes), {} suspect",
            generation.number,
            outcome.partitions.len(),
            outcome.groups,
            outcome.bytes,
            outcome.suspects.len()
        ),
        partitions: outcome.partitions.into_iter().collect(),
        suspects: outcome.suspects,
    })
}

/// What the files say about the run before this one.
struct LastRun {
    generation: Generation,
    partitions: BTreeMap<TopicPartition, PartitionStart>,
    /// Per shard: its journal files and what its checkpoint says was flushed.
    shards: Vec<(ShardId, Vec<String>, u64)>,
}

async fn load_last_run(storage: &Storage, names: &[String]) -> Result<LastRun, RecoveryError> {
    let path = start_checkpoint_path();
    let Some(start) = load_checkpoint(storage, &path).await? else {
        // No checkpoint is right once only: before the first start has written it, and then there
        // is no data either.
        let data = Path::new(DATA_FOLDER);
        let folders = storage
            .list(data)
            .await
            .map_err(RecoveryError::io("list", data))?;
        if !folders.is_empty() || names.iter().any(|name| name.ends_with(".journal")) {
            return Err(RecoveryError::Checkpoint {
                path,
                problem: "missing".to_owned(),
            });
        }
        let generation = Generation { number: 0, salt: 0 };
        return Ok(LastRun {
            generation,
            partitions: BTreeMap::new(),
            shards: Vec::new(),
        });
    };
    let mut partitions = start.partitions;
    let shards: BTreeSet<u16> = names
        .iter()
        .filter_map(|name| parse_journal(name).or(parse_shard_checkpoint(name)))
        .collect();
    let mut found = Vec::new();
    for shard in shards.into_iter().map(ShardId::new) {
        let path = checkpoint_path(shard);
        let overlay = load_checkpoint(storage, &path)
            .await?
            .filter(|overlay| overlay.generation == start.generation);
        let flushed = overlay
            .as_ref()
            .map_or(0, |overlay| overlay.flushed_sequence);
        partitions.extend(overlay.into_iter().flat_map(|overlay| overlay.partitions));
        let journals: Vec<_> = names
            .iter()
            .filter(|name| parse_journal(name) == Some(shard.get()))
            .cloned()
            .collect();
        found.push((shard, journals, flushed));
    }
    Ok(LastRun {
        generation: start.generation,
        partitions,
        shards: found,
    })
}

async fn load_checkpoint(
    storage: &Storage,
    path: &Path,
) -> Result<Option<Checkpoint>, RecoveryError> {
    if !storage
        .exists(path)
        .await
        .map_err(RecoveryError::io("stat", path))?
    {
        return Ok(None);
    }
    let bytes = storage
        .read_file(path, LARGEST_CHECKPOINT)
        .await
        .map_err(RecoveryError::io("read", path))?;
    Checkpoint::decode(&bytes)
        .map(Some)
        .map_err(|problem| RecoveryError::Checkpoint {
            path: path.to_owned(),
            problem,
        })
}

/// The shard in a name such as `shard-3-0.journal`.
fn parse_journal(name: &str) -> Option<u16> {
    let (shard, index) = name
        .strip_prefix("shard-")?
        .strip_suffix(".journal")?
        .split_once('-')?;
    index.parse::<u32>().ok()?;
    shard.parse().ok()
}

/// The shard in a name such as `shard-3.checkpoint`.
fn parse_shard_checkpoint(name: &str) -> Option<u16> {
    name.strip_prefix("shard-")?
        .strip_suffix(".checkpoint")?
        .parse()
        .ok()
}

/// What the replay made of it all.
struct Outcome {
    partitions: BTreeMap<TopicPartition, PartitionStart>,
    suspects: Vec<Suspect>,
    groups: u64,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_file_names_tell_their_shard() {
        assert_eq!(parse_journal("shard-12-3.journal"), Some(12));
        assert_eq!(parse_journal("shard-12.journal"), None);
        assert_eq!(parse_shard_checkpoint("shard-7.checkpoint"), Some(7));
        assert_eq!(parse_shard_checkpoint("start.checkpoint"), None);
    }
}
