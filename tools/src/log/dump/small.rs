//! Indexes, checkpoints, saved blocks and text files.

use std::fmt::{self, Display};
use std::path::Path;

use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{
    Checkpoint, PartitionPlace, RememberedProducer, offset_entries, saved_blocks, time_entries,
};
use serde::Serialize;

use super::lines::Lines;
use crate::log::place::segment_of;
use crate::log::small_file::{LARGEST_CHECKPOINT, LARGEST_INDEX, LARGEST_TEXT, read_bounded};

/// A file that cannot be read is told, and the dump goes on with the next one.
fn read(path: &Path, largest: u64, lines: &mut Lines) -> anyhow::Result<Option<Vec<u8>>> {
    lines.begin(path)?;
    match read_bounded(path, largest) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => {
            lines.damage(&format!("it cannot be read: {error}"))?;
            Ok(None)
        }
    }
}

#[derive(Serialize)]
struct OffsetLine {
    offset: i64,
    position: u32,
}

impl Display for OffsetLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset: {} position: {}", self.offset, self.position)
    }
}

#[derive(Serialize)]
struct TimeLine {
    timestamp: i64,
    offset: i64,
}

impl Display for TimeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timestamp: {} offset: {}", self.timestamp, self.offset)
    }
}

/// Offsets in an index are relative to that in its file's name.
fn base_offset(path: &Path) -> i64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).unwrap_or(0)
}

pub(super) fn offset_index(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(bytes) = read(path, LARGEST_INDEX, lines)? else {
        return Ok(());
    };
    let (entries, rest) = offset_entries(&bytes);
    for entry in entries {
        let line = OffsetLine {
            offset: base_offset(path).saturating_add(i64::from(entry.relative_offset)),
            position: entry.position,
        };
        lines.item("offset_entry", &line)?;
    }
    no_rest(path, rest, lines)
}

pub(super) fn time_index(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(bytes) = read(path, LARGEST_INDEX, lines)? else {
        return Ok(());
    };
    let (entries, rest) = time_entries(&bytes);
    for entry in entries {
        let line = TimeLine {
            timestamp: entry.timestamp,
            offset: base_offset(path).saturating_add(i64::from(entry.relative_offset)),
        };
        lines.item("time_entry", &line)?;
    }
    no_rest(path, rest, lines)
}

fn no_rest(path: &Path, rest: usize, lines: &mut Lines) -> anyhow::Result<()> {
    if rest > 0 {
        lines.damage(&format!("its last {rest} bytes are no whole entry"))?;
    }
    if segment_of(&path.with_extension("log")).is_ok_and(|segment| segment.is_none()) {
        lines.remark("its segment is not there")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct CheckpointLine {
    generation: u64,
    salt: String,
    covered_sequence: u64,
    flushed_sequence: u64,
    partitions: usize,
    suspects: usize,
}

impl Display for CheckpointLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "generation: {} salt: {} coveredSequence: {} flushedSequence: {} partitions: {} suspects: {}",
            self.generation,
            self.salt,
            self.covered_sequence,
            self.flushed_sequence,
            self.partitions,
            self.suspects
        )
    }
}

#[derive(Serialize)]
struct PlaceLine {
    topic_id: String,
    partition: i32,
    applied_sequence: u64,
    segment_base: i64,
    position: u64,
    next_offset: i64,
    log_start: i64,
    block_crc: u32,
    epochs: Vec<(i32, i64)>,
    producers: usize,
}

impl PlaceLine {
    fn of(id: &TopicPartition, place: &PartitionPlace) -> PlaceLine {
        let epochs = place.epochs.iter();
        PlaceLine {
            topic_id: id.topic_id.to_string(),
            partition: id.partition.get(),
            applied_sequence: place.applied_sequence,
            segment_base: place.segment_base.get(),
            position: place.position,
            next_offset: place.next_offset.get(),
            log_start: place.log_start.get(),
            block_crc: place.block_crc,
            epochs: epochs
                .map(|(epoch, offset)| (epoch.get(), offset.get()))
                .collect(),
            producers: place.producers.list().len(),
        }
    }
}

