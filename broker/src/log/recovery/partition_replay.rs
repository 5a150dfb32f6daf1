//! One partition's segments as the replay rebuilds them.
//!
//! While the journal is read only whole blocks are written, at places the journal names. The end of
//! every segment stays in memory until all batches were read back and found right; only then it is
//! written, padded, and what lies behind it is cut.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corelog_protocol::Offset;
use corelog_protocol::record::BatchHeader;
use crc32c::crc32c;

use super::PartitionStart;
use super::segment_rewrite::{
    Disk, Rest, close_segment, open_for_writing, read_back, remove_checksums, remove_strangers,
    write_indexes, write_padded,
};
use crate::log::RecoveryError;
use crate::log::batch_scan::WalkFrom;
use crate::log::canary::{Canary, is_planted};
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::producers::Producers;
use crate::log::segment::log_file_name;
use crate::runtime::{BLOCK, File, unix_millis};

/// Why a partition's replay ends before its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It does not hold what was acknowledged. From here on nothing of it is touched.
    Suspect(String),
    /// The start as a whole cannot go on.
    Failed(RecoveryError),
}

impl From<RecoveryError> for Stopped {
    fn from(error: RecoveryError) -> Stopped {
        Stopped::Failed(error)
    }
}

pub(super) struct PartitionReplay {
    folder: PathBuf,
    start: PartitionStart,
    /// The checkpointed place, where reading back begins.
    trusted: (Offset, u64, Offset),
    /// Segments that the journal closed.
    closed: BTreeMap<Offset, Rest>,
    segment_base: Offset,
    rest: Rest,
    next_offset: Offset,
    log_start: Offset,
    file: Option<File>,
}

impl PartitionReplay {
    /// `block` holds the bytes of the begun block that the checkpoint speaks of.
    pub(super) fn new(
        folder: PathBuf,
        start: PartitionStart,
        block: Option<Vec<u8>>,
    ) -> Result<PartitionReplay, Stopped> {
        let begun = usize::try_from(start.position % BLOCK as u64).expect("less than a block");
        let bytes = block.unwrap_or_default();
        if bytes.len() != begun {
            let segment = folder.join(log_file_name(start.segment_base));
            return Err(Stopped::Suspect(format!(
                "the last block of {} is not what the checkpoint says",
                segment.display()
            )));
        }
        Ok(PartitionReplay {
            folder,
            trusted: (start.segment_base, start.position, start.next_offset),
            closed: BTreeMap::new(),
            segment_base: start.segment_base,
            rest: Rest {
                at: start.position - begun as u64,
                bytes,
            },
            next_offset: start.next_offset,
            log_start: start.log_start,
            file: None,
            start,
        })
    }

    /// Bytes gathered and not written.
    pub(super) fn gathered(&self) -> usize {
        self.rest.bytes.len()
    }

    /// The entry goes on exactly where this replay stands, so nothing can be missing before it.
    pub(super) fn continues_with(&self, entry: &EntryHeader) -> bool {
        let here = entry.segment_base == self.segment_base && entry.position == self.rest.end();
        here && match entry.kind {
            EntryKind::Append | EntryKind::Extent => entry.base_offset == self.next_offset,
            EntryKind::Roll => entry.next_offset == self.next_offset,
            EntryKind::Block | EntryKind::LogStart | EntryKind::Delete => false,
        }
    }

    pub(super) async fn apply(
        &mut self,
        disk: &Disk<'_>,
        entry: &EntryHeader,
        data: &[u8],
    ) -> Result<(), Stopped> {
        self.log_start = self.log_start.max(entry.log_start);
        match entry.kind {
            EntryKind::Append | EntryKind::Extent if entry.segment_base < self.segment_base => {
                Ok(())
            }
            EntryKind::Append | EntryKind::Extent if entry.segment_base > self.segment_base => {
                Err(Stopped::Suspect(format!(
                    "the journal goes on in segment {} and never closed {}",
                    entry.segment_base, self.segment_base
                )))
            }
            EntryKind::Append => self.append(entry, data),
            EntryKind::Extent => self.extend(disk, entry).await,
            EntryKind::Block | EntryKind::LogStart => Ok(()),
            EntryKind::Roll => self.roll(disk, entry).await,
            // Only a topic's deletion deletes a partition, and then its entries are skipped: the
            // metadata has gone back in time.
            EntryKind::Delete => Err(Stopped::Suspect(
                "the journal says it was deleted and the metadata knows it".to_owned(),
            )),
        }
    }

