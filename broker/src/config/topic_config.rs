use std::collections::BTreeMap;
use std::time::Duration;

use corelog_protocol::{Durability, TimestampType};

use super::table::{InvalidValue, config_table};
use super::value::ConfigValue;
use super::{Allowed, ByteSize, Key};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What people write for "never"; read as about 292 years.
const KAFKAS_LONGEST_MILLIS: u64 = i64::MAX as u64;
const LARGEST_FILE: ByteSize = ByteSize::bytes(i32::MAX as u64);

config_table! {
    /// The settings of one topic, resolved: what the topic sets, else what the broker sets, else
    /// the default. Names, defaults and meanings are Kafka's, except `durability` and
    /// `flush.bytes`, which are ours.
    #[derive(Clone, PartialEq, Debug)]
    pub struct TopicConfig {
        /// What an acknowledgement survives. `sync`: the batch is on the device (power loss).
        /// `written`: the write completed, no flush (death of the process). `memory`: it is in
        /// the leader's memory (nothing but other replicas).
        "durability" as "log.durability" =>
            durability: Durability = Durability::Sync,
            Allowed::OneOf(&["sync", "written", "memory"]);

        /// A segment file is closed, and the next one started, before it would grow past this.
        "segment.bytes" as "log.segment.bytes" =>
            segment_bytes: ByteSize = ByteSize::gib(1),
            Allowed::bytes(ByteSize::kib(16), LARGEST_FILE);

        /// A segment that holds records is closed after this long, even if it is not full.
        "segment.ms" as "log.roll.ms" =>
            segment_ms: Duration = DAY.saturating_mul(7),
            Allowed::millis(1, KAFKAS_LONGEST_MILLIS);

        /// The most that is subtracted at random from `segment.ms`, so that many partitions do
        /// not close their segments at the same moment; at most half of it.
        "segment.jitter.ms" as "log.roll.jitter.ms" =>
            segment_jitter_ms: Duration = Duration::ZERO,
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS);

        /// The largest size of a segment's offset index; a segment whose index is full is closed.
        "segment.index.bytes" as "log.index.size.max.bytes" =>
            segment_index_bytes: ByteSize = ByteSize::mib(10),
            Allowed::bytes(ByteSize::kib(4), LARGEST_FILE);

        /// An index entry is written for about every this many bytes of log.
        "index.interval.bytes" as "log.index.interval.bytes" =>
            index_interval_bytes: ByteSize = ByteSize::kib(4),
            Allowed::bytes(ByteSize::bytes(0), LARGEST_FILE);

        /// The largest record batch that a producer may send, as it comes (compressed).
        "max.message.bytes" as "message.max.bytes" =>
            max_message_bytes: ByteSize = ByteSize::bytes(1_048_588),
            Allowed::bytes(ByteSize::bytes(0), LARGEST_FILE);

        /// What happens to old records: `delete` drops segments by age and size, `compact` keeps
        /// the newest record of each key.
        /// With `compact` every record needs a key.
        "cleanup.policy" as "log.cleanup.policy" =>
            cleanup_policy: CleanupPolicy = CleanupPolicy::DELETE,
            Allowed::AnyOf(&["delete", "compact"]);

        /// With `delete`, segments whose newest record is older than this are dropped, oldest first.
        /// The one being written is closed and dropped too when all its records are that old.
        "retention.ms" as "log.retention.ms" =>
            retention_ms: Option<Duration> = Some(DAY.saturating_mul(7)),
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS).or_unlimited(-1);

        /// With `delete`, the oldest segments are dropped while the rest of the partition still holds
        /// this much.
        "retention.bytes" as "log.retention.bytes" =>
            retention_bytes: Option<ByteSize> = None,
            Allowed::bytes(ByteSize::bytes(0), ByteSize::bytes(i64::MAX as u64)).or_unlimited(-1);

        /// Only `producer`: the broker keeps the batches exactly as the producer compressed them.
        "compression.type" as "compression.type" =>
            compression_type: CompressionType = CompressionType::Producer,
            Allowed::OneOf(&["producer"]);

        /// Whose clock stamps the records: the producer's (`CreateTime`) or the leader's when it
        /// appends them (`LogAppendTime`).
        "message.timestamp.type" as "log.message.timestamp.type" =>
            message_timestamp_type: TimestampType = TimestampType::CreateTime,
            Allowed::OneOf(&["CreateTime", "LogAppendTime"]);

        /// With `CreateTime`, how far a record's timestamp may lie before the leader's clock.
        "message.timestamp.before.max.ms" as "log.message.timestamp.before.max.ms" =>
            message_timestamp_before_max_ms: Option<Duration> = None,
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS - 1).or_unlimited(i64::MAX);

        /// With `CreateTime`, how far a record's timestamp may lie after the leader's clock.
        "message.timestamp.after.max.ms" as "log.message.timestamp.after.max.ms" =>
            message_timestamp_after_max_ms: Option<Duration> = Some(Duration::from_secs(60 * 60)),
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS - 1).or_unlimited(i64::MAX);

        /// With acks=all, a produce is refused while fewer replicas than this are in sync.
        "min.insync.replicas" as "min.insync.replicas" =>
            min_insync_replicas: u16 = 1,
            Allowed::integer(1, i16::MAX as i64);

        /// Below `sync`, unflushed records are flushed after this long.
        "flush.ms" as "log.flush.interval.ms" =>
            flush_ms: Option<Duration> = None,
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS - 1).or_unlimited(i64::MAX);

        /// Below `sync`, the log is flushed when this many records are unflushed.
        "flush.messages" as "log.flush.interval.messages" =>
            flush_messages: Option<u64> = None,
            Allowed::integer(1, i64::MAX - 1).or_unlimited(i64::MAX);

        /// Below `sync`, the log is flushed when this many bytes are unflushed.
        "flush.bytes" as "log.flush.interval.bytes" =>
            flush_bytes: Option<ByteSize> = None,
            Allowed::bytes(ByteSize::kib(4), ByteSize::bytes(i64::MAX as u64 - 1))
                .or_unlimited(i64::MAX);

        /// How long the files of a deleted segment stay, renamed to `.deleted`, before they are
        /// removed. On a full disk they go at once.
        "file.delete.delay.ms" as "log.segment.delete.delay.ms" =>
            file_delete_delay_ms: Duration = Duration::from_secs(60),
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS);

        /// With `compact`, how long a delete marker (a record without a value) stays after it was
        /// compacted for the first time.
        "delete.retention.ms" as "log.cleaner.delete.retention.ms" =>
            delete_retention_ms: Duration = DAY,
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS);

        /// With `compact`, how long a record at least stays uncompacted.
        "min.compaction.lag.ms" as "log.cleaner.min.compaction.lag.ms" =>
            min_compaction_lag_ms: Duration = Duration::ZERO,
            Allowed::millis(0, KAFKAS_LONGEST_MILLIS);

        /// With `compact`, how long a record at most stays uncompacted. A segment is closed when
        /// its first record is this old, if `segment.ms` does not close it before.
        "max.compaction.lag.ms" as "log.cleaner.max.compaction.lag.ms" =>
            max_compaction_lag_ms: Option<Duration> = None,
            Allowed::millis(1, KAFKAS_LONGEST_MILLIS - 1).or_unlimited(i64::MAX);

        /// With `compact`, a log is compacted when more than this share of the bytes of its closed
        /// segments was not compacted yet.
        "min.cleanable.dirty.ratio" as "log.cleaner.min.cleanable.ratio" =>
            min_cleanable_dirty_ratio: f64 = 0.5,
            Allowed::Decimal { min: 0.0, max: 1.0 };

        /// Whether a replica that is not in sync may be elected when no other is left: that loses
        /// acknowledged records.
        /// Kept with the topic and shown; this version does not act on it yet.
        "unclean.leader.election.enable" as "unclean.leader.election.enable" =>
            unclean_leader_election_enable: bool = false,
            Allowed::Boolean;

        /// Whether a new segment's space is reserved at once instead of in steps.
        /// Kept with the topic and shown; this version does not act on it yet.
        "preallocate" as "log.preallocate" =>
            preallocate: bool = false,
            Allowed::Boolean;
    }
}

