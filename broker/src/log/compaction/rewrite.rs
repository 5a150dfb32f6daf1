//! Which records of a batch stay. No I/O: batches in, bytes out, time passed in.
//!
//! A round has two passes. The first notes the newest offset of every key in the dirty section
//! ([`Round::note`]); the second goes over all closed segments from the first on and leaves out what
//! is superseded ([`Round::rewrite`]).
//!
//! - A record goes when its key has a newer one in the map. One without a key, written before the
//!   topic was compacted, stays: nothing says that it was superseded.
//! - A tombstone that is the newest of its key stays until its batch's delete horizon; a batch gets
//!   its horizon when it is compacted for the first time (KIP-534). Its older values are gone by
//!   then: they have lower offsets, and segments are replaced in order.
//! - Transactional batches and control batches stay as they are and supersede nothing: whether a
//!   transaction was aborted is not known here. A tombstone behind one of them stays too, since what
//!   it deletes may be in there.
//! - The last batch of a producer stays, empty if need be: its sequence is what the next one is
//!   checked against. So does the last batch of what becomes a segment, so that a segment always ends
//!   where its sources ended.

use std::collections::HashMap;
use std::time::Duration;

use corelog_protocol::record::{BatchView, Filter, FilterError, Record, empty_batch};
use corelog_protocol::{Offset, ProducerId, Timestamp};

use super::key_map::KeyMap;

/// Producers whose last batch is remembered. Of the others every batch keeps its header.
const PRODUCERS: usize = 64 << 10;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stays byte for byte; nothing was written.
    Unchanged,
    /// What is left of it was written.
    Rewritten,
    /// Nothing is left of it.
    Gone,
}

/// One compaction of one log.
pub(super) struct Round {
    map: KeyMap,
    first_dirty: Offset,
    /// Every record of the dirty section below is in the map.
    end: Offset,
    now: Timestamp,
    delete_retention: Duration,
    /// The base offset of the last batch of a producer in the dirty section.
    producers: HashMap<ProducerId, Offset>,
    transactions_seen: bool,
    filter: Filter,
}

impl Round {
    pub(super) fn new(
        map: KeyMap,
        first_dirty: Offset,
        now: Timestamp,
        delete_retention: Duration,
    ) -> Round {
        Round {
            map,
            first_dirty,
            end: first_dirty,
            now,
            delete_retention,
            producers: HashMap::new(),
            transactions_seen: false,
            filter: Filter::new(),
        }
    }

    pub(super) fn map(&self) -> &KeyMap {
        &self.map
    }

    /// The end of what this round compacts.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Gives back the memory kept from one batch for the next.
    pub(super) fn release_scratch(&mut self) {
        self.filter.shrink();
    }

    /// First pass: notes the keys of a batch, which decompresses to at most `limit` bytes. `false` when
    /// the map is full: the round ends there.
    pub(super) fn note(
        &mut self,
        batch: &BatchView<'_>,
        limit: usize,
    ) -> Result<bool, FilterError> {
        if batch.next_offset() <= self.first_dirty {
            return Ok(true);
        }
        if let Some(producer) = batch.producer_id()
            && (self.producers.len() < PRODUCERS || self.producers.contains_key(&producer))
        {
            self.producers.insert(producer, batch.base_offset());
        }
        if batch.is_transactional() || batch.is_control() {
            self.end = batch.next_offset();
            return Ok(true);
        }
        let (map, first_dirty) = (&mut self.map, self.first_dirty);
        let mut full_at = None;
        self.filter.select(batch, limit, |record| {
            if full_at.is_none()
                && record.offset >= first_dirty
                && let Some(key) = record.key
                && map.put(key, record.offset).is_err()
            {
                full_at = Some(record.offset);
            }
            false
        })?;
        self.end = full_at.unwrap_or(batch.next_offset());
        Ok(full_at.is_none())
    }

    /// The dirty section ends at `end`, behind the last batch noted.
    pub(super) fn noted_all(&mut self, end: Offset) {
        self.end = end;
    }

    /// Second pass: appends what is left of a batch to `out`, unless all of it is. `is_last` says
    /// that it is the last one of what becomes a segment. With an error `out` is as it was, or is
    /// not to be used.
    pub(super) fn rewrite(
        &mut self,
        batch: &BatchView<'_>,
        is_last: bool,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, FilterError> {
        if batch.is_transactional() || batch.is_control() {
            self.transactions_seen = true;
            return Ok(Outcome::Unchanged);
        }
        if batch.base_offset() >= self.end {
            return Ok(Outcome::Unchanged);
        }
        let must_stay = is_last || self.is_last_of_its_producer(batch);
        if batch.record_count() == 0 {
            return Ok(match must_stay {
                true => Outcome::Unchanged,
                false => Outcome::Gone,
            });
        }
        let horizon = batch.delete_horizon();
        let tombstones_go =
            horizon.is_some_and(|horizon| horizon <= self.now) && !self.transactions_seen;
        let (map, end) = (&self.map, self.end);
        let stays = |record: &Record<'_>| {
            let Some(key) = record.key.filter(|_| record.offset < end) else {
                return true;
            };
            let superseded = map.newest(key).is_some_and(|newest| newest > record.offset);
            !superseded && (record.value.is_some() || !tombstones_go)
        };
        let survivors = self.filter.select(batch, limit, stays)?;
        if survivors.kept == 0 {
            if !must_stay {
                return Ok(Outcome::Gone);
            }
            empty_batch(batch, out);
            return Ok(Outcome::Rewritten);
        }
        let new_horizon = (survivors.tombstones && horizon.is_none() && batch.next_offset() <= end)
            .then(|| {
                let retention = i64::try_from(self.delete_retention.as_millis());
                self.now.saturating_add(retention.unwrap_or(i64::MAX))
            });
        if survivors.removed == 0 && new_horizon.is_none() {
            return Ok(Outcome::Unchanged);
        }
        self.filter.write(batch, new_horizon, out)?;
        Ok(Outcome::Rewritten)
    }

    fn is_last_of_its_producer(&self, batch: &BatchView<'_>) -> bool {
        batch.producer_id().is_some_and(|producer| {
            let last = self.producers.get(&producer);
            last.is_none_or(|last| *last <= batch.base_offset())
        })
    }
}

#[cfg(test)]
mod tests;
