//! Applying journal entries to segments, in the order they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crc32c::crc32c;

use super::doubt::{Doubts, Hole, find_holes};
use super::last_run::LastShard;
use super::partition_replay::{PartitionReplay, Stopped};
use super::segment_rewrite::{Disk, WRITE_BYTES};
use super::{KnownTopics, PartitionStart};
use crate::log::begun_blocks::{self, BegunBlocks};
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::journal::{ScannedGroup, ScannedJournal};
use crate::log::segment::log_file_name;
use crate::log::shard_log::{DATA_FOLDER, JOURNAL_FOLDER};
use crate::log::{Generation, RecoveryError, TopicPartition};
use crate::runtime::{BLOCK, BufferPool, OpenMode, Storage};

/// Bytes of all partitions gathered before they are written.
const GATHERED_BYTES: usize = 64 << 20;

/// The journal of one shard, and what else its replay must know.
pub(super) struct ShardJournal {
    pub(super) shard: LastShard,
    pub(super) journal: ScannedJournal,
    /// Partitions that it may speak of, and the group up to which their checkpoint covers them.
    pub(super) may_name: BTreeMap<TopicPartition, u64>,
}

impl ShardJournal {
    /// Flushed groups that are damaged or missing.
    pub(super) fn holes(&self) -> Vec<Hole> {
        let journal = &self.journal;
        let name = format!("the journal of shard {}", self.shard.id.get());
        find_holes(
            &journal.groups,
            self.shard.covered_sequence,
            journal.flushed_sequence,
            &name,
            |group| journal.place(group),
        )
    }
}

/// What the replay made of it all.
pub(super) struct Outcome {
    pub(super) partitions: BTreeMap<TopicPartition, PartitionStart>,
    pub(super) suspects: BTreeMap<TopicPartition, String>,
    pub(super) groups: u64,
    pub(super) bytes: u64,
}

pub(super) struct Replay<'a> {
    disk: Disk<'a>,
    topics: &'a KnownTopics,
    partitions: BTreeMap<TopicPartition, PartitionStart>,
    suspects: BTreeMap<TopicPartition, String>,
    begun: BegunBlocks,
    open: BTreeMap<TopicPartition, PartitionReplay>,
    gathered: usize,
    groups: u64,
    bytes: u64,
}

