//! One partition's records on their way out: the batch being filled, full batches in order, and what is under way.
//!
//! Everything here is decided under one short lock and without I/O. Invariants: `sealed` is ordered by batch number and
//! holds what is not under way; a batch is in exactly one of `open`, `sealed` and a node's request; after a batch comes
//! back for another attempt, nothing newer leaves until all that is under way has come back, so that a retry never
//! overtakes or is overtaken on this side.

mod routing;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::record::BATCH_HEADER_BYTES;
use corelog_protocol::{Timestamp, TopicId};
use tokio::time::Instant;

use super::batch::{NotOpened, OpenBatch, Room, SealedBatch, Unfinished};
use super::delivery::{BatchOutcome, Delivery};
use super::memory::{Memory, Reservation};
use super::node::NodeQueue;
use super::sequences::{Gap, Identity, Sequences};
use crate::config::ProducerSettings;
use crate::error::ProduceError;
use crate::record::{ProducerRecord, TopicPartition};

pub(super) use routing::Route;

pub(super) struct Lane {
    partition: TopicPartition,
    state: Mutex<LaneState>,
}

struct LaneState {
    open: Option<OpenBatch>,
    sealed: VecDeque<SealedBatch>,
    under_way: Vec<Arc<BatchOutcome>>,
    next_number: u64,
    /// The size of the last batch, uncompressed.
    usual_bytes: usize,
    /// No batch of this size was refused as too large yet.
    accepted_bytes: usize,
    /// The batches' numbers, where the producer is idempotent.
    sequences: Option<Sequences>,
    route: Option<Route>,
    /// Of the route, or of the one before.
    topic_id: Option<TopicId>,
    /// Where what is under way went, while there is something.
    under_way_at: Weak<NodeQueue>,
    /// Stands in the ready list of its node, or among those without a leader.
    listed: bool,
    /// A batch came back: wait for the rest before anything leaves.
    recovering: bool,
    not_before: Option<Instant>,
    closed: bool,
    /// The partition is no more: its topic was made again with so many.
    gone: Option<usize>,
}

/// What became of an attempt to append.
pub(super) enum Appended {
    /// It is in a batch; with `opened`, it is the first of that batch.
    Done {
        delivery: Delivery,
        opened: Option<u64>,
    },
    /// A new batch would have to be opened, which the caller did not allow.
    WantsNewBatch,
    /// So many bytes of memory are needed first.
    WantsMemory(usize),
}

/// Batches of a partition that is no more, and what their records are to be told.
pub(super) struct Gone {
    batches: Vec<SealedBatch>,
    error: ProduceError,
}

impl Gone {
    pub(super) fn each(self) -> impl Iterator<Item = (SealedBatch, ProduceError)> {
        let error = self.error;
        self.batches
            .into_iter()
            .map(move |batch| (batch, error.clone()))
    }
}

/// What a node gets when it asks a lane for a batch.
pub(super) enum Taken {
    Batch {
        batch: SealedBatch,
        bytes: Bytes,
        route: Route,
        more: bool,
    },
    /// Make these bytes, give them back, and ask again.
    Unfinished(Unfinished),
    /// The next batch does not fit the request.
    TooLarge,
    /// Nothing may leave now.
    Nothing,
    /// The lane has moved to another node, or to none.
    Elsewhere,
    /// Nothing may leave before the producer has a higher epoch than this one.
    NeedsEpochAbove(Identity),
    /// These may be in the log already and cannot be told from new ones any more: give them up, and ask again.
    Uncertain(Vec<SealedBatch>),
}

