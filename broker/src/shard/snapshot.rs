//! One shard's numbers at one moment, for the control thread.

use super::state::ShardState;
use crate::metrics::ShardSnapshot;

impl ShardState {
    /// What the shard counts itself, and what its log and its buffers know.
    pub(super) fn snapshot(&self) -> ShardSnapshot {
        let log = self.log.stats();
        let mut snapshot = self.metrics.snapshot(self.id);
        snapshot.counters.extend([
            (
                "journal_groups",
                "Groups of appends written to the commit journal.",
                log.journal_groups,
            ),
            (
                "journal_bytes",
                "Bytes written to the commit journal, padding included.",
                log.journal_bytes,
            ),
            (
                "journal_flushes",
                "Flushes of the commit journal.",
                log.journal_flushes,
            ),
            (
                "journal_flush_microseconds",
                "Time that flushes of the commit journal took.",
                log.journal_flush_micros,
            ),
            (
                "segment_bytes_written",
                "Bytes written from memory to segments.",
                log.segment_bytes,
            ),
            (
                "bypass_bytes",
                "Bytes that went straight to segments instead of through the journal.",
                log.bypass_bytes,
            ),
            ("checkpoints", "Checkpoints written.", log.checkpoints),
            (
                "compactions",
                "Compactions of a log that ended.",
                log.compactions,
            ),
            (
                "compaction_failures",
                "Compactions that met a batch they could not read, or a full disk.",
                log.compaction_failures,
            ),
            (
                "compaction_read_bytes",
                "Bytes read by compactions.",
                log.compaction_read_bytes,
            ),
            (
                "compaction_written_bytes",
                "Bytes written by compactions.",
                log.compaction_written_bytes,
            ),
            (
                "compaction_microseconds",
                "Time that compactions took.",
                log.compaction_micros,
            ),
            (
                "segments_deleted",
                "Segments that left their log, by retention, DeleteRecords or a truncation.",
                log.segments_removed,
            ),
            (
                "segment_bytes_deleted",
                "Bytes of those segments.",
                log.segment_bytes_removed,
            ),
            (
                "producers_forgotten",
                "Idempotent producers forgotten because there were more than shard.producers.max.",
                log.producers_forgotten,
            ),
            (
                "log_read_bytes",
                "Bytes read from segments.",
                log.read_bytes,
            ),
            (
                "log_cached_read_bytes",
                "Bytes served from memory.",
                log.cached_read_bytes,
            ),
        ]);
        let (groups, waiting_heartbeats) = self.groups.present();
        snapshot.gauges.extend([
            ("groups", "Groups that are coordinated here.", groups),
            (
                "group_heartbeats_waiting",
                "Heartbeats of members that wait for something to be told.",
                waiting_heartbeats,
            ),
            (
                "journal_files_in_use",
                "Journal files with groups that no checkpoint covers.",
                log.journal_files_in_use,
            ),
            (
                "journal_flush_max_microseconds",
                "The longest flush of the commit journal since the start.",
                log.journal_flush_max_micros,
            ),
            (
                "memory_bytes",
                "Memory taken from the shard's buffer pool.",
                self.pool.in_use() as u64,
            ),
            (
                "open_segment_files",
                "Segment files that are open.",
                log.open_files,
            ),
            (
                "producers",
                "Idempotent producers that partitions remember, each once for every partition.",
                log.producers,
            ),
            (
                "index_bytes",
                "Indexes of closed segments in memory, beside the buffer pool.",
                log.index_bytes,
            ),
            (
                "memory_tail_bytes",
                "A part of memory_bytes: the newest records of partitions, and behind those that \
                 wait for their segment the cache of those that do not.",
                log.tail_memory_bytes,
            ),
            (
                "tail_dirty_bytes",
                "Bytes of records in memory that the journal holds and their segment does not yet.",
                log.dirty_tail_bytes,
            ),
            (
                "memory_read_bytes",
                "A part of memory_bytes: what was read from segments and is being sent, and what \
                 was decompressed or copied for a read.",
                log.read_memory_bytes,
            ),
            (
                "memory_compaction_bytes",
                "A part of memory_bytes: key map and buffers of compactions.",
                log.compaction_memory_bytes,
            ),
            (
                "memory_lent_bytes",
                "What readers keep of tails and reads in memory until their sockets took it.",
                self.log.lending().lent() as u64,
            ),
            (
                "memory_lent_limit_bytes",
                "The bound on the memory that readers hold.",
                self.log.lending().limit() as u64,
            ),
            (
                "memory_budget_bytes",
                "The bound on the shard's buffer pool.",
                self.pool.budget() as u64,
            ),
        ]);
        snapshot.gauges.extend([
            (
                "compaction_map_fill_percent",
                "How full the key map of the last compaction became.",
                log.compaction_map_fill_percent,
            ),
            (
                "compaction_dirtiest_percent",
                "The share of the dirtiest compacted log that was not compacted, when last looked.",
                log.compaction_dirtiest_percent,
            ),
            (
                "uncleanable_partitions",
                "Partitions that are not compacted any more because a batch could not be read.",
                log.uncleanable_partitions,
            ),
        ]);
        let unusable = self.partitions.unusable() as u64;
        snapshot.gauges.push((
            "partitions_unusable",
            "Partitions that are not served because their files cannot be trusted or opened.",
            unusable,
        ));
        snapshot.unusable_partitions = unusable;
        snapshot.failure = self.log.failure().map(|failure| failure.to_string());
        snapshot
    }
}
