//! A partition's folder: opening it, removing it, and the small files beside the segments.
//!
//! `partition.metadata` names the topic id, so that a folder is never taken for another topic's.
//! `leader-epoch-checkpoint` and the indexes are Kafka's, byte for byte, and caches to us: what
//! counts is in the shard's checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_protocol::{LeaderEpoch, Offset, TopicId};

use super::adoption::{self, Origin};
use super::checksums;
use super::compaction::first_dirty;
use super::compaction::swap::finish_interrupted;
use super::partition_log::{Opened, PartitionLog};
use super::producers::{Producers, active_since};
use super::recovery::PartitionStart;
use super::removal::{self, DELETED_SUFFIX};
use super::segment::{LARGEST_SEGMENT, Segment, base_offset_of};
use super::shard_log::{DATA_FOLDER, Shared};
use super::tail::{Chunk, Tail};
use super::{LogConfig, LogError, TopicPartition};
use crate::runtime::{BLOCK, Storage};

pub(super) const PARTITION_METADATA: &str = "partition.metadata";
pub(super) const EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
const LARGEST_SMALL_FILE: u64 = 1 << 20;

/// Opens a partition's log, creating its folder when there is none. Without a `start`, what the
/// folder already holds is taken over (see [`adoption`]); a folder that another broker wrote says
/// whose it is only when a checkpoint knows of it, see [`claim_if_free`].
pub(super) async fn open(
    shared: &Rc<Shared>,
    id: TopicPartition,
    folder: PathBuf,
    config: LogConfig,
    start: Option<PartitionStart>,
) -> Result<Rc<PartitionLog>, LogError> {
    let storage = &shared.storage;
    let is_ours = is_claimed(storage, id, &folder).await?;
    if !is_ours {
        create(storage, &folder).await?;
    }
    let list = async || {
        let entries = storage.list(&folder).await;
        entries.map_err(LogError::io("list", &folder))
    };
    let interrupted = list().await?;
    // Nothing is known yet of where the closed segments of another broker's log end.
    let closed_end = start
        .as_ref()
        .map_or(Offset::new(i64::MAX), |start| start.segment_base);
    finish_interrupted(storage, id, &folder, &config, &interrupted, closed_end).await?;
    let mut is_adopted = false;
    let start = match start {
        Some(start) => start,
        None => {
            let origin = if is_ours {
                Origin::Unacknowledged
            } else {
                Origin::Foreign
            };
            let adopted = adoption::adopt(shared, id, &folder, &config, origin).await?;
            let start = adopted.unwrap_or_else(PartitionStart::empty);
            is_adopted = !is_ours && start.next_offset > Offset::ZERO;
            start
        }
    };
    if !is_ours && !is_adopted {
        claim(storage, id, &folder).await?;
    }
    let entries = list().await?;
    let mut segments = BTreeMap::new();
    let mut removed = false;
    let mut companions = Vec::new();
    for entry in entries {
        let path = folder.join(&entry.name);
        if path.extension().is_some_and(|it| it == DELETED_SUFFIX) {
            shared.removal.take_over(path);
            continue;
        }
        if let Some(base) = accompanied_base(&path) {
            companions.push((base, path));
            continue;
        }
        let Some(base) = base_offset_of(&entry.name) else {
            continue;
        };
        if base > start.segment_base {
            // Created ahead of an append that was never acknowledged.
            remove_if_there(storage, &path).await?;
            removed = true;
            continue;
        }
        let sealed = base < start.segment_base;
        let size = if sealed { entry.len } else { start.position };
        if entry.len < size {
            return Err(LogError::Suspect {
                topic_partition: id,
                reason: format!(
                    "{} holds {} bytes and the checkpoint says {size}",
                    path.display(),
                    entry.len
                ),
            });
        }
        if size > LARGEST_SEGMENT {
            return Err(LogError::Suspect {
                topic_partition: id,
                reason: format!(
                    "{} holds {size} bytes and a segment at most {LARGEST_SEGMENT}",
                    path.display()
                ),
            });
        }
        let interval = config.index_interval_bytes;
        let files = &shared.open_files;
        let segment = Segment::existing(files, &folder, base, interval, size, entry.len, sealed);
        segments.insert(base, Rc::new(segment));
    }
    for (base, path) in companions {
        let of_active = base == start.segment_base;
        let of_closed_only = path
            .extension()
            .is_some_and(|it| it == checksums::EXTENSION);
        let is_orphan =
            !segments.contains_key(&base) || (of_active && (start.position == 0 || of_closed_only));
        if is_orphan {
            // It would pass for that of a segment that begins, or is closed, there one day.
            remove_if_there(storage, &path).await?;
            removed = true;
        }
    }
    if removed {
        // A name that came back after a power cut would pass for a closed segment one day.
        storage
            .sync_dir(&folder)
            .await
            .map_err(LogError::io("sync", &folder))?;
    }
    let active = segments.entry(start.segment_base).or_insert_with(|| {
        Rc::new(Segment::create(
            &shared.open_files,
            &folder,
            start.segment_base,
            config.index_interval_bytes,
        ))
    });
    if active.size() != start.position {
        return Err(LogError::Suspect {
            topic_partition: id,
            reason: format!("{} is missing", active.path().display()),
        });
    }
    let tail = restore_tail(shared, id, active, &start).await?;
    let first_dirty = if config.compaction.is_some() {
        first_dirty::read(storage, &folder, start.log_start, start.segment_base).await
    } else {
        None
    };
    let active_since = active_since(shared.options.producer_expiration);
    let opened = Opened {
        producers: Producers::decode(&start.producers, active_since),
        first_dirty: first_dirty.unwrap_or(start.log_start),
        config,
        start,
        segments,
        tail,
    };
    let log = Rc::new(PartitionLog::new(shared, id, folder, opened));
    log.retire_below_log_start(shared);
    Ok(log)
}

