//! Reading a shard's journal after a stop of any kind.
//!
//! A group that does not check out does not end the scan by itself. If a later header (or the
//! checkpoint) says that it had been flushed, it is corruption; otherwise it is the torn end of
//! the journal, and everything behind it was never acknowledged: acknowledgements follow the
//! unbroken prefix of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::ShardId;
use crc32c::crc32c;

use super::format::{Entries, EntryKind, GROUP_HEADER_BYTES, GroupHeader};
use crate::log::{Generation, TopicPartition};
use crate::runtime::{BLOCK, File, OpenMode, Storage};

const WINDOW_BYTES: usize = 1 << 20;

/// A group whose header is whole.
#[derive(Debug, Clone)]
pub(crate) struct ScannedGroup {
    pub(crate) header: GroupHeader,
    /// The body's checksum is right.
    pub(crate) intact: bool,
    file: usize,
    position: u64,
}

/// What the journal files of one shard hold of one generation.
pub(crate) struct ScannedJournal {
    files: Vec<(PathBuf, File)>,
    /// Ascending by sequence; gaps where a header was lost.
    pub(crate) groups: Vec<ScannedGroup>,
    /// The highest sequence that a header says was flushed.
    pub(crate) flushed_sequence: u64,
    /// Partitions that some entry speaks of.
    pub(crate) touched: BTreeSet<TopicPartition>,
    /// The old bytes of blocks that were about to be rewritten.
    pub(crate) blocks: BTreeMap<TopicPartition, Vec<Vec<u8>>>,
}

impl ScannedJournal {
    /// The body of a group, checked again: the disk may answer differently the second time.
    pub(crate) async fn read_body(&self, group: &ScannedGroup) -> io::Result<Vec<u8>> {
        let (path, file) = &self.files[group.file];
        let position = group.position + GROUP_HEADER_BYTES as u64;
        let length = group.header.body_length as usize;
        let mut body = Vec::with_capacity(length);
        while body.len() < length {
            let step = (length - body.len()).min(WINDOW_BYTES);
            let read = file.read_at(position + body.len() as u64, step).await?;
            if read.is_empty() {
                break;
            }
            body.extend_from_slice(&read);
        }
        if body.len() != length || crc32c(&body) != group.header.body_crc {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} changed between two reads at byte {position}",
                    path.display()
                ),
            ));
        }
        Ok(body)
    }

    pub(crate) fn entries<'a>(group: &ScannedGroup, body: &'a [u8]) -> Entries<'a> {
        Entries::new(body, group.header.entry_count)
    }

    pub(crate) async fn close(self) -> io::Result<()> {
        for (_, file) in self.files {
            file.close().await?;
        }
        Ok(())
    }
}

/// Reads the headers of the journal files `names` of one shard and keeps the groups of
/// `generation`.
pub(crate) async fn scan_shard_journals(
    storage: &Storage,
    folder: &Path,
    names: &[String],
    shard: ShardId,
    generation: Generation,
) -> io::Result<ScannedJournal> {
    let mut journal = ScannedJournal {
        files: Vec::new(),
        groups: Vec::new(),
        flushed_sequence: 0,
        touched: BTreeSet::new(),
        blocks: BTreeMap::new(),
    };
    for name in names {
        let path = folder.join(name);
        let file = storage.open(&path, OpenMode::Read).await?;
        let length = file.len().await?;
        scan_file(&file, length, shard, generation, &mut journal).await?;
        journal.files.push((path, file));
    }
    journal.groups.sort_by_key(|group| group.header.sequence);
    // A copied journal file brings every group twice: keep the one that is whole.
    journal.groups.dedup_by(|later, earlier| {
        let same = later.header.sequence == earlier.header.sequence;
        if same && later.intact && !earlier.intact {
            std::mem::swap(later, earlier);
        }
        same
    });
    journal.flushed_sequence = journal
        .groups
        .iter()
        .map(|group| group.header.flushed_sequence)
        .max()
        .unwrap_or(0);
    Ok(journal)
}

async fn scan_file(
    file: &File,
    length: u64,
    shard: ShardId,
    generation: Generation,
    journal: &mut ScannedJournal,
) -> io::Result<()> {
    let mut window = Window {
        file,
        length,
        start: 0,
        bytes: Vec::new(),
    };
    let file_index = journal.files.len();
    let mut last_sequence = None;
    let mut position = 0;
    while position + GROUP_HEADER_BYTES as u64 <= length {
        let header = GroupHeader::decode(window.get(position, GROUP_HEADER_BYTES).await?);
        // A lower sequence is what the file held before it was recycled: the live groups of a
        // file ascend, so nothing of interest follows.
        let ascends =
            |header: &GroupHeader| last_sequence.is_none_or(|last| header.sequence > last);
        let live = header.filter(|header| {
            header.shard == shard.get()
                && header.generation == generation.number
                && header.salt == generation.salt
                && ascends(header)
        });
        let Some(header) = live else {
            if header.is_some() && last_sequence.is_some() {
                break;
            }
            position += BLOCK as u64;
            continue;
        };
        let body_length = header.body_length as usize;
        let end = position + (GROUP_HEADER_BYTES + body_length).next_multiple_of(BLOCK) as u64;
        let mut intact = false;
        if end <= length {
            let body = window
                .get(position + GROUP_HEADER_BYTES as u64, body_length)
                .await?;
            intact = crc32c(body) == header.body_crc;
            if intact {
                for (entry, data) in Entries::new(body, header.entry_count).flatten() {
                    journal.touched.insert(entry.topic_partition);
                    if entry.kind == EntryKind::Block {
                        let blocks = journal.blocks.entry(entry.topic_partition).or_default();
                        blocks.push(data.to_vec());
                    }
                }
            }
        }
        last_sequence = Some(header.sequence);
        journal.groups.push(ScannedGroup {
            header,
            intact,
            file: file_index,
            position,
        });
        // The length of a group with a damaged body is still covered by the header's checksum.
        position = end;
    }
    Ok(())
}

/// A sliding part of a file in memory.
struct Window<'a> {
    file: &'a File,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes at `position`, fewer when the file ends before.
    async fn get(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        let wanted = (position + length as u64).min(self.length);
        if position < self.start || wanted > self.start + self.bytes.len() as u64 {
            self.start = position;
            self.bytes.clear();
            let end = wanted.max((position + WINDOW_BYTES as u64).min(self.length));
            while self.start + (self.bytes.len() as u64) < end {
                let at = self.start + self.bytes.len() as u64;
                let step = usize::try_from(end - at)
                    .unwrap_or(WINDOW_BYTES)
                    .min(WINDOW_BYTES);
                let read = self.file.read_at(at, step).await?;
                if read.is_empty() {
                    break;
                }
                self.bytes.extend_from_slice(&read);
            }
        }
        let from = usize::try_from(position - self.start).expect("inside the window");
        let to = usize::try_from(wanted - self.start).expect("inside the window");
        Ok(&self.bytes[from.min(self.bytes.len())..to.min(self.bytes.len())])
    }
}
