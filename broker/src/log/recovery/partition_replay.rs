//! One partition's segments as the replay rebuilds them.
//!
//! While the journal is read only whole blocks are written, at places the journal names. The end of
//! every segment stays in memory until all batches were read back and found right; only then it is
//! written, padded, and what lies behind it is cut.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::Offset;
use crc32c::crc32c;

use super::PartitionStart;
use crate::log::RecoveryError;
use crate::log::batch_scan::{Source, WalkFrom, Walked, walk};
use crate::log::index::SegmentIndex;
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::segment::{base_offset_of, log_file_name};
use crate::runtime::{BLOCK, BufferPool, File, OpenMode, Storage};

/// Bytes of one write.
pub(super) const WRITE_BYTES: usize = 1 << 20;
const LARGEST_INDEX_FILE: u64 = 64 << 20;
const INDEX_INTERVAL_BYTES: u64 = 4096;

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

/// Where replays write.
pub(super) struct Disk<'a> {
    pub(super) storage: &'a Storage,
    pub(super) pool: BufferPool,
}

/// Bytes at the end of a segment that are not in its file yet, or not for certain.
struct Rest {
    /// Block-aligned position of the first of them.
    at: u64,
    bytes: Vec<u8>,
}

impl Rest {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

pub(super) struct PartitionReplay {
    folder: PathBuf,
    start: PartitionStart,
    /// Where reading back begins: the checkpointed place, or the beginning of the segment that the
    /// log was cut back to.
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
            EntryKind::Block | EntryKind::Truncate | EntryKind::LogStart | EntryKind::Delete => {
                false
            }
        }
    }

    pub(super) async fn apply(
        &mut self,
        disk: &Disk<'_>,
        entry: &EntryHeader,
        data: &[u8],
    ) -> Result<(), Stopped> {
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
            EntryKind::Block => Ok(()),
            EntryKind::Roll => self.roll(disk, entry).await,
            EntryKind::LogStart => {
                self.log_start = self.log_start.max(entry.next_offset);
                Ok(())
            }
            EntryKind::Truncate => self.truncate(disk, entry).await,
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

    async fn truncate(&mut self, disk: &Disk<'_>, entry: &EntryHeader) -> Result<(), Stopped> {
        let (base, position) = (entry.segment_base, entry.position);
        if (base, position) > (self.segment_base, self.rest.end()) {
            return Err(gap(entry, self.rest.end()));
        }
        if base < self.segment_base {
            self.close_file().await?;
            self.segment_base = base;
            let closed = self.closed.split_off(&base).remove(&base);
            self.rest = match closed {
                Some(rest) => rest,
                None => self.read_rest(disk, position).await?,
            };
        }
        if position < self.rest.at {
            self.rest = self.read_rest(disk, position).await?;
        }
        if position > self.rest.end() {
            return Err(gap(entry, self.rest.end()));
        }
        let kept = usize::try_from(position - self.rest.at).expect("not behind its end");
        self.rest.bytes.truncate(kept);
        self.next_offset = entry.next_offset;
        let mut epochs_until = entry.next_offset;
        if (base, position) < (self.trusted.0, self.trusted.1) {
            self.trusted = (base, 0, base);
            epochs_until = base;
        }
        let epochs = &mut self.start.epochs;
        epochs.retain(|(_, first)| *first < epochs_until);
        Ok(())
    }

    /// The begun block before `position`, from the file.
    async fn read_rest(&mut self, disk: &Disk<'_>, position: u64) -> Result<Rest, Stopped> {
        let at = position - position % BLOCK as u64;
        let begun = usize::try_from(position - at).expect("less than a block");
        let path = self.path(self.segment_base);
        let file = self.open_file(disk).await?;
        let read = file.read_at(at, begun).await;
        let bytes = read.map_err(RecoveryError::io("read", &path))?.to_vec();
        if bytes.len() != begun {
            let problem = format!("{} ends before byte {position}", path.display());
            return Err(Stopped::Suspect(problem));
        }
        Ok(Rest { at, bytes })
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
        let mut indexes = Vec::new();
        for (&base, rest) in &segments {
            let from = WalkFrom {
                position: walked_to,
                next_offset,
                epoch: epochs.last().map(|(epoch, _)| *epoch),
                dense: true,
            };
            let walked = read_back(disk, &folder, base, from, rest).await?;
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
        })
    }
}

fn gap(entry: &EntryHeader, end: u64) -> Stopped {
    Stopped::Suspect(format!(
        "the journal goes on at byte {} of segment {} and the bytes from {end} on are missing",
        entry.position, entry.segment_base
    ))
}

