//! The start: what the checkpoints say, plus what the journals of the last run hold beyond them.
//!
//! One executor does this before any shard opens a log, for the journals of all shards there were,
//! whatever the number of shards now. Entries are applied in the order they were written; each
//! partition's bytes are rewritten from its checkpointed position on, because a segment that was
//! not synced proves nothing, and the rest of its file is cut. Afterwards one checkpoint for all
//! partitions begins a new generation, and the old journals mean nothing any more.
//!
//! A partition that is not what was acknowledged becomes suspect: from then on nothing of it is
//! written, cut or removed, and the journals that tell about it are set aside. All others are
//! served.

mod doubt;
mod last_run;
mod partition_replay;
mod replay;
mod segment_rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use corelog_protocol::{LeaderEpoch, Offset, TopicId};

use super::canary::{Canary, is_planted};
use super::checkpoint::{Checkpoint, start_checkpoint_path};
use super::journal::scan_shard_journals;
use super::shard_log::{DATA_FOLDER, JOURNAL_FOLDER};
use super::{Generation, RecoveryError, TopicPartition};
use crate::runtime::{Storage, random_u64};
use doubt::may_name;
use last_run::{LastRun, LastShard, remove_shard_checkpoints, set_aside_folder};
use replay::{Replay, ShardJournal};

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
    /// What the log holds of idempotent producers, as a checkpoint says it.
    pub(super) producers: Bytes,
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
            producers: Bytes::new(),
        }
    }

    /// The log end that recovery found.
    pub fn log_end_offset(&self) -> Offset {
        self.next_offset
    }
}

/// A partition whose bytes are not what was acknowledged. It must not be led; nothing was cut. It
/// stays suspect from start to start until its topic is deleted.
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
    /// Partitions that must not be opened, those of earlier starts included.
    pub suspects: Vec<Suspect>,
    /// One sentence for the log.
    pub report: String,
}

/// Replays every journal into the segments and begins a new generation.
pub async fn recover(storage: &Storage, topics: &KnownTopics) -> Result<Recovered, RecoveryError> {
    for folder in [Path::new(JOURNAL_FOLDER), Path::new(DATA_FOLDER)] {
        let created = storage.create_dir_all(folder).await;
        created.map_err(RecoveryError::io("create", folder))?;
    }
    let root = Path::new("");
    let synced = storage.sync_dir(root).await;
    synced.map_err(RecoveryError::io("sync", Path::new(".")))?;
    let mut last_run = LastRun::load(storage).await?;
    last_run
        .suspects
        .retain(|id, _| !topics.deleted.contains(&id.topic_id));
    let journals = scan(storage, topics, &last_run).await?;
    let unknown = unknown_partitions(topics, &last_run, &journals);
    let evidence: Vec<Evidence> = journals.iter().map(Evidence::of).collect();

    let partitions = std::mem::take(&mut last_run.partitions);
    let old_suspects = std::mem::take(&mut last_run.suspects);
    let mut replay = Replay::new(storage, topics, partitions, old_suspects.clone());
    replay
        .secure_begun_blocks(&journals, last_run.generation)
        .await?;
    for journal in journals {
        replay.apply_journal(journal).await?;
    }
    let mut outcome = replay.finish().await?;

    // Before anything says that the old journals mean nothing any more.
    let is_new = |id: &TopicPartition| !old_suspects.contains_key(id);
    let told_of: BTreeSet<_> = outcome.suspects.keys().copied().filter(is_new).collect();
    if !told_of.is_empty() || !unknown.is_empty() {
        let folder = set_aside_folder(last_run.generation);
        for id in &told_of {
            let reason = outcome.suspects.entry(*id).or_default();
            *reason = format!("{reason}; its journals are kept in {}", folder.display());
        }
        let about = told_of.union(&unknown).copied().collect();
        let shards: Vec<LastShard> = evidence
            .into_iter()
            .filter(|evidence| evidence.is_about(&about))
            .map(|evidence| evidence.shard)
            .collect();
        last_run.set_aside(storage, &shards).await?;
        report_unknown_topics(&unknown, &folder);
        for id in unknown {
            // The metadata may come back, and its segments must not pass for all there was.
            let reason = format!(
                "an earlier start found metadata that does not know its topic; its journals are \
                 kept in {}",
                folder.display()
            );
            outcome.suspects.insert(id, reason);
        }
    }
    let generation = Generation {
        number: last_run.generation.number + 1,
        salt: random_u64(),
    };
    begin_generation(storage, generation, &outcome).await?;
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
        partitions: outcome.partitions,
        suspects: outcome
            .suspects
            .into_iter()
            .map(|(topic_partition, reason)| Suspect {
                topic_partition,
                reason,
            })
            .collect(),
    })
}