impl Display for PlaceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "partition: {}-{} logStart: {} nextOffset: {} segment: {} position: {} appliedSequence: {} \
             blockCrc: {:#010x} epochs: {:?} producers: {}",
            self.topic_id,
            self.partition,
            self.log_start,
            self.next_offset,
            self.segment_base,
            self.position,
            self.applied_sequence,
            self.block_crc,
            self.epochs,
            self.producers
        )
    }
}

/// As Kafka's tools show a producer's state, beside the partition it belongs to.
#[derive(Serialize)]
struct ProducerLine {
    producer_id: i64,
    producer_epoch: i16,
    last_active_ms: i64,
    /// First sequence, first offset, last offset.
    batches: Vec<(i32, i64, i64)>,
}

impl ProducerLine {
    fn of(producer: RememberedProducer) -> ProducerLine {
        let batches = producer.batches.into_iter();
        ProducerLine {
            producer_id: producer.id.get(),
            producer_epoch: producer.epoch.get(),
            last_active_ms: producer.last_active_ms,
            batches: batches
                .map(|(sequence, first, last)| (sequence.get(), first.get(), last.get()))
                .collect(),
        }
    }
}

impl Display for ProducerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "producer: {} epoch: {} lastActive: {} batches: {:?}",
            self.producer_id, self.producer_epoch, self.last_active_ms, self.batches
        )
    }
}

#[derive(Serialize)]
struct SuspectLine {
    topic_id: String,
    partition: i32,
    reason: String,
}

impl Display for SuspectLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "suspect: {}-{}: {}",
            self.topic_id, self.partition, self.reason
        )
    }
}

pub(super) fn checkpoint(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(bytes) = read(path, LARGEST_CHECKPOINT, lines)? else {
        return Ok(());
    };
    let checkpoint = match Checkpoint::decode(&bytes) {
        Ok(checkpoint) => checkpoint,
        Err(problem) => return Ok(lines.damage(&format!("the checkpoint is {problem}"))?),
    };
    let line = CheckpointLine {
        generation: checkpoint.generation,
        salt: format!("{:016x}", checkpoint.salt),
        covered_sequence: checkpoint.covered_sequence,
        flushed_sequence: checkpoint.flushed_sequence,
        partitions: checkpoint.partitions.len(),
        suspects: checkpoint.suspects.len(),
    };
    lines.item("checkpoint", &line)?;
    for (id, place) in &checkpoint.partitions {
        lines.item("partition", &PlaceLine::of(id, place))?;
        for producer in place.producers.list() {
            lines.item("producer", &ProducerLine::of(producer))?;
        }
    }
    for suspect in checkpoint.suspects {
        let line = SuspectLine {
            topic_id: suspect.topic_partition.topic_id.to_string(),
            partition: suspect.topic_partition.partition.get(),
            reason: suspect.reason,
        };
        lines.item("suspect", &line)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct BlockLine {
    generation: u64,
    salt: String,
    partition: String,
    length: usize,
    crc: u32,
}

impl Display for BlockLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "partition: {} length: {} crc: {:#010x} generation: {} salt: {}",
            self.partition, self.length, self.crc, self.generation, self.salt
        )
    }
}

pub(super) fn blocks(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(bytes) = read(path, LARGEST_CHECKPOINT, lines)? else {
        return Ok(());
    };
    let Some((generation, salt, blocks)) = saved_blocks(&bytes) else {
        return Ok(lines.damage("the saved blocks are damaged")?);
    };
    for (id, block) in blocks {
        let line = BlockLine {
            generation,
            salt: format!("{salt:016x}"),
            partition: id.to_string(),
            length: block.len(),
            crc: crc32c::crc32c(&block),
        };
        lines.item("block", &line)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct TextLine<'a> {
    text: &'a str,
}

impl Display for TextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

pub(super) fn text(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(bytes) = read(path, LARGEST_TEXT, lines)? else {
        return Ok(());
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            for text in text.lines() {
                lines.item("text", &TextLine { text })?;
            }
        }
        Err(_) => lines.damage("it is no text")?,
    }
    Ok(())
}
