//! Checkpoints: one file per shard that says, for every partition, what its segments hold, so that
//! the journal may forget it.
//!
//! Order: segment data, segment and folder syncs, checkpoint file, recycling. A partition's own
//! position is recorded, not one mark for all: whoever is ahead stays ahead.
//!
//! `journal/start.checkpoint` holds the partitions of all shards as the last start found them and
//! names the generation; `journal/shard-<n>.checkpoint` overlays the partitions of one shard. Both
//! have the same bytes, shown in `broker/docs/journal.md`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId};
use crc32c::crc32c;
use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};

use super::begun_blocks::{self, BegunBlocks};
use super::canary::{Canary, is_planted};
use super::folder;
use super::partition_log::PartitionLog;
use super::producers::is_coherent;
use super::recovery::PartitionStart;
use super::shard_log::{JOURNAL_FOLDER, Shared};
use super::write_out::{Reach, Standing};
use super::{Generation, LogFailure, TopicPartition};
use crate::runtime::sleep;

pub(super) const MAGIC: [u8; 4] = *b"CLCP";
pub(super) const FORMAT_VERSION: u16 = 3;
/// The oldest format that is read: it knows no producers, and its broker took no batch of one.
pub(super) const OLDEST_VERSION: u16 = 2;
/// magic, version, reserved, CRC of what follows, generation, salt, covered sequence, flushed
/// sequence, count of partitions, count of suspects
pub(super) const HEADER_BYTES: usize = 52;
/// A suspect's reason is cut to this many bytes.
pub(super) const LARGEST_REASON: usize = 1000;
/// How long a checkpoint waits for room on the disk before it tries again.
const RETRY: Duration = Duration::from_secs(1);
/// Partitions written out and synced at a time.
const CONCURRENCY: usize = 8;
/// The most that the index of an idle partition's last segment takes of memory.
const IDLE_INDEX_BYTES: usize = 32 << 10;
/// Indexes of idle partitions that one checkpoint writes to their files.
const RESTS_AT_ONCE: usize = 64;
/// A checkpoint file beyond this is not read. One for all shards, at the bound of the producers they
/// remember, has 14 MB for each of them by default, and 139 MB at most.
pub(super) const LARGEST_CHECKPOINT: u64 = 64 << 30;

/// The checkpoint that a start writes for all shards.
pub(super) fn start_checkpoint_path() -> PathBuf {
    Path::new(JOURNAL_FOLDER).join("start.checkpoint")
}

/// The checkpoint of one shard.
pub(super) fn checkpoint_path(shard: ShardId) -> PathBuf {
    Path::new(JOURNAL_FOLDER).join(format!("shard-{}.checkpoint", shard.get()))
}

/// What a checkpoint file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) generation: Generation,
    /// Every group up to this one is in the segments; its place in the journal may have been used
    /// again.
    pub(super) covered_sequence: u64,
    /// The journal is known to be flushed up to this group.
    pub(super) flushed_sequence: u64,
    pub(super) partitions: BTreeMap<TopicPartition, PartitionStart>,
    /// Partitions that no start may open any more, with the reason; in `start.checkpoint` only.
    pub(super) suspects: BTreeMap<TopicPartition, String>,
}

