//! Checkpoints, saved blocks and journals.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corelog_broker::log::inspect::{
    BLOCK, Checkpoint, GROUP_HEADER_BYTES, JournalGroup, PartitionPlace, START_CHECKPOINT,
    saved_blocks,
};
use crc32c::crc32c_append;

use super::finding::{Finding, Findings};
use super::progress::Progress;
use crate::log::small_file::{LARGEST_CHECKPOINT, read_bounded};

const WINDOW_BYTES: usize = 4 << 20;

/// What the journal folder says.
#[derive(Debug, Default)]
pub(super) struct JournalFolder {
    /// The checkpoint of the last start; without it nothing else means anything.
    pub(super) start: Option<Checkpoint>,
    /// That one, overlaid by those of the shards.
    pub(super) places: BTreeMap<corelog_broker::log::TopicPartition, PartitionPlace>,
    shards: BTreeMap<u16, Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    covered: u64,
    flushed: u64,
    groups: Vec<Group>,
    files: Vec<PathBuf>,
}

#[derive(Debug)]
struct Group {
    sequence: u64,
    is_intact: bool,
    /// Index of the file it stands in.
    file: usize,
    position: u64,
}

/// Reads all files of a journal folder and tells what is wrong with them.
pub(super) fn check(
    folder: &Path,
    files: &[PathBuf],
    findings: &mut Findings,
    progress: &Progress,
) -> JournalFolder {
    let mut found = JournalFolder::default();
    let path = folder.join(START_CHECKPOINT);
    match read_checkpoint(&path) {
        Ok(start) => {
            found.places = start.partitions.clone();
            found.start = Some(start);
        }
        Err(problem) => findings.add(Finding::damage(
            &path,
            format!("the checkpoint is {problem}; no broker starts without it"),
        )),
    }
    for path in files.iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let checked = if name == START_CHECKPOINT {
            Ok(())
        } else if let Some(shard) = shard_of(&name, ".checkpoint") {
            found.overlay(shard, path)
        } else if name.ends_with(".blocks") {
            check_blocks(path)
        } else if let Some(shard) = shard_of(&name, ".journal") {
            found.journal(shard, path, progress)
        } else {
            let what = "no broker puts this file here";
            findings.add(Finding::note(path, what));
            Ok(())
        };
        if let Err(problem) = checked {
            findings.add(Finding::damage(path, problem));
        }
    }
    for shard in found.shards.values_mut() {
        shard.check(findings);
    }
    found
}

/// Whether a start would find something in the journals that is not in the segments.
pub(crate) fn has_uncovered_groups(folder: &Path, files: &[PathBuf]) -> bool {
    let mut findings = Findings::default();
    let found = check(folder, files, &mut findings, &Progress::new(0));
    found.shards.values().any(|shard| {
        let mut groups = shard.groups.iter();
        shard.flushed > shard.covered || groups.any(|group| group.sequence > shard.covered)
    })
}

fn read_checkpoint(path: &Path) -> Result<Checkpoint, String> {
    match read_bounded(path, LARGEST_CHECKPOINT) {
        Ok(bytes) => Checkpoint::decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("missing".to_owned()),
        Err(error) => Err(format!("unreadable ({error})")),
    }
}

fn check_blocks(path: &Path) -> Result<(), String> {
    let bytes = read_bounded(path, LARGEST_CHECKPOINT).map_err(|error| error.to_string())?;
    let blocks = saved_blocks(&bytes);
    blocks.map(drop).ok_or_else(|| "it is damaged".to_owned())
}

/// The shard in a name such as `shard-3.checkpoint` or `shard-3-0.journal`.
fn shard_of(name: &str, suffix: &str) -> Option<u16> {
    let name = name.strip_prefix("shard-")?.strip_suffix(suffix)?;
    let shard = name.split_once('-').map_or(name, |(shard, _)| shard);
    shard.parse().ok()
}

