//! What a path given on the command line is, and what lies in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corelog_broker::log::inspect::{DATA_FOLDER, JOURNAL_FOLDER, base_offset_of};
use corelog_protocol::Offset;

/// A path that no log lies in. A mistake of the command line.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", .path.display())]
pub(crate) struct NotALog {
    path: PathBuf,
    problem: &'static str,
}

impl NotALog {
    pub(crate) fn new(path: &Path, problem: &'static str) -> NotALog {
        NotALog {
            path: path.to_owned(),
            problem,
        }
    }
}

/// What the path is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A broker's folder: ours, or Kafka's.
    Data(DataFolder),
    /// The folder of one partition.
    Partition(PartitionFolder),
    /// One file.
    File(PathBuf),
}

/// A broker's folder.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub(crate) root: PathBuf,
    pub(crate) partitions: Vec<PartitionFolder>,
    /// The files of our journal folder; none in Kafka's.
    pub(crate) journal: Vec<PathBuf>,
    /// Files that no broker puts there.
    pub(crate) strangers: Vec<PathBuf>,
}

/// The folder of one partition.
#[derive(Debug)]
pub(crate) struct PartitionFolder {
    pub(crate) path: PathBuf,
    /// By base offset.
    pub(crate) segments: Vec<SegmentFile>,
    /// By base offset: what a compaction wrote to take the place of segments, and a crash left.
    pub(crate) swaps: Vec<SegmentFile>,
    /// The other files.
    pub(crate) others: Vec<PathBuf>,
}

/// One `.log` file, or one that is to become one.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) base_offset: Offset,
    pub(crate) bytes: u64,
}

impl PartitionFolder {
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn bytes(&self) -> u64 {
        let files = self.segments.iter().chain(&self.swaps);
        files.map(|segment| segment.bytes).sum()
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<PartitionFolder> {
        let mut folder = PartitionFolder {
            path: path.to_owned(),
            segments: Vec::new(),
            swaps: Vec::new(),
            others: Vec::new(),
        };
        // Kafka also splits a segment by way of such files, and has renamed some of the parts at
        // most: as long as there is a cleaned one, swaps from there on are not complete, and a start
        // removes them.
        let files = list(path)?;
        let cleaned = files.iter().filter_map(|file| base_in(file, ".cleaned"));
        let swaps_end = cleaned.min();
        for file in files {
            let counts = |swap: &SegmentFile| swaps_end.is_none_or(|end| swap.base_offset < end);
            if let Some(segment) = segment_of(&file)? {
                folder.segments.push(segment);
            } else if let Some(swap) = swap_of(&file)?.filter(counts) {
                folder.swaps.push(swap);
            } else {
                folder.others.push(file);
            }
        }
        folder.segments.sort_by_key(|segment| segment.base_offset);
        folder.swaps.sort_by_key(|segment| segment.base_offset);
        Ok(folder)
    }
}

/// The base offset in a segment's name that has something put behind it.
fn base_in(path: &Path, suffix: &str) -> Option<Offset> {
    let name = path.file_name().and_then(|name| name.to_str());
    base_offset_of(name?.strip_suffix(suffix)?)
}

/// The segment that a file is by its name.
pub(crate) fn segment_of(path: &Path) -> anyhow::Result<Option<SegmentFile>> {
    match base_in(path, "") {
        Some(base_offset) => regular(path, base_offset),
        None => Ok(None),
    }
}

/// The segment that a file is to become by its name, when a compaction is finished.
pub(crate) fn swap_of(path: &Path) -> anyhow::Result<Option<SegmentFile>> {
    match base_in(path, ".swap") {
        Some(base_offset) => regular(path, base_offset),
        None => Ok(None),
    }
}

fn regular(path: &Path, base_offset: Offset) -> anyhow::Result<Option<SegmentFile>> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.is_file().then(|| SegmentFile {
        path: path.to_owned(),
        base_offset,
        bytes: metadata.len(),
    }))
}

impl Place {
    pub(crate) fn find(path: &Path) -> anyhow::Result<Place> {
        let not_a_log = |problem| NotALog::new(path, problem);
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_log("does not exist").into());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if metadata.is_file() {
            return Ok(Place::File(path.to_owned()));
        }
        if !metadata.is_dir() {
            return Err(not_a_log("is neither a file nor a folder").into());
        }
        let entries = list(path)?;
        if path.join(DATA_FOLDER).is_dir() || path.join(JOURNAL_FOLDER).is_dir() {
            return Ok(Place::Data(DataFolder::ours(path, &entries)?));
        }
        if is_partition(path) {
            return Ok(Place::Partition(PartitionFolder::read(path)?));
        }
        let partitions: Vec<_> = entries.iter().filter(|entry| is_partition(entry)).collect();
        if partitions.is_empty() {
            return Err(not_a_log("holds no log: neither segments nor folders of them").into());
        }
        let partitions = partitions
            .into_iter()
            .map(|path| PartitionFolder::read(path))
            .collect::<anyhow::Result<_>>()?;
        Ok(Place::Data(DataFolder {
            root: path.to_owned(),
            partitions,
            journal: Vec::new(),
            strangers: Vec::new(),
        }))
    }
}

impl DataFolder {
    fn ours(root: &Path, entries: &[PathBuf]) -> anyhow::Result<DataFolder> {
        /// What a broker keeps beside journals and partitions.
        const KNOWN: [&str; 8] = [
            ".lock",
            ".polling-probe",
            "meta.properties",
            "ports.json",
            "metadata",
            "quarantine",
            DATA_FOLDER,
            JOURNAL_FOLDER,
        ];
        let named = |path: &Path, names: &[&str]| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| names.contains(&name))
        };
        let strange = |path: &&PathBuf| !named(path, &KNOWN);
        let mut folder = DataFolder {
            root: root.to_owned(),
            partitions: Vec::new(),
            journal: list_if_there(&root.join(JOURNAL_FOLDER))?,
            strangers: entries.iter().filter(strange).cloned().collect(),
        };
        for path in list_if_there(&root.join(DATA_FOLDER))? {
            if path.is_dir() {
                folder.partitions.push(PartitionFolder::read(&path)?);
            } else {
                folder.strangers.push(path);
            }
        }
        Ok(folder)
    }
}

/// Holds segments, or says whose it is.
fn is_partition(path: &Path) -> bool {
    path.join("partition.metadata").is_file()
        || list_if_there(path).is_ok_and(|entries| {
            entries.iter().any(|entry| {
                let name = entry.file_name().and_then(|name| name.to_str());
                name.and_then(base_offset_of).is_some()
            })
        })
}

fn list_if_there(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_dir() {
        list(path)
    } else {
        Ok(Vec::new())
    }
}

/// The entries of a folder, by name.
fn list(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot list {}", path.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(failed)? {
        entries.push(entry.with_context(failed)?.path());
    }
    entries.sort();
    Ok(entries)
}
