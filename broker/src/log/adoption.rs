//! Taking over a folder whose segments no checkpoint and no journal speak of: Kafka wrote them, or a
//! run of this broker that ended before anything of the partition was acknowledged.
//!
//! Every batch is read once. What is whole becomes the log: it begins with the first segment and
//! ends behind the last good batch, its indexes are written anew and everything is synced. Nothing
//! is changed before all of it was read. Files that are not segments (`.txnindex`, `.snapshot`,
//! Kafka's own checkpoints) are left alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_protocol::record::BatchHeader;
use corelog_protocol::{LeaderEpoch, Offset};
use crc32c::crc32c;

use super::batch_scan::{Source, WalkFrom, Walked, find_batch, walk_with};
use super::checksums;
use super::index::SegmentIndex;
use super::producers::Producers;
use super::recovery::PartitionStart;
use super::segment::{LARGEST_SEGMENT, base_offset_of, log_file_name};
use super::shard_log::Shared;
use super::{LogConfig, LogError, TopicPartition};
use crate::runtime::{BLOCK, File, OpenMode, Storage, unix_millis};

/// Put behind the name of a segment that was set aside.
const SET_ASIDE_SUFFIX: &str = "set-aside";
/// What reading a folder needs at a time.
const MEMORY_BYTES: usize = 4 << 20;
/// Offsets in Kafka's indexes are relative to the segment's, and 32-bit.
const WIDEST_SEGMENT: i64 = i32::MAX as i64;

/// Who wrote the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The folder is this partition's, and nothing durable speaks of it: no byte of it was ever
    /// acknowledged, so what does not check out goes, wherever it stands.
    Unacknowledged,
    /// Somebody who does not tell how far it reached: only a torn end may go.
    Foreign,
}

/// Takes over the segments in `folder`. `None` when there are none.
pub(super) async fn adopt(
    shared: &Rc<Shared>,
    id: TopicPartition,
    folder: &Path,
    config: &LogConfig,
    origin: Origin,
) -> Result<Option<PartitionStart>, LogError> {
    let storage = &shared.storage;
    let listed = storage.list(folder).await;
    let entries = listed.map_err(LogError::io("list", folder))?;
    let files: BTreeMap<Offset, u64> = entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| Some((base_offset_of(&entry.name)?, entry.len)))
        .collect();
    let Some(&log_start) = files.keys().next() else {
        return Ok(None);
    };
    let _charge = shared.charge(&shared.memory.reads, MEMORY_BYTES).await;
    let adoption = Adoption {
        storage,
        id,
        folder,
        index_interval_bytes: config.index_interval_bytes,
        origin,
    };
    if origin == Origin::Unacknowledged && log_start > Offset::ZERO {
        // A crash took the beginning, so the rest goes too.
        adoption.set_aside(files.keys()).await?;
        return Ok(None);
    }
    let found = adoption.read(&files).await?;
    let start = adoption.settle(&files, found, log_start).await?;
    tracing::info!(
        folder = %folder.display(),
        segments = files.len(),
        log_start = start.log_start.get(),
        log_end = start.next_offset.get(),
        "took over the segments that were there"
    );
    Ok(Some(start))
}

struct Adoption<'a> {
    storage: &'a Storage,
    id: TopicPartition,
    folder: &'a Path,
    index_interval_bytes: u64,
    origin: Origin,
}

/// What was read and found whole.
struct Found {
    segments: BTreeMap<Offset, Whole>,
    next_offset: Offset,
    epochs: Vec<(LeaderEpoch, Offset)>,
    /// Those of this cluster.
    producers: Producers,
}

struct Whole {
    bytes: u64,
    index: SegmentIndex,
}

