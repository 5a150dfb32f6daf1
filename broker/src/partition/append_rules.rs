//! What a leader checks of a produce before it appends: the batches against the topic's rules.
//!
//! Headers only, wherever they tell enough. Records are decoded on compacted topics, whose records
//! must have keys, and where `message.timestamp.before.max.ms` is set: a header holds the first and
//! the largest timestamp of its batch, not the smallest. Everywhere else the bytes stay as they came.

use corelog_protocol::record::{BatchError, BatchView, split_batches};
use corelog_protocol::{ErrorCode, Timestamp, TimestampType};

use super::request::Refusal;

/// What one batch whose records are looked at may hold once it is decompressed. A larger one is refused:
/// a small batch can name any size.
const MAX_DECOMPRESSED_BYTES: usize = 32 << 20;

/// The rules of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppendRules {
    /// `max.message.bytes`: the largest batch, in bytes.
    pub(crate) max_batch_bytes: usize,
    /// `message.timestamp.type`.
    pub(crate) timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock a record may be.
    pub(crate) timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of the broker's clock a record may be.
    pub(crate) timestamp_after_max_ms: i64,
    /// `cleanup.policy` holds `compact`: every record needs a key.
    pub(crate) compacted: bool,
}

/// Batches that may be appended as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckedBatches {
    pub(crate) records: u64,
    /// Batches of idempotent producers are among them: their sequences are to be checked.
    pub(crate) has_sequences: bool,
    /// The time to stamp on each batch, when that is the leader's to do.
    pub(crate) append_time: Option<Timestamp>,
}

impl AppendRules {
    /// Checks every batch of `payload`. One bad batch refuses them all, so that a produce is
    /// appended whole or not at all.
    pub(crate) fn check(&self, payload: &[u8], now: Timestamp) -> Result<CheckedBatches, Refusal> {
        refuse_old_formats(payload)?;
        let mut records = 0;
        let mut has_sequences = false;
        for batch in split_batches(payload) {
            let batch = batch.map_err(refuse_batch)?;
            self.check_batch(&batch, now)?;
            records += u64::from(batch.record_count());
            has_sequences |= batch.producer_id().is_some();
        }
        if records == 0 {
            return Err(Refusal::new(
                ErrorCode::InvalidRecord,
                "the produce holds no record batch",
            ));
        }
        Ok(CheckedBatches {
            records,
            has_sequences,
            append_time: (self.timestamp_type == TimestampType::LogAppendTime).then_some(now),
        })
    }

    fn check_batch(&self, batch: &BatchView<'_>, now: Timestamp) -> Result<(), Refusal> {
        // Before the CRC: the largest batches are the dearest to check.
        if batch.size_in_bytes() > self.max_batch_bytes {
            return Err(Refusal::new(
                ErrorCode::MessageTooLarge,
                format!(
                    "a batch of {} bytes is larger than max.message.bytes={}",
                    batch.size_in_bytes(),
                    self.max_batch_bytes
                ),
            ));
        }
        batch.validate().map_err(refuse_batch)?;
        if batch.is_transactional() {
            return Err(Refusal::new(
                ErrorCode::InvalidTxnState,
                "the batch belongs to a transaction, and no transaction is open",
            ));
        }
        let checks_times = self.timestamp_type == TimestampType::CreateTime;
        if checks_times {
            self.check_timestamp(batch.base_timestamp(), now)?;
            self.check_timestamp(batch.max_timestamp(), now)?;
        }
        // No number of milliseconds is more than this one.
        let checks_each_time = checks_times && self.timestamp_before_max_ms != i64::MAX;
        if self.compacted || checks_each_time {
            self.check_records(batch, checks_each_time.then_some(now))?;
        }
        Ok(())
    }

    /// Records without a timestamp pass, as in Kafka.
    fn check_timestamp(&self, timestamp: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        if timestamp == Timestamp::NONE {
            return Ok(());
        }
        let age = now.get().saturating_sub(timestamp.get());
        let (side, max) = if age > self.timestamp_before_max_ms {
            ("before", self.timestamp_before_max_ms)
        } else if age.saturating_neg() > self.timestamp_after_max_ms {
            ("after", self.timestamp_after_max_ms)
        } else {
            return Ok(());
        };
        Err(Refusal::new(
            ErrorCode::InvalidTimestamp,
            format!(
                "timestamp {timestamp} is more than message.timestamp.{side}.max.ms={max} {side} \
                 the broker's {now}"
            ),
        ))
    }

    /// Looks at each record: at its key on a compacted topic, at its timestamp where `now` is given.
    fn check_records(&self, batch: &BatchView<'_>, now: Option<Timestamp>) -> Result<(), Refusal> {
        let mut decompressed = Vec::new();
        let records = batch
            .records(&mut decompressed, MAX_DECOMPRESSED_BYTES)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRecord, error.to_string()))?;
        for (index, record) in records.enumerate() {
            let record = record.map_err(|error| {
                Refusal::new(
                    ErrorCode::InvalidRecord,
                    format!("record {index} cannot be read: {error}"),
                )
            })?;
            if self.compacted && record.key.is_none() {
                return Err(Refusal::new(
                    ErrorCode::InvalidRecord,
                    format!("record {index} has no key, and the topic is compacted"),
                ));
            }
            if let Some(now) = now {
                self.check_timestamp(record.timestamp, now)
                    .map_err(|refusal| Refusal {
                        message: format!("record {index}: {}", refusal.message).into(),
                        ..refusal
                    })?;
            }
        }
        Ok(())
    }
}

/// Messages of before Kafka 0.11 stand where batches do, with their magic in the same place. They are no damage, and would
/// be the same the next time.
fn refuse_old_formats(payload: &[u8]) -> Result<(), Refusal> {
    const MAGIC: usize = 16;
    match payload.get(MAGIC) {
        Some(magic @ (0 | 1)) => Err(Refusal::new(
            ErrorCode::InvalidRecord,
            format!(
                "messages of format {magic} are not taken: use a client that writes record batches \
                 (format 2, Kafka 0.11 and newer)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Kafka's clients retry CORRUPT_MESSAGE, so only damage on the way gets it; a batch that was
/// built wrong would be wrong again.
pub(super) fn refuse_batch(error: BatchError) -> Refusal {
    let code = match error {
        BatchError::Truncated { .. }
        | BatchError::Length { .. }
        | BatchError::Magic { .. }
        | BatchError::OffsetRange { .. }
        | BatchError::Crc { .. } => ErrorCode::CorruptMessage,
        BatchError::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
        BatchError::Timestamps { .. } => ErrorCode::InvalidTimestamp,
        BatchError::Count { .. }
        | BatchError::Empty
        | BatchError::CountBeyondBytes { .. }
        | BatchError::Control
        | BatchError::LogAppendTime
        | BatchError::DeleteHorizon
        | BatchError::Producer { .. } => ErrorCode::InvalidRecord,
    };
    Refusal::new(code, error.to_string())
}
