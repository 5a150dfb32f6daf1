//! Checkpoints, saved blocks and journals.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{
    BLOCK, Checkpoint, GROUP_HEADER_BYTES, JournalGroup, PartitionPlace, START_CHECKPOINT,
    saved_blocks,
};
use corelog_protocol::Offset;
use crc32c::crc32c_append;

use super::finding::{Finding, Findings};
use super::progress::Progress;
use crate::log::small_file::{LARGEST_CHECKPOINT, read_bounded};

const WINDOW_BYTES: usize = 4 << 20;
/// Of a group beyond this only the first entries are read.
const LARGEST_BODY: u64 = 256 << 20;

/// What the journal folder says.
#[derive(Debug, Default)]
pub(crate) struct JournalFolder {
    /// The checkpoint of the last start; without it nothing else means anything.
    pub(crate) start: Option<Checkpoint>,
    /// That one, overlaid by those of the shards.
    pub(crate) places: BTreeMap<TopicPartition, PartitionPlace>,
    /// What the groups say that no checkpoint covers.
    news: BTreeMap<TopicPartition, News>,
    /// A flushed group is damaged or missing: it may have spoken of anyone.
    is_in_doubt: bool,
    shards: BTreeMap<u16, Shard>,
}

/// What the journals say of one partition beyond the checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// The newest log start.
    log_start: Offset,
    is_deleted: bool,
}

/// What is known of one partition beside its own files. By default nothing, as of Kafka's.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Where our checkpoint says that the log stands.
    pub(crate) place: Option<&'a PartitionPlace>,
    news: Option<News>,
    journal_is_in_doubt: bool,
}

impl Known<'_> {
    /// No checkpoint knows it and the journals do: the next start writes its segments anew from
    /// there, whatever they hold.
    pub(crate) fn is_for_the_replay(&self) -> bool {
        self.place.is_none() && (self.news.is_some() || self.journal_is_in_doubt)
    }

    /// Where the log begins.
    pub(crate) fn log_start(&self) -> Option<Offset> {
        let news = self.news.map(|news| news.log_start);
        self.place.map(|place| place.log_start).max(news)
    }

    /// The log may begin later than is known: what said so is lost.
    pub(crate) fn may_begin_later(&self) -> bool {
        self.journal_is_in_doubt
    }
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
    // What a checkpoint covers must be known before the journals are read.
    let is_journal = |path: &&PathBuf| path.extension().is_some_and(|it| it == "journal");
    let (journals, others): (Vec<_>, Vec<_>) = files
        .iter()
        .filter(|path| path.is_file())
        .partition(is_journal);
    for path in others.into_iter().chain(journals) {
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
        found.is_in_doubt |= shard.check(findings);
    }
    found
}

/// Reads all files of a journal folder without a word about what is wrong with them.
pub(crate) fn read(folder: &Path, files: &[PathBuf]) -> JournalFolder {
    check(folder, files, &mut Findings::default(), &Progress::new(0))
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
    /// Whether a start would find something in the journals that is not in the segments.
    pub(crate) fn has_uncovered_groups(&self) -> bool {
        self.shards.values().any(|shard| {
            let mut groups = shard.groups.iter();
            shard.flushed > shard.covered || groups.any(|group| group.sequence > shard.covered)
        })
    }

    pub(crate) fn known(&self, id: TopicPartition) -> Known<'_> {
        Known {
            place: self.places.get(&id),
            news: self.news.get(&id).copied(),
            journal_is_in_doubt: self.is_in_doubt,
        }
    }

    /// Whether the partition holds nothing any more, or is gone, for all that is known.
    pub(crate) fn has_emptied(&self, id: TopicPartition, place: &PartitionPlace) -> bool {
        let news = self.news.get(&id);
        news.is_some_and(|news| news.is_deleted || news.log_start >= place.next_offset)
    }

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
                    if group.sequence() > known.covered {
                        listen(&mut self.news, &file, here, &group).map_err(unreadable)?;
                    }
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

/// Takes note of what a group says. The headers of entries have checksums of their own, so those of
/// a damaged group tell as much as is left of them.
fn listen(
    news: &mut BTreeMap<TopicPartition, News>,
    file: &File,
    position: u64,
    group: &JournalGroup,
) -> io::Result<()> {
    let start = position + GROUP_HEADER_BYTES as u64;
    let left = file.metadata()?.len().saturating_sub(start);
    let held = u64::from(group.body_length()).min(left).min(LARGEST_BODY);
    let mut body = vec![0; usize::try_from(held).unwrap_or(0)];
    file.read_exact_at(&mut body, start)?;
    for (entry, _) in group.entries(&body).map_while(|entry| entry) {
        let said = news.entry(entry.topic_partition).or_insert(News {
            log_start: Offset::ZERO,
            is_deleted: false,
        });
        said.log_start = said.log_start.max(entry.log_start);
        said.is_deleted |= entry.kind == "delete";
    }
    Ok(())
}

impl Shard {
    /// Every group behind the covered one and up to the flushed one must be there, whole; says
    /// whether one is not.
    fn check(&mut self, findings: &mut Findings) -> bool {
        const MEND: &str = "start the broker: it serves every partition that is in no doubt, and \
                            names the others";
        // Of two with one number, the whole one first.
        self.groups
            .sort_by_key(|group| (group.sequence, !group.is_intact));
        self.groups.dedup_by_key(|group| group.sequence);
        let mut is_in_doubt = false;
        let mut tell = |file: usize, position: Option<u64>, problem: String| {
            let what = format!("{problem}, although flushed and not yet in the segments");
            let path = self.files.get(file).cloned().unwrap_or_default();
            let finding = Finding {
                position,
                ..Finding::damage(&path, what)
            };
            findings.add(finding.mended_by(MEND));
            is_in_doubt = true;
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
        is_in_doubt
    }
}