    /// Adds the bytes of an append, skipping those that are there already.
    fn append(&mut self, entry: &EntryHeader, data: &[u8]) -> Result<(), Stopped> {
        let end = self.rest.end();
        if entry.position > end {
            return Err(gap(entry, end));
        }
        let known = usize::try_from(end - entry.position).unwrap_or(usize::MAX);
        if let Some(new) = data.get(known..)
            && !new.is_empty()
        {
            self.rest.bytes.extend_from_slice(new);
            self.next_offset = entry.next_offset;
        }
        Ok(())
    }

    /// Steps over bytes that were written straight to the segment.
    async fn extend(&mut self, disk: &Disk<'_>, entry: &EntryHeader) -> Result<(), Stopped> {
        let end = entry.position + u64::from(entry.length);
        if end <= self.rest.end() {
            return Ok(());
        }
        if entry.position != self.rest.end() {
            return Err(gap(entry, self.rest.end()));
        }
        if !entry.position.is_multiple_of(BLOCK as u64) || !end.is_multiple_of(BLOCK as u64) {
            return Err(Stopped::Suspect(format!(
                "an extent at byte {} of segment {} is not made of whole blocks",
                entry.position, entry.segment_base
            )));
        }
        self.write_whole_blocks(disk).await?;
        self.rest.at = end;
        self.next_offset = entry.next_offset;
        Ok(())
    }

    async fn roll(&mut self, disk: &Disk<'_>, entry: &EntryHeader) -> Result<(), Stopped> {
        if entry.segment_base < self.segment_base {
            return Ok(());
        }
        if entry.segment_base > self.segment_base || entry.position != self.rest.end() {
            return Err(gap(entry, self.rest.end()));
        }
        self.write_whole_blocks(disk).await?;
        self.close_file().await?;
        let next = Rest {
            at: 0,
            bytes: Vec::new(),
        };
        let closed = std::mem::replace(&mut self.rest, next);
        self.closed.insert(self.segment_base, closed);
        self.segment_base = entry.next_offset;
        Ok(())
    }

    fn path(&self, segment_base: Offset) -> PathBuf {
        self.folder.join(log_file_name(segment_base))
    }