/// The topic id that a folder says it belongs to; empty when it is unreadable.
async fn owner_of(storage: &Storage, folder: &Path) -> Result<Option<String>, LogError> {
    let path = folder.join(PARTITION_METADATA);
    match storage.read_file(&path, LARGEST_SMALL_FILE).await {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix("topic_id: "));
            Ok(Some(found.unwrap_or_default().trim().to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io("read", &path)(error)),
    }
}

/// Whether the folder says that it is this partition's; `false` when it says nothing.
async fn is_claimed(
    storage: &Storage,
    id: TopicPartition,
    folder: &Path,
) -> Result<bool, LogError> {
    let expected = id.topic_id.to_string();
    match owner_of(storage, folder).await? {
        Some(found) if found == expected => Ok(true),
        Some(found) => Err(LogError::ForeignFolder {
            path: folder.to_owned(),
            found: if found.is_empty() {
                "an unreadable partition.metadata".to_owned()
            } else {
                found
            },
            expected,
        }),
        None => Ok(false),
    }
}

async fn create(storage: &Storage, folder: &Path) -> Result<(), LogError> {
    let created = storage.create_dir_all(folder).await;
    created.map_err(LogError::io("create", folder))?;
    let parent = Path::new(DATA_FOLDER);
    let synced = storage.sync_dir(parent).await;
    synced.map_err(LogError::io("sync", parent))
}

/// What `partition.metadata` says of a partition of this topic.
pub(super) fn partition_metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Makes a folder that was adopted this partition's. Once a checkpoint knows of it: a start that finds
/// a folder claimed and knows nothing of it takes what it holds for leftovers of a crash.
pub(super) async fn claim_if_free(
    storage: &Storage,
    id: TopicPartition,
    folder: &Path,
) -> Result<(), LogError> {
    match is_claimed(storage, id, folder).await? {
        true => Ok(()),
        false => claim(storage, id, folder).await,
    }
}

