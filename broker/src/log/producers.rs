//! What a log holds of idempotent producers: the epoch and the last five batches of each
//! (KIP-98), so that a retry is recognised and a gap is seen.
//!
//! Facts only: every batch that enters the log is noted, in the order of appends, and nothing else
//! changes what is known. What a producer may append next is its partition's to say.
//!
//! Batches enter here when they enter the log's memory. A checkpoint speaks of the log as far as
//! its journal was written, so each note above that place keeps what it displaced, and
//! [`Producers::encode_at`] takes it back. What is known does not depend on the batches' being in
//! the log still: retention, DeleteRecords and compaction take nothing away, as in Kafka.

mod bound;
mod encoding;
mod lost_producers;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use corelog_protocol::record::{Attributes, BatchHeader};
use corelog_protocol::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType};

use super::canary::{Canary, is_planted};
pub(super) use bound::{KnownProducers, active_since};
pub(super) use encoding::is_coherent;
#[cfg(test)]
pub(super) use encoding::{BATCH_BYTES, PRODUCER_BYTES};
#[cfg(test)]
pub(super) use tests::example_producers;

/// Batches of a producer that are remembered. Kafka's number, and what its clients rely on when they
/// have up to five requests under way.
pub(crate) const REMEMBERED_BATCHES: usize = 5;

/// Notes kept allocated for the next batches; a longer list is given back.
const KEPT_NOTES: usize = 256;

/// A batch that the log took, as far as a retry of it is recognised and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducedBatch {
    pub(crate) base_offset: Offset,
    pub(crate) base_sequence: Sequence,
    /// Offset, and sequence, of the last record minus that of the first.
    pub(crate) last_offset_delta: i32,
    /// The time that the leader stamped on it, or [`Timestamp::NONE`].
    append_time: Timestamp,
}

impl ProducedBatch {
    const NONE: ProducedBatch = ProducedBatch {
        base_offset: Offset::ZERO,
        base_sequence: Sequence::ZERO,
        last_offset_delta: 0,
        append_time: Timestamp::NONE,
    };

    pub(crate) fn last_offset(&self) -> Offset {
        Offset::new(self.base_offset.get() + i64::from(self.last_offset_delta))
    }

    /// The sequence that follows the batch.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.base_sequence
            .advance(self.last_offset_delta)
            .advance(1)
    }

    /// The time that the leader stamped on it, if it did.
    pub(crate) fn append_time(&self) -> Option<Timestamp> {
        (self.append_time != Timestamp::NONE).then_some(self.append_time)
    }
}

/// One producer: at least one batch, each with the sequence behind the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    id: ProducerId,
    epoch: ProducerEpoch,
    count: u8,
    /// When its last batch came, by the broker's clock. A producer's own timestamps may lie years
    /// back and would have it forgotten at once.
    last_active_ms: i64,
    /// The oldest first; the first `count` mean something.
    batches: [ProducedBatch; REMEMBERED_BATCHES],
}

impl Producer {
    fn new(id: ProducerId, epoch: ProducerEpoch, batch: ProducedBatch, now_ms: i64) -> Producer {
        let mut batches = [ProducedBatch::NONE; REMEMBERED_BATCHES];
        batches[0] = batch;
        Producer {
            id,
            epoch,
            count: 1,
            last_active_ms: now_ms,
            batches,
        }
    }

    pub(crate) fn id(&self) -> ProducerId {
        self.id
    }

    pub(crate) fn last_active_ms(&self) -> i64 {
        self.last_active_ms
    }

    pub(crate) fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The remembered batches, the oldest first. There is one.
    pub(crate) fn batches(&self) -> &[ProducedBatch] {
        &self.batches[..usize::from(self.count)]
    }

    pub(crate) fn next_sequence(&self) -> Sequence {
        self.last_batch().next_sequence()
    }

    /// The sequence of its last record.
    pub(crate) fn last_sequence(&self) -> Sequence {
        let last = self.last_batch();
        last.base_sequence.advance(last.last_offset_delta)
    }

    fn last_batch(&self) -> &ProducedBatch {
        &self.batches[usize::from(self.count) - 1]
    }

    /// Takes the next batch of the same epoch, and gives back the one that had to go for it.
    fn push(&mut self, batch: ProducedBatch) -> Option<ProducedBatch> {
        let count = usize::from(self.count);
        if count < REMEMBERED_BATCHES {
            self.batches[count] = batch;
            self.count += 1;
            return None;
        }
        let oldest = self.batches[0];
        self.batches.copy_within(1.., 0);
        self.batches[REMEMBERED_BATCHES - 1] = batch;
        Some(oldest)
    }

