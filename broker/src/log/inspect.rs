//! The files of a log, for who does not run it: the operator's tools.
//!
//! Bytes in, what they say out; nothing here touches a disk. `broker/docs/on_disk_format.md` shows
//! the formats.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelog_protocol::record::BatchHeader;
use corelog_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use super::begun_blocks;
use super::checkpoint;
use super::index::{OFFSET_ENTRY_BYTES, SegmentIndex, TIME_ENTRY_BYTES};
use super::journal::format;
use super::producers::Producers;
use super::recovery::PartitionStart;
use super::{Suspect, TopicPartition};

pub use super::checksums::{Checksums, EXTENSION as CHECKSUMS_EXTENSION};
pub use super::journal::format::{ENTRY_HEADER_BYTES, GROUP_HEADER_BYTES};
pub use super::segment::base_offset_of;
/// Journal groups start at multiples of this many bytes.
pub use crate::runtime::BLOCK;

/// The folder of journals and checkpoints, inside the data directory.
pub const JOURNAL_FOLDER: &str = super::shard_log::JOURNAL_FOLDER;
/// The folder of the partitions' folders, inside the data directory.
pub const DATA_FOLDER: &str = super::shard_log::DATA_FOLDER;
/// The checkpoint of all shards, inside [`JOURNAL_FOLDER`].
pub const START_CHECKPOINT: &str = "start.checkpoint";

/// What a `.checkpoint` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The start that the file belongs to.
    pub generation: u64,
    /// That start's random number.
    pub salt: u64,
    /// Every group up to this one is in the segments.
    pub covered_sequence: u64,
    /// Every group up to this one was flushed.
    pub flushed_sequence: u64,
    /// Where each partition stands.
    pub partitions: BTreeMap<TopicPartition, PartitionPlace>,
    /// Partitions that are not opened, with the reason.
    pub suspects: Vec<Suspect>,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPlace {
    /// Journal groups up to this one are in the segments.
    pub applied_sequence: u64,
    /// Base offset of the active segment.
    pub segment_base: Offset,
    /// Bytes of the active segment.
    pub position: u64,
    /// The log end.
    pub next_offset: Offset,
    /// The first offset held.
    pub log_start: Offset,
    /// CRC-32C of the last, begun block.
    pub block_crc: u32,
    /// Leader epochs and the offset each began at.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The idempotent producers that the log remembers.
    pub producers: RememberedProducers,
}

/// What a log remembers of idempotent producers, in the bytes of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedProducers(Bytes);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// When its last batch came, by the broker's clock.
    pub last_active_ms: i64,
    /// First sequence, first offset and last offset of its last batches, the oldest first.
    pub batches: Vec<(Sequence, Offset, Offset)>,
}

impl RememberedProducers {
    /// All of them.
    pub fn list(&self) -> Vec<RememberedProducer> {
        let producers = Producers::decode(&self.0, i64::MIN);
        let remembered = producers.iter().map(|producer| RememberedProducer {
            id: producer.id(),
            epoch: producer.epoch(),
            last_active_ms: producer.last_active_ms(),
            batches: producer
                .batches()
                .iter()
                .map(|it| (it.base_sequence, it.base_offset, it.last_offset()))
                .collect(),
        });
        remembered.collect()
    }
}

/// Brings what a checkpoint remembers up to date with the log as it is.
#[derive(Debug)]
pub struct ProducersOfLog {
    producers: Producers,
    end: Offset,
}

impl ProducersOfLog {
    /// Begins with what the checkpoint says, as far as a log that ends at `end` reaches.
    pub fn new(checkpointed: &RememberedProducers, end: Offset) -> ProducersOfLog {
        let mut producers = Producers::decode(&checkpointed.0, i64::MIN);
        producers.cut_back(end, Producers::default());
        ProducersOfLog { producers, end }
    }

    /// Takes note of the next batch behind those.
    pub fn note(&mut self, header: &BatchHeader, now_ms: i64) {
        self.producers.note_on_disk(header, now_ms);
    }

    /// What is remembered.
    pub fn finish(&self) -> RememberedProducers {
        RememberedProducers(self.producers.encode_at(self.end))
    }
}

impl Checkpoint {
    /// Reads a whole file; the error completes "the checkpoint is …".
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, String> {
        let read = checkpoint::Checkpoint::decode(bytes)?;
        let places = read.partitions.into_iter().map(|(id, start)| {
            let place = PartitionPlace {
                applied_sequence: start.applied_sequence,
                segment_base: start.segment_base,
                position: start.position,
                next_offset: start.next_offset,
                log_start: start.log_start,
                block_crc: start.block_crc,
                epochs: start.epochs,
                producers: RememberedProducers(start.producers),
            };
            (id, place)
        });
        let suspects = read.suspects.into_iter();
        Ok(Checkpoint {
            generation: read.generation.number,
            salt: read.generation.salt,
            covered_sequence: read.covered_sequence,
            flushed_sequence: read.flushed_sequence,
            partitions: places.collect(),
            suspects: suspects
                .map(|(topic_partition, reason)| Suspect {
                    topic_partition,
                    reason,
                })
                .collect(),
        })
    }
}

impl Checkpoint {
    /// The same checkpoint in which the partition is no suspect any more and stands at `place`.
    /// Reads a whole file and returns the new one; the error completes "the checkpoint is …".
    pub fn accept(
        bytes: &[u8],
        id: TopicPartition,
        place: &PartitionPlace,
    ) -> Result<Vec<u8>, String> {
        let mut checkpoint = checkpoint::Checkpoint::decode(bytes)?;
        checkpoint.suspects.remove(&id);
        let start = PartitionStart {
            applied_sequence: place.applied_sequence,
            segment_base: place.segment_base,
            position: place.position,
            next_offset: place.next_offset,
            log_start: place.log_start,
            block_crc: place.block_crc,
            epochs: place.epochs.clone(),
            producers: place.producers.0.clone(),
        };
        checkpoint.partitions.insert(id, start);
        Ok(checkpoint.encode())
    }
}