impl Checkpoint {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        for (id, start) in &self.partitions {
            bytes.extend_from_slice(id.topic_id.as_bytes());
            bytes.extend_from_slice(&id.partition.get().to_le_bytes());
            bytes.extend_from_slice(&start.block_crc.to_le_bytes());
            bytes.extend_from_slice(&start.applied_sequence.to_le_bytes());
            bytes.extend_from_slice(&start.segment_base.get().to_le_bytes());
            bytes.extend_from_slice(&start.position.to_le_bytes());
            bytes.extend_from_slice(&start.next_offset.get().to_le_bytes());
            bytes.extend_from_slice(&start.log_start.get().to_le_bytes());
            let epochs = u32::try_from(start.epochs.len()).expect("epochs are few");
            bytes.extend_from_slice(&epochs.to_le_bytes());
            for (epoch, offset) in &start.epochs {
                bytes.extend_from_slice(&epoch.get().to_le_bytes());
                bytes.extend_from_slice(&offset.get().to_le_bytes());
            }
            let length = u32::try_from(start.producers.len()).expect("producers are bounded");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&start.producers);
        }
        for (id, reason) in &self.suspects {
            bytes.extend_from_slice(id.topic_id.as_bytes());
            bytes.extend_from_slice(&id.partition.get().to_le_bytes());
            let mut length = reason.len().min(LARGEST_REASON);
            while !reason.is_char_boundary(length) {
                length -= 1;
            }
            let reason = &reason.as_bytes()[..length];
            let length = u16::try_from(length).expect("cut to a bound");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(reason);
        }
        let count = |entries: usize| u32::try_from(entries).expect("partitions are bounded");
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.generation.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.generation.salt.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.covered_sequence.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.flushed_sequence.to_le_bytes());
        bytes[44..48].copy_from_slice(&count(self.partitions.len()).to_le_bytes());
        bytes[48..52].copy_from_slice(&count(self.suspects.len()).to_le_bytes());
        let crc = crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a checkpoint; the error says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, String> {
        let mut reader = Reader { rest: bytes };
        let cut = || "cut short".to_owned();
        if reader.take::<4>() != Some(MAGIC) {
            return Err("not a checkpoint (its first bytes are wrong)".to_owned());
        }
        let version = u16::from_le_bytes(reader.take().ok_or_else(cut)?);
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
            return Err(format!(
                "of format {version}, and this broker reads {OLDEST_VERSION} to {FORMAT_VERSION}"
            ));
        }
        reader.take::<2>().ok_or_else(cut)?;
        if reader.u32() != Some(crc32c(reader.rest)) {
            return Err("damaged (its checksum is wrong)".to_owned());
        }
        Checkpoint::decode_body(&mut reader, version).ok_or_else(cut)
    }

    fn decode_body(reader: &mut Reader<'_>, version: u16) -> Option<Checkpoint> {
        let generation = Generation {
            number: reader.u64()?,
            salt: reader.u64()?,
        };
        let covered_sequence = reader.u64()?;
        let flushed_sequence = reader.u64()?;
        let (partition_count, suspect_count) = (reader.u32()?, reader.u32()?);
        let mut partitions = BTreeMap::new();
        for _ in 0..partition_count {
            let id = reader.topic_partition()?;
            let block_crc = reader.u32()?;
            let applied_sequence = reader.u64()?;
            let segment_base = reader.offset()?;
            let position = reader.u64()?;
            let next_offset = reader.offset()?;
            let log_start = reader.offset()?;
            let mut epochs = Vec::new();
            for _ in 0..reader.u32()? {
                epochs.push((LeaderEpoch::try_from(reader.i32()?).ok()?, reader.offset()?));
            }
            let producers = match version {
                OLDEST_VERSION => Bytes::new(),
                _ => reader.producers()?,
            };
            partitions.insert(
                id,
                PartitionStart {
                    applied_sequence,
                    segment_base,
                    position,
                    next_offset,
                    log_start,
                    block_crc,
                    epochs,
                    producers,
                },
            );
        }
        let mut suspects = BTreeMap::new();
        for _ in 0..suspect_count {
            let id = reader.topic_partition()?;
            let length = u16::from_le_bytes(reader.take()?);
            let (reason, rest) = reader.rest.split_at_checked(length.into())?;
            reader.rest = rest;
            suspects.insert(id, String::from_utf8_lossy(reason).into_owned());
        }
        reader.rest.is_empty().then_some(Checkpoint {
            generation,
            covered_sequence,
            flushed_sequence,
            partitions,
            suspects,
        })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn topic_partition(&mut self) -> Option<TopicPartition> {
        Some(TopicPartition {
            topic_id: TopicId::from_bytes(self.take()?),
            partition: PartitionIndex::try_from(self.i32()?).ok()?,
        })
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn offset(&mut self) -> Option<Offset> {
        self.take()
            .map(i64::from_le_bytes)
            .and_then(Offset::from_sentinel)
    }

    fn producers(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (producers, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        is_coherent(producers).then(|| Bytes::copy_from_slice(producers))
    }
}

/// Writes a checkpoint whenever one is asked for, until the log stops.
pub(super) async fn checkpoint_when_due(shared: Rc<Shared>) {
    loop {
        if shared.write_out.is_stopped() || shared.check().is_err() {
            return;
        }
        if !shared.write_out.checkpoint_due.replace(false) {
            shared.write_out.checkpoint_work.notified().await;
            continue;
        }
        match checkpoint(&shared).await {
            Ok(()) => shared.write_out.note_room(),
            Err(CheckpointError::NoSpace { path, .. }) => {
                shared.removal.hurry();
                shared.write_out.note_no_room(path);
                sleep(RETRY).await;
                shared.write_out.ask_for_checkpoint();
            }
            Err(CheckpointError::Stopped(failure)) => {
                shared.fail(failure);
                return;
            }
        }
    }
}

/// Why there is no new checkpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    /// The log directory has stopped.
    #[error(transparent)]
    Stopped(#[from] LogFailure),
    /// The file system has no room for its file. Nothing is lost: the last checkpoint counts, and
    /// the journal keeps what came after it.
    #[error("no space left for {}: {source}", .path.display())]
    NoSpace { path: PathBuf, source: io::Error },
}

impl CheckpointError {
    /// Of writing one of a checkpoint's own files.
    fn of_write(path: PathBuf) -> impl FnOnce(io::Error) -> CheckpointError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => CheckpointError::NoSpace { path, source },
            _ => CheckpointError::Stopped(LogFailure::new("write", &path, &source)),
        }
    }
}

