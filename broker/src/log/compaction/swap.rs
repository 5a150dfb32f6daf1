//! Putting a cleaned segment in the place of its sources, so that a crash at any point leaves either
//! them or it.
//!
//! 1. `<base>.log.cleaned` is written, cut to its length and synced.
//! 2. It is renamed to `<base>.log.swap`, and the folder is synced. From here on the new one counts.
//! 3. The logs of the sources but the first are removed, and the indexes and checksums of all. The
//!    folder is synced, so that none of them comes back beside the new log.
//! 4. `.log.swap` takes the name of the first source's log. The folder is synced.
//! 5. The new indexes and checksums are written; a log is right without.
//!
//! A start removes what ends in `.cleaned` and goes on from step 3 with what ends in `.swap`. A
//! cleaned segment ends at the same offset as its last source, so its own last offset tells which
//! segments it replaces. Kafka's names and Kafka's order (`LogSegments`, `UnifiedLog.replaceSegments`).
//!
//! Readers go on meanwhile: the sources' files are held open until the new segment has taken their
//! place in memory, which happens in one step with the end of the last rename.

use std::cell::Cell;
use std::io;
use std::ops::Bound::Included;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corelog_protocol::Offset;

use super::cleaned::{self, Cleaned, base_of};
use super::stop::Stop;
use crate::log::batch_scan::{Source, WalkFrom, walk};
use crate::log::canary::{Canary, is_planted};
use crate::log::checksums;
use crate::log::partition_log::PartitionLog;
use crate::log::segment::{Segment, log_file_name};
use crate::log::shard_log::Shared;
use crate::log::{LogConfig, LogError, LogFailure, TopicPartition};
use crate::runtime::{BLOCK, DirEntry, OpenMode, Storage};

/// Put behind a name that a crash may leave half done.
const CLEANED: &str = ".cleaned";
/// Put behind the name of a log that replaces others.
const SWAP: &str = ".swap";
/// What lies beside a log.
const COMPANIONS: [&str; 3] = ["index", "timeindex", checksums::EXTENSION];

/// Set while the files of a log are being exchanged; cleared whatever happens.
struct Exchanging<'a>(&'a Cell<bool>);

impl<'a> Exchanging<'a> {
    fn begin(flag: &'a Cell<bool>) -> Exchanging<'a> {
        flag.set(true);
        Exchanging(flag)
    }
}

impl Drop for Exchanging<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Replaces neighbouring segments by what was cleaned from them.
pub(super) async fn swap(
    shared: &Shared,
    log: &PartitionLog,
    sources: &[Rc<Segment>],
    cleaned: Cleaned,
) -> Result<(), Stop> {
    let (storage, folder) = (&shared.storage, log.folder());
    let failed = |operation: &'static str, error: io::Error| {
        Stop::Failed(LogFailure::new(operation, folder, &error))
    };
    let mut open = Vec::with_capacity(sources.len());
    for source in sources {
        match source.file(storage).await {
            Ok(file) => open.push(file),
            Err(error) => {
                let stop = Stop::not_opened(source, &error);
                return Err(cleaned::remove(shared, &cleaned.path, stop).await);
            }
        }
    }
    let _only_one = log.rearranging.acquire(1).await;
    let _exchanging = Exchanging::begin(&log.compaction.exchanging);
    if !log.still_has(sources) {
        return Err(cleaned::remove(shared, &cleaned.path, Stop::Ended).await);
    }
    let first = &sources[0];
    let swap = swap_path(first.path());
    if let Err(error) = storage.rename(&cleaned.path, &swap).await {
        // Nothing was exchanged yet: a full disk costs no more than this run.
        let stop = Stop::failed("rename", folder, &error);
        return Err(cleaned::remove(shared, &cleaned.path, stop).await);
    }
    if !is_planted(Canary::SourcesRemovedBeforeSwap) {
        let synced = storage.sync_dir(folder).await;
        synced.map_err(|error| failed("sync", error))?;
    }
    let bases = sources.iter().map(|source| source.base_offset());
    remove_sources(storage, folder, bases)
        .await
        .map_err(|error| failed("remove", error))?;
    let renamed = storage.rename(&swap, first.path()).await;
    renamed.map_err(|error| failed("rename", error))?;
    let segment = log.replace_segments(shared, sources, &cleaned);
    drop(open);
    let synced = storage.sync_dir(folder).await;
    synced.map_err(|error| failed("sync", error))?;
    for source in sources {
        // Who reads it goes on, and its space goes when they end.
        let Some(file) = source.take_file() else {
            continue;
        };
        if let Err(error) = shared.removal.empty(file).await {
            tracing::warn!(path = %source.path().display(), "close failed: {error}");
        }
    }
    match segment.write_indexes(storage).await {
        Ok(()) => segment.forget_index(),
        Err(error) => {
            tracing::warn!(path = %segment.path().display(), "index not written: {error}");
        }
    }
    if let Err(error) = segment.write_checksums(storage).await {
        tracing::warn!(path = %segment.path().display(), "checksums not written: {error}");
    }
    Ok(())
}

impl PartitionLog {
    /// These segments are in the log, side by side, and closed.
    fn still_has(&self, sources: &[Rc<Segment>]) -> bool {
        let state = self.state.borrow();
        let (first, last) = (&sources[0], &sources[sources.len() - 1]);
        let range = (Included(first.base_offset()), Included(last.base_offset()));
        let found: Vec<_> = state.segments.range(range).map(|(_, it)| it).collect();
        let same = found.len() == sources.len()
            && found.iter().zip(sources).all(|(a, b)| Rc::ptr_eq(a, b));
        same && !state.deleted && sources.iter().all(|source| source.is_sealed())
    }

