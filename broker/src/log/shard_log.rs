//! Everything the logs of one core share: the journal, the memory, the partitions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;

use corelog_protocol::{Offset, ShardId};
use futures_util::future::{Either, select};

use super::checkpoint::{CheckpointError, checkpoint_path};
use super::commit::Commit;
use super::compaction::Compaction;
use super::journal::JournalFiles;
use super::lending::Lending;
use super::loaded_indexes::LoadedIndexes;
use super::open_files::OpenFiles;
use super::partition_log::PartitionLog;
use super::producers::KnownProducers;
use super::recovery::PartitionStart;
use super::removal::Removal;
use super::segment::Segment;
use super::write_out::WriteOut;
use super::{Generation, LogConfig, LogError, LogFailure, LogOptions, TopicPartition, folder};
use crate::runtime::{AppendBuffer, BufferPool, Charge, Notify, Semaphore, Storage, Task, spawn};

/// The folder of all journals and checkpoints, inside the data directory.
pub(crate) const JOURNAL_FOLDER: &str = "journal";
/// The folder of the partitions' folders, inside the data directory.
pub(crate) const DATA_FOLDER: &str = "data";

/// Counters of one shard's logs, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Groups written to the journal.
    pub journal_groups: u64,
    /// Bytes written to the journal, padding included.
    pub journal_bytes: u64,
    /// Flushes of the journal.
    pub journal_flushes: u64,
    /// Time those flushes took, in microseconds.
    pub journal_flush_micros: u64,
    /// The longest of them, in microseconds.
    pub journal_flush_max_micros: u64,
    /// Bytes written to segments from memory after they were journaled.
    pub segment_bytes: u64,
    /// Bytes that bypassed the journal.
    pub bypass_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Segments that left their log, and the bytes they held.
    pub segments_removed: u64,
    pub segment_bytes_removed: u64,
    /// Compactions that ended.
    pub compactions: u64,
    /// Compactions that met a batch they could not read, or no room.
    pub compaction_failures: u64,
    /// Bytes that compactions read, and wrote.
    pub compaction_read_bytes: u64,
    pub compaction_written_bytes: u64,
    /// Time that compactions took, in microseconds.
    pub compaction_micros: u64,
    /// How full the last key map became, in percent.
    pub compaction_map_fill_percent: u64,
    /// The share of the dirtiest log that was not compacted, when last looked, in percent.
    pub compaction_dirtiest_percent: u64,
    /// Partitions that are not compacted any more because a batch could not be read.
    pub uncleanable_partitions: u64,
    /// Bytes of direct reads.
    pub read_bytes: u64,
    /// Bytes served from memory.
    pub cached_read_bytes: u64,
    /// Journal files that hold groups no checkpoint covers.
    pub journal_files_in_use: u64,
    /// Bytes of tails and of the cache behind them.
    pub tail_memory_bytes: u64,
    /// Those of them that wait for their segment.
    pub dirty_tail_bytes: u64,
    /// Bytes that reads hold, and what was decompressed or copied for them.
    pub read_memory_bytes: u64,
    /// Bytes that compaction holds: its key map, what it reads and what it writes.
    pub compaction_memory_bytes: u64,
    /// Bytes of closed segments' indexes.
    pub index_bytes: u64,
    /// Segment files that are open.
    pub open_files: u64,
    /// Idempotent producers that logs remember, each once for every partition it writes to.
    pub producers: u64,
    /// Producers forgotten because there were too many.
    pub producers_forgotten: u64,
}

/// One budget, and who holds how much of it.
pub(crate) struct MemoryShares {
    /// Tails, and behind them the cache of what the segments hold already.
    pub(crate) tails: BufferPool,
    /// What reads returned, and what was copied or decompressed for them.
    pub(crate) reads: BufferPool,
    pub(crate) compaction: BufferPool,
}

impl MemoryShares {
    fn new(budget: &BufferPool) -> MemoryShares {
        MemoryShares {
            tails: budget.share(),
            reads: budget.share(),
            compaction: budget.share(),
        }
    }
}