/// Makes every group formed so far redundant and frees its files.
async fn checkpoint(shared: &Rc<Shared>) -> Result<(), CheckpointError> {
    let _only_one = shared.write_out.checkpointing.acquire(1).await;
    let number = shared.write_out.checkpoint_begins();
    let cut = shared.commit.flush_formed(shared).await?;
    let (dirty, unchanged): (Vec<_>, Vec<_>) = {
        let logs = shared.logs.borrow();
        logs.values()
            .cloned()
            .partition(|log| log.needs_checkpoint())
    };
    save_begun_blocks(shared, &dirty).await?;
    let settled: Vec<(Rc<PartitionLog>, Standing)> = stream::iter(dirty)
        .map(|log| settle(shared, log))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let mut partitions: BTreeMap<_, _> = {
        let logs = shared.logs.borrow();
        logs.iter()
            .map(|(id, log)| (*id, log.checkpointed_start()))
            .collect()
    };
    for (log, standing) in &settled {
        // A partition deleted meanwhile has no place in the checkpoint.
        if let Some(known) = partitions.get_mut(&log.id()) {
            known.clone_from(&standing.start);
        }
    }
    let checkpoint = Checkpoint {
        generation: shared.generation,
        covered_sequence: cut,
        flushed_sequence: shared.commit.flushed().min(shared.commit.formed()),
        partitions,
        suspects: BTreeMap::new(),
    };
    let path = checkpoint_path(shared.shard);
    shared
        .storage
        .replace_file(&path, &checkpoint.encode())
        .await
        .map_err(CheckpointError::of_write(path))?;
    for (log, standing) in settled {
        log.checkpointed(standing);
        log.retire_below_log_start(shared);
    }
    shared.journal.recycle(cut);
    shared.count(|stats| stats.checkpoints += 1);
    shared.write_out.checkpoint_ended(number);
    rest(shared, unchanged).await;
    Ok(())
}

/// Takes from partitions that got no append since the checkpoint before what an idle one does not
/// need: a long index of the segment it would append to. Its files were closed by then.
async fn rest(shared: &Rc<Shared>, logs: Vec<Rc<PartitionLog>>) {
    let long = logs
        .into_iter()
        .filter(|log| !log.needs_checkpoint())
        .map(|log| log.active_segment())
        .filter(|segment| segment.index.borrow().memory_bytes() > IDLE_INDEX_BYTES)
        .take(RESTS_AT_ONCE);
    for segment in long {
        let size = segment.size();
        // An append that came meanwhile is not in the file yet.
        if folder::write_index(shared, &segment).await && segment.size() == size {
            segment.forget_index();
        }
    }
}

/// Saves the begun blocks that the write-outs of this checkpoint will write again.
async fn save_begun_blocks(
    shared: &Shared,
    logs: &[Rc<PartitionLog>],
) -> Result<(), CheckpointError> {
    let blocks: BegunBlocks = logs
        .iter()
        .filter_map(|log| Some((log.id(), log.begun_block_to_save()?.to_vec())))
        .collect();
    if blocks.is_empty() {
        return Ok(());
    }
    let path = begun_blocks::shard_path(shared.shard);
    let bytes = begun_blocks::encode(shared.generation, &blocks);
    let written = shared.storage.replace_file(&path, &bytes).await;
    written.map_err(CheckpointError::of_write(path))?;
    for log in logs.iter().filter(|log| blocks.contains_key(&log.id())) {
        log.begun_block_saved();
    }
    Ok(())
}