impl<'a> Replay<'a> {
    /// `suspects` are those of earlier starts: nothing of them is touched.
    pub(super) fn new(
        storage: &'a Storage,
        topics: &'a KnownTopics,
        partitions: BTreeMap<TopicPartition, PartitionStart>,
        suspects: BTreeMap<TopicPartition, String>,
    ) -> Replay<'a> {
        let pool = BufferPool::new(4 * WRITE_BYTES);
        Replay {
            disk: Disk { storage, pool },
            topics,
            partitions,
            suspects,
            begun: BegunBlocks::new(),
            open: BTreeMap::new(),
            gathered: 0,
            groups: 0,
            bytes: 0,
        }
    }

    /// Reads the begun blocks of the partitions that will be rewritten and saves them.
    pub(super) async fn secure_begun_blocks(
        &mut self,
        journals: &[ShardJournal],
        generation: Generation,
    ) -> Result<(), RecoveryError> {
        let storage = self.disk.storage;
        let mut saved = vec![begun_blocks::load(storage, &begun_blocks::path(), generation).await?];
        for path in journals.iter().flat_map(|it| &it.shard.saved_blocks) {
            saved.push(begun_blocks::load(storage, path, generation).await?);
        }
        let touched: BTreeSet<_> = journals
            .iter()
            .flat_map(|it| &it.journal.touched)
            .filter(|id| !self.suspects.contains_key(id))
            .copied()
            .collect();
        let mut torn = Vec::new();
        for id in touched {
            let Some(folder) = self.topics.partitions.get(&id) else {
                continue;
            };
            let Some(start) = self.partitions.get(&id) else {
                continue;
            };
            let on_disk = match self.begun_block(folder, start).await {
                Ok(on_disk) => on_disk,
                Err(reason) => {
                    self.suspects.insert(id, reason);
                    continue;
                }
            };
            if on_disk.is_none() {
                torn.push(id);
            }
            let journaled = journals
                .iter()
                .filter_map(|it| it.journal.blocks.get(&id))
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
        }
        if !self.begun.is_empty() {
            let path = begun_blocks::path();
            let bytes = begun_blocks::encode(generation, &self.begun);
            let written = storage.replace_file(&path, &bytes).await;
            written.map_err(RecoveryError::io("write", &path))?;
        }
        for id in torn {
            // Whether or not an entry wants it: the block is written back.
            self.open(id)?;
        }
        Ok(())
    }

    /// The begun block of a checkpointed segment, unless its bytes are not what they were.
    ///
    /// # Errors
    /// Why the partition is suspect: of what lies before the block there is no copy anywhere, so
    /// the segment must hold it.
    async fn begun_block(
        &self,
        folder: &str,
        start: &PartitionStart,
    ) -> Result<Option<Vec<u8>>, String> {
        let begun = usize::try_from(start.position % BLOCK as u64).expect("less than a block");
        let block = start.position - begun as u64;
        let path = Path::new(DATA_FOLDER)
            .join(folder)
            .join(log_file_name(start.segment_base));
        let read = async {
            let file = self.disk.storage.open(&path, OpenMode::Read).await?;
            let length = file.len().await?;
            let bytes = match begun {
                0 => Vec::new(),
                _ => file.read_at(block, begun).await?.to_vec(),
            };
            file.close().await?;
            Ok((length, bytes))
        };
        match read.await {
            Ok((length, _)) if length < block => Err(format!(
                "{} holds {length} bytes and the checkpoint says {}",
                path.display(),
                start.position
            )),
            Ok((_, bytes)) => {
                let good =
                    begun == 0 || (bytes.len() == begun && crc32c(&bytes) == start.block_crc);
                Ok(good.then_some(bytes))
            }
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => match block {
                0 => Ok(None),
                _ => Err(format!("{} is missing", path.display())),
            },
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Applies one shard's journal.
    pub(super) async fn apply_journal(&mut self, from: ShardJournal) -> Result<(), RecoveryError> {
        let mut holes = from.holes().into_iter().peekable();
        let ShardJournal {
            shard,
            journal,
            may_name,
        } = from;
        let (covered, flushed) = (shard.covered_sequence, journal.flushed_sequence);
        let mut doubts = Doubts::new(may_name);
        // Below it, groups are covered or have their holes; behind it, none may be missing.
        let mut unbroken = covered.max(flushed);
        for group in &journal.groups {
            let sequence = group.header.sequence;
            while let Some(hole) = holes.next_if(|hole| hole.first <= sequence) {
                self.suspect_all(doubts.meet(&hole)).await?;
            }
            let was_flushed = sequence <= unbroken;
            if sequence <= covered || (was_flushed && !group.is_intact()) {
                continue;
            }
            let problem = if !was_flushed && sequence != unbroken + 1 {
                "a lost group"
            } else if !group.is_intact() {
                "a torn group"
            } else if !self
                .apply_group(&journal, group, sequence <= flushed, &mut doubts)
                .await?
            {
                "a torn extent"
            } else {
                unbroken = unbroken.max(sequence);
                continue;
            };
            let shard = shard.id.get();
            tracing::info!(shard, sequence, "the journal ends with {problem}");
            break;
        }
        for hole in holes {
            self.suspect_all(doubts.meet(&hole)).await?;
        }
        self.suspect_all(doubts.into_suspects()).await?;
        let folder = Path::new(JOURNAL_FOLDER);
        let closed = journal.close().await;
        closed.map_err(RecoveryError::io("close", folder))
    }

    /// Lets go of partitions that are not what was acknowledged.
    async fn suspect_all(
        &mut self,
        suspects: impl IntoIterator<Item = (TopicPartition, String)>,
    ) -> Result<(), RecoveryError> {
        for (id, reason) in suspects {
            self.suspects.entry(id).or_insert(reason);
            if let Some(mut partition) = self.open.remove(&id) {
                self.gathered -= partition.gathered().min(self.gathered);
                partition.close_file().await?;
            }
        }
        Ok(())
    }

    /// `false` when an extent of a group that was not flushed did not reach its segment.
    async fn apply_group(
        &mut self,
        journal: &ScannedJournal,
        group: &ScannedGroup,
        was_flushed: bool,
        doubts: &mut Doubts,
    ) -> Result<bool, RecoveryError> {
        let folder = Path::new(JOURNAL_FOLDER);
        let body = journal
            .read_body(group)
            .await
            .map_err(RecoveryError::io("read", folder))?;
        if !was_flushed {
            for (entry, _) in ScannedJournal::entries(group, &body).flatten() {
                // What a checkpoint covers was whole, and may have left its log since.
                if entry.kind == EntryKind::Extent
                    && self.is_news(group.header.sequence, &entry)
                    && !self.extent_is_whole(&entry).await?
                {
                    return Ok(false);
                }
            }
        }
        let mut news = false;
        // The scan found that all entries parse.
        for (header, data) in ScannedJournal::entries(group, &body).flatten() {
            let sequence = group.header.sequence;
            news |= self.apply_entry(sequence, &header, data, doubts).await?;
        }
        if news {
            self.groups += 1;
            self.bytes += body.len() as u64;
        }
        if self.gathered > GATHERED_BYTES {
            self.write_gathered(doubts).await?;
        }
        Ok(true)
    }

    /// The entry is of a partition that there is and that is not suspect, and not covered by its
    /// checkpoint.
    fn is_news(&self, sequence: u64, entry: &EntryHeader) -> bool {
        let id = entry.topic_partition;
        let start = self.partitions.get(&id);
        self.topics.partitions.contains_key(&id)
            && !self.suspects.contains_key(&id)
            && start.is_none_or(|start| sequence > start.applied_sequence)
    }

    /// The bytes of an extent are in the segment.
    async fn extent_is_whole(&self, entry: &EntryHeader) -> Result<bool, RecoveryError> {
        let folder = &self.topics.partitions[&entry.topic_partition];
        let path = Path::new(DATA_FOLDER)
            .join(folder)
            .join(log_file_name(entry.segment_base));
        let read = async {
            let file = self.disk.storage.open(&path, OpenMode::Read).await?;
            let (mut crc, mut done) = (0, 0);
            while done < entry.length as usize {
                let step = (entry.length as usize - done).min(WRITE_BYTES);
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
        doubts: &mut Doubts,
    ) -> Result<bool, RecoveryError> {
        let id = entry.topic_partition;
        // Begun blocks were taken into account before anything was rewritten.
        if !self.is_news(sequence, entry) || entry.kind == EntryKind::Block {
            return Ok(false);
        }
        self.open(id)?;
        let Some(mut partition) = self.open.remove(&id) else {
            return Ok(false); // it is suspect
        };
        if doubts.is_open(id) && partition.continues_with(entry) {
            doubts.clear(id);
        }
        self.gathered -= partition.gathered().min(self.gathered);
        match self.apply_to(&mut partition, entry, data, doubts).await {
            Ok(()) => {
                self.gathered += partition.gathered();
                self.open.insert(id, partition);
            }
            Err(Stopped::Suspect(reason)) => {
                partition.close_file().await?;
                self.suspects.insert(id, reason);
            }
            Err(Stopped::Failed(error)) => return Err(error),
        }
        Ok(true)
    }

    async fn apply_to(
        &self,
        partition: &mut PartitionReplay,
        entry: &EntryHeader,
        data: &[u8],
        doubts: &Doubts,
    ) -> Result<(), Stopped> {
        let in_doubt = doubts.is_open(entry.topic_partition);
        if in_doubt && entry.kind != EntryKind::LogStart {
            // It does not go on where the replay stands, so something is missing.
            return Ok(());
        }
        partition.apply(&self.disk, entry, data).await?;
        if !in_doubt && partition.gathered() >= WRITE_BYTES {
            partition.write_whole_blocks(&self.disk).await?;
        }
        Ok(())
    }

    /// Opens a partition's replay unless it is open or suspect.
    fn open(&mut self, id: TopicPartition) -> Result<(), RecoveryError> {
        if self.open.contains_key(&id) || self.suspects.contains_key(&id) {
            return Ok(());
        }
        let folder = Path::new(DATA_FOLDER).join(&self.topics.partitions[&id]);
        let start = self.partitions.get(&id).cloned();
        let start = start.unwrap_or_else(PartitionStart::empty);
        match PartitionReplay::new(folder, start, self.begun.get(&id).cloned()) {
            Ok(partition) => {
                self.open.insert(id, partition);
            }
            Err(Stopped::Suspect(reason)) => {
                self.suspects.insert(id, reason);
            }
            Err(Stopped::Failed(error)) => return Err(error),
        }
        Ok(())
    }

    async fn write_gathered(&mut self, doubts: &Doubts) -> Result<(), RecoveryError> {
        self.gathered = 0;
        for (&id, partition) in &mut self.open {
            if !doubts.is_open(id) {
                partition.write_whole_blocks(&self.disk).await?;
            }
            partition.close_file().await?;
            self.gathered += partition.gathered();
        }
        Ok(())
    }

    /// Reads every rewritten partition back, writes what is left and says where each stands.
    pub(super) async fn finish(mut self) -> Result<Outcome, RecoveryError> {
        for (id, partition) in std::mem::take(&mut self.open) {
            match partition.finish(&self.disk).await {
                Ok(start) => {
                    self.partitions.insert(id, start);
                }
                Err(Stopped::Suspect(reason)) => {
                    self.suspects.insert(id, reason);
                }
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        let (known, suspects) = (&self.topics.partitions, &self.suspects);
        self.partitions
            .retain(|id, _| known.contains_key(id) && !suspects.contains_key(id));
        for start in self.partitions.values_mut() {
            // Sequences begin anew with the generation.
            start.applied_sequence = 0;
        }
        let data = Path::new(DATA_FOLDER);
        let synced = self.disk.storage.sync_dir(data).await;
        synced.map_err(RecoveryError::io("sync", data))?;
        Ok(Outcome {
            partitions: self.partitions,
            suspects: self.suspects,
            groups: self.groups,
            bytes: self.bytes,
        })
    }
}