/// What the parts of a shard's log share.
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) memory: MemoryShares,
    /// Journal groups have a pool of their own: writing one must never wait for a tail, which
    /// waits for that write.
    pub(crate) journal_pool: BufferPool,
    pub(crate) lending: Lending,
    pub(crate) indexes: LoadedIndexes,
    pub(crate) options: LogOptions,
    pub(crate) shard: ShardId,
    pub(crate) generation: Generation,
    pub(crate) logs: RefCell<BTreeMap<TopicPartition, Rc<PartitionLog>>>,
    pub(crate) commit: Commit,
    pub(crate) write_out: WriteOut,
    pub(crate) removal: Removal,
    pub(super) compaction: Compaction,
    pub(crate) journal: JournalFiles,
    pub(crate) open_files: Rc<OpenFiles>,
    pub(super) known_producers: KnownProducers,
    /// Held by the search for a timestamp that takes memory for what it decompresses.
    pub(crate) searching: Semaphore,
    pub(crate) stats: Cell<LogStats>,
    failure: RefCell<Option<LogFailure>>,
    pub(crate) failed: Notify,
    pub(crate) closing: Cell<bool>,
    /// Creates the journal's files behind the first.
    preparing: RefCell<Option<Task<()>>>,
}

impl Shared {
    pub(crate) fn check(&self) -> Result<(), LogFailure> {
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    /// Stops the log directory for good. The first reason is kept.
    pub(crate) fn fail(&self, failure: LogFailure) {
        if self.failure.borrow().is_some() {
            return;
        }
        tracing::error!(shard = self.shard.get(), "{failure}");
        *self.failure.borrow_mut() = Some(failure);
        self.commit.stop();
        self.write_out.stop();
        self.removal.stop();
        self.journal.wake();
        self.failed.notify_waiters();
        let logs: Vec<_> = self.logs.borrow().values().cloned().collect();
        for log in logs {
            log.announce_change();
            log.extents.notify_waiters();
        }
    }

    /// Memory for a tail. While there is none, caches are dropped and tails written out.
    pub(crate) async fn append_buffer(&self, bytes: usize) -> Result<AppendBuffer, LogFailure> {
        loop {
            self.check()?;
            if let Ok(buffer) = self.memory.tails.append_buffer(bytes) {
                return Ok(buffer);
            }
            let failed = self.failed.notified();
            let room = pin!(self.memory.tails.available_changed());
            let _wanted = self.write_out.want_memory();
            select(room, failed).await;
        }
    }

    /// Room in one share. `None` once the log directory has stopped: what the tails hold then may
    /// never be given back, and reads go on.
    pub(crate) async fn charge(&self, share: &BufferPool, bytes: usize) -> Option<Charge> {
        if let Ok(charge) = share.charge(bytes) {
            return Some(charge);
        }
        let failed = self.failed.notified();
        if self.check().is_err() {
            return None;
        }
        let room = pin!(share.charge_wait(bytes));
        let _wanted = self.write_out.want_memory();
        match select(room, failed).await {
            Either::Left((charge, _)) => Some(charge),
            Either::Right(((), _)) => None,
        }
    }

    /// Has a segment's index in memory, for a lookup.
    pub(crate) async fn load_index(&self, segment: &Rc<Segment>) {
        segment.load_index(&self.storage).await;
        self.indexes.note_use(segment);
    }

    /// The largest timestamp of a segment's records. Reads its index the first time.
    pub(crate) async fn largest_timestamp(&self, segment: &Rc<Segment>) -> Option<i64> {
        if let Some(known) = segment.known_largest_timestamp() {
            return known;
        }
        self.load_index(segment).await;
        segment.index.borrow().largest_timestamp()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut LogStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}

/// The logs of one shard. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct ShardLog {
    shared: Rc<Shared>,
}

/// Memory for groups being built and written.
const JOURNAL_POOL_BYTES: usize = 8 << 20;
/// Of the files that may be open, one in so many may be one that is emptied.
const EMPTIED_SHARE: usize = 4;

impl ShardLog {
    /// Opens this shard's journal and starts its tasks. `pool` holds the tails and the cache;
    /// `generation` is what [`super::recover`] returned for this start.
    pub async fn start(
        storage: Storage,
        pool: BufferPool,
        options: LogOptions,
        shard: ShardId,
        generation: Generation,
    ) -> Result<ShardLog, LogError> {
        options.check()?;
        let journal_pool = BufferPool::new(JOURNAL_POOL_BYTES);
        let folder = Path::new(JOURNAL_FOLDER);
        let journal = JournalFiles::open(
            &storage,
            &journal_pool,
            folder,
            shard,
            options.journal.file_bytes,
        )
        .await?;
        let shared = Rc::new(Shared {
            storage,
            memory: MemoryShares::new(&pool),
            journal_pool,
            lending: Lending::new(options.lent_bytes),
            indexes: LoadedIndexes::new(options.index_bytes),
            open_files: OpenFiles::new(options.open_files),
            searching: Semaphore::new(1),
            compaction: Compaction::new(&options.compaction),
            removal: Removal::new(options.open_files / EMPTIED_SHARE),
            known_producers: KnownProducers::new(options.producers),
            options,
            shard,
            generation,
            logs: RefCell::default(),
            commit: Commit::new(),
            write_out: WriteOut::new(),
            journal,
            stats: Cell::default(),
            failure: RefCell::default(),
            failed: Notify::new(),
            closing: Cell::new(false),
            preparing: RefCell::default(),
        });
        *shared.preparing.borrow_mut() = Some(spawn(prepare_journal(shared.clone())));
        spawn(super::commit::group_appends(shared.clone())).detach();
        spawn(super::commit::flush_groups(shared.clone())).detach();
        spawn(super::write_out::write_out_large_tails(shared.clone())).detach();
        spawn(super::checkpoint::checkpoint_when_due(shared.clone())).detach();
        spawn(super::removal::remove_files(shared.clone())).detach();
        Ok(ShardLog { shared })
    }

