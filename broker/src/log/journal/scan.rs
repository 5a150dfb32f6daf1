//! Reading a shard's journal after a stop of any kind.
//!
//! A group that does not check out does not end the scan. If a later header (or the checkpoint) says
//! that it had been flushed, it is corruption; otherwise it is the torn end of the journal, and
//! everything behind it was never acknowledged: acknowledgements follow the unbroken prefix of
//! groups. This module only says what stands there; `recovery` draws the conclusions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

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
    pub(crate) body: ScannedBody,
    /// Index of the file it stands in.
    pub(crate) file: usize,
    pub(crate) position: u64,
}

impl ScannedGroup {
    pub(crate) fn is_intact(&self) -> bool {
        matches!(self.body, ScannedBody::Intact)
    }
}

/// What stands behind a group's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScannedBody {
    /// The checksum is right and the entries parse.
    Intact,
    /// Entry headers have checksums of their own and lead from one to the next, so a damaged body
    /// still tells something.
    Damaged {
        /// Partitions whose logs the readable entries change.
        named: BTreeSet<TopicPartition>,
        /// Every header could be read: there are no others.
        all_named: bool,
    },
}

/// What the journal files of one shard hold of one generation.
pub(crate) struct ScannedJournal {
    files: Vec<(PathBuf, File)>,
    /// Ascending by sequence; gaps where a header was lost, or a file.
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
        Entries::new(&group.header, body)
    }

    /// Where a group stands, for people.
    pub(crate) fn place(&self, group: &ScannedGroup) -> String {
        let path = self.files[group.file].0.display();
        format!(
            "group {} at byte {} of {path}",
            group.header.sequence, group.position
        )
    }

    pub(crate) async fn close(self) -> io::Result<()> {
        for (_, file) in self.files {
            file.close().await?;
        }
        Ok(())
    }
}

/// Reads the journal files of one shard and keeps the groups of `generation`.
pub(crate) async fn scan_shard_journals(
    storage: &Storage,
    paths: &[PathBuf],
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
    for path in paths {
        let file = storage.open(path, OpenMode::Read).await?;
        let length = file.len().await?;
        scan_file(&file, length, shard, generation, &mut journal).await?;
        journal.files.push((path.clone(), file));
    }
    journal.groups.sort_by_key(|group| group.header.sequence);
    // A copied journal file brings every group twice: keep the one that is whole.
    journal.groups.dedup_by(|later, earlier| {
        let same = later.header.sequence == earlier.header.sequence;
        if same && later.is_intact() && !earlier.is_intact() {
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
        // A lower sequence is what the file held before it was recycled, at its end or in a block
        // that was never written: newer groups may still follow.
        let live = header.filter(|header| {
            header.shard == shard.get()
                && header.generation == generation.number
                && header.salt == generation.salt
                && last_sequence.is_none_or(|last| header.sequence > last)
        });
        let Some(header) = live else {
            position += BLOCK as u64;
            continue;
        };
        let body_length = header.body_length as usize;
        let end = position + (GROUP_HEADER_BYTES + body_length).next_multiple_of(BLOCK) as u64;
        let body = window
            .get(position + GROUP_HEADER_BYTES as u64, body_length)
            .await?;
        let body = journal.read_entries(&header, body);
        last_sequence = Some(header.sequence);
        journal.groups.push(ScannedGroup {
            header,
            body,
            file: file_index,
            position,
        });
        // The length of a group with a damaged body is still covered by the header's checksum.
        position = end;
    }
    Ok(())
}

impl ScannedJournal {
    /// Takes down whom the entries of a group speak of, and judges its body.
    fn read_entries(&mut self, header: &GroupHeader, body: &[u8]) -> ScannedBody {
        let whole = body.len() == header.body_length as usize && crc32c(body) == header.body_crc;
        let mut named = BTreeSet::new();
        let mut all_named = true;
        for entry in Entries::new(header, body) {
            let Ok((entry, data)) = entry else {
                all_named = false;
                break;
            };
            self.touched.insert(entry.topic_partition);
            if entry.kind != EntryKind::Block {
                named.insert(entry.topic_partition);
            } else if whole {
                let blocks = self.blocks.entry(entry.topic_partition).or_default();
                blocks.push(data.to_vec());
            }
        }
        if whole && all_named {
            ScannedBody::Intact
        } else {
            ScannedBody::Damaged { named, all_named }
        }
    }
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