    fn replace_segments(
        &self,
        shared: &Shared,
        sources: &[Rc<Segment>],
        cleaned: &Cleaned,
    ) -> Rc<Segment> {
        let mut state = self.state.borrow_mut();
        for source in sources {
            source.retire();
            state.segments.remove(&source.base_offset());
        }
        let base = sources[0].base_offset();
        let segment = Rc::new(Segment::existing(
            &shared.open_files,
            self.folder(),
            base,
            state.config.index_interval_bytes,
            cleaned.size,
            cleaned.size,
            true,
        ));
        segment.set_index(cleaned.index.clone());
        segment.checksums.replace(cleaned.checksums.clone());
        state.segments.insert(base, Rc::clone(&segment));
        segment
    }
}

/// Removes the logs of the sources but the first, and the indexes and checksums of all, durably.
async fn remove_sources(
    storage: &Storage,
    folder: &Path,
    bases: impl Iterator<Item = Offset>,
) -> io::Result<()> {
    for (n, base) in bases.enumerate() {
        let log = folder.join(log_file_name(base));
        if n > 0 {
            remove_if_there(storage, &log).await?;
        }
        for extension in COMPANIONS {
            remove_if_there(storage, &log.with_extension(extension)).await?;
        }
    }
    storage.sync_dir(folder).await
}

async fn remove_if_there(storage: &Storage, path: &Path) -> io::Result<()> {
    match storage.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `00000000000000000042.log.swap`
fn swap_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(SWAP);
    PathBuf::from(name)
}

/// Removes or completes what a crash left of a compaction in a partition's folder. Its closed
/// segments lie below `closed_end`.
pub(crate) async fn finish_interrupted(
    storage: &Storage,
    id: TopicPartition,
    folder: &Path,
    config: &LogConfig,
    entries: &[DirEntry],
    closed_end: Offset,
) -> Result<(), LogError> {
    let is_left = |entry: &&DirEntry| entry.name.ends_with(CLEANED) || entry.name.ends_with(SWAP);
    if !entries.iter().any(|entry| is_left(&entry)) {
        return Ok(());
    }
    // Kafka also splits a segment in this way, and has then renamed some of the parts at most: as
    // long as there is a cleaned one, swaps from there on are not complete.
    let first_cleaned = entries
        .iter()
        .filter_map(|entry| base_of(&entry.name, CLEANED))
        .min();
    let mut swaps = Vec::new();
    for entry in entries.iter().filter(is_left) {
        let swap = base_of(&entry.name, SWAP);
        match swap.filter(|base| first_cleaned.is_none_or(|cleaned| *base < cleaned)) {
            Some(base) => swaps.push((base, entry.len)),
            // Half-written logs, and indexes, which are made anew.
            None => {
                let path = folder.join(&entry.name);
                let removed = remove_if_there(storage, &path).await;
                removed.map_err(LogError::io("remove", &path))?;
            }
        }
    }
    for (base, size) in swaps {
        complete(
            storage,
            id,
            folder,
            config,
            entries,
            closed_end,
            (base, size),
        )
        .await?;
    }
    Ok(())
}

/// Goes on where a crash stopped the exchange.
async fn complete(
    storage: &Storage,
    id: TopicPartition,
    folder: &Path,
    config: &LogConfig,
    entries: &[DirEntry],
    closed_end: Offset,
    (base, size): (Offset, u64),
) -> Result<(), LogError> {
    let log = folder.join(log_file_name(base));
    let swap = swap_path(&log);
    let suspect = |reason: String| LogError::Suspect {
        topic_partition: id,
        reason: format!("{} {reason}", swap.display()),
    };
    let opened = storage.open(&swap, OpenMode::Read).await;
    let file = opened.map_err(LogError::io("open", &swap))?;
    let source = Source {
        file: Some(&file),
        rest: &[],
        rest_at: size.next_multiple_of(BLOCK as u64),
    };
    let from = WalkFrom {
        position: 0,
        next_offset: base,
        epoch: None,
        dense: false,
    };
    let walked = walk(&source, base, config.index_interval_bytes, from, size).await;
    let walked = walked.map_err(LogError::io("read", &swap))?;
    file.close().await.map_err(LogError::io("close", &swap))?;
    if let Some(reason) = walked.stopped {
        return Err(suspect(format!(
            "replaces other segments and is damaged: {reason}"
        )));
    }
    if size == 0 || walked.next_offset > closed_end {
        let end = walked.next_offset;
        return Err(suspect(format!(
            "ends at offset {end} and the closed segments at {closed_end}"
        )));
    }
    let replaced = entries
        .iter()
        .filter_map(|entry| crate::log::segment::base_offset_of(&entry.name))
        .filter(|other| *other > base && *other < walked.next_offset);
    let sources = std::iter::once(base).chain(replaced);
    let removed = remove_sources(storage, folder, sources).await;
    removed.map_err(LogError::io("remove from", folder))?;
    let renamed = storage.rename(&swap, &log).await;
    renamed.map_err(LogError::io("rename", &swap))?;
    let synced = storage.sync_dir(folder).await;
    synced.map_err(LogError::io("sync", folder))?;
    let mut index = walked.index;
    index.close();
    for (extension, bytes) in [
        ("index", index.encode_offsets()),
        ("timeindex", index.encode_times()),
    ] {
        let path = log.with_extension(extension);
        if let Err(error) = storage.replace_file(&path, &bytes).await {
            tracing::warn!(path = %path.display(), "index not written: {error}");
        }
    }
    tracing::info!(path = %log.display(), "completed a compaction that a crash interrupted");
    Ok(())
}
