//! Changing files so that no byte is lost: what leaves its place is in the quarantine before, and a
//! new file is whole and durable before it takes a name.
//!
//! A mend is a list of [`Act`]s. Each is durable when it is done, and a crash between two of them, or
//! inside one, leaves a folder that the next repair mends to the same end:
//!
//! - The indexes leave first, and what else speaks of the log's bytes. They are caches; beside another
//!   log than their own they would lie.
//! - A log that is to be replaced gets a second name in the quarantine and keeps its own. The new one
//!   is written beside it and takes the name in one step. There is always a log of that name, the old
//!   one or the new one.
//! - A swap that became the log goes when the log has its name.
//! - The new indexes come last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::log::place::SegmentFile;
use crate::log::survey::{Field, Fix, indexes_of};

const INDEXES: [&str; 2] = ["index", "timeindex"];
/// What lies beside a log and speaks of its bytes: it goes before they change.
const COMPANIONS: [&str; 3] = ["index", "timeindex", "checksums"];
/// Where these fields stand in a batch's header, in Kafka's byte order.
const BASE_OFFSET_AT: u64 = 0;
const LEADER_EPOCH_AT: u64 = 12;

/// One step of a mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Gives a file a second name in the quarantine, if it is there.
    Keep(PathBuf),
    /// Moves a file to the quarantine, if it is there.
    Take(PathBuf),
    /// Copies a file's bytes from here on to the quarantine.
    KeepEnd(PathBuf, u64),
    /// Cuts these bytes off. They are in the quarantine.
    Cut(PathBuf, u64),
    /// Writes a file that takes the place of `to` when it is whole: parts of `from`, with some headers
    /// put right.
    Replace {
        from: PathBuf,
        to: PathBuf,
        parts: Vec<Range<u64>>,
        fixes: Vec<Fix>,
    },
    /// Removes a file that has a second name in the quarantine.
    Remove(PathBuf),
    /// Writes the indexes of a log anew.
    WriteIndexes(PathBuf, corelog_protocol::Offset),
}

/// Takes a log and what lies beside it out of service.
pub(super) fn take_out(segment: &SegmentFile) -> Vec<Act> {
    let mut acts = without_companions(&segment.path);
    acts.push(Act::Take(segment.path.clone()));
    acts
}

/// Cuts the end of a log off.
pub(super) fn cut(segment: &SegmentFile, position: u64) -> Vec<Act> {
    let mut acts = without_companions(&segment.path);
    acts.extend([
        Act::KeepEnd(segment.path.clone(), position),
        Act::Cut(segment.path.clone(), position),
        Act::WriteIndexes(segment.path.clone(), segment.base_offset),
    ]);
    acts
}

/// Replaces the log `to` by parts of a file, which may be another one; that one goes then.
pub(super) fn keep_parts(
    from: &SegmentFile,
    to: &Path,
    parts: &[Range<u64>],
    fixes: &[Fix],
) -> Vec<Act> {
    let mut acts = vec![Act::Keep(from.path.clone())];
    if from.path != to {
        acts.push(Act::Keep(to.to_owned()));
    }
    acts.extend(without_companions(to));
    acts.push(Act::Replace {
        from: from.path.clone(),
        to: to.to_owned(),
        parts: parts.to_vec(),
        fixes: fixes.to_vec(),
    });
    if from.path != to {
        acts.push(Act::Remove(from.path.clone()));
    }
    acts.push(Act::WriteIndexes(to.to_owned(), from.base_offset));
    acts
}

/// Writes the indexes of a log anew and keeps the old ones.
pub(super) fn reindex(segment: &SegmentFile) -> Vec<Act> {
    let keep = INDEXES.map(|it| Act::Keep(segment.path.with_extension(it)));
    let write = Act::WriteIndexes(segment.path.clone(), segment.base_offset);
    keep.into_iter().chain([write]).collect()
}

fn without_companions(log: &Path) -> Vec<Act> {
    let take = COMPANIONS.map(|it| Act::Take(log.with_extension(it)));
    take.to_vec()
}

/// The folder that takes what a repair takes out of one partition.
pub(super) struct Quarantine {
    folder: PathBuf,
}

