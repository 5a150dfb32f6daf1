//! Groups and entries of a journal file, of every generation that is still in it.

use std::fmt::{self, Display};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelog_broker::log::inspect::{BLOCK, GROUP_HEADER_BYTES, JournalEntry, JournalGroup};
use serde::Serialize;

use super::lines::Lines;

/// A body beyond this is not shown.
const LARGEST_BODY: u64 = 256 << 20;

#[derive(Serialize)]
struct GroupLine {
    position: u64,
    shard: u16,
    generation: u64,
    salt: String,
    sequence: u64,
    flushed_sequence: u64,
    entries: u32,
    body_length: u32,
    is_valid: bool,
}

impl Display for GroupLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "group: {} shard: {} generation: {} salt: {} flushedSequence: {} entries: {} position: {} \
             bodyLength: {} isvalid: {}",
            self.sequence,
            self.shard,
            self.generation,
            self.salt,
            self.flushed_sequence,
            self.entries,
            self.position,
            self.body_length,
            self.is_valid
        )
    }
}

#[derive(Serialize)]
struct EntryLine {
    entry: &'static str,
    topic_id: String,
    partition: i32,
    leader_epoch: i32,
    segment_base: i64,
    position: u64,
    length: u32,
    base_offset: i64,
    next_offset: i64,
    log_start: i64,
    data_crc: u32,
}

impl EntryLine {
    fn of(entry: &JournalEntry) -> EntryLine {
        EntryLine {
            entry: entry.kind,
            topic_id: entry.topic_partition.topic_id.to_string(),
            partition: entry.topic_partition.partition.get(),
            leader_epoch: entry.leader_epoch.get(),
            segment_base: entry.segment_base.get(),
            position: entry.position,
            length: entry.length,
            base_offset: entry.base_offset.get(),
            next_offset: entry.next_offset.get(),
            log_start: entry.log_start.get(),
            data_crc: entry.data_crc,
        }
    }
}

impl Display for EntryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} partition: {}-{} leaderEpoch: {} segment: {} position: {} length: {} baseOffset: {} \
             nextOffset: {} logStart: {} dataCrc: {:#010x}",
            self.entry,
            self.topic_id,
            self.partition,
            self.leader_epoch,
            self.segment_base,
            self.position,
            self.length,
            self.base_offset,
            self.next_offset,
            self.log_start,
            self.data_crc
        )
    }
}

pub(super) fn dump(path: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    const WINDOW_BYTES: usize = 64 << 10;
    lines.begin(path)?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut window = vec![0; WINDOW_BYTES];
    let mut position = 0;
    while position + GROUP_HEADER_BYTES as u64 <= length {
        let read = file.read_at(&mut window, position)?;
        let group = (0..read).step_by(BLOCK).find_map(|at| {
            let header = window.get(at..read.min(at + GROUP_HEADER_BYTES))?;
            Some((at, JournalGroup::decode(header)?))
        });
        let Some((at, group)) = group else {
            if read == 0 {
                break;
            }
            position += read.next_multiple_of(BLOCK) as u64;
            continue;
        };
        let here = position + at as u64;
        let is_whole = dump_group(&file, here, length, &group, lines)?;
        // Older groups may stand in what a damaged one only claims.
        position = here
            + if is_whole {
                group.padded_bytes()
            } else {
                BLOCK as u64
            };
    }
    Ok(())
}

fn dump_group(
    file: &File,
    position: u64,
    length: u64,
    group: &JournalGroup,
    lines: &mut Lines,
) -> anyhow::Result<bool> {
    let start = position + GROUP_HEADER_BYTES as u64;
    let held = u64::from(group.body_length()).min(length.saturating_sub(start));
    let mut body = Vec::new();
    if held <= LARGEST_BODY {
        body.resize(usize::try_from(held)?, 0);
        file.read_exact_at(&mut body, start)?;
    }
    let line = GroupLine {
        position,
        shard: group.shard(),
        generation: group.generation(),
        salt: format!("{:016x}", group.salt()),
        sequence: group.sequence(),
        flushed_sequence: group.flushed_sequence(),
        entries: group.entry_count(),
        body_length: group.body_length(),
        is_valid: body.len() as u64 == u64::from(group.body_length())
            && crc32c::crc32c(&body) == group.body_crc(),
    };
    lines.item("group", &line)?;
    for entry in group.entries(&body) {
        match entry {
            Some((entry, _)) => lines.item("entry", &EntryLine::of(&entry))?,
            // A group that an older one was overwritten by in part, or one that is damaged:
            // `verify` tells them apart.
            None => lines.remark("its other entries are not whole")?,
        }
    }
    Ok(line.is_valid)
}