    /// Opens the log of a partition whose folder is `data/<folder>`. `start` is what recovery
    /// found; without it the folder is new, or holds segments that another broker wrote.
    pub async fn open_partition(
        &self,
        id: TopicPartition,
        folder: &str,
        config: LogConfig,
        start: Option<PartitionStart>,
    ) -> Result<Rc<PartitionLog>, LogError> {
        self.shared.check()?;
        let path = Path::new(DATA_FOLDER).join(folder);
        let is_new = start.is_none();
        let log = folder::open(&self.shared, id, path, config, start).await?;
        self.shared.logs.borrow_mut().insert(id, log.clone());
        self.shared.note_new_producers(log.known_producers());
        if is_new && log.log_end_offset() > Offset::ZERO {
            // A journal that goes on behind what was adopted says nothing to a start that does not
            // know of it.
            self.checkpoint_now().await?;
            folder::claim_if_free(&self.shared.storage, id, log.folder()).await?;
        }
        Ok(log)
    }

    /// Deletes a partition: durably recorded first, its files afterwards.
    pub async fn delete_partition(&self, id: TopicPartition) -> Result<(), LogError> {
        self.shared.check()?;
        let Some(log) = self.shared.logs.borrow_mut().remove(&id) else {
            return Ok(());
        };
        log.mark_deleted();
        self.shared.commit.record_delete(&self.shared, &log).await?;
        // It may be waiting for memory, or for a cut, that only a checkpoint brings on.
        log.compaction.ended().await;
        // A checkpoint under way may still write to its files; the next one does not know it.
        let _no_checkpoint = self.shared.write_out.checkpointing.acquire(1).await;
        folder::remove(&self.shared, &log).await
    }

    /// Deletes the folder of a partition that could not be opened. Its topic id is recorded as
    /// deleted, so nothing in the journals brings it back.
    pub async fn delete_unopened(&self, id: TopicPartition, folder: &str) -> Result<(), LogError> {
        self.shared.check()?;
        let path = Path::new(DATA_FOLDER).join(folder);
        folder::remove_unopened(&self.shared.storage, id, &path).await
    }

