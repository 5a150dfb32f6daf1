//! Takes portions out of the buffer, decodes their batches and moves the positions.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use corelog_protocol::record::BatchView;
use corelog_protocol::{LeaderEpoch, Offset, Timestamp};

use super::assignment::{Assignment, SeekTo};
use super::batch::{ConsumerBatch, decode_records};
use super::buffer::{Content, Hold, Portion};
use super::coordinator::fail;
use super::shared::Shared;
use crate::config::AutoOffsetReset;
use crate::error::ConsumeError;
use crate::record::{ConsumerRecord, TopicPartition};

/// Where polling stands between two calls.
#[derive(Default)]
pub(super) struct Poller {
    open: Option<OpenPortion>,
    /// What came of partitions that are paused, in order within each. It gives its memory back to its fetcher's window, so
    /// that the other partitions go on; the assignment keeps the fetchers from adding to it before it is returned.
    aside: VecDeque<Next>,
    /// Met after records that had to be returned first.
    held_error: Option<ConsumeError>,
}

/// What is to be polled next of one partition.
enum Next {
    /// A portion of which something was returned.
    Begun(OpenPortion),
    Fresh(Portion),
}

/// A portion being polled.
struct OpenPortion {
    partition: TopicPartition,
    generation: u64,
    /// The batches not yet looked at.
    rest: Bytes,
    /// Records of the last batch looked at, not yet returned.
    records: VecDeque<ConsumerRecord>,
    /// That batch itself: what is left of it can still be returned undecoded.
    batch: Bytes,
    /// Where the partition stands after what was returned.
    position: Option<Offset>,
    /// Who wrote the batch looked at last.
    epoch: Option<LeaderEpoch>,
    /// Where it stands once `records` is empty.
    batch_end: Option<Offset>,
    /// None if it was set aside.
    hold: Option<Hold>,
}

impl Poller {
    /// Drops what was fetched before a seek, or of partitions that are not assigned any more.
    pub(super) fn drop_stale(&mut self, shared: &Shared) {
        let assignment = shared.assignment();
        self.aside.retain(|next| next.is_current(&assignment));
        shared
            .buffer
            .retain(|portion| assignment.is_current(&portion.partition, portion.generation));
        self.open
            .take_if(|open| !assignment.is_current(&open.partition, open.generation));
    }

    /// Appends up to `limit` records to `records`, from what is in the buffer.
    pub(super) fn take_records(
        &mut self,
        shared: &Shared,
        limit: usize,
        records: &mut Vec<ConsumerRecord>,
    ) -> Result<(), ConsumeError> {
        self.take(shared, limit, records, |portion, room, records| {
            portion.take_records(room, records)
        })
    }

    /// Appends up to `limit` batches to `batches`, from what is in the buffer.
    pub(super) fn take_batches(
        &mut self,
        shared: &Shared,
        limit: usize,
        batches: &mut Vec<ConsumerBatch>,
    ) -> Result<(), ConsumeError> {
        self.take(shared, limit, batches, |portion, room, batches| {
            portion.take_batches(room, batches);
            Ok(())
        })
    }

