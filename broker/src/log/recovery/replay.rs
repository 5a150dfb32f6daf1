//! Applying journal entries to segments, in the order they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::{LeaderEpoch, Offset, ShardId};
use crc32c::crc32c;

use super::{KnownTopics, Outcome, PartitionStart, Suspect};
use crate::log::batch_scan::{WalkFrom, walk};
use crate::log::begun_blocks::{self, BegunBlocks};
use crate::log::index::SegmentIndex;
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::journal::{ScannedGroup, ScannedJournal};
use crate::log::segment::{base_offset_of, log_file_name};
use crate::log::shard_log::DATA_FOLDER;
use crate::log::{Generation, RecoveryError, TopicPartition};
use crate::runtime::{BLOCK, BufferPool, File, OpenMode, Storage};

/// Bytes of one partition gathered before they are written to its segment.
const FLUSH_BYTES: usize = 1 << 20;
/// Bytes of all partitions gathered before they are written.
const GATHERED_BYTES: usize = 64 << 20;
const LARGEST_INDEX_FILE: u64 = 64 << 20;

pub(super) struct Replay<'a> {
    storage: &'a Storage,
    topics: &'a KnownTopics,
    pool: BufferPool,
    partitions: BTreeMap<TopicPartition, PartitionStart>,
    begun: BegunBlocks,
    open: BTreeMap<TopicPartition, PartitionReplay>,
    unknown: BTreeSet<TopicPartition>,
    gathered: usize,
    groups: u64,
    bytes: u64,
    suspects: Vec<Suspect>,
}

/// One partition's segment as the replay rebuilds it.
struct PartitionReplay {
    folder: PathBuf,
    start: PartitionStart,
    segment_base: Offset,
    /// Every segment that the journal speaks of, the checkpointed one first.
    chain: BTreeSet<Offset>,
    file: Option<File>,
    /// Block-aligned position of the first byte of `pending`.
    pending_at: u64,
    /// Bytes not yet written to the segment.
    pending: Vec<u8>,
    next_offset: Offset,
    log_start: Offset,
    suspect: Option<String>,
}

impl PartitionReplay {
    fn end(&self) -> u64 {
        self.pending_at + self.pending.len() as u64
    }

