//! One partition's records on their way out: the batch being filled, full batches in order, and what is under way.
//!
//! Everything here is decided under one short lock and without I/O. Invariants: `sealed` is ordered by batch number and
//! holds what is not under way; a batch is in exactly one of `open`, `sealed` and a node's request; after a batch comes
//! back for another attempt, nothing newer leaves until all that is under way has come back, so that a retry never
//! overtakes or is overtaken on this side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::record::{BATCH_HEADER_BYTES, BatchBuilder};
use corelog_protocol::{LeaderEpoch, Timestamp, TopicId};
use tokio::time::Instant;

use super::delivery::{BatchOutcome, Completion, Delivery, Written};
use super::memory::{Memory, Reservation};
use super::node::NodeQueue;
use crate::config::ProducerSettings;
use crate::error::ProduceError;
use crate::record::{ProducerRecord, TopicPartition};

pub(super) struct Lane {
    partition: TopicPartition,
    state: Mutex<LaneState>,
}

struct LaneState {
    open: Option<OpenBatch>,
    sealed: VecDeque<SealedBatch>,
    under_way: Vec<Arc<BatchOutcome>>,
    next_number: u64,
    route: Option<Route>,
    /// Stands in the ready list of its node, or among those without a leader.
    listed: bool,
    /// A batch came back: wait for the rest before anything leaves.
    recovering: bool,
    not_before: Option<Instant>,
    closed: bool,
}

/// Where the partition's leader is, as far as this client knows.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) queue: Arc<NodeQueue>,
    pub(super) topic_id: TopicId,
    pub(super) leader_epoch: Option<LeaderEpoch>,
}

struct OpenBatch {
    number: u64,
    builder: Box<BatchBuilder>,
    completion: Completion,
    opened: Instant,
    reservation: Reservation,
    /// Its time to linger is over: it leaves as soon as it can, with whatever joins until then.
    due: bool,
}

/// A batch that takes no more records.
pub(super) struct SealedBatch {
    number: u64,
    /// None while someone computes it, outside the lock.
    bytes: Option<Bytes>,
    pub(super) records: u32,
    pub(super) completion: Completion,
    pub(super) opened: Instant,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// What the last attempt met.
    pub(super) last_failure: Option<String>,
    _reservation: Reservation,
}

impl SealedBatch {
    /// Tells every record's sender what became of it, and gives the memory back.
    pub(super) fn settle(self, result: Result<Written, ProduceError>) {
        self.completion.settle(result);
    }
}

/// A full batch whose bytes are still to be made: compression and CRC happen outside the lane's lock.
pub(super) struct Unfinished {
    number: u64,
    builder: Box<BatchBuilder>,
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
}