    /// Takes back the last [`Producer::push`].
    fn pop(&mut self, displaced: Option<ProducedBatch>) {
        match displaced {
            Some(oldest) => {
                self.batches.copy_within(..REMEMBERED_BATCHES - 1, 1);
                self.batches[0] = oldest;
            }
            None => self.count -= 1,
        }
    }
}

/// A batch above the place up to which the journal was written, and what it changed.
#[derive(Debug)]
struct Note {
    id: ProducerId,
    base_offset: Offset,
    before: Before,
}

#[derive(Debug)]
enum Before {
    /// The producer was not known.
    Unknown,
    /// The epoch was the same; the batch that had to go, if one had to.
    SameEpoch(Option<ProducedBatch>),
    OtherEpoch(Box<Producer>),
}

/// The producers of one log. A log without any costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    producers: Vec<Producer>,
    /// Where each stands in `producers`.
    places: HashMap<ProducerId, usize>,
    /// Where the last one looked for was found: most partitions hear from the same producer many
    /// times in a row.
    last_found: usize,
    /// What is not written yet, in offset order.
    unwritten: VecDeque<Note>,
}

impl Producers {
    pub(crate) fn len(&self) -> usize {
        self.producers.len()
    }

    pub(crate) fn get(&mut self, id: ProducerId) -> Option<&Producer> {
        self.place(id).map(|place| &self.producers[place])
    }

    fn place(&mut self, id: ProducerId) -> Option<usize> {
        let last = self.producers.get(self.last_found);
        if last.is_none_or(|producer| producer.id != id) {
            self.last_found = *self.places.get(&id)?;
        }
        Some(self.last_found)
    }

    /// Notes a batch that the log took at `base_offset`, its sequence having been checked. True when
    /// its producer was not known before.
    pub(crate) fn note(&mut self, header: &BatchHeader, base_offset: Offset, now_ms: i64) -> bool {
        let Some((id, epoch, batch)) = read(header, base_offset) else {
            return false;
        };
        let before = match self.place(id) {
            None => {
                self.insert(Producer::new(id, epoch, batch, now_ms));
                Before::Unknown
            }
            Some(place) => {
                let producer = &mut self.producers[place];
                if producer.epoch == epoch {
                    producer.last_active_ms = now_ms;
                    Before::SameEpoch(producer.push(batch))
                } else {
                    let new = Producer::new(id, epoch, batch, now_ms);
                    Before::OtherEpoch(Box::new(std::mem::replace(producer, new)))
                }
            }
        };
        let is_new = matches!(before, Before::Unknown);
        self.unwritten.push_back(Note {
            id,
            base_offset,
            before,
        });
        is_new
    }

    fn insert(&mut self, producer: Producer) {
        self.last_found = self.producers.len();
        self.places.insert(producer.id, self.last_found);
        self.producers.push(producer);
    }

    fn remove(&mut self, id: ProducerId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        self.producers.swap_remove(place);
        if let Some(moved) = self.producers.get(place) {
            self.places.insert(moved.id, place);
        }
    }

    /// The journal was written up to `end`.
    pub(super) fn written(&mut self, end: Offset) {
        if self.unwritten.is_empty() {
            return;
        }
        while let Some(note) = self.unwritten.front()
            && note.base_offset < end
        {
            self.unwritten.pop_front();
        }
        if self.unwritten.is_empty() && self.unwritten.capacity() > KEPT_NOTES {
            self.unwritten = VecDeque::new();
        }
    }

    /// What was known when the log ended at `end`, which is where the journal was written to or
    /// behind it.
    pub(super) fn encode_at(&self, end: Offset) -> Bytes {
        let earlier = self.before_the_notes_from(end);
        let mut bytes = Vec::new();
        for producer in &self.producers {
            match earlier.get(&producer.id) {
                None => encoding::put(producer, &mut bytes),
                Some(Some(earlier)) => encoding::put(earlier, &mut bytes),
                Some(None) => {}
            }
        }
        Bytes::from(bytes)
    }