    /// Why this shard's log directory stopped, if it did.
    pub fn failure(&self) -> Option<LogFailure> {
        self.shared.check().err()
    }

    /// Resolves when the log directory has stopped.
    pub async fn failed(&self) -> LogFailure {
        loop {
            if let Err(failure) = self.shared.check() {
                return failure;
            }
            self.shared.failed.notified().await;
        }
    }

    /// What readers hold of this shard's memory.
    pub fn lending(&self) -> &Lending {
        &self.shared.lending
    }

    /// Room for bytes that were copied for a reader. `None` once the log directory has stopped.
    pub(crate) async fn charge(&self, bytes: usize) -> Option<Charge> {
        self.shared.charge(&self.shared.memory.reads, bytes).await
    }

    /// Waits for a checkpoint that begins now: from then on nothing appended before is replayed.
    pub async fn checkpoint_now(&self) -> Result<(), LogError> {
        Ok(self.shared.write_out.checkpoint_anew(&self.shared).await?)
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Counters since the start.
    pub fn stats(&self) -> LogStats {
        let mut stats = self.shared.stats.get();
        stats.journal_files_in_use = self.shared.journal.files_in_use() as u64;
        stats.index_bytes = self.shared.indexes.bytes() as u64;
        stats.open_files = self.shared.open_files.open() as u64;
        let memory = &self.shared.memory;
        stats.tail_memory_bytes = memory.tails.in_share() as u64;
        stats.read_memory_bytes = memory.reads.in_share() as u64;
        stats.compaction_memory_bytes = memory.compaction.in_share() as u64;
        let logs = self.shared.logs.borrow();
        stats.dirty_tail_bytes = logs.values().map(|log| log.dirty_bytes()).sum();
        stats.producers = logs.values().map(|log| log.known_producers() as u64).sum();
        drop(logs);
        stats.compaction_map_fill_percent = self.shared.compaction.map_fill_percent();
        stats.compaction_dirtiest_percent = self.shared.compaction.dirtiest_percent();
        stats.uncleanable_partitions = self.uncleanable_partitions();
        stats.producers_forgotten = self.shared.known_producers.forgotten();
        stats
    }

    /// A clean stop: everything is flushed, written out, cut to its exact length and covered by a
    /// checkpoint, so that the next start has nothing to replay. Appends must have ended.
    pub async fn close(&self) -> Result<(), LogError> {
        self.shared.compaction.stop().await;
        let closed = super::checkpoint::checkpoint_everything(&self.shared).await;
        self.shared.closing.set(true);
        self.shared.commit.stop();
        self.shared.write_out.stop();
        self.shared.removal.stop();
        self.shared.journal.wake();
        let preparing = self.shared.preparing.borrow_mut().take();
        if let Some(preparing) = preparing {
            preparing.await;
        }
        let logs = std::mem::take(&mut *self.shared.logs.borrow_mut());
        for log in logs.into_values() {
            log.close_files().await;
        }
        closed.map_err(|error| match error {
            CheckpointError::Stopped(failure) => LogError::Stopped(failure),
            CheckpointError::NoSpace { path, source } => LogError::io("write", &path)(source),
        })
    }

    /// Where this shard's checkpoint lies, inside the data directory.
    pub fn checkpoint_path(&self) -> PathBuf {
        checkpoint_path(self.shared.shard)
    }
}

/// Creates the journal files behind the first while the shard already works.
async fn prepare_journal(shared: Rc<Shared>) {
    for index in 1..shared.options.journal.files {
        if shared.closing.get() {
            return;
        }
        let folder = Path::new(JOURNAL_FOLDER);
        let prepared = shared
            .journal
            .prepare(
                &shared.storage,
                &shared.journal_pool,
                folder,
                shared.shard,
                index,
            )
            .await;
        if let Err(failure) = prepared {
            shared.fail(failure);
            return;
        }
    }
}