impl Lane {
    pub(super) fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            state: Mutex::new(LaneState {
                open: None,
                sealed: VecDeque::new(),
                under_way: Vec::new(),
                next_number: 0,
                route: None,
                listed: false,
                recovering: false,
                not_before: None,
                closed: false,
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
        let mut full = None;
        if let Some(open) = &mut state.open {
            let before = open.builder.size();
            let after = size_after(&open.builder, timestamp, record);
            if after > settings.batch_bytes {
                full = state.seal();
            } else if let Err(wanted) = open.make_room(after, memory, granted) {
                // What is there can leave, which is what frees memory.
                return (Ok(Appended::WantsMemory(wanted)), [state.seal(), None]);
            } else {
                let delivery = open.append(record, timestamp);
                if has_no_room_for_another(before, after, settings) {
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

    /// Takes the bytes of a batch that was full.
    pub(super) fn finish(&self, unfinished: Unfinished) {
        let Unfinished {
            number,
            mut builder,
        } = unfinished;
        let bytes = builder.finish(None);
        let mut state = self.state();
        // It may have been given up meanwhile, with the producer.
        if let Some(batch) = state
            .sealed
            .iter_mut()
            .rfind(|batch| batch.number == number)
        {
            batch.bytes = Some(bytes);
        }
    }

    /// Ends the lingering of one batch (`number`), or of whichever is open.
    pub(super) fn end_linger(&self, number: Option<u64>) -> bool {
        let mut state = self.state();
        match &mut state.open {
            Some(open) if number.is_none_or(|number| number == open.number) => {
                open.due = true;
                true
            }
            _ => false,
        }
    }

    /// Hands the next batch to a node, if it may leave and is at most `room` bytes. The lane counts as unlisted after it,
    /// unless there is `more`.
    pub(super) fn take(&self, by: &Arc<NodeQueue>, room: usize) -> Taken {
        let mut state = self.state();
        let Some(route) = state
            .route
            .clone()
            .filter(|route| Arc::ptr_eq(&route.queue, by))
        else {
            return Taken::Elsewhere;
        };
        state.listed = false;
        if state.recovering && !state.under_way.is_empty() {
            return Taken::Nothing;
        }
        state.recovering = false;
        if state.not_before.is_some_and(|time| time > Instant::now()) {
            return Taken::Nothing;
        }
        state.not_before = None;
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
        let more = state.has_work();
        state.listed = more;
        Taken::Batch {
            batch,
            bytes,
            route,
            more,
        }
    }

    /// Notes that a batch is settled and no longer under way.
    pub(super) fn settled(&self, outcome: &Arc<BatchOutcome>) {
        self.state().forget(outcome);
    }

    /// Takes a batch back for another attempt, in its old place.
    pub(super) fn take_back(&self, batch: SealedBatch, wait: Duration) {
        let mut state = self.state();
        state.forget(batch.completion.outcome());
        if state.closed {
            return;
        }
        let place = state
            .sealed
            .partition_point(|other| other.number < batch.number);
        state.sealed.insert(place, batch);
        state.recovering = true;
        state.not_before = Some(Instant::now() + wait);
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

    /// Whether the lane must be put on a list now, and on which: its node's, or that of lanes without a leader.
    pub(super) fn claim_listing(&self) -> Option<Option<Arc<NodeQueue>>> {
        let mut state = self.state();
        if state.listed || !state.has_work() {
            return None;
        }
        state.listed = true;
        Some(state.route.as_ref().map(|route| Arc::clone(&route.queue)))
    }

    /// Forgets the place on the list of lanes without a leader.
    pub(super) fn unlist(&self) {
        self.state().listed = false;
    }

    pub(super) fn has_route(&self) -> bool {
        self.state().route.is_some()
    }

    pub(super) fn is_routed_to(&self, queue: &Arc<NodeQueue>) -> bool {
        self.state()
            .route
            .as_ref()
            .is_some_and(|route| Arc::ptr_eq(&route.queue, queue))
    }

    /// Sets where the leader is; `None` until it is known again. The caller lists the lane after it.
    pub(super) fn set_route(&self, route: Option<Route>) {
        let mut state = self.state();
        let moved = match (&state.route, &route) {
            (Some(old), Some(new)) => !Arc::ptr_eq(&old.queue, &new.queue),
            (None, None) => false,
            _ => true,
        };
        state.route = route;
        if moved {
            // Its place on the old list is worth nothing: whoever meets it there passes on.
            state.listed = false;
        }
    }

    /// Forgets a leader that turned out not to be one, unless another one is known by now.
    pub(super) fn forget_route(&self, queue: &Arc<NodeQueue>) {
        let mut state = self.state();
        if state
            .route
            .as_ref()
            .is_some_and(|route| Arc::ptr_eq(&route.queue, queue))
        {
            state.route = None;
            state.listed = false;
        }
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
        let builder = Box::new(BatchBuilder::new(
            settings.compression,
            settings.batch_bytes,
        ));
        let size = size_after(&builder, timestamp, record);
        if let Err(error) = check_size(size, settings, memory) {
            return (Err(error), None);
        }
        let wanted = memory.rounded(size);
        let Some(reservation) = granted
            .take_if(|granted| granted.bytes() >= wanted)
            .or_else(|| memory.try_reserve(wanted))
        else {
            return (Ok(Appended::WantsMemory(wanted)), None);
        };
        let number = self.next_number;
        let mut open = OpenBatch {
            number,
            builder,
            completion: Completion::new(partition.clone()),
            opened: Instant::now(),
            reservation,
            due: settings.linger.is_zero(),
        };
        let delivery = match open.append(record, timestamp) {
            Ok(delivery) => delivery,
            Err(error) => return (Err(error), None),
        };
        let (before, after) = (BATCH_HEADER_BYTES, open.builder.size());
        self.next_number += 1;
        self.open = Some(open);
        let full = has_no_room_for_another(before, after, settings)
            .then(|| self.seal())
            .flatten();
        let appended = Appended::Done {
            delivery,
            opened: full.is_none().then_some(number),
        };
        (Ok(appended), full)
    }

    /// Closes the open batch. Its bytes come later.
    fn seal(&mut self) -> Option<Unfinished> {
        let open = self.open.take()?;
        self.sealed.push_back(SealedBatch {
            number: open.number,
            bytes: None,
            records: open.builder.record_count(),
            completion: open.completion,
            opened: open.opened,
            attempts: 0,
            last_failure: None,
            _reservation: open.reservation,
        });
        Some(Unfinished {
            number: open.number,
            builder: open.builder,
        })
    }

    fn has_work(&self) -> bool {
        !self.sealed.is_empty() || self.open.as_ref().is_some_and(|open| open.due)
    }

    fn forget(&mut self, outcome: &Arc<BatchOutcome>) {
        self.under_way.retain(|other| !Arc::ptr_eq(other, outcome));
    }
}

impl OpenBatch {
    /// Reserves memory for a batch that grows to `size`, or says how much is wanted.
    fn make_room(
        &mut self,
        size: usize,
        memory: &Memory,
        granted: &mut Option<Reservation>,
    ) -> Result<(), usize> {
        let held = self.reservation.bytes();
        if size <= held {
            return Ok(());
        }
        if let Some(granted) = granted.take() {
            self.reservation.absorb(granted);
        }
        let wanted = memory
            .rounded(size)
            .saturating_sub(self.reservation.bytes());
        match memory.try_reserve(wanted) {
            Some(more) => {
                self.reservation.absorb(more);
                Ok(())
            }
            None => Err(wanted),
        }
    }

    fn append(
        &mut self,
        record: &ProducerRecord<'_>,
        timestamp: Timestamp,
    ) -> Result<Delivery, ProduceError> {
        let index = self
            .builder
            .append(timestamp, record.key, record.value, record.headers)
            .map_err(|error| ProduceError::Unencodable {
                reason: error.to_string(),
            })?;
        let index = u32::try_from(index).expect("offset deltas count from 0");
        Ok(Delivery::new(self.completion.outcome(), index, timestamp))
    }
}

fn size_after(builder: &BatchBuilder, timestamp: Timestamp, record: &ProducerRecord<'_>) -> usize {
    builder.estimated_size_after(timestamp, record.key, record.value, record.headers)
}

/// Records tend to be alike: where another one like the last would not fit, waiting for it gains nothing.
fn has_no_room_for_another(before: usize, after: usize, settings: &ProducerSettings) -> bool {
    after + (after - before) > settings.batch_bytes
}

/// A record that can never be sent is refused at once.
fn check_size(
    size: usize,
    settings: &ProducerSettings,
    memory: &Memory,
) -> Result<(), ProduceError> {
    for (setting, limit) in [
        ("max.request.size", settings.max_request_bytes),
        ("buffer.memory", memory.limit()),
    ] {
        if size > limit {
            return Err(ProduceError::RecordTooLarge {
                size,
                limit,
                setting,
            });
        }
    }
    Ok(())
}