/// Makes the folder this partition's, durably.
async fn claim(storage: &Storage, id: TopicPartition, folder: &Path) -> Result<(), LogError> {
    let path = folder.join(PARTITION_METADATA);
    let ours = partition_metadata(id.topic_id);
    let written = storage.replace_file(&path, ours.as_bytes()).await;
    written.map_err(LogError::io("write", &path))
}

/// Removes what is left of deleted topics: folders that a crash, or an error, kept from being
/// removed. Before the topics' ids are forgotten: a folder that names an unknown topic stays for
/// ever, and keeps its name from every later topic.
pub(crate) async fn remove_deleted_topics(
    storage: &Storage,
    deleted: &BTreeSet<TopicId>,
) -> Result<(), LogError> {
    if deleted.is_empty() {
        return Ok(());
    }
    let deleted: BTreeSet<String> = deleted.iter().map(TopicId::to_string).collect();
    let data = Path::new(DATA_FOLDER);
    let entries = storage
        .list(data)
        .await
        .map_err(LogError::io("list", data))?;
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let folder = data.join(entry.name);
        let owner = owner_of(storage, &folder).await?;
        if owner.is_some_and(|id| deleted.contains(&id)) {
            tracing::info!(path = %folder.display(), "removing what is left of a deleted topic");
            remove_folder(storage, &folder, None).await?;
        }
    }
    Ok(())
}

/// Brings the block that the log ends in back into memory: the next append goes on in it.
async fn restore_tail(
    shared: &Rc<Shared>,
    id: TopicPartition,
    active: &Rc<Segment>,
    start: &PartitionStart,
) -> Result<Tail, LogError> {
    let mut tail = Tail::default();
    let begun = usize::try_from(start.position % BLOCK as u64).expect("less than a block");
    if begun == 0 {
        return Ok(tail);
    }
    let block = start.position - begun as u64;
    let failed = LogError::io("read", active.path());
    let read = async {
        let file = active.file(&shared.storage).await?;
        let bytes = file.read_at(block, begun).await?;
        drop(file);
        active.close().await?;
        Ok(bytes)
    };
    let bytes = read.await.map_err(failed)?;
    if bytes.len() != begun || crc32c::crc32c(&bytes) != start.block_crc {
        return Err(LogError::Suspect {
            topic_partition: id,
            reason: format!(
                "the last block of {} is not what the checkpoint says",
                active.path().display()
            ),
        });
    }
    let buffer = shared.memory.tails.append_buffer_wait(BLOCK).await;
    tail.restore(Chunk::new(buffer, active.clone(), block, 0), &bytes);
    Ok(tail)
}

/// Removes a deleted partition's folder. The deletion was recorded before.
pub(super) async fn remove(shared: &Rc<Shared>, log: &Rc<PartitionLog>) -> Result<(), LogError> {
    // Whatever is being written ends first.
    let _permit = log.writing.acquire(1).await;
    log.compaction.ended().await;
    let _nothing_else = shared.removal.leave(log.folder()).await;
    log.retire();
    log.close_files().await;
    remove_folder(&shared.storage, log.folder(), Some((shared, log))).await
}

/// Removes the folder of a deleted partition that was never opened, if there is one and it is this
/// partition's.
pub(super) async fn remove_unopened(
    storage: &Storage,
    id: TopicPartition,
    folder: &Path,
) -> Result<(), LogError> {
    if owner_of(storage, folder).await? == Some(id.topic_id.to_string()) {
        remove_folder(storage, folder, None).await?;
    }
    Ok(())
}