impl Lane {
    pub(super) fn new(partition: TopicPartition, identity: Option<Identity>) -> Self {
        Self {
            partition,
            state: Mutex::new(LaneState {
                open: None,
                sealed: VecDeque::new(),
                under_way: Vec::new(),
                next_number: 0,
                usual_bytes: 0,
                accepted_bytes: usize::MAX,
                sequences: identity.map(Sequences::new),
                route: None,
                topic_id: None,
                under_way_at: Weak::new(),
                listed: false,
                recovering: false,
                not_before: None,
                closed: false,
                gone: None,
            }),
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a record into the open batch, or into a new one if `may_open`. Batches that are full by then come back to be
    /// finished, whatever became of the record.
    pub(super) fn append(
        &self,
        record: &ProducerRecord<'_>,
        timestamp: Timestamp,
        settings: &ProducerSettings,
        memory: &Memory,
        granted: &mut Option<Reservation>,
        may_open: bool,
    ) -> (Result<Appended, ProduceError>, [Option<Unfinished>; 2]) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return (Err(ProduceError::Closed), [None, None]);
        }
        if let Some(partitions) = state.gone {
            return (Err(self.no_such_partition(partitions)), [None, None]);
        }
        let batch_bytes = state.batch_bytes(settings);
        let mut full = None;
        if let Some(open) = &mut state.open {
            let before = open.size();
            let after = open.size_after(timestamp, record);
            if after > batch_bytes {
                full = state.seal();
            } else if let Err(wanted) = open.make_room(after, settings, memory, granted) {
                // What is there can leave, which is what frees memory.
                return (Ok(Appended::WantsMemory(wanted)), [state.seal(), None]);
            } else {
                let delivery = open.append(record, timestamp);
                if has_no_room_for_another(before, after, batch_bytes) {
                    full = state.seal();
                }
                let appended = delivery.map(|delivery| Appended::Done {
                    delivery,
                    opened: None,
                });
                return (appended, [full, None]);
            }
        }
        if !may_open {
            return (Ok(Appended::WantsNewBatch), [full, None]);
        }
        let (appended, full_at_once) = state.open_with(
            &self.partition,
            record,
            timestamp,
            settings,
            memory,
            granted,
        );
        (appended, [full, full_at_once])
    }

    /// Makes the bytes of a batch that was full, outside the lock.
    pub(super) fn finish(&self, unfinished: Unfinished) {
        let (number, bytes) = unfinished.finish();
        let mut state = self.state();
        // It may have been given up meanwhile, with the producer.
        if let Some(batch) = state.sealed.iter_mut().rfind(|batch| batch.is(number)) {
            batch.set_bytes(bytes);
        }
    }

    /// Ends the lingering of a batch, if it is still open.
    pub(super) fn end_linger(&self, number: u64) -> bool {
        let mut state = self.state();
        match &mut state.open {
            Some(open) if open.number == number => {
                open.due = true;
                true
            }
            _ => false,
        }
    }

    /// Hands the next batch to a node, if it may leave and is at most `room` bytes. The lane counts as unlisted after it,
    /// unless there is `more`.
    pub(super) fn take(
        &self,
        by: &Arc<NodeQueue>,
        room: usize,
        identity: Option<Identity>,
    ) -> Taken {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(route) = state
            .route
            .clone()
            .filter(|route| Arc::ptr_eq(&route.queue, by))
        else {
            return Taken::Elsewhere;
        };
        state.listed = false;
        // A batch that goes another way must not overtake those before it.
        let has_moved = !std::ptr::eq(state.under_way_at.as_ptr(), Arc::as_ptr(by));
        if (state.recovering || has_moved) && !state.under_way.is_empty() {
            return Taken::Nothing;
        }
        let most = state.sequences.as_ref().map(Sequences::most_under_way);
        if most.is_some_and(|most| state.under_way.len() >= most) {
            return Taken::Nothing;
        }
        state.recovering = false;
        if state.not_before.is_some_and(|time| time > Instant::now()) {
            return Taken::Nothing;
        }
        state.not_before = None;
        if let Some(waits) = state.close_gap(identity) {
            return waits;
        }
        if state.sealed.is_empty() && state.open.as_ref().is_some_and(|open| open.due) {
            return state.seal().map_or(Taken::Nothing, Taken::Unfinished);
        }
        let size = match state.sealed.front() {
            Some(SealedBatch {
                bytes: Some(bytes), ..
            }) => bytes.len(),
            _ => return Taken::Nothing,
        };
        if size > room {
            state.listed = true;
            return Taken::TooLarge;
        }
        let mut batch = state.sealed.pop_front().expect("it was looked at above");
        let bytes = batch.bytes.clone().expect("it was looked at above");
        batch.attempts += 1;
        state.under_way.push(Arc::clone(batch.completion.outcome()));
        state.under_way_at = Arc::downgrade(by);
        let more = state.has_work();
        state.listed = more;
        Taken::Batch {
            batch,
            bytes,
            route,
            more,
        }
    }