impl Quarantine {
    /// `root` is the data folder; the folder is made when the first file goes there.
    pub(super) fn new(root: &Path, partition: &str) -> Quarantine {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        let name = format!("{partition}-{millis}");
        Quarantine {
            folder: root.join("quarantine").join(name),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    pub(super) fn perform(&self, acts: &[Act]) -> anyhow::Result<()> {
        for act in acts {
            match act {
                Act::Keep(file) => self.keep(file)?,
                Act::Take(file) => self.take(file)?,
                Act::KeepEnd(file, position) => self.keep_end(file, *position)?,
                Act::Cut(file, position) => truncate(file, *position)?,
                Act::Replace {
                    from,
                    to,
                    parts,
                    fixes,
                } => replace_by_parts(from, to, parts, fixes)?,
                Act::Remove(file) => {
                    let removed = fs::remove_file(file);
                    removed.with_context(|| format!("cannot remove {}", file.display()))?;
                    sync_parent(file)?;
                }
                Act::WriteIndexes(log, base_offset) => write_indexes(&SegmentFile {
                    path: log.clone(),
                    base_offset: *base_offset,
                    bytes: length_of(log)?,
                })?,
            }
        }
        Ok(())
    }

    fn place(&self, name: &str) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        for folder in self.folder.ancestors().take(3) {
            sync(folder)?;
        }
        let place = self.folder.join(name);
        anyhow::ensure!(!place.exists(), "{} is there already", place.display());
        Ok(place)
    }

    fn place_of(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        self.place(&name)
    }

    /// Moves a file, if it is there.
    fn take(&self, file: &Path) -> anyhow::Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let place = self.place_of(file)?;
        fs::rename(file, &place)
            .with_context(|| format!("cannot move {} to {}", file.display(), place.display()))?;
        sync(&self.folder)?;
        sync_parent(file)
    }

    /// Has a file in the quarantine too, durably, if it is there. Whoever replaces it afterwards
    /// leaves the quarantine's as it is.
    pub(super) fn keep(&self, file: &Path) -> anyhow::Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let place = self.place_of(file)?;
        // Not every file system gives a file two names.
        if fs::hard_link(file, &place).is_err() {
            let all = 0..length_of(file)?;
            copy_parts(file, std::slice::from_ref(&all), &[], &place)?;
        }
        sync(&self.folder)
    }

    fn keep_end(&self, file: &Path, position: u64) -> anyhow::Result<()> {
        let end = position..length_of(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let place = self.place(&format!("{name}.from-byte-{position}"))?;
        copy_parts(file, std::slice::from_ref(&end), &[], &place)?;
        sync(&self.folder)
    }
}

/// Replaces a small file so that the old or the new one is there, whole.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = temporary(file);
    let write = || -> io::Result<()> {
        let mut new = File::create(&temporary)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    sync_parent(file)
}

fn replace_by_parts(
    from: &Path,
    to: &Path,
    parts: &[Range<u64>],
    fixes: &[Fix],
) -> anyhow::Result<()> {
    let temporary = temporary(to);
    copy_parts(from, parts, fixes, &temporary)?;
    fs::rename(&temporary, to).with_context(|| format!("cannot replace {}", to.display()))?;
    sync_parent(to)
}

fn truncate(file: &Path, length: u64) -> anyhow::Result<()> {
    let cut = || -> io::Result<()> {
        let file = File::options().write(true).open(file)?;
        file.set_len(length)?;
        file.sync_all()
    };
    cut().with_context(|| format!("cannot cut {}", file.display()))
}

fn write_indexes(segment: &SegmentFile) -> anyhow::Result<()> {
    let (offsets, times) =
        indexes_of(segment).with_context(|| format!("cannot read {}", segment.path.display()))?;
    for (extension, bytes) in INDEXES.into_iter().zip([offsets, times]) {
        replace(&segment.path.with_extension(extension), &bytes)?;
    }
    Ok(())
}

/// Makes a file of parts of another one, durably.
fn copy_parts(from: &Path, parts: &[Range<u64>], fixes: &[Fix], to: &Path) -> anyhow::Result<()> {
    let copy = || -> io::Result<()> {
        let source = File::open(from)?;
        let mut target = File::create(to)?;
        let mut bytes = vec![0; 4 << 20];
        let mut written = 0;
        let mut fixes = fixes.iter().peekable();
        for part in parts {
            let mut position = part.start;
            while position < part.end {
                let left = usize::try_from(part.end - position).unwrap_or(usize::MAX);
                let step = left.min(bytes.len());
                source.read_exact_at(&mut bytes[..step], position)?;
                target.write_all(&bytes[..step])?;
                position += step as u64;
            }
            while let Some(fix) = fixes.next_if(|fix| part.contains(&fix.position)) {
                put_right(&target, written + fix.position - part.start, fix.field)?;
            }
            written += part.end - part.start;
        }
        target.sync_all()
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn put_right(file: &File, batch: u64, field: Field) -> io::Result<()> {
    match field {
        Field::BaseOffset { to, .. } => {
            file.write_all_at(&to.to_be_bytes(), batch + BASE_OFFSET_AT)
        }
        Field::LeaderEpoch { to, .. } => {
            file.write_all_at(&to.to_be_bytes(), batch + LEADER_EPOCH_AT)
        }
    }
}

fn temporary(file: &Path) -> PathBuf {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    PathBuf::from(temporary)
}

fn length_of(file: &Path) -> anyhow::Result<u64> {
    let metadata = fs::metadata(file);
    Ok(metadata
        .with_context(|| format!("cannot read {}", file.display()))?
        .len())
}

fn sync_parent(file: &Path) -> anyhow::Result<()> {
    sync(file.parent().unwrap_or(file))
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}