    async fn open_file(&mut self, disk: &Disk<'_>) -> Result<&File, RecoveryError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open_for_writing(disk, &self.folder, &self.path(self.segment_base)).await?,
        };
        Ok(self.file.insert(file))
    }

    pub(super) async fn close_file(&mut self) -> Result<(), RecoveryError> {
        let path = self.path(self.segment_base);
        match self.file.take() {
            Some(file) => file
                .close()
                .await
                .map_err(RecoveryError::io("close", &path)),
            None => Ok(()),
        }
    }

    /// Writes the whole blocks of what was gathered.
    pub(super) async fn write_whole_blocks(
        &mut self,
        disk: &Disk<'_>,
    ) -> Result<(), RecoveryError> {
        let whole = self.rest.bytes.len() - self.rest.bytes.len() % BLOCK;
        if whole == 0 {
            return Ok(());
        }
        let path = self.path(self.segment_base);
        let bytes = std::mem::take(&mut self.rest.bytes);
        let at = self.rest.at;
        let file = self.open_file(disk).await?;
        write_padded(disk, file, &path, &bytes[..whole], at).await?;
        self.rest = Rest {
            at: at + whole as u64,
            bytes: bytes[whole..].to_vec(),
        };
        Ok(())
    }

    /// Reads everything back, and only then writes the ends, cuts what is behind them and says
    /// where the partition stands.
    pub(super) async fn finish(mut self, disk: &Disk<'_>) -> Result<PartitionStart, Stopped> {
        self.close_file().await?;
        let active = self.segment_base;
        let position = self.rest.end();
        let begun = usize::try_from(position % BLOCK as u64).expect("less than a block");
        let block_crc = crc32c(&self.rest.bytes[self.rest.bytes.len() - begun..]);
        let mut segments = std::mem::take(&mut self.closed);
        segments.insert(active, self.rest);
        let folder = self.folder;
        let (first, mut walked_to, mut next_offset) = self.trusted;
        let mut epochs = self.start.epochs;
        // What the checkpoint says, and every batch behind it.
        let mut producers = Producers::decode(&self.start.producers, i64::MIN);
        let now = unix_millis();
        let mut indexes = Vec::new();
        for (&base, rest) in &segments {
            let from = WalkFrom {
                position: walked_to,
                next_offset,
                epoch: epochs.last().map(|(epoch, _)| *epoch),
                dense: true,
            };
            let note = |header: &BatchHeader| {
                if !is_planted(Canary::ProducersNotReplayed) {
                    producers.note_on_disk(header, now);
                }
            };
            let walked = read_back(disk, &folder, base, from, rest, note).await?;
            if let Some(reason) = walked.stopped {
                let name = log_file_name(base);
                return Err(Stopped::Suspect(format!(
                    "{name} does not hold what was journaled: {reason}"
                )));
            }
            epochs.extend(walked.epochs);
            indexes.push((base, walked_to, walked.index));
            (walked_to, next_offset) = (0, walked.next_offset);
        }
        if next_offset != self.next_offset {
            return Err(Stopped::Suspect(format!(
                "its segments end at offset {next_offset} and the journal at {}",
                self.next_offset
            )));
        }
        // What a segment holds now may differ from what it was once closed with.
        remove_checksums(disk, &folder, segments.keys()).await?;
        for (&base, rest) in &segments {
            close_segment(disk, &folder, base, rest).await?;
        }
        for (base, from, index) in indexes {
            write_indexes(disk, &folder, base, from, index).await?;
        }
        remove_strangers(disk, &folder, first, &segments).await?;
        Ok(PartitionStart {
            applied_sequence: 0,
            segment_base: active,
            position,
            next_offset,
            log_start: self.log_start,
            block_crc,
            epochs,
            producers: producers.encode_at(next_offset),
        })
    }
}