    /// Notes that a batch was acknowledged, by the partition of this topic, and is no longer under way.
    pub(super) fn acknowledged(&self, batch: &SealedBatch, topic_id: TopicId) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.forget(batch.completion.outcome());
        if state.topic_id == Some(topic_id)
            && let (Some(sequences), Some(stamp)) = (&mut state.sequences, batch.stamp)
        {
            sequences.acknowledge(stamp);
        }
    }

    /// A batch of so many bytes is too large: no more are made that are as large.
    pub(super) fn refused_as_too_large(&self, bytes: usize) {
        let mut state = self.state();
        state.accepted_bytes = state.accepted_bytes.min(bytes / 2);
    }

    /// Notes that a batch was given up and no longer under way.
    pub(super) fn given_up(&self, batch: &SealedBatch) {
        let mut state = self.state();
        state.forget(batch.completion.outcome());
        if let (Some(sequences), Some(stamp)) = (&mut state.sequences, batch.stamp) {
            sequences.give_up(stamp, batch.records, batch.is_unknown);
        }
    }

    /// The broker misses what comes before this batch. Unless something does and has yet to come back, the numbers lead
    /// nowhere any more.
    pub(super) fn out_of_order(&self, batch: &SealedBatch) {
        let mut guard = self.state();
        let state = &mut *guard;
        let is_first_under_way = state
            .under_way
            .first()
            .is_none_or(|first| Arc::ptr_eq(first, batch.completion.outcome()));
        let comes_first = state
            .sealed
            .front()
            .is_none_or(|first| first.place() > batch.place() || first.stamp.is_none());
        if is_first_under_way
            && comes_first
            && let (Some(sequences), Some(stamp)) = (&mut state.sequences, batch.stamp)
        {
            sequences.disown(stamp);
        }
    }

    /// Takes a batch back for another attempt, in its old place; not to a partition that is no more.
    pub(super) fn take_back(&self, batch: SealedBatch, wait: Duration) -> Result<(), Gone> {
        let mut state = self.state();
        state.forget(batch.completion.outcome());
        if let Some(partitions) = state.gone {
            return Err(self.gone(vec![batch], partitions));
        }
        if state.closed {
            return Ok(());
        }
        state.insert(batch);
        if let Some(sequences) = &mut state.sequences {
            sequences.may_be_forgotten();
        }
        state.recovering = true;
        state.not_before = Some(Instant::now() + wait);
        Ok(())
    }

    /// Takes the parts of a batch that was too large, in its old place.
    pub(super) fn take_back_parts(
        &self,
        outcome: &Arc<BatchOutcome>,
        parts: Vec<SealedBatch>,
    ) -> Result<(), Gone> {
        let mut state = self.state();
        state.forget(outcome);
        if let Some(partitions) = state.gone {
            return Err(self.gone(parts, partitions));
        }
        if state.closed {
            return Ok(());
        }
        for part in parts {
            state.insert(part);
        }
        state.recovering = true;
        Ok(())
    }

    /// Gives up the batches that are not under way and were opened at or before `opened`.
    pub(super) fn take_expired(&self, opened: Instant) -> Vec<SealedBatch> {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut expired = Vec::new();
        while state
            .sealed
            .front()
            .is_some_and(|batch| batch.opened <= opened && batch.bytes.is_some())
        {
            expired.extend(state.sealed.pop_front());
        }
        if state.sealed.is_empty()
            && state
                .open
                .as_ref()
                .is_some_and(|open| open.opened <= opened)
        {
            // It goes without its bytes: nobody will send them.
            drop(state.seal());
            expired.extend(state.sealed.pop_front());
        }
        // The last first: numbers at the end are simply free again.
        for batch in expired.iter().rev() {
            if let (Some(sequences), Some(stamp)) = (&mut state.sequences, batch.stamp) {
                sequences.give_up(stamp, batch.records, batch.is_unknown);
            }
        }
        expired
    }

    /// Everything not yet settled, oldest first; the open batch leaves with the next request.
    pub(super) fn flush(&self, outcomes: &mut Vec<Arc<BatchOutcome>>) {
        let mut state = self.state();
        if let Some(open) = &mut state.open {
            open.due = true;
        }
        outcomes.extend(state.under_way.iter().cloned());
        outcomes.extend(
            state
                .sealed
                .iter()
                .map(|batch| Arc::clone(batch.completion.outcome())),
        );
        outcomes.extend(
            state
                .open
                .iter()
                .map(|open| Arc::clone(open.completion.outcome())),
        );
    }

    /// The partition is no more: refuses records from now on, and gives up what is not under way.
    pub(super) fn go(&self, partitions: usize) -> Gone {
        let mut guard = self.state();
        let state = &mut *guard;
        state.gone = Some(partitions);
        state.route = None;
        // Whoever makes the bytes of one of them finds nobody who wants them.
        drop(state.seal());
        let batches = state.sealed.drain(..).collect();
        self.gone(batches, partitions)
    }

    fn gone(&self, batches: Vec<SealedBatch>, partitions: usize) -> Gone {
        Gone {
            batches,
            error: self.no_such_partition(partitions),
        }
    }

    fn no_such_partition(&self, partitions: usize) -> ProduceError {
        ProduceError::NoSuchPartition {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition,
            partitions,
        }
    }

    /// Refuses records from now on and fails those that are not under way.
    pub(super) fn close(&self) {
        let (open, sealed) = {
            let mut state = self.state();
            state.closed = true;
            // A route leads to a queue that may list this lane: a circle that would never be freed.
            state.route = None;
            (state.open.take(), std::mem::take(&mut state.sealed))
        };
        // Dropping settles them as closed, outside the lock because it wakes their waiters.
        drop((open, sealed));
    }
}

