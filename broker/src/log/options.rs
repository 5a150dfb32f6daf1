//! The knobs of a shard's logs. Every size is in bytes.

use std::time::Duration;

use corelog_protocol::Durability;

use super::LogError;
use super::compaction::{CompactionConfig, CompactionOptions};
use crate::config::TopicConfig;

/// The smallest journal file: four groups, each with room for the largest append that does not
/// bypass the journal.
const SMALLEST_JOURNAL_FILE: u64 = 1 << 20;

/// The commit journal of one shard.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Size of one journal file; a multiple of 4,096, at least 1 MiB. Default 32 MiB; the broker sets 64 MiB.
    pub file_bytes: u64,
    /// Number of journal files, at least 2. Default 4. A checkpoint starts when half of them
    /// are full, and appends wait when all are.
    pub files: usize,
    /// Bytes that may bypass the journal before a checkpoint starts. Default 1 GiB: it bounds what
    /// a start has to read again.
    pub checkpoint_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            file_bytes: 32 << 20,
            files: 4,
            checkpoint_bytes: 1 << 30,
        }
    }
}

/// What one shard's logs may use.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The commit journal.
    pub journal: JournalOptions,
    /// A partition's bytes that are in memory and in the journal only, before they are written
    /// out to its segment. Default 1 MiB.
    pub write_out_bytes: u64,
    /// Bytes of one partition that stay in memory for readers after they were written out.
    /// Default 4 MiB.
    pub cache_bytes_per_partition: u64,
    /// A partition's bytes in one group from which whole blocks bypass the journal, where no other
    /// partition waits; in a crowd more. Default 64 KiB.
    pub bypass_bytes: u64,
    /// One direct read. Default 512 KiB.
    pub read_bytes: usize,
    /// Memory that readers may hold together: tails, cache and buffers of direct reads, until their
    /// sockets took it. At the bound reads wait. Default 64 MiB; the broker sets a quarter of
    /// `shard.memory.bytes`.
    pub lent_bytes: usize,
    /// Indexes of closed segments in memory. At the bound, the one used the longest ago is forgotten
    /// until it is needed again. Default 16 MiB.
    pub index_bytes: usize,
    /// Segment files open at a time; more only while more are being read or written. Default 512; the
    /// broker sets a share of what its process may open.
    pub open_files: usize,
    /// A file that goes is given back to the file system in steps of this many bytes. Default 1 MiB.
    pub removal_step_bytes: u64,
    /// What compaction may use.
    pub compaction: CompactionOptions,
    /// Idempotent producers that the shard's logs remember, each once for every partition it writes
    /// to. At the bound those idle the longest are forgotten. Default 100,000, about 15 MB.
    pub producers: usize,
    /// A producer idle for longer is forgotten. Default 24 hours.
    pub producer_expiration: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            journal: JournalOptions::default(),
            write_out_bytes: 1 << 20,
            cache_bytes_per_partition: 4 << 20,
            bypass_bytes: 64 << 10,
            read_bytes: 512 << 10,
            lent_bytes: 64 << 20,
            index_bytes: 16 << 20,
            open_files: 512,
            removal_step_bytes: 1 << 20,
            compaction: CompactionOptions::default(),
            producers: 100_000,
            producer_expiration: Duration::from_secs(24 * 3600),
        }
    }
}

impl LogOptions {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let journal = &self.journal;
        if journal.file_bytes < SMALLEST_JOURNAL_FILE || !journal.file_bytes.is_multiple_of(4096) {
            return Err(LogError::Options(format!(
                "journal.file.bytes={} must be a multiple of 4096 and at least {SMALLEST_JOURNAL_FILE}",
                journal.file_bytes
            )));
        }
        if journal.files < 2 {
            return Err(LogError::Options(format!(
                "journal.files={} must be at least 2: one is recycled while another is written",
                journal.files
            )));
        }
        if self.removal_step_bytes == 0 {
            return Err(LogError::Options(
                "removal_step_bytes=0 must be at least 1: nothing would ever go".to_owned(),
            ));
        }
        if self.bypass_bytes > journal.file_bytes / 4 {
            return Err(LogError::Options(format!(
                "journal.bypass.bytes={} must be at most a quarter of journal.file.bytes={}: what \
                 does not bypass the journal must fit it",
                self.bypass_bytes, journal.file_bytes
            )));
        }
        Ok(())
    }

    /// A partition that holds this much memory is written out even if little of it is dirty: a few
    /// dirty bytes keep all the clean ones behind them.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.cache_bytes_per_partition + self.write_out_bytes
    }
}

/// A topic's settings as far as its logs are concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// What an append must reach before it counts.
    pub durability: Durability,
    /// A segment is closed before it grows beyond this.
    pub segment_bytes: u64,
    /// A segment is closed when its first record is this old.
    pub segment_age: Duration,
    /// Up to so much earlier, drawn for each segment.
    pub segment_jitter: Duration,
    /// How long the files of a segment that left the log stay.
    pub file_delete_delay: Duration,
    /// One index entry for about this many bytes of log.
    pub index_interval_bytes: u64,
    /// A segment is closed before its index grows beyond this.
    pub segment_index_bytes: u64,
    /// At `memory` and `written`: flush at the latest so long after an append. `None`: only when a
    /// checkpoint does.
    pub flush_interval: Option<Duration>,
    /// At `memory` and `written`: flush when so many bytes are not flushed.
    pub flush_bytes: Option<u64>,
    /// At `memory` and `written`: flush when so many records are not flushed.
    pub flush_records: Option<u64>,
    /// Of the records with one key only the newest stays.
    pub compaction: Option<CompactionConfig>,
}

impl From<&TopicConfig> for LogConfig {
    fn from(topic: &TopicConfig) -> LogConfig {
        LogConfig {
            durability: topic.durability,
            segment_bytes: topic.segment_bytes.get(),
            segment_age: segment_age_of(topic),
            segment_jitter: topic.segment_jitter_ms,
            file_delete_delay: topic.file_delete_delay_ms,
            index_interval_bytes: topic.index_interval_bytes.get(),
            segment_index_bytes: topic.segment_index_bytes.get(),
            flush_interval: topic.flush_ms,
            flush_bytes: topic.flush_bytes.map(|bytes| bytes.get()),
            flush_records: topic.flush_messages,
            compaction: compaction_of(topic),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            durability: Durability::Sync,
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            segment_jitter: Duration::ZERO,
            file_delete_delay: Duration::from_secs(60),
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            flush_interval: None,
            flush_bytes: None,
            flush_records: None,
            compaction: None,
        }
    }
}

fn compaction_of(topic: &TopicConfig) -> Option<CompactionConfig> {
    topic.cleanup_policy.compact.then_some(CompactionConfig {
        min_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_lag: topic.min_compaction_lag_ms,
        max_lag: topic.max_compaction_lag_ms,
        delete_retention: topic.delete_retention_ms,
    })
}

/// What `max.compaction.lag.ms` promises can only be kept for closed segments.
fn segment_age_of(topic: &TopicConfig) -> Duration {
    let lag = topic.max_compaction_lag_ms;
    let lag = lag.filter(|_| topic.cleanup_policy.compact);
    lag.map_or(topic.segment_ms, |lag| lag.min(topic.segment_ms))
}
