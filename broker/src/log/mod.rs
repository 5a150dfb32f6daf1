//! One core's logs: the files of its partitions and the commit journal they share.
//!
//! A record's bytes are copied once into its partition's tail (`tail`), join the next group of
//! the shard's commit journal (`commit`), and go to the partition's segment later in large whole
//! blocks (`write_out`). A group is durable with one flush, whatever the number of partitions in
//! it. Large appends skip the journal: their whole blocks go straight to the segment and the
//! journal only records the extent. A checkpoint makes everything the journal held redundant and
//! recycles its files (`checkpoint`); a start replays what no checkpoint covers (`recovery`).
//!
//! Everything here lives on one core: `Rc`, `Cell` and `RefCell`, and no borrow is held across an
//! `.await`. This module knows nothing of leaders, high watermarks or clients. It reports per
//! partition how far the log reaches at each durability level; what may be read or acknowledged
//! is the partition's decision.
//!
//! Formats: `broker/docs/on_disk_format.md`.

mod adoption;
mod append_rate;
mod batch_scan;
mod begun_blocks;
mod canary;
mod checkpoint;
mod checksums;
mod commit;
mod compaction;
mod error;
mod folder;
mod index;
pub mod inspect;
mod journal;
mod lending;
mod loaded_indexes;
mod open_files;
mod options;
mod partition_log;
mod producers;
mod reader;
mod rearrange;
mod recovery;
mod removal;
mod retention;
mod segment;
mod shard_log;
mod share;
mod tail;
#[cfg(test)]
mod tests;
mod write_out;

pub use compaction::{CompactionConfig, CompactionOptions};
pub use error::{AppendError, LogError, LogFailure, ReadError, RearrangeError, RecoveryError};
pub(crate) use folder::remove_deleted_topics;
pub use lending::{Lending, Loan};
pub use options::{JournalOptions, LogConfig, LogOptions};
pub use partition_log::{AppendInfo, PartitionLog};
pub(crate) use producers::{ProducedBatch, Producer, Producers};
pub use reader::{LogSlice, ReadBatches, Room};
pub use rearrange::SegmentOverview;
pub use recovery::{KnownTopics, PartitionStart, Recovered, Suspect, recover};
pub use retention::{LogExtent, Retained, RetentionRules};
pub use shard_log::{LogStats, ShardLog};

use corelog_protocol::{PartitionIndex, TopicId};

/// One partition of one topic, named by the topic's id: a topic deleted and created again under
/// the same name is another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's number within the topic.
    pub partition: PartitionIndex,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// One start of a data directory. Journals of earlier generations were replayed by the start that
/// made this one, so their groups mean nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Counts starts, from 1.
    pub(crate) number: u64,
    /// Random; keeps bytes that clients chose from passing for journal groups.
    pub(crate) salt: u64,
}