/// Brings one log's bytes to its segments, durably.
async fn settle(
    shared: &Rc<Shared>,
    log: Rc<PartitionLog>,
) -> Result<(Rc<PartitionLog>, Standing), LogFailure> {
    let standing = log.write_out(shared, Reach::Everything).await?;
    let start = &standing.start;
    let closed = std::mem::take(&mut log.state.borrow_mut().to_seal);
    let (done, open): (Vec<_>, Vec<_>) = closed
        .into_iter()
        .partition(|segment| segment.base_offset() < start.segment_base);
    log.state.borrow_mut().to_seal.extend(open);
    for segment in &done {
        let failed = |error: io::Error| LogFailure::new("close", segment.path(), &error);
        segment.cut(&shared.storage).await.map_err(failed)?;
    }
    if !is_planted(Canary::RecycleBeforeSegmentSync) {
        let active = log
            .state
            .borrow()
            .segments
            .get(&start.segment_base)
            .cloned();
        for segment in done.iter().chain(&active) {
            let failed = |error: io::Error| LogFailure::new("sync", segment.path(), &error);
            segment.sync(&shared.storage).await.map_err(failed)?;
        }
    }
    folder::write_caches(shared, &log, &done).await;
    if start.next_offset == log.log_end_offset() {
        log.release_memory(shared, 0); // it is idle
        log.close_files().await;
    }
    Ok((log, standing))
}

/// The checkpoint of a clean stop: nothing is left to replay and every segment has its exact
/// length.
pub(super) async fn checkpoint_everything(shared: &Rc<Shared>) -> Result<(), CheckpointError> {
    shared.check()?;
    shared.commit.flush_all(shared).await?;
    let only_one = shared.write_out.checkpointing.acquire(1).await;
    let logs: Vec<_> = shared.logs.borrow().values().cloned().collect();
    save_begun_blocks(shared, &logs).await?;
    stream::iter(logs)
        .map(|log| async move {
            log.write_out(shared, Reach::Everything).await?;
            let segments: Vec<_> = log.state.borrow().segments.values().cloned().collect();
            for segment in segments {
                let failed = |error: io::Error| LogFailure::new("close", segment.path(), &error);
                segment.cut(&shared.storage).await.map_err(failed)?;
                segment.sync(&shared.storage).await.map_err(failed)?;
            }
            Ok::<_, LogFailure>(())
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<()>>()
        .await?;
    let logs: Vec<_> = shared.logs.borrow().values().cloned().collect();
    for log in logs {
        folder::write_final_caches(shared, &log).await;
    }
    drop(only_one);
    checkpoint(shared).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::log::producers::example_producers;

    fn checkpoint() -> Checkpoint {
        let id = |partition| TopicPartition {
            topic_id: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex::new(partition),
        };
        let start = PartitionStart {
            applied_sequence: 12,
            segment_base: Offset::new(100),
            position: 8191,
            next_offset: Offset::new(190),
            log_start: Offset::new(50),
            block_crc: 99,
            epochs: vec![
                (LeaderEpoch::new(1), Offset::new(0)),
                (LeaderEpoch::new(4), Offset::new(150)),
            ],
            producers: example_producers(),
        };
        Checkpoint {
            generation: Generation {
                number: 3,
                salt: 0xabcd,
            },
            covered_sequence: 11,
            flushed_sequence: 12,
            partitions: [(id(0), start.clone()), (id(1), start)].into(),
            suspects: [(id(2), "group 9 is damaged".to_owned())].into(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        assert_eq!(Checkpoint::decode(&checkpoint().encode()), Ok(checkpoint()));
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let mut long = checkpoint();
        let id = *long.suspects.keys().next().unwrap();
        long.suspects
            .insert(id, format!("{}\u{e9}", "x".repeat(999)));
        let read = Checkpoint::decode(&long.encode()).unwrap();
        assert_eq!(read.suspects[&id], "x".repeat(999));
    }

    #[test]
    fn any_damaged_or_missing_byte_is_noticed() {
        let bytes = checkpoint().encode();
        for index in (0..6).chain(8..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Checkpoint::decode(&damaged).is_err(), "byte {index}");
        }
        for length in 0..bytes.len() {
            assert!(
                Checkpoint::decode(&bytes[..length]).is_err(),
                "length {length}"
            );
        }
    }
}