impl LaneState {
    /// Opens a batch with its first record. One that has no room for another like it is full at once.
    fn open_with(
        &mut self,
        partition: &TopicPartition,
        record: &ProducerRecord<'_>,
        timestamp: Timestamp,
        settings: &ProducerSettings,
        memory: &Memory,
        granted: &mut Option<Reservation>,
    ) -> (Result<Appended, ProduceError>, Option<Unfinished>) {
        let number = self.next_number;
        let room = Room {
            memory,
            granted,
            usual_bytes: self.usual_bytes,
        };
        let opened = OpenBatch::with_record(number, partition, record, timestamp, settings, room);
        let (open, delivery) = match opened {
            Ok(opened) => opened,
            Err(NotOpened::WantsMemory(bytes)) => return (Ok(Appended::WantsMemory(bytes)), None),
            Err(NotOpened::Refused(error)) => return (Err(error), None),
        };
        let size = open.size();
        self.next_number += 1;
        self.open = Some(open);
        let full = has_no_room_for_another(BATCH_HEADER_BYTES, size, self.batch_bytes(settings))
            .then(|| self.seal())
            .flatten();
        let appended = Appended::Done {
            delivery,
            opened: full.is_none().then_some(number),
        };
        (Ok(appended), full)
    }

    /// How large a batch may become: `batch.size`, or less where the broker has refused that.
    fn batch_bytes(&self, settings: &ProducerSettings) -> usize {
        settings.batch_bytes.min(self.accepted_bytes)
    }

    /// Closes the open batch. Its bytes come later.
    fn seal(&mut self) -> Option<Unfinished> {
        let open = self.open.take()?;
        self.usual_bytes = open.size();
        let sequences = self.sequences.as_mut();
        let stamp = sequences.map(|sequences| sequences.stamp(open.records()));
        let (sealed, unfinished) = open.seal(stamp);
        self.sealed.push_back(sealed);
        Some(unfinished)
    }

    /// Puts a batch back where it belongs among those that wait.
    fn insert(&mut self, batch: SealedBatch) {
        let place = self
            .sealed
            .partition_point(|other| other.place() < batch.place());
        self.sealed.insert(place, batch);
    }

    /// Numbers anew what is left behind a gap, under `identity`. Comes back with what hinders it.
    fn close_gap(&mut self, identity: Option<Identity>) -> Option<Taken> {
        let sequences = self.sequences.as_mut()?;
        let gap = sequences.gap()?;
        if !self.under_way.is_empty() {
            // The last to come back lists the lane.
            self.recovering = true;
            return Some(Taken::Nothing);
        }
        let old = sequences.identity();
        let Some(new) = identity.filter(|new| *new != old) else {
            return Some(Taken::NeedsEpochAbove(old));
        };
        if self.sealed.iter().any(|batch| batch.bytes.is_none()) {
            // Whoever finishes it lists the lane.
            return Some(Taken::Nothing);
        }
        if gap == Gap::Uncertain && self.sealed.iter().any(|batch| batch.is_unknown) {
            let (unknown, known) = self.sealed.drain(..).partition(|batch| batch.is_unknown);
            self.sealed = known;
            let unknown: VecDeque<SealedBatch> = unknown;
            return Some(Taken::Uncertain(unknown.into()));
        }
        sequences.renew(new);
        for batch in &mut self.sealed {
            batch.renumber(sequences.stamp(batch.records));
        }
        None
    }

    fn has_work(&self) -> bool {
        !self.sealed.is_empty() || self.open.as_ref().is_some_and(|open| open.due)
    }

    fn forget(&mut self, outcome: &Arc<BatchOutcome>) {
        self.under_way.retain(|other| !Arc::ptr_eq(other, outcome));
    }
}

/// Records tend to be alike: where another one like the last would not fit, waiting for it gains nothing.
fn has_no_room_for_another(before: usize, after: usize, batch_bytes: usize) -> bool {
    after + (after - before) > batch_bytes
}
