//! What the tests believe a partition holds.

use std::ops::Range;

use corelog_protocol::record::split_batches;
use corelog_protocol::{Durability, Offset};

use super::rig::EPOCH;
use crate::log::PartitionLog;

/// What a log did that it must not do. The canaries demand the first, so that no other failure
/// passes for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Acknowledged records are not there, cannot be read, or have other bytes, and the log serves
    /// the partition as if nothing had happened.
    #[error("acknowledged records are lost: {0}")]
    Lost(String),
    /// The log says itself that the partition is not what was acknowledged.
    #[error("a partition is suspect: {0}")]
    Suspect(String),
    /// The log start is below what was acknowledged, or above what was asked for.
    #[error("the log start is wrong: {0}")]
    LogStart(String),
    /// The log holds what was never sent, or it cannot be read behind what was acknowledged.
    #[error("the log is wrong: {0}")]
    Wrong(String),
}

/// A partition's records as they were sent, by offset, and how many of them must be there whatever
/// happens.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) sent: Vec<Vec<u8>>,
    /// The key of each record, where the partition is compacted: a record may be gone when a later one
    /// has its key.
    pub(super) keys: Option<Vec<u8>>,
    pub(super) acknowledged: usize,
    /// The log start that was acknowledged, and the highest that was asked for.
    pub(super) log_start: usize,
    pub(super) log_start_asked: usize,
    /// Where a cut that is under way would end the log.
    pub(super) cutting_to: Option<usize>,
    /// How often the log was cut.
    pub(super) cuts: usize,
}

impl Model {
    /// The log must hold every acknowledged record, in order, with its bytes, and nothing that was
    /// not sent. Whatever else it holds is taken as sent from now on.
    pub(super) async fn check(&mut self, log: &PartitionLog, context: &str) -> Result<(), Fault> {
        let end = usize::try_from(log.log_end_offset().get()).unwrap();
        if self.cutting_to.take() == Some(end) {
            self.cut(end);
        }
        let acknowledged = self.acknowledged;
        let start = usize::try_from(log.log_start_offset().get()).unwrap();
        if start < self.log_start || start > self.log_start_asked {
            return Err(Fault::LogStart(format!(
                "{context}: the log starts at {start}; {} was acknowledged and {} asked for",
                self.log_start, self.log_start_asked
            )));
        }
        (self.log_start, self.log_start_asked) = (start, start);
        if end < acknowledged {
            return Err(Fault::Lost(format!(
                "{context}: {acknowledged} records were acknowledged and {end} are left"
            )));
        }
        if end > self.sent.len() {
            let sent = self.sent.len();
            return Err(Fault::Wrong(format!(
                "{context}: {end} records where {sent} were sent"
            )));
        }
        self.truncate(end);
        let mut at = start;
        while at < end {
            at = self.check_from(at, log).await.map_err(|(at, problem)| {
                let found = format!("{context}: offset {at}: {problem}");
                if at < acknowledged {
                    Fault::Lost(found)
                } else {
                    Fault::Wrong(found)
                }
            })?;
        }
        if at != end || log.end_offset_at(Durability::Sync) != log.log_end_offset() {
            return Err(Fault::Wrong(format!(
                "{context}: what a start found ends at {end} and is durable"
            )));
        }
        self.acknowledged = end;
        Ok(())
    }

    /// The log was cut to end here.
    pub(super) fn cut(&mut self, end: usize) {
        self.truncate(end);
        self.acknowledged = self.acknowledged.min(end);
        self.cutting_to = None;
        self.cuts += 1;
    }

    fn truncate(&mut self, end: usize) {
        self.sent.truncate(end);
        if let Some(keys) = &mut self.keys {
            keys.truncate(end);
        }
    }

    /// Compares what one read from the record `at` on gives, and returns the record behind it.
    async fn check_from(&self, at: usize, log: &PartitionLog) -> Result<usize, (usize, String)> {
        let from = Offset::new(i64::try_from(at).unwrap());
        let read = log.read(from, log.log_end_offset(), 64 << 10).await;
        let read = read.map_err(|error| (at, error.to_string()))?;
        if read.is_empty() {
            return Err((at, "there is nothing to read".to_owned()));
        }
        self.compare(at, &read.to_bytes())
    }

    /// Compares what a read from the record `at` on gave, and returns the record behind it. The first
    /// batch comes whole, with what is in it before that record.
    pub(super) fn compare(&self, at: usize, bytes: &[u8]) -> Result<usize, (usize, String)> {
        let mut next = at;
        for (number, batch) in split_batches(bytes).enumerate() {
            let batch = batch.map_err(|error| (next, error.to_string()))?;
            batch
                .verify_crc()
                .map_err(|error| (next, error.to_string()))?;
            let base = usize::try_from(batch.base_offset().get()).unwrap();
            if batch.partition_leader_epoch() != Some(EPOCH) || (base < next && number > 0) {
                return Err((next, format!("{batch:?}")));
            }
            if base < next {
                next = base;
            }
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let offset = usize::try_from(record.offset.get()).unwrap();
                self.check_gone(next.max(at)..offset)?;
                let key = self.keys.as_ref().map(|keys| &keys[offset..=offset]);
                if record.value != Some(&self.sent[offset][..]) || record.key != key {
                    return Err((offset, "other bytes than were sent".to_owned()));
                }
                next = offset + 1;
            }
            let end = usize::try_from(batch.next_offset().get()).unwrap();
            self.check_gone(next.max(at)..end)?;
            next = end;
        }
        Ok(next)
    }

    /// Records are gone only where a later one has their key.
    fn check_gone(&self, gone: Range<usize>) -> Result<(), (usize, String)> {
        for offset in gone {
            let later = self
                .keys
                .as_ref()
                .map(|keys| (keys[offset], &keys[offset + 1..]));
            if !later.is_some_and(|(key, later)| later.contains(&key)) {
                return Err((offset, "it is not there".to_owned()));
            }
        }
        Ok(())
    }
}