/// `cleanup.policy`: at least one of the two is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

impl CleanupPolicy {
    pub const DELETE: Self = Self {
        delete: true,
        compact: false,
    };
}

impl ConfigValue for CleanupPolicy {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        let mut policy = Self {
            delete: false,
            compact: false,
        };
        for word in text.split(',') {
            match word.trim() {
                "delete" => policy.delete = true,
                "compact" => policy.compact = true,
                _ => return None,
            }
        }
        Some(policy)
    }

    fn text(&self, _: &Allowed) -> String {
        match (self.delete, self.compact) {
            (true, true) => "compact,delete",
            (false, true) => "compact",
            (true, false) => "delete",
            (false, false) => "",
        }
        .to_owned()
    }
}

/// `compression.type`: batches are never re-encoded, so the only value is `producer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressionType {
    Producer,
}

impl ConfigValue for CompressionType {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        (text.trim() == "producer").then_some(Self::Producer)
    }

    fn text(&self, _: &Allowed) -> String {
        "producer".to_owned()
    }
}

/// Why a topic's settings were refused.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TopicConfigError {
    #[error("`{key}` is not a topic setting")]
    UnknownKey { key: String },
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
}

impl TopicConfig {
    /// The settings in force for a topic that sets `explicit` on a broker whose own defaults are
    /// `self`.
    pub fn with_explicit(
        &self,
        explicit: &BTreeMap<String, String>,
    ) -> Result<Self, TopicConfigError> {
        let mut config = self.clone();
        for (name, value) in explicit {
            Self::known_key(name)?.set(&mut config, value)?;
        }
        Ok(config)
    }

    /// `value` in the spelling that is stored and described: `7d` becomes `604800000`.
    pub fn canonical(name: &str, value: &str) -> Result<String, TopicConfigError> {
        let key = Self::known_key(name)?;
        let mut config = Self::default();
        key.set(&mut config, value)?;
        Ok(key.get(&config))
    }

    fn known_key(name: &str) -> Result<&'static Key<Self>, TopicConfigError> {
        Self::key(name).ok_or_else(|| TopicConfigError::UnknownKey {
            key: name.to_owned(),
        })
    }
}