async fn remove_if_there(storage: &Storage, path: &Path) -> Result<(), LogError> {
    match storage.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The base offset of the segment that a file of indexes or checksums belongs to.
fn accompanied_base(path: &Path) -> Option<Offset> {
    let accompanies = path
        .extension()
        .is_some_and(|it| it == "index" || it == "timeindex" || it == checksums::EXTENSION);
    let log = accompanies.then(|| path.with_extension("log"))?;
    base_offset_of(log.file_name()?.to_str()?)
}

/// Removes a folder and the files in it; in the order of their names, so that `partition.metadata`,
/// which says whose they are, is the last. Of a log that was open, the space of long files is given back
/// afterwards, little by little.
async fn remove_folder(
    storage: &Storage,
    folder: &Path,
    was_open: Option<(&Shared, &PartitionLog)>,
) -> Result<(), LogError> {
    let entries = storage
        .list(folder)
        .await
        .map_err(LogError::io("list", folder))?;
    for entry in entries {
        let path = folder.join(&entry.name);
        match was_open {
            Some((shared, log))
                if entry.len > shared.options.removal_step_bytes && log.has_closed(&path) =>
            {
                let removed = removal::remove_and_empty(shared, &path).await;
                removed.map_err(LogError::io("remove", &path))?;
            }
            _ => remove_if_there(storage, &path).await?,
        }
    }
    storage
        .remove_dir(folder)
        .await
        .map_err(LogError::io("remove", folder))?;
    let parent = Path::new(DATA_FOLDER);
    storage
        .sync_dir(parent)
        .await
        .map_err(LogError::io("sync", parent))
}

/// Writes what a checkpoint puts beside segments just closed: their indexes and checksums.
pub(super) async fn write_caches(
    shared: &Rc<Shared>,
    log: &Rc<PartitionLog>,
    closed: &[Rc<Segment>],
) {
    for segment in closed {
        if write_index(shared, segment).await {
            shared.indexes.note_use(segment);
        }
        if let Err(error) = segment.write_checksums(&shared.storage).await {
            tracing::warn!(path = %segment.path().display(), "checksums not written: {error}");
        }
    }
    if !closed.is_empty() {
        write_epochs(shared, log).await;
    }
}

/// Writes the caches of a clean stop: the active segment's indexes too.
pub(super) async fn write_final_caches(shared: &Rc<Shared>, log: &Rc<PartitionLog>) {
    let active = log
        .state
        .borrow()
        .segments
        .last_key_value()
        .map(|(_, segment)| segment.clone());
    // One that is being cut back waits for the checkpoint that waits for this; it does without.
    let is_ready = |it: &Rc<Segment>| it.was_appended_to() && !it.is_kept_from_loading();
    if let Some(segment) = active.filter(is_ready) {
        write_index(shared, &segment).await;
        write_epochs(shared, log).await;
    }
}

/// Writes a segment's whole index to its files; false if that failed.
pub(super) async fn write_index(shared: &Shared, segment: &Segment) -> bool {
    // What an earlier run appended, or what was forgotten, belongs to it as well.
    segment.load_index(&shared.storage).await;
    if !segment.has_whole_index() {
        return false; // the segment was cut back or left its log meanwhile
    }
    let written = segment.write_indexes(&shared.storage).await;
    if let Err(error) = &written {
        tracing::warn!(path = %segment.path().display(), "index not written: {error}");
    }
    written.is_ok()
}

async fn write_epochs(shared: &Rc<Shared>, log: &Rc<PartitionLog>) {
    let epochs = log.state.borrow().epochs.clone();
    let path = log.folder().join(EPOCH_CHECKPOINT);
    let bytes = encode_epochs(&epochs);
    if let Err(error) = shared.storage.replace_file(&path, bytes.as_bytes()).await {
        tracing::warn!(path = %path.display(), "leader epochs not written: {error}");
    }
}

/// Kafka's `leader-epoch-checkpoint`: version, count, then an epoch and its first offset a line.
pub(super) fn encode_epochs(epochs: &[(LeaderEpoch, Offset)]) -> String {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, offset) in epochs {
        text.push_str(&format!("{epoch} {offset}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_epochs_are_written_as_kafka_does() {
        let epochs = [
            (LeaderEpoch::new(0), Offset::new(0)),
            (LeaderEpoch::new(3), Offset::new(42)),
        ];
        assert_eq!(encode_epochs(&epochs), "0\n2\n0 0\n3 42\n");
    }
}