    /// The producers that the notes from `end` on changed, as they were before.
    fn before_the_notes_from(&self, end: Offset) -> HashMap<ProducerId, Option<Producer>> {
        let mut earlier: HashMap<ProducerId, Option<Producer>> = HashMap::new();
        if is_planted(Canary::ProducersAheadOfCheckpoint) {
            return earlier;
        }
        let notes = self.unwritten.iter().rev();
        for note in notes.take_while(|note| note.base_offset >= end) {
            let producer = earlier.entry(note.id).or_insert_with(|| {
                let place = self.places.get(&note.id);
                place.map(|place| self.producers[*place].clone())
            });
            match (&note.before, &mut *producer) {
                (Before::Unknown, _) => *producer = None,
                (Before::OtherEpoch(before), Some(_)) => *producer = Some((**before).clone()),
                (Before::SameEpoch(displaced), Some(producer)) => producer.pop(*displaced),
                // It was forgotten since, for its age or for the bound.
                (Before::OtherEpoch(_) | Before::SameEpoch(_), None) => {}
            }
        }
        earlier
    }

    /// Reads what [`Producers::encode_at`] wrote, which [`is_coherent`] found whole. Producers that
    /// were last active before `active_since_ms` are left out.
    pub(super) fn decode(bytes: &[u8], active_since_ms: i64) -> Producers {
        let mut producers = Producers::default();
        for producer in encoding::producers(bytes) {
            if producer.last_active_ms >= active_since_ms {
                producers.insert(producer);
            }
        }
        producers
    }

    /// Notes a batch that is read back from the disk, so that there is no way back behind it.
    pub(super) fn note_on_disk(&mut self, header: &BatchHeader, now_ms: i64) {
        if let Some(base_offset) = Offset::from_sentinel(header.base_offset.get()) {
            self.note(header, base_offset, now_ms);
            self.unwritten.clear();
        }
    }

    /// Of whom a log that is cut back to `to`, or before the batch that holds `to`, would remember
    /// nothing, although it may hold earlier batches of theirs.
    pub(super) fn emptied_by_cut(&self, to: Offset) -> Vec<ProducerId> {
        let emptied = |producer: &&Producer| producer.batches[0].last_offset() >= to;
        self.producers
            .iter()
            .filter(emptied)
            .map(|producer| producer.id)
            .collect()
    }

    /// The log was cut back to `to`, or before the batch that holds `to`. `found` are the latest
    /// batches left of those whom [`Producers::emptied_by_cut`] named.
    pub(super) fn cut_back(&mut self, to: Offset, found: Producers) {
        self.unwritten = VecDeque::new();
        for id in self.emptied_by_cut(to) {
            self.remove(id);
        }
        for producer in &mut self.producers {
            while producer.batches[usize::from(producer.count) - 1].last_offset() >= to {
                producer.count -= 1;
            }
        }
        for producer in found.producers {
            // Who was forgotten meanwhile stays so.
            if !self.places.contains_key(&producer.id) {
                self.insert(producer);
            }
        }
    }

    /// Forgets those last active before a time, and `at_that_time` of those active exactly then.
    /// Returns how many went.
    pub(super) fn forget_idle(&mut self, before_ms: i64, at_that_time: usize) -> usize {
        let mut spare = at_that_time;
        let mut idle = Vec::new();
        for producer in &self.producers {
            let is_idle = producer.last_active_ms < before_ms
                || (producer.last_active_ms == before_ms && spare > 0);
            if is_idle {
                spare -= usize::from(producer.last_active_ms == before_ms);
                idle.push(producer.id);
            }
        }
        for id in &idle {
            self.remove(*id);
        }
        idle.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Producer> {
        self.producers.iter()
    }

    fn last_active(&self) -> impl Iterator<Item = i64> + '_ {
        self.iter().map(|producer| producer.last_active_ms)
    }
}

/// What a header says of its producer; `None` when it has none.
fn read(
    header: &BatchHeader,
    base_offset: Offset,
) -> Option<(ProducerId, ProducerEpoch, ProducedBatch)> {
    let attributes = Attributes::from_bits(header.attributes.get());
    let append_time = match attributes.timestamp_type() {
        TimestampType::LogAppendTime => Timestamp::new(header.max_timestamp.get()),
        TimestampType::CreateTime => Timestamp::NONE,
    };
    let batch = ProducedBatch {
        base_offset,
        base_sequence: Sequence::from_sentinel(header.base_sequence.get())?,
        last_offset_delta: header.last_offset_delta.get(),
        append_time,
    };
    let id = ProducerId::from_sentinel(header.producer_id.get())?;
    let epoch = ProducerEpoch::from_sentinel(header.producer_epoch.get())?;
    Some((id, epoch, batch))
}