async fn open_for_writing(
    disk: &Disk<'_>,
    folder: &Path,
    path: &Path,
) -> Result<File, RecoveryError> {
    let created = disk.storage.create_dir_all(folder).await;
    created.map_err(RecoveryError::io("create", folder))?;
    let opened = disk.storage.open(path, OpenMode::CreateOrOpen).await;
    opened.map_err(RecoveryError::io("open", path))
}

/// Writes bytes from a block position on, the last block padded with zeros.
async fn write_padded(
    disk: &Disk<'_>,
    file: &File,
    path: &Path,
    bytes: &[u8],
    position: u64,
) -> Result<(), RecoveryError> {
    let mut done = 0;
    for step in bytes.chunks(WRITE_BYTES) {
        let padded = step.len().next_multiple_of(BLOCK);
        let mut buffer = disk.pool.aligned_wait(padded).await;
        buffer[..step.len()].copy_from_slice(step);
        buffer[step.len()..].fill(0);
        let (written, _) = file.write_at(buffer, position + done).await;
        written.map_err(RecoveryError::io("write", path))?;
        done += step.len() as u64;
    }
    Ok(())
}

/// Walks what the journal says a segment holds, its end from memory.
async fn read_back(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    from: WalkFrom,
    rest: &Rest,
) -> Result<Walked, RecoveryError> {
    let path = folder.join(log_file_name(base));
    let file = match disk.storage.open(&path, OpenMode::Read).await {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(RecoveryError::io("open", &path)(error)),
    };
    let source = Source {
        file: file.as_ref(),
        rest: &rest.bytes,
        rest_at: rest.at,
    };
    let walked = walk(&source, base, INDEX_INTERVAL_BYTES, from, rest.end()).await;
    let walked = walked.map_err(RecoveryError::io("read", &path))?;
    if let Some(file) = file {
        let closed = file.close().await;
        closed.map_err(RecoveryError::io("close", &path))?;
    }
    Ok(walked)
}

/// Writes a segment's end, cuts the file to its length and syncs it.
async fn close_segment(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    rest: &Rest,
) -> Result<(), RecoveryError> {
    let path = folder.join(log_file_name(base));
    let file = open_for_writing(disk, folder, &path).await?;
    write_padded(disk, &file, &path, &rest.bytes, rest.at).await?;
    let cut = file.truncate(rest.end()).await;
    cut.map_err(RecoveryError::io("truncate", &path))?;
    let synced = file.sync_data().await;
    synced.map_err(RecoveryError::io("sync", &path))?;
    let closed = file.close().await;
    closed.map_err(RecoveryError::io("close", &path))
}

/// Brings a segment's index files up to date with what was read back from `from` on.
async fn write_indexes(
    disk: &Disk<'_>,
    folder: &Path,
    base: Offset,
    from: u64,
    mut index: SegmentIndex,
) -> Result<(), RecoveryError> {
    let path = folder.join(log_file_name(base));
    let read = |extension: &'static str| {
        let path = path.with_extension(extension);
        async move { disk.storage.read_file(&path, LARGEST_INDEX_FILE).await }
    };
    if from > 0
        && let (Ok(offsets), Ok(times)) = (read("index").await, read("timeindex").await)
        && let Some(older) =
            SegmentIndex::decode(base, INDEX_INTERVAL_BYTES, from, &offsets, &times)
    {
        index.prepend(&older);
    }
    for (extension, bytes) in [
        ("index", index.encode_offsets()),
        ("timeindex", index.encode_times()),
    ] {
        let path = path.with_extension(extension);
        let written = disk.storage.replace_file(&path, &bytes).await;
        written.map_err(RecoveryError::io("write", &path))?;
    }
    Ok(())
}

/// Removes segments behind `first` that the journal does not speak of: they were begun for appends
/// that were never acknowledged.
async fn remove_strangers(
    disk: &Disk<'_>,
    folder: &Path,
    first: Offset,
    segments: &BTreeMap<Offset, Rest>,
) -> Result<(), RecoveryError> {
    let entries = disk.storage.list(folder).await;
    for entry in entries.map_err(RecoveryError::io("list", folder))? {
        let stranger = base_offset_of(&entry.name)
            .is_some_and(|base| base > first && !segments.contains_key(&base));
        if stranger {
            let path = folder.join(&entry.name);
            let removed = disk.storage.remove_file(&path).await;
            removed.map_err(RecoveryError::io("remove", &path))?;
        }
    }
    let synced = disk.storage.sync_dir(folder).await;
    synced.map_err(RecoveryError::io("sync", folder))
}