/// The header of a journal group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalGroup(format::GroupHeader);

impl JournalGroup {
    /// Reads [`GROUP_HEADER_BYTES`]; `None` when they are not the header of a group.
    pub fn decode(bytes: &[u8]) -> Option<JournalGroup> {
        format::GroupHeader::decode(bytes).map(JournalGroup)
    }

    /// The shard that wrote it.
    pub fn shard(&self) -> u16 {
        self.0.shard
    }

    /// The start it belongs to.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// That start's random number.
    pub fn salt(&self) -> u64 {
        self.0.salt
    }

    /// Its number within shard and generation, from 1.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Every group up to this one was flushed when this one was written.
    pub fn flushed_sequence(&self) -> u64 {
        self.0.flushed_sequence
    }

    /// Bytes of the body behind the header.
    pub fn body_length(&self) -> u32 {
        self.0.body_length
    }

    /// Entries in the body.
    pub fn entry_count(&self) -> u32 {
        self.0.entry_count
    }

    /// CRC-32C of the body.
    pub fn body_crc(&self) -> u32 {
        self.0.body_crc
    }

    /// Bytes from this group's position to the next one's.
    pub fn padded_bytes(&self) -> u64 {
        let bytes = GROUP_HEADER_BYTES as u64 + u64::from(self.0.body_length);
        bytes.next_multiple_of(BLOCK as u64)
    }

    /// The entries of the body, each with the bytes it carries. `None` stands for an entry that
    /// does not parse, and is the last.
    pub fn entries<'a>(
        &self,
        body: &'a [u8],
    ) -> impl Iterator<Item = Option<(JournalEntry, &'a [u8])>> + use<'a> {
        format::Entries::new(&self.0, body).map(|entry| {
            let (header, data) = entry.ok()?;
            Some((JournalEntry::from(header), data))
        })
    }
}

/// The header of a journal entry. Which fields mean something depends on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEntry {
    /// "append", "extent" and so on.
    pub kind: &'static str,
    /// Whose entry it is.
    pub topic_partition: TopicPartition,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The segment it is about.
    pub segment_base: Offset,
    /// Byte position in that segment.
    pub position: u64,
    /// Bytes it describes.
    pub length: u32,
    /// First offset.
    pub base_offset: Offset,
    /// The log end with it.
    pub next_offset: Offset,
    /// The log start when it was written.
    pub log_start: Offset,
    /// CRC-32C of an extent's bytes.
    pub data_crc: u32,
}

impl From<format::EntryHeader> for JournalEntry {
    fn from(header: format::EntryHeader) -> JournalEntry {
        JournalEntry {
            kind: header.kind.name(),
            topic_partition: header.topic_partition,
            leader_epoch: header.leader_epoch,
            segment_base: header.segment_base,
            position: header.position,
            length: header.length,
            base_offset: header.base_offset,
            next_offset: header.next_offset,
            log_start: header.log_start,
            data_crc: header.data_crc,
        }
    }
}

/// What a `.blocks` file says: generation, salt, and the blocks saved.
pub type SavedBlocks = (u64, u64, BTreeMap<TopicPartition, Vec<u8>>);

/// Reads a `.blocks` file; `None` when it is damaged.
pub fn saved_blocks(bytes: &[u8]) -> Option<SavedBlocks> {
    let (generation, blocks) = begun_blocks::read(bytes)?;
    Some((generation.number, generation.salt, blocks))
}

/// An entry of an `.index` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// The last offset of a batch, relative to the segment's base offset.
    pub relative_offset: u32,
    /// Where that batch begins in the segment.
    pub position: u32,
}

/// An entry of a `.timeindex` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// The largest timestamp up to that offset.
    pub timestamp: i64,
    /// The offset of the record, or batch, that has it, relative to the segment's base offset.
    pub relative_offset: u32,
}

/// The entries of an `.index` file, and how many bytes behind them are no whole entry.
pub fn offset_entries(bytes: &[u8]) -> (impl Iterator<Item = OffsetEntry>, usize) {
    let (entries, rest) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
    let entries = entries.iter().map(|&[a, b, c, d, e, f, g, h]| OffsetEntry {
        relative_offset: u32::from_be_bytes([a, b, c, d]),
        position: u32::from_be_bytes([e, f, g, h]),
    });
    (entries, rest.len())
}

/// The entries of a `.timeindex` file, and how many bytes behind them are no whole entry.
pub fn time_entries(bytes: &[u8]) -> (impl Iterator<Item = TimeEntry>, usize) {
    let (entries, rest) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
    let entries = entries
        .iter()
        .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| TimeEntry {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            relative_offset: u32::from_be_bytes([i, j, k, l]),
        });
    (entries, rest.len())
}

/// Makes the index files of one segment from its batches.
#[derive(Debug, Clone)]
pub struct IndexBuilder(SegmentIndex);

impl IndexBuilder {
    /// For the segment with this base offset.
    pub fn new(base_offset: Offset, interval_bytes: u64) -> IndexBuilder {
        IndexBuilder(SegmentIndex::new(base_offset, interval_bytes))
    }

    /// Takes note of the next batch. Positions stay below 2 GiB.
    pub fn observe(&mut self, position: u32, size: usize, last_offset: Offset, timestamp: i64) {
        self.0
            .observe(u64::from(position), size, last_offset, timestamp);
    }

    /// The bytes of `.index` and `.timeindex`, of a segment that is closed.
    pub fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.0.close();
        (self.0.encode_offsets(), self.0.encode_times())
    }
}
