//! What becomes a segment: the batches that stay, their index, and the `.cleaned` file, which is begun
//! only with the first batch that does not stay as it is.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_protocol::Offset;
use corelog_protocol::record::BatchView;

use super::source::Source;
use super::stop::Stop;
use super::{is_over, spend, step_bytes};
use crate::log::canary::{Canary, is_planted};
use crate::log::checksums::Checksums;
use crate::log::index::SegmentIndex;
use crate::log::partition_log::PartitionLog;
use crate::log::segment::{LARGEST_SEGMENT, Segment};
use crate::log::shard_log::Shared;
use crate::runtime::{AlignedBuffer, BLOCK, File, OpenMode, Task, spawn};

/// Space is asked for in steps: a write that changes the size of a file costs three times as much.
const ALLOCATION_STEP: u64 = 16 << 20;

/// A finished `.cleaned` file, synced and of exact length.
pub(super) struct Cleaned {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) index: SegmentIndex,
    pub(super) checksums: Checksums,
}

/// What becomes a segment. Until something of the first source changes there is no file.
pub(super) struct Output<'a> {
    shared: &'a Shared,
    log: &'a PartitionLog,
    first: &'a Segment,
    path: PathBuf,
    /// The most that it may come to.
    largest: u64,
    position: u64,
    index: SegmentIndex,
    checksums: Checksums,
    file: Option<Writer<'a>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        log: &'a PartitionLog,
        first: &'a Segment,
        largest: u64,
        index_interval_bytes: u64,
    ) -> Output<'a> {
        Output {
            shared,
            log,
            first,
            path: cleaned_path(first.path()),
            largest,
            position: 0,
            index: SegmentIndex::new(first.base_offset(), index_interval_bytes),
            checksums: Checksums::new(0),
            file: None,
        }
    }

    /// Something differs from here on: the file is begun, with what the first source has so far.
    pub(super) async fn begin(&mut self) -> Result<(), Stop> {
        if self.file.is_some() {
            return Ok(());
        }
        let writer = Writer::create(self.shared, self.log, self.path.clone(), self.largest);
        let mut writer = writer.await?;
        let copied = self.copy_prefix(&mut writer).await;
        self.file = Some(writer);
        copied
    }

    async fn copy_prefix(&self, writer: &mut Writer<'a>) -> Result<(), Stop> {
        let mut source = Source::open(self.shared, self.first, 0).await?;
        let mut left = self.position;
        while left > 0 {
            let Some(run) = source.next().await? else {
                break;
            };
            if is_over(self.shared, self.log) {
                return Err(Stop::Ended);
            }
            let length = left.min(run.bytes.len() as u64);
            let bytes = &run.bytes[..usize::try_from(length).expect("part of a buffer")];
            writer.write(bytes).await?;
            left -= length;
        }
        Ok(())
    }

    /// The next batch, as it is to be.
    pub(super) async fn push(&mut self, batch: &BatchView<'_>) -> Result<(), Stop> {
        let size = batch.size_in_bytes();
        if self.position + size as u64 > LARGEST_SEGMENT {
            let reason = "what is left of it does not fit a segment";
            return Err(Stop::uncleanable(self.first.path(), self.position, reason));
        }
        let max_timestamp = batch.max_timestamp().get();
        self.index
            .observe(self.position, size, batch.last_offset(), max_timestamp);
        if let Some(file) = &mut self.file {
            file.write(batch.bytes()).await?;
        }
        self.position += size as u64;
        self.checksums.observe(self.position, batch.bytes());
        Ok(())
    }

    /// The finished file; `None` when the source stays as it is.
    pub(super) async fn finish(&mut self) -> Result<Option<Cleaned>, Stop> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        file.finish(self.position).await?;
        self.index.close();
        Ok(Some(Cleaned {
            path: self.path.clone(),
            size: self.position,
            index: self.index.clone(),
            checksums: self.checksums.clone(),
        }))
    }

    /// Removes what was written; returns why it ended.
    pub(super) async fn abandon(mut self, stop: Stop) -> Stop {
        let Some(file) = self.file.take() else {
            return stop;
        };
        file.abandon().await;
        remove(self.shared, &self.path, stop).await
    }
}

/// Removes a `.cleaned` file that came to nothing because of `stop`, and returns why it ended. Where it
/// cannot be removed, the log is not compacted any more: a start takes what has `.swap` behind its
/// name for incomplete while there is a `.cleaned` of a lower offset.
pub(super) async fn remove(shared: &Shared, path: &Path, stop: Stop) -> Stop {
    match shared.storage.remove_file(path).await {
        Ok(()) => stop,
        Err(error) if error.kind() == io::ErrorKind::NotFound => stop,
        Err(error) => {
            let reason = format!("a file that is not needed cannot be removed: {error}");
            Stop::uncleanable(path, 0, reason)
        }
    }
}

/// `00000000000000000042.log.cleaned`
fn cleaned_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".cleaned");
    PathBuf::from(name)
}