/// Reads the journals of all shards and finds out which partitions each may speak of.
async fn scan(
    storage: &Storage,
    topics: &KnownTopics,
    last_run: &LastRun,
) -> Result<Vec<ShardJournal>, RecoveryError> {
    let mut journals = Vec::new();
    for shard in &last_run.shards {
        let generation = last_run.generation;
        let mut journal = scan_shard_journals(storage, &shard.journals, shard.id, generation)
            .await
            .map_err(RecoveryError::io("read", Path::new(JOURNAL_FOLDER)))?;
        journal.flushed_sequence = journal.flushed_sequence.max(shard.flushed_sequence);
        journals.push(ShardJournal {
            shard: shard.clone(),
            journal,
            may_name: BTreeMap::new(),
        });
    }
    let owned: Vec<BTreeSet<TopicPartition>> = journals
        .iter()
        .map(|it| {
            it.shard
                .overlay
                .union(&it.journal.touched)
                .copied()
                .collect()
        })
        .collect();
    for (index, journal) in journals.iter_mut().enumerate() {
        let ids = topics.partitions.keys();
        let ids = ids.filter(|id| !last_run.suspects.contains_key(id));
        journal.may_name = may_name(ids, &owned, index)
            .map(|id| {
                let start = last_run.partitions.get(&id);
                (id, start.map_or(0, |start| start.applied_sequence))
            })
            .collect();
    }
    Ok(journals)
}

/// Partitions that checkpoints or journals speak of and that the metadata neither knows nor knows
/// to be deleted: it was lost, or has gone back in time.
fn unknown_partitions(
    topics: &KnownTopics,
    last_run: &LastRun,
    journals: &[ShardJournal],
) -> BTreeSet<TopicPartition> {
    let touched = journals.iter().flat_map(|it| &it.journal.touched);
    let spoken_of = last_run.partitions.keys().chain(touched);
    spoken_of
        .filter(|id| {
            !topics.partitions.contains_key(id)
                && !topics.deleted.contains(&id.topic_id)
                && !last_run.suspects.contains_key(id)
        })
        .copied()
        .collect()
}

fn report_unknown_topics(unknown: &BTreeSet<TopicPartition>, folder: &Path) {
    let topics: BTreeSet<TopicId> = unknown.iter().map(|id| id.topic_id).collect();
    for topic_id in topics {
        tracing::error!(
            %topic_id,
            set_aside = %folder.display(),
            "the journal holds records of a topic that the metadata does not know; they are not \
             served: restore the metadata and the set-aside journals from before this start, or \
             create the topic anew and write its records again"
        );
    }
}

/// A shard's files and whom they tell about.
struct Evidence {
    shard: LastShard,
    touched: BTreeSet<TopicPartition>,
    /// Groups are damaged or missing, so it may tell about anyone.
    has_holes: bool,
}

impl Evidence {
    fn of(journal: &ShardJournal) -> Evidence {
        Evidence {
            shard: journal.shard.clone(),
            touched: journal.journal.touched.clone(),
            has_holes: !journal.holes().is_empty(),
        }
    }

    fn is_about(&self, partitions: &BTreeSet<TopicPartition>) -> bool {
        let known = |id| self.touched.contains(id) || self.shard.overlay.contains(id);
        self.has_holes || partitions.iter().any(known)
    }
}

/// Writes the checkpoint of all partitions, which voids the journals there are.
async fn begin_generation(
    storage: &Storage,
    generation: Generation,
    outcome: &replay::Outcome,
) -> Result<(), RecoveryError> {
    let mut suspects = outcome.suspects.clone();
    if is_planted(Canary::SuspectsForgotten) {
        suspects.clear();
    }
    let checkpoint = Checkpoint {
        generation,
        covered_sequence: 0,
        flushed_sequence: 0,
        partitions: outcome.partitions.clone(),
        suspects,
    };
    let path = start_checkpoint_path();
    let written = storage.replace_file(&path, &checkpoint.encode()).await;
    written.map_err(RecoveryError::io("write", &path))?;
    remove_shard_checkpoints(storage).await
}