fn gap(entry: &EntryHeader, end: u64) -> Stopped {
    Stopped::Suspect(format!(
        "the journal goes on at byte {} of segment {} and the bytes from {end} on are missing",
        entry.position, entry.segment_base
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use corelog_protocol::record::{BatchBuilder, patch_base_offset};
    use corelog_protocol::{Compression, LeaderEpoch, PartitionIndex, Timestamp, TopicId};

    use super::*;
    use crate::log::TopicPartition;
    use crate::runtime::sim::SimulatedDisk;
    use crate::runtime::{BufferPool, Simulator, Storage};

    const FOLDER: &str = "data/topic-0";
    const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

    /// A batch of one record at this offset; they all have the same length, which is no divisor of
    /// a block's.
    fn batch(offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None, 1024);
        let value = vec![u8::try_from(offset).unwrap(); 1500];
        builder
            .append(Timestamp::new(1), None, Some(&value), &[])
            .unwrap();
        let mut bytes = builder.finish(None).to_vec();
        patch_base_offset(&mut bytes, Offset::new(offset), EPOCH);
        bytes
    }

    fn size() -> u64 {
        batch(0).len() as u64
    }

    fn entry(kind: EntryKind, segment_base: i64, position: u64, next_offset: i64) -> EntryHeader {
        EntryHeader {
            kind,
            topic_partition: TopicPartition {
                topic_id: TopicId::from_bytes([7; 16]),
                partition: PartitionIndex::new(0),
            },
            leader_epoch: EPOCH,
            segment_base: Offset::new(segment_base),
            position,
            length: 0,
            base_offset: Offset::new((next_offset - 1).max(0)),
            next_offset: Offset::new(next_offset),
            log_start: Offset::ZERO,
            data_crc: 0,
        }
    }

    /// What a replay of these entries comes to, and what it leaves on the disk.
    fn replayed(
        start: PartitionStart,
        prepare: impl FnOnce(&SimulatedDisk),
        entries: &[EntryHeader],
    ) -> (Result<PartitionStart, Stopped>, SimulatedDisk) {
        let mut simulator = Simulator::new(1);
        let simulated = simulator.disk();
        prepare(&simulated);
        let begun = start.position % BLOCK as u64;
        let path = Path::new(FOLDER).join(log_file_name(start.segment_base));
        let block = simulated.contents(&path).map(|bytes| {
            let end = usize::try_from(start.position).unwrap();
            bytes[end - usize::try_from(begun).unwrap()..end].to_vec()
        });
        let storage = Storage::simulated(simulated.clone());
        let finished = simulator.run(async {
            let pool = BufferPool::new(4 << 20);
            let disk = Disk {
                storage: &storage,
                pool,
            };
            let mut replay = PartitionReplay::new(FOLDER.into(), start, block)?;
            for entry in entries {
                let data = match entry.kind {
                    EntryKind::Append => batch(entry.base_offset.get()),
                    _ => Vec::new(),
                };
                replay.apply(&disk, entry, &data).await?;
                // As when much is gathered.
                replay.write_whole_blocks(&disk).await?;
            }
            replay.finish(&disk).await
        });
        (finished, simulated)
    }

    fn appends(segment_base: i64, offsets: std::ops::Range<i64>) -> Vec<EntryHeader> {
        offsets
            .map(|offset| {
                let before = u64::try_from(offset - segment_base).unwrap();
                entry(EntryKind::Append, segment_base, before * size(), offset + 1)
            })
            .collect()
    }

    fn segment(disk: &SimulatedDisk, base: i64) -> Option<Vec<u8>> {
        disk.contents(&Path::new(FOLDER).join(log_file_name(Offset::new(base))))
    }

    fn batches(offsets: std::ops::Range<i64>) -> Vec<u8> {
        offsets.flat_map(batch).collect()
    }

    #[test]
    fn segments_end_where_the_journal_closed_them() {
        let mut entries = appends(0, 0..9);
        entries.push(entry(EntryKind::Roll, 0, 9 * size(), 9));
        entries.extend(appends(9, 9..11));
        let (start, disk) = replayed(PartitionStart::empty(), |_| {}, &entries);
        let start = start.unwrap();
        assert_eq!(start.next_offset.get(), 11);
        assert_eq!((start.segment_base.get(), start.position), (9, 2 * size()));
        assert_eq!(start.epochs, [(EPOCH, Offset::ZERO)]);
        assert_eq!(segment(&disk, 0), Some(batches(0..9)));
        assert_eq!(segment(&disk, 9), Some(batches(9..11)));
    }

    #[test]
    fn bytes_that_do_not_follow_each_other_make_it_suspect() {
        let mut gap = appends(0, 0..2);
        gap.extend(appends(0, 3..4));
        let mut unclosed = appends(0, 0..2);
        unclosed.extend(appends(2, 2..3));
        let mut early_roll = appends(0, 0..2);
        early_roll.push(entry(EntryKind::Roll, 0, 3 * size(), 3));
        let mut extent = entry(EntryKind::Extent, 0, size(), 2);
        extent.length = 4096;
        let mut ragged = appends(0, 0..1);
        ragged.push(extent);
        let mut deleted = appends(0, 0..1);
        deleted.push(entry(EntryKind::Delete, 0, 0, 0));
        for entries in [&gap, &unclosed, &early_roll, &ragged, &deleted] {
            let (found, _) = replayed(PartitionStart::empty(), |_| {}, entries);
            assert!(matches!(found, Err(Stopped::Suspect(_))), "{found:?}");
        }
    }
}