impl JournalFolder {
    fn overlay(&mut self, shard: u16, path: &Path) -> Result<(), String> {
        let overlay =
            read_checkpoint(path).map_err(|problem| format!("the checkpoint is {problem}"))?;
        let same = |start: &Checkpoint| {
            (start.generation, start.salt) == (overlay.generation, overlay.salt)
        };
        if self.start.as_ref().is_some_and(same) {
            let known = self.shards.entry(shard).or_default();
            known.covered = overlay.covered_sequence;
            known.flushed = known.flushed.max(overlay.flushed_sequence);
            self.places.extend(overlay.partitions);
        }
        Ok(())
    }

    /// Collects the groups of this generation.
    fn journal(&mut self, shard: u16, path: &Path, progress: &Progress) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let known = self.shards.entry(shard).or_default();
        known.files.push(path.to_owned());
        let mut window = vec![0; WINDOW_BYTES];
        let mut position = 0;
        let mut next = 0;
        while position < length {
            let read = file.read_at(&mut window, position).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            for at in (0..read).step_by(BLOCK) {
                let here = position + at as u64;
                let group = window.get(at..read.min(at + GROUP_HEADER_BYTES));
                let group = group.and_then(JournalGroup::decode);
                let Some(group) = group.filter(|_| here >= next) else {
                    continue;
                };
                let is_of_this = self.start.as_ref().is_some_and(|start| {
                    (start.generation, start.salt) == (group.generation(), group.salt())
                }) && group.shard() == shard;
                if is_of_this {
                    let is_intact = body_is_intact(&file, here, &group).map_err(unreadable)?;
                    known.groups.push(Group {
                        sequence: group.sequence(),
                        is_intact,
                        file: known.files.len() - 1,
                        position: here,
                    });
                    known.flushed = known.flushed.max(group.flushed_sequence());
                    next = here + group.padded_bytes();
                }
            }
            position += read as u64;
            progress.add(read);
        }
        Ok(())
    }
}

fn body_is_intact(file: &File, position: u64, group: &JournalGroup) -> io::Result<bool> {
    let length = group.body_length() as usize;
    let mut bytes = vec![0; (1 << 20).min(length)];
    let (mut crc, mut done) = (0, 0);
    let start = position + GROUP_HEADER_BYTES as u64;
    while done < length {
        let step = bytes.len().min(length - done);
        let read = file.read_at(&mut bytes[..step], start + done as u64)?;
        if read == 0 {
            return Ok(false);
        }
        crc = crc32c_append(crc, &bytes[..read]);
        done += read;
    }
    Ok(crc == group.body_crc())
}

impl Shard {
    /// Every group behind the covered one and up to the flushed one must be there, whole.
    fn check(&mut self, findings: &mut Findings) {
        const MEND: &str = "start the broker: it serves every partition that is in no doubt, and \
                            names the others";
        // Of two with one number, the whole one first.
        self.groups
            .sort_by_key(|group| (group.sequence, !group.is_intact));
        self.groups.dedup_by_key(|group| group.sequence);
        let mut tell = |file: usize, position: Option<u64>, problem: String| {
            let what = format!("{problem}, although flushed and not yet in the segments");
            let path = self.files.get(file).cloned().unwrap_or_default();
            let finding = Finding {
                position,
                ..Finding::damage(&path, what)
            };
            findings.add(finding.mended_by(MEND));
        };
        let missing = |next: u64, last: u64| match last - next {
            0 => format!("group {next} is missing"),
            _ => format!("groups {next} to {last} are missing"),
        };
        let mut next = self.covered + 1;
        for group in &self.groups {
            let sequence = group.sequence;
            if sequence < next {
                continue;
            }
            if sequence > self.flushed {
                break;
            }
            if sequence > next {
                tell(group.file, None, missing(next, sequence - 1));
            }
            if !group.is_intact {
                let problem = format!("group {sequence} is damaged");
                tell(group.file, Some(group.position), problem);
            }
            next = sequence + 1;
        }
        if next <= self.flushed {
            tell(0, None, missing(next, self.flushed));
        }
    }
}