    fn take<T>(
        &mut self,
        shared: &Shared,
        limit: usize,
        taken: &mut Vec<T>,
        mut take: impl FnMut(&mut OpenPortion, usize, &mut Vec<T>) -> Result<(), ConsumeError>,
    ) -> Result<(), ConsumeError> {
        if let Some(error) = self.held_error.take() {
            return Err(error);
        }
        while taken.len() < limit {
            let result = match self.open_next(shared) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    let portion = self.open.as_mut().expect("a portion was just opened");
                    let result = take(portion, limit - taken.len(), taken);
                    portion.note_position(shared);
                    if let Err(error) = &result {
                        let (partition, generation) =
                            (portion.partition.clone(), portion.generation);
                        shared.assignment().stop(&partition, generation);
                        shared.changed();
                        debug_assert!(!error.is_retriable(), "damage does not mend itself");
                    }
                    if result.is_err() || portion.is_done() {
                        self.open = None;
                    }
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {}
                Err(error) if taken.is_empty() => return Err(error),
                Err(error) => {
                    self.held_error = Some(error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes sure that a portion which may be polled is open; false if there is none.
    fn open_next(&mut self, shared: &Shared) -> Result<bool, ConsumeError> {
        while let Some(next) = self.next(shared) {
            let portion = match next {
                Next::Begun(portion) => {
                    self.open = Some(portion);
                    return Ok(true);
                }
                Next::Fresh(portion) => portion,
            };
            let Portion {
                partition,
                generation,
                content,
            } = portion;
            match content {
                Content::Batches { bytes, hold } => {
                    let portion = OpenPortion::new(shared, partition, generation, bytes, hold);
                    self.open = Some(portion);
                    return Ok(true);
                }
                Content::OutOfRange(offset) => {
                    let error = ConsumeError::OffsetOutOfRange {
                        partition: partition.clone(),
                        offset,
                    };
                    reset(shared, &partition, None, error)?;
                }
                Content::Truncated(end_offset) => {
                    let position = shared.assignment().position(&partition);
                    let error = ConsumeError::LogTruncated {
                        partition: partition.clone(),
                        position: position.unwrap_or(end_offset),
                        end_offset,
                    };
                    reset(shared, &partition, Some(end_offset), error)?;
                }
                Content::Failed(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The next of the partitions that are not paused: the portion being polled, then what was set aside, then what is in
    /// the buffer. Of those that are paused it sets everything aside on the way, errors and resets too: acting on them
    /// would overtake the records before them.
    fn next(&mut self, shared: &Shared) -> Option<Next> {
        if let Some(portion) = self.open.take() {
            let next = Next::Begun(portion);
            let mut assignment = shared.assignment();
            if next.is_current(&assignment) {
                if !assignment.is_paused(next.partition()) {
                    return Some(next);
                }
                assignment.set_backlog(next.partition(), true);
                // It came before whatever else was set aside of its partition.
                self.aside.push_front(next.without_hold());
            }
        }
        if !self.aside.is_empty() {
            let mut assignment = shared.assignment();
            self.aside.retain(|next| next.is_current(&assignment));
            let resumed = self
                .aside
                .iter()
                .position(|next| !assignment.is_paused(next.partition()));
            if let Some(next) = resumed.and_then(|position| self.aside.remove(position)) {
                let last = self
                    .aside
                    .iter()
                    .all(|other| other.partition() != next.partition());
                if last {
                    assignment.set_backlog(next.partition(), false);
                    drop(assignment);
                    shared.changed();
                }
                return Some(next);
            }
        }
        while let Some(portion) = shared.buffer.pop() {
            let next = Next::Fresh(portion);
            let mut assignment = shared.assignment();
            if !next.is_current(&assignment) {
                continue;
            }
            if !assignment.is_paused(next.partition()) {
                return Some(next);
            }
            assignment.set_backlog(next.partition(), true);
            self.aside.push_back(next.without_hold());
        }
        None
    }
}

impl Next {
    fn partition(&self) -> &TopicPartition {
        match self {
            Self::Begun(portion) => &portion.partition,
            Self::Fresh(portion) => &portion.partition,
        }
    }

    fn is_current(&self, assignment: &Assignment) -> bool {
        let generation = match self {
            Self::Begun(portion) => portion.generation,
            Self::Fresh(portion) => portion.generation,
        };
        assignment.is_current(self.partition(), generation)
    }

    fn without_hold(mut self) -> Self {
        match &mut self {
            Self::Begun(portion) => portion.hold = None,
            Self::Fresh(portion) => {
                if let Content::Batches { hold, .. } = &mut portion.content {
                    *hold = None;
                }
            }
        }
        self
    }
}

impl OpenPortion {
    fn new(
        shared: &Shared,
        partition: TopicPartition,
        generation: u64,
        bytes: Bytes,
        hold: Option<Hold>,
    ) -> Self {
        let position = shared.assignment().position(&partition);
        Self {
            partition,
            generation,
            rest: bytes,
            records: VecDeque::new(),
            batch: Bytes::new(),
            position,
            epoch: None,
            batch_end: None,
            hold,
        }
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty() && self.records.is_empty()
    }

    fn note_position(&self, shared: &Shared) {
        if let Some(position) = self.position {
            shared
                .assignment()
                .advance(&self.partition, self.generation, position, self.epoch);
        }
    }

    /// Splits the next batch off, with the offset after it.
    fn next_batch(&mut self) -> Option<(Bytes, Offset)> {
        if self.rest.is_empty() {
            return None;
        }
        let (view, _) = BatchView::parse(&self.rest).expect("it was parsed when it was fetched");
        let next_offset = view.next_offset();
        let size = view.size_in_bytes();
        self.epoch = view.partition_leader_epoch();
        Some((self.rest.split_to(size), next_offset))
    }

    fn take_records(
        &mut self,
        room: usize,
        taken: &mut Vec<ConsumerRecord>,
    ) -> Result<(), ConsumeError> {
        let limit = taken.len() + room;
        while taken.len() < limit {
            if let Some(record) = self.records.pop_front() {
                self.position = record.offset.checked_add(1);
                taken.push(record);
                continue;
            }
            self.position = self.batch_end.or(self.position);
            let Some((batch, next_offset)) = self.next_batch() else {
                break;
            };
            let from = self.position.unwrap_or(Offset::ZERO);
            let records = &mut self.records;
            decode_records(&self.partition, &batch, from, |record| {
                records.push_back(record);
            })?;
            self.batch = batch;
            self.batch_end = Some(next_offset);
        }
        if self.records.is_empty() {
            self.position = self.batch_end.or(self.position);
        }
        Ok(())
    }

    /// What an earlier [`take_records`](Self::take_records) has left of a batch goes first: the whole batch once more, with
    /// the position at its first record that was not returned.
    fn take_batches(&mut self, room: usize, taken: &mut Vec<ConsumerBatch>) {
        for _ in 0..room {
            let begun = !self.records.is_empty();
            let (bytes, next_offset) = if begun {
                self.records.clear();
                let next_offset = self.batch_end.expect("its records were decoded");
                (std::mem::take(&mut self.batch), next_offset)
            } else if let Some(next) = self.next_batch() {
                next
            } else {
                break;
            };
            taken.push(ConsumerBatch {
                topic: Arc::clone(&self.partition.topic),
                partition: self.partition.partition,
                position: self.position.unwrap_or(Offset::ZERO),
                bytes,
            });
            self.position = Some(next_offset);
            self.batch_end = Some(next_offset);
        }
    }
}

/// The position is not in the log: goes where `auto.offset.reset` says (or to `end`, where the log was cut), or fails.
fn reset(
    shared: &Shared,
    partition: &TopicPartition,
    end: Option<Offset>,
    error: ConsumeError,
) -> Result<(), ConsumeError> {
    let to = match (shared.settings.auto_offset_reset, end) {
        (AutoOffsetReset::None, _) => return Err(error),
        (_, Some(end)) => SeekTo::Offset(end),
        (reset, None) => start_of(reset).unwrap_or(SeekTo::End),
    };
    tracing::warn!(%partition, %error, ?to, "the position is reset");
    shared.assignment().seek(partition, to);
    shared.changed();
    Ok(())
}

/// Where a new partition begins, or the error that `poll` returns because nobody said where.
pub(super) fn start_of(settings: AutoOffsetReset) -> Option<SeekTo> {
    match settings {
        AutoOffsetReset::Earliest => Some(SeekTo::Beginning),
        AutoOffsetReset::Latest => Some(SeekTo::End),
        AutoOffsetReset::ByDuration(age) => {
            let milliseconds = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Some(SeekTo::Timestamp(
                Timestamp::now().saturating_add(-milliseconds),
            ))
        }
        AutoOffsetReset::None => None,
    }
}

/// Lets the next `poll` say that a partition has no position, unless it is given one before.
pub(super) fn report_no_position(shared: &Shared, partition: TopicPartition, generation: u64) {
    let error = ConsumeError::NoPosition {
        partition: partition.clone(),
    };
    fail(shared, partition, generation, error);
}