impl Adoption<'_> {
    fn path(&self, base: Offset) -> PathBuf {
        self.folder.join(log_file_name(base))
    }

    fn suspect(&self, reason: String) -> LogError {
        LogError::Suspect {
            topic_partition: self.id,
            reason,
        }
    }

    /// Reads the segments in order, as far as they are whole.
    async fn read(&self, files: &BTreeMap<Offset, u64>) -> Result<Found, LogError> {
        let mut found = Found {
            segments: BTreeMap::new(),
            next_offset: Offset::ZERO,
            epochs: Vec::new(),
            producers: Producers::default(),
        };
        let last = *files.keys().next_back().expect("there is a segment");
        for (&base, &length) in files {
            if self.origin == Origin::Unacknowledged && base > found.next_offset {
                break; // nothing was ever removed from it, so here something is missing
            }
            if base < found.next_offset {
                let problem = format!(
                    "it begins before offset {}, where the segment before it ends",
                    found.next_offset
                );
                self.refuse_damage(base, problem)?;
                break;
            }
            found.next_offset = base;
            let walked = self.walk(base, length, &mut found).await?;
            let damage = walked.stopped.clone().or_else(|| too_wide(base, &walked));
            found.next_offset = walked.next_offset;
            found.epochs.extend(walked.epochs);
            let whole = Whole {
                bytes: walked.position,
                index: walked.index,
            };
            found.segments.insert(base, whole);
            let Some(problem) = damage else { continue };
            if base != last {
                self.refuse_damage(base, problem)?;
            } else if self.origin == Origin::Foreign {
                self.refuse_hidden_batches(base, walked.position, length, &problem)
                    .await?;
            }
            break;
        }
        Ok(found)
    }

    async fn walk(&self, base: Offset, length: u64, found: &mut Found) -> Result<Walked, LogError> {
        let path = self.path(base);
        if length > LARGEST_SEGMENT {
            return Err(self.suspect(format!(
                "{} has {length} bytes, more than the {LARGEST_SEGMENT} of the largest segment",
                path.display()
            )));
        }
        let from = WalkFrom {
            position: 0,
            next_offset: base,
            epoch: found.epochs.last().map(|(epoch, _)| *epoch),
            // Compaction leaves gaps.
            dense: self.origin == Origin::Unacknowledged,
        };
        let file = self.open(&path, OpenMode::Read).await?;
        let source = Source {
            file: Some(&file),
            rest: &[],
            rest_at: length,
        };
        let now = unix_millis();
        // Another cluster gave out the producer ids of its log, and ours gives out the same ones to
        // others: their batches would pass for each other's.
        let is_ours = self.origin == Origin::Unacknowledged;
        let note = |header: &BatchHeader| {
            if is_ours {
                found.producers.note_on_disk(header, now);
            }
        };
        let interval = self.index_interval_bytes;
        let walked = walk_with(&source, base, interval, from, length, note).await;
        let walked = walked.map_err(LogError::io("read", &path))?;
        close(file, &path).await?;
        Ok(walked)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<File, LogError> {
        let opened = self.storage.open(path, mode).await;
        opened.map_err(LogError::io("open", path))
    }

    /// Damage that is not at the end: fine only where nothing was acknowledged.
    fn refuse_damage(&self, base: Offset, problem: String) -> Result<(), LogError> {
        if self.origin == Origin::Unacknowledged {
            return Ok(());
        }
        let path = self.path(base);
        Err(self.suspect(format!("{} is damaged: {problem}", path.display())))
    }

    /// A torn end holds no whole batch behind the tear. One that does is damage in the middle, or
    /// offsets that go back.
    async fn refuse_hidden_batches(
        &self,
        base: Offset,
        position: u64,
        length: u64,
        problem: &str,
    ) -> Result<(), LogError> {
        let path = self.path(base);
        let file = self.open(&path, OpenMode::Read).await?;
        let hidden = find_batch(&file, position..length).await;
        let hidden = hidden.map_err(LogError::io("read", &path))?;
        close(file, &path).await?;
        match hidden {
            None => Ok(()),
            Some(at) => Err(self.suspect(format!(
                "{} is damaged: {problem}, and there is a whole batch at byte {at}",
                path.display()
            ))),
        }
    }

    /// Cuts what is not whole, writes the indexes and syncs everything.
    async fn settle(
        &self,
        files: &BTreeMap<Offset, u64>,
        found: Found,
        log_start: Offset,
    ) -> Result<PartitionStart, LogError> {
        let is_left = |base: &&Offset| !found.segments.contains_key(base);
        self.set_aside(files.keys().filter(is_left)).await?;
        let (active, position) = found
            .segments
            .last_key_value()
            .map(|(base, whole)| (*base, whole.bytes))
            .expect("there is a segment");
        for (&base, whole) in &found.segments {
            self.cut_and_sync(base, files[&base], whole.bytes).await?;
            let mut index = whole.index.clone();
            if base != active {
                index.close();
            }
            self.write_indexes(base, &index).await?;
            // Who served it meanwhile may have compacted it under its old name.
            let checksums = self.path(base).with_extension(checksums::EXTENSION);
            match self.storage.remove_file(&checksums).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &checksums)(error));
                }
                _ => {}
            }
        }
        let synced = self.storage.sync_dir(self.folder).await;
        synced.map_err(LogError::io("sync", self.folder))?;
        Ok(PartitionStart {
            applied_sequence: 0,
            segment_base: active,
            position,
            next_offset: found.next_offset,
            log_start,
            block_crc: self.begun_block_crc(active, position).await?,
            epochs: found.epochs,
            producers: found.producers.encode_at(found.next_offset),
        })
    }

    /// Takes segments out of the log and keeps their bytes: that nothing durable speaks of them may also
    /// mean that somebody brought back an old journal folder.
    async fn set_aside(&self, bases: impl Iterator<Item = &Offset>) -> Result<(), LogError> {
        for &base in bases {
            let path = self.path(base);
            let aside = self.free_name(&path).await?;
            tracing::warn!(
                path = %aside.display(),
                "set aside a segment that no checkpoint and no journal speaks of"
            );
            let renamed = self.storage.rename(&path, &aside).await;
            renamed.map_err(LogError::io("rename", &path))?;
        }
        let synced = self.storage.sync_dir(self.folder).await;
        synced.map_err(LogError::io("sync", self.folder))
    }

    /// A name for a segment set aside that no earlier one has.
    async fn free_name(&self, path: &Path) -> Result<PathBuf, LogError> {
        let mut aside = path.with_extension(format!("log.{SET_ASIDE_SUFFIX}"));
        let mut number = 1;
        while self
            .storage
            .exists(&aside)
            .await
            .map_err(LogError::io("look for", &aside))?
        {
            number += 1;
            aside = path.with_extension(format!("log.{SET_ASIDE_SUFFIX}-{number}"));
        }
        Ok(aside)
    }

    async fn cut_and_sync(&self, base: Offset, length: u64, whole: u64) -> Result<(), LogError> {
        let path = self.path(base);
        let file = self.open(&path, OpenMode::ReadWrite).await?;
        if whole < length {
            tracing::warn!(
                path = %path.display(),
                from = whole,
                bytes = length - whole,
                "cut the torn end of a segment"
            );
            let cut = file.truncate(whole).await;
            cut.map_err(LogError::io("truncate", &path))?;
        }
        let synced = file.sync_data().await;
        synced.map_err(LogError::io("sync", &path))?;
        close(file, &path).await
    }

    async fn write_indexes(&self, base: Offset, index: &SegmentIndex) -> Result<(), LogError> {
        let files = [
            ("index", index.encode_offsets()),
            ("timeindex", index.encode_times()),
        ];
        for (extension, bytes) in files {
            let path = self.path(base).with_extension(extension);
            let written = self.storage.replace_file(&path, &bytes).await;
            written.map_err(LogError::io("write", &path))?;
        }
        Ok(())
    }

    async fn begun_block_crc(&self, base: Offset, position: u64) -> Result<u32, LogError> {
        let begun = usize::try_from(position % BLOCK as u64).expect("less than a block");
        if begun == 0 {
            return Ok(crc32c(&[]));
        }
        let path = self.path(base);
        let file = self.open(&path, OpenMode::Read).await?;
        let read = file.read_at(position - begun as u64, begun).await;
        let crc = crc32c(&read.map_err(LogError::io("read", &path))?);
        close(file, &path).await?;
        Ok(crc)
    }
}

async fn close(file: File, path: &Path) -> Result<(), LogError> {
    file.close().await.map_err(LogError::io("close", path))
}

fn too_wide(base: Offset, walked: &Walked) -> Option<String> {
    let last = walked.next_offset.get() - 1;
    (last - base.get() > WIDEST_SEGMENT)
        .then(|| format!("it holds offset {last}, which no index of this segment can name"))
}