/// Writes a file front to back in whole blocks, one write under way while the next is gathered.
struct Writer<'a> {
    shared: &'a Shared,
    log: &'a PartitionLog,
    path: PathBuf,
    file: Rc<File>,
    largest: u64,
    allocated: u64,
    /// Where the gathered bytes belong.
    position: u64,
    gathered: usize,
    buffer: AlignedBuffer,
    spare: Option<AlignedBuffer>,
    writing: Option<Task<(io::Result<()>, AlignedBuffer)>>,
}

impl<'a> Writer<'a> {
    async fn create(
        shared: &'a Shared,
        log: &'a PartitionLog,
        path: PathBuf,
        largest: u64,
    ) -> Result<Writer<'a>, Stop> {
        let buffer = memory(shared, step_bytes(shared)).await?;
        let opened = shared.storage.open(&path, OpenMode::CreateOrOpen).await;
        let file = opened.map_err(|error| Stop::failed("create", &path, &error))?;
        Ok(Writer {
            shared,
            log,
            path,
            file: Rc::new(file),
            largest: largest.next_multiple_of(BLOCK as u64),
            allocated: 0,
            position: 0,
            gathered: 0,
            buffer,
            spare: None,
            writing: None,
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (self.buffer.len() - self.gathered).min(rest.len());
            let (now, later) = rest.split_at(room);
            self.buffer[self.gathered..self.gathered + room].copy_from_slice(now);
            self.gathered += room;
            rest = later;
            if self.gathered == self.buffer.len() {
                self.start_write().await?;
            }
        }
        Ok(())
    }

    /// Sends off what was gathered, and waits for the write before.
    async fn start_write(&mut self) -> Result<(), Stop> {
        self.end_write().await?;
        let end = self.position + self.buffer.len() as u64;
        if end > self.allocated {
            let target = (self.allocated + ALLOCATION_STEP)
                .min(self.largest)
                .max(end);
            let asked = self
                .file
                .allocate(self.allocated, target - self.allocated)
                .await;
            asked.map_err(|error| Stop::failed("allocation", &self.path, &error))?;
            self.allocated = target;
        }
        let next = self.next_buffer().await?;
        let full = std::mem::replace(&mut self.buffer, next);
        let (file, position) = (Rc::clone(&self.file), self.position);
        self.writing = Some(spawn(async move { file.write_at(full, position).await }));
        self.position = end;
        self.gathered = 0;
        Ok(())
    }

    /// To gather in while the other one is written.
    async fn next_buffer(&mut self) -> Result<AlignedBuffer, Stop> {
        let bytes = step_bytes(self.shared);
        match self.spare.take() {
            Some(spare) if spare.len() == bytes => Ok(spare),
            other => {
                drop(other);
                memory(self.shared, bytes).await
            }
        }
    }

    async fn end_write(&mut self) -> Result<(), Stop> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        let (written, buffer) = writing.await;
        let bytes = buffer.len() as u64;
        self.spare = Some(buffer);
        written.map_err(|error| Stop::failed("write", &self.path, &error))?;
        self.shared
            .count(|stats| stats.compaction_written_bytes += bytes);
        let is_over = || is_over(self.shared, self.log);
        spend(self.shared, bytes, is_over).await;
        Ok(())
    }

    /// Writes the rest, cuts the file to `size` and syncs it.
    async fn finish(&mut self, size: u64) -> Result<(), Stop> {
        assert_eq!(self.position + self.gathered as u64, size);
        if self.gathered > 0 {
            let padded = self.gathered.next_multiple_of(BLOCK);
            self.buffer[self.gathered..padded].fill(0);
            self.buffer.truncate(padded);
            self.start_write().await?;
        }
        self.end_write().await?;
        let cut = self.file.truncate(size).await;
        cut.map_err(|error| Stop::failed("truncate", &self.path, &error))?;
        if !is_planted(Canary::SourcesRemovedBeforeSwap) {
            let synced = self.file.sync_data().await;
            synced.map_err(|error| Stop::failed("sync", &self.path, &error))?;
        }
        Ok(())
    }

    async fn abandon(mut self) {
        // Its error is one of a file that nobody wants any more.
        let _ = self.end_write().await;
        self.close().await;
    }

    async fn close(self) {
        if let Ok(file) = Rc::try_unwrap(self.file)
            && let Err(error) = file.close().await
        {
            tracing::warn!(path = %self.path.display(), "close failed: {error}");
        }
    }
}

async fn memory(shared: &Shared, bytes: usize) -> Result<AlignedBuffer, Stop> {
    loop {
        if let Ok(buffer) = shared.memory.compaction.aligned(bytes) {
            return Ok(buffer);
        }
        drop(
            shared
                .charge(&shared.memory.compaction, bytes)
                .await
                .ok_or(Stop::Ended)?,
        );
    }
}

/// The base offset in a name such as `00000000000000000042.log.swap`.
pub(super) fn base_of(name: &str, suffix: &str) -> Option<Offset> {
    crate::log::segment::base_offset_of(name.strip_suffix(suffix)?)
}