    fn path(&self) -> PathBuf {
        self.folder.join(log_file_name(self.segment_base))
    }
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        storage: &'a Storage,
        topics: &'a KnownTopics,
        partitions: BTreeMap<TopicPartition, PartitionStart>,
    ) -> Replay<'a> {
        Replay {
            storage,
            topics,
            pool: BufferPool::new(4 * FLUSH_BYTES),
            partitions,
            begun: BegunBlocks::new(),
            open: BTreeMap::new(),
            unknown: BTreeSet::new(),
            gathered: 0,
            groups: 0,
            bytes: 0,
            suspects: Vec::new(),
        }
    }

    /// Reads the begun blocks of the partitions that will be rewritten and saves them.
    pub(super) async fn secure_begun_blocks(
        &mut self,
        journals: &[(ShardId, ScannedJournal)],
        generation: Generation,
    ) -> Result<(), RecoveryError> {
        let mut saved =
            vec![begun_blocks::load(self.storage, &begun_blocks::path(), generation).await?];
        for (shard, _) in journals {
            let path = begun_blocks::shard_path(*shard);
            saved.push(begun_blocks::load(self.storage, &path, generation).await?);
        }
        let touched: BTreeSet<_> = journals.iter().flat_map(|(_, it)| &it.touched).collect();
        for &id in touched {
            let Some(folder) = self.topics.partitions.get(&id) else {
                continue;
            };
            let Some(start) = self.partitions.get(&id) else {
                continue;
            };
            let on_disk = self.begun_block(folder, start).await?;
            let torn = on_disk.is_none();
            let journaled = journals
                .iter()
                .filter_map(|(_, it)| it.blocks.get(&id))
                .flatten();
            let block = on_disk.or_else(|| {
                let begun = usize::try_from(start.position % BLOCK as u64).ok()?;
                let mut copies = saved.iter().filter_map(|it| it.get(&id)).chain(journaled);
                let intact = copies.find_map(|copy| {
                    copy.get(..begun)
                        .filter(|bytes| crc32c(bytes) == start.block_crc)
                })?;
                Some(intact.to_vec())
            });
            if let Some(block) = block.filter(|block| !block.is_empty()) {
                self.begun.insert(id, block);
            }
            if torn {
                // Whether or not an entry wants it: the block is written back.
                self.open_partition(id);
            }
        }
        if self.begun.is_empty() {
            return Ok(());
        }
        let path = begun_blocks::path();
        let bytes = begun_blocks::encode(generation, &self.begun);
        let written = self.storage.replace_file(&path, &bytes).await;
        written.map_err(RecoveryError::io("write", &path))
    }

    /// The begun block of a checkpointed segment, unless its bytes are not what they were.
    async fn begun_block(
        &self,
        folder: &str,
        start: &PartitionStart,
    ) -> Result<Option<Vec<u8>>, RecoveryError> {
        let begun = usize::try_from(start.position % BLOCK as u64).expect("less than a block");
        if begun == 0 {
            return Ok(Some(Vec::new()));
        }
        let path = Path::new(DATA_FOLDER)
            .join(folder)
            .join(log_file_name(start.segment_base));
        let read = async {
            let file = self.storage.open(&path, OpenMode::Read).await?;
            let bytes = file.read_at(start.position - begun as u64, begun).await?;
            file.close().await?;
            Ok(bytes)
        };
        match read.await {
            Ok(bytes) => {
                let good = bytes.len() == begun && crc32c(&bytes) == start.block_crc;
                Ok(good.then(|| bytes.to_vec()))
            }
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RecoveryError::io("read", &path)(error)),
        }
    }

    /// Applies one shard's journal.
    pub(super) async fn apply_journal(
        &mut self,
        shard: ShardId,
        journal: ScannedJournal,
    ) -> Result<(), RecoveryError> {
        // Below it, groups were recycled or are corrupt; behind it, none may be missing.
        let mut unbroken = journal.flushed_sequence;
        for group in &journal.groups {
            let sequence = group.header.sequence;
            let was_flushed = sequence <= journal.flushed_sequence;
            if !was_flushed && sequence != unbroken + 1 {
                tracing::info!(
                    shard = shard.get(),
                    sequence,
                    "the journal ends with a lost group"
                );
                break;
            }
            unbroken = unbroken.max(sequence);
            if !group.intact {
                if was_flushed {
                    tracing::error!(
                        shard = shard.get(),
                        sequence,
                        "a flushed journal group is damaged"
                    );
                    continue;
                }
                tracing::info!(
                    shard = shard.get(),
                    sequence,
                    "the journal ends with a torn group"
                );
                break;
            }
            if !self.apply_group(&journal, group, was_flushed).await? {
                tracing::info!(
                    shard = shard.get(),
                    sequence,
                    "the journal ends with a torn extent"
                );
                break;
            }
        }
        let folder = Path::new(crate::log::shard_log::JOURNAL_FOLDER);
        journal
            .close()
            .await
            .map_err(RecoveryError::io("close", folder))
    }

    /// `false` when an extent of a group that was not flushed did not reach its segment.
    async fn apply_group(
        &mut self,
        journal: &ScannedJournal,
        group: &ScannedGroup,
        was_flushed: bool,
    ) -> Result<bool, RecoveryError> {
        let folder = Path::new(crate::log::shard_log::JOURNAL_FOLDER);
        let body = journal
            .read_body(group)
            .await
            .map_err(RecoveryError::io("read", folder))?;
        if !was_flushed {
            for entry in ScannedJournal::entries(group, &body).flatten() {
                if entry.0.kind == EntryKind::Extent && !self.extent_is_whole(&entry.0).await? {
                    return Ok(false);
                }
            }
        }
        let mut news = false;
        for entry in ScannedJournal::entries(group, &body) {
            let Ok((header, data)) = entry else {
                tracing::error!(
                    sequence = group.header.sequence,
                    "a journal group does not parse"
                );
                break;
            };
            news |= self
                .apply_entry(group.header.sequence, &header, data)
                .await?;
        }
        if news {
            self.groups += 1;
            self.bytes += body.len() as u64;
        }
        if self.gathered > GATHERED_BYTES {
            self.write_gathered().await?;
        }
        Ok(true)
    }

    /// The bytes of an extent are in the segment.
    async fn extent_is_whole(&self, entry: &EntryHeader) -> Result<bool, RecoveryError> {
        let Some(folder) = self.topics.partitions.get(&entry.topic_partition) else {
            return Ok(true);
        };
        let path = Path::new(DATA_FOLDER)
            .join(folder)
            .join(log_file_name(entry.segment_base));
        let read = async {
            let file = self.storage.open(&path, OpenMode::Read).await?;
            let (mut crc, mut done) = (0, 0);
            while done < entry.length as usize {
                let step = (entry.length as usize - done).min(FLUSH_BYTES);
                let bytes = file.read_at(entry.position + done as u64, step).await?;
                if bytes.is_empty() {
                    break;
                }
                crc = crc32c::crc32c_append(crc, &bytes);
                done += bytes.len();
            }
            file.close().await?;
            Ok(done == entry.length as usize && crc == entry.data_crc)
        };
        match read.await {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(false),
            other => other.map_err(RecoveryError::io("read", &path)),
        }
    }

    /// `false` when the checkpoint already covers the entry, or nobody wants it.
    async fn apply_entry(
        &mut self,
        sequence: u64,
        entry: &EntryHeader,
        data: &[u8],
    ) -> Result<bool, RecoveryError> {
        let id = entry.topic_partition;
        if self.topics.deleted.contains(&id.topic_id) {
            return Ok(false);
        }
        if !self.topics.partitions.contains_key(&id) {
            self.unknown.insert(id);
            return Ok(false);
        }
        if self
            .partitions
            .get(&id)
            .is_some_and(|start| sequence <= start.applied_sequence)
        {
            return Ok(false);
        }
        if entry.kind == EntryKind::Block {
            // Taken into account before anything was rewritten.
            return Ok(false);
        }
        self.open_partition(id);
        let Some(mut partition) = self.open.remove(&id) else {
            return Ok(false);
        };
        let before = partition.pending.len();
        if partition.suspect.is_none() {
            self.apply_to(&mut partition, entry, data).await?;
        }
        self.gathered = self.gathered + partition.pending.len() - before.min(self.gathered);
        if partition.pending.len() >= FLUSH_BYTES {
            let before = partition.pending.len();
            self.write_pending(&mut partition, false).await?;
            self.gathered -= (before - partition.pending.len()).min(self.gathered);
        }
        self.open.insert(id, partition);
        Ok(true)
    }

    fn open_partition(&mut self, id: TopicPartition) {
        if self.open.contains_key(&id) {
            return;
        }
        let folder = Path::new(DATA_FOLDER).join(&self.topics.partitions[&id]);
        let start = self
            .partitions
            .get(&id)
            .cloned()
            .unwrap_or_else(PartitionStart::empty);
        let begun = usize::try_from(start.position % BLOCK as u64).expect("less than a block");
        let block = self.begun.get(&id).cloned();
        let suspect = (begun > 0 && block.is_none()).then(|| {
            let segment = folder.join(log_file_name(start.segment_base));
            format!(
                "the last block of {} is not what the checkpoint says",
                segment.display()
            )
        });
        self.open.insert(
            id,
            PartitionReplay {
                folder,
                segment_base: start.segment_base,
                chain: BTreeSet::from([start.segment_base]),
                file: None,
                pending_at: start.position - begun as u64,
                pending: block.unwrap_or_else(|| vec![0; begun]),
                next_offset: start.next_offset,
                log_start: start.log_start,
                suspect,
                start,
            },
        );
    }

    async fn apply_to(
        &mut self,
        partition: &mut PartitionReplay,
        entry: &EntryHeader,
        data: &[u8],
    ) -> Result<(), RecoveryError> {
        match entry.kind {
            EntryKind::Append | EntryKind::Extent
                if entry.segment_base < partition.segment_base =>
            {
                Ok(())
            }
            EntryKind::Append | EntryKind::Extent
                if entry.segment_base > partition.segment_base =>
            {
                partition.suspect = Some(format!(
                    "the journal goes on in segment {} and never closed {}",
                    entry.segment_base, partition.segment_base
                ));
                Ok(())
            }
            EntryKind::Append => {
                append_bytes(partition, entry, data);
                Ok(())
            }
            EntryKind::Extent => self.apply_extent(partition, entry).await,
            EntryKind::Block => Ok(()),
            EntryKind::Roll => self.apply_roll(partition, entry).await,
            EntryKind::LogStart => {
                partition.log_start = partition.log_start.max(entry.next_offset);
                Ok(())
            }
            EntryKind::Truncate => self.apply_truncate(partition, entry).await,
            // Only a topic's deletion deletes a partition, and then its entries are skipped: the
            // metadata has gone back in time.
            EntryKind::Delete => {
                partition.suspect =
                    Some("the journal says it was deleted and the metadata knows it".to_owned());
                Ok(())
            }
        }
    }

    async fn apply_extent(
        &mut self,
        partition: &mut PartitionReplay,
        entry: &EntryHeader,
    ) -> Result<(), RecoveryError> {
        let end = entry.position + u64::from(entry.length);
        if end <= partition.end() {
            return Ok(());
        }
        if entry.position != partition.end() {
            partition.suspect = Some(gap(entry, partition.end()));
            return Ok(());
        }
        self.write_pending(partition, true).await?;
        partition.pending_at = end;
        partition.next_offset = entry.next_offset;
        Ok(())
    }

    async fn apply_roll(
        &mut self,
        partition: &mut PartitionReplay,
        entry: &EntryHeader,
    ) -> Result<(), RecoveryError> {
        if entry.segment_base < partition.segment_base {
            return Ok(());
        }
        if entry.segment_base > partition.segment_base || entry.position != partition.end() {
            partition.suspect = Some(gap(entry, partition.end()));
            return Ok(());
        }
        self.close_segment(partition).await?;
        partition.segment_base = entry.next_offset;
        partition.chain.insert(entry.next_offset);
        partition.pending_at = 0;
        Ok(())
    }

    async fn apply_truncate(
        &mut self,
        partition: &mut PartitionReplay,
        entry: &EntryHeader,
    ) -> Result<(), RecoveryError> {
        if entry.segment_base != partition.segment_base || entry.position < partition.pending_at {
            self.close_segment(partition).await?;
            partition.segment_base = entry.segment_base;
            let block = entry.position - entry.position % BLOCK as u64;
            let begun = usize::try_from(entry.position - block).expect("less than a block");
            let path = partition.path();
            let file = self.open_file(partition).await?;
            let read = file
                .read_at(block, begun)
                .await
                .map_err(RecoveryError::io("read", &path))?;
            partition.pending = read.to_vec();
            partition.pending_at = block;
        } else {
            let keep = usize::try_from(entry.position - partition.pending_at).unwrap_or(usize::MAX);
            partition.pending.truncate(keep);
        }
        partition.next_offset = entry.next_offset;
        partition
            .start
            .epochs
            .retain(|(_, start)| *start < entry.next_offset);
        Ok(())
    }

    async fn open_file<'p>(
        &self,
        partition: &'p mut PartitionReplay,
    ) -> Result<&'p File, RecoveryError> {
        if partition.file.is_none() {
            let path = partition.path();
            let folder = &partition.folder;
            let created = self.storage.create_dir_all(folder).await;
            created.map_err(RecoveryError::io("create", folder))?;
            let opened = self.storage.open(&path, OpenMode::CreateOrOpen).await;
            partition.file = Some(opened.map_err(RecoveryError::io("open", &path))?);
        }
        Ok(partition.file.as_ref().expect("just opened"))
    }

    /// Writes the whole blocks of what is pending, or all of it, padded.
    async fn write_pending(
        &self,
        partition: &mut PartitionReplay,
        all: bool,
    ) -> Result<(), RecoveryError> {
        let length = partition.pending.len();
        let write = if all { length } else { length - length % BLOCK };
        let position = partition.pending_at;
        let pending = std::mem::take(&mut partition.pending);
        let path = partition.path();
        let file = self.open_file(partition).await?;
        let mut done = 0;
        while done < write {
            let step = (write - done).min(FLUSH_BYTES);
            let mut buffer = self.pool.aligned_wait(step.next_multiple_of(BLOCK)).await;
            buffer[..step].copy_from_slice(&pending[done..done + step]);
            buffer[step..].fill(0);
            let (written, _) = file.write_at(buffer, position + done as u64).await;
            written.map_err(RecoveryError::io("write", &path))?;
            done += step;
        }
        let kept = write - write % BLOCK;
        partition.pending_at = position + kept as u64;
        partition.pending = pending[kept..].to_vec();
        Ok(())
    }

    /// Writes everything, cuts the file to its length and syncs it.
    async fn close_segment(&self, partition: &mut PartitionReplay) -> Result<(), RecoveryError> {
        let end = partition.end();
        self.write_pending(partition, true).await?;
        partition.pending = Vec::new();
        let path = partition.path();
        self.open_file(partition).await?;
        let Some(file) = partition.file.take() else {
            return Ok(());
        };
        file.truncate(end)
            .await
            .map_err(RecoveryError::io("truncate", &path))?;
        file.sync_data()
            .await
            .map_err(RecoveryError::io("sync", &path))?;
        file.close()
            .await
            .map_err(RecoveryError::io("close", &path))?;
        let synced = self.storage.sync_dir(&partition.folder).await;
        synced.map_err(RecoveryError::io("sync", &partition.folder))
    }

    async fn write_gathered(&mut self) -> Result<(), RecoveryError> {
        let ids: Vec<_> = self.open.keys().copied().collect();
        self.gathered = 0;
        for id in ids {
            if let Some(mut partition) = self.open.remove(&id) {
                self.write_pending(&mut partition, false).await?;
                self.gathered += partition.pending.len();
                if let Some(file) = partition.file.take() {
                    file.close()
                        .await
                        .map_err(RecoveryError::io("close", &partition.path()))?;
                }
                self.open.insert(id, partition);
            }
        }
        Ok(())
    }

    /// Writes what is left, reads every rewritten partition back and says where it stands.
    pub(super) async fn finish(mut self) -> Result<Outcome, RecoveryError> {
        let open = std::mem::take(&mut self.open);
        for (id, mut partition) in open {
            if partition.suspect.is_none() {
                self.finish_partition(id, &mut partition).await?;
            }
            if let Some(reason) = partition.suspect {
                tracing::error!(partition = %id, "suspect: {reason}");
                self.partitions.remove(&id);
                self.suspects.push(Suspect {
                    topic_partition: id,
                    reason,
                });
            }
        }
        for id in &self.unknown {
            tracing::error!(partition = %id, "the journal holds records of a topic that the metadata does not know");
        }
        let known = &self.topics.partitions;
        self.partitions.retain(|id, _| known.contains_key(id));
        for start in self.partitions.values_mut() {
            // Sequences begin anew with the generation.
            start.applied_sequence = 0;
        }
        let unsuspected = self.storage.sync_dir(Path::new(DATA_FOLDER)).await;
        unsuspected.map_err(RecoveryError::io("sync", Path::new(DATA_FOLDER)))?;
        Ok(Outcome {
            partitions: self.partitions,
            suspects: self.suspects,
            groups: self.groups,
            bytes: self.bytes,
        })
    }

    async fn finish_partition(
        &mut self,
        id: TopicPartition,
        partition: &mut PartitionReplay,
    ) -> Result<(), RecoveryError> {
        let (active, end) = (partition.segment_base, partition.end());
        let begun = usize::try_from(end % BLOCK as u64).expect("less than a block");
        let block_crc = crc32c(&partition.pending[partition.pending.len() - begun..]);
        self.close_segment(partition).await?;
        let mut position = partition.start.position;
        let mut next_offset = partition.start.next_offset;
        let mut epochs = partition.start.epochs.clone();
        let lengths = self.remove_strangers(partition).await?;
        for (base, length) in lengths {
            let from = WalkFrom {
                position,
                next_offset,
                epoch: epochs
                    .last()
                    .map(|(epoch, _): &(LeaderEpoch, Offset)| *epoch),
                dense: true,
            };
            let walked = self.walk_segment(partition, base, from, length).await?;
            epochs.extend(walked.epochs.iter().copied());
            (position, next_offset) = (0, walked.next_offset);
            if let Some(reason) = walked.stopped {
                let name = log_file_name(base);
                partition.suspect =
                    Some(format!("{name} does not hold what was journaled: {reason}"));
                return Ok(());
            }
        }
        if next_offset != partition.next_offset {
            partition.suspect = Some(format!(
                "its segments end at offset {next_offset} and the journal at {}",
                partition.next_offset
            ));
            return Ok(());
        }
        self.partitions.insert(
            id,
            PartitionStart {
                applied_sequence: 0,
                segment_base: active,
                position: end,
                next_offset,
                log_start: partition.log_start,
                block_crc,
                epochs,
            },
        );
        Ok(())
    }

    /// Removes segments behind the checkpointed one that the journal does not speak of: they were
    /// begun for appends that were never acknowledged. Returns the lengths of those it does.
    async fn remove_strangers(
        &self,
        partition: &PartitionReplay,
    ) -> Result<BTreeMap<Offset, u64>, RecoveryError> {
        let folder = &partition.folder;
        let entries = self
            .storage
            .list(folder)
            .await
            .map_err(RecoveryError::io("list", folder))?;
        let mut lengths = BTreeMap::new();
        for entry in entries {
            let Some(base) = base_offset_of(&entry.name) else {
                continue;
            };
            if partition.chain.contains(&base) {
                lengths.insert(base, entry.len);
            } else if base > partition.start.segment_base {
                let path = folder.join(&entry.name);
                let removed = self.storage.remove_file(&path).await;
                removed.map_err(RecoveryError::io("remove", &path))?;
            }
        }
        self.storage
            .sync_dir(folder)
            .await
            .map_err(RecoveryError::io("sync", folder))?;
        Ok(lengths)
    }

    /// Reads back what was rewritten of a segment and brings its indexes up to date.
    async fn walk_segment(
        &self,
        partition: &PartitionReplay,
        base: Offset,
        from: WalkFrom,
        length: u64,
    ) -> Result<crate::log::batch_scan::Walked, RecoveryError> {
        const INTERVAL: u64 = 4096;
        let path = partition.folder.join(log_file_name(base));
        let opened = self.storage.open(&path, OpenMode::Read).await;
        let file = opened.map_err(RecoveryError::io("open", &path))?;
        let from_position = from.position;
        let walked = walk(&file, base, INTERVAL, from, length).await;
        let walked = walked.map_err(RecoveryError::io("read", &path))?;
        file.close()
            .await
            .map_err(RecoveryError::io("close", &path))?;
        let read = |extension: &'static str| {
            let path = path.with_extension(extension);
            async move { self.storage.read_file(&path, LARGEST_INDEX_FILE).await }
        };
        let mut index = walked.index.clone();
        if from_position > 0
            && let (Ok(offsets), Ok(times)) = (read("index").await, read("timeindex").await)
            && let Some(older) =
                SegmentIndex::decode(base, INTERVAL, from_position, &offsets, &times)
        {
            index.prepend(&older);
        }
        for (extension, bytes) in [
            ("index", index.encode_offsets()),
            ("timeindex", index.encode_times()),
        ] {
            let path = path.with_extension(extension);
            let written = self.storage.replace_file(&path, &bytes).await;
            written.map_err(RecoveryError::io("write", &path))?;
        }
        Ok(walked)
    }
}

fn gap(entry: &EntryHeader, end: u64) -> String {
    format!(
        "the journal goes on at byte {} of segment {} and the bytes from {end} on are missing",
        entry.position, entry.segment_base
    )
}

/// Adds the bytes of an append, skipping those that are there already.
fn append_bytes(partition: &mut PartitionReplay, entry: &EntryHeader, data: &[u8]) {
    let end = partition.end();
    if entry.position > end {
        partition.suspect = Some(gap(entry, end));
        return;
    }
    let known = usize::try_from(end - entry.position).unwrap_or(usize::MAX);
    if let Some(new) = data.get(known..)
        && !new.is_empty()
    {
        partition.pending.extend_from_slice(new);
        partition.next_offset = entry.next_offset;
    }
}
