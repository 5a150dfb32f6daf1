//! `buffer.memory`: the bytes that records not yet acknowledged may take. Batches reserve what they allocate, in steps as
//! they fill, so that many half-empty batches do not use it up. Two things come on top for the moment that they take: the
//! copy when a batch grows, and the raw records while they are compressed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// What a batch reserves at a time.
pub(super) const STEP_BYTES: usize = 16 << 10;

#[derive(Clone)]
pub(super) struct Memory {
    free: Arc<Semaphore>,
    limit: usize,
}

/// Bytes held; dropping it gives them back.
pub(super) struct Reservation {
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn in_use(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    /// How much a batch of `bytes` reserves: whole steps, but never more than there is.
    pub(super) fn rounded(&self, bytes: usize) -> usize {
        bytes.next_multiple_of(STEP_BYTES).min(self.limit)
    }

    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.free
            .try_acquire_many(u32::try_from(bytes).ok()?)
            .ok()?
            .forget();
        Some(Reservation {
            free: Arc::clone(&self.free),
            bytes,
        })
    }

    /// Waits for room, in the order of asking.
    pub(super) async fn reserve(&self, bytes: usize, within: Duration) -> Option<Reservation> {
        let permits = u32::try_from(bytes).ok()?;
        tokio::time::timeout(within, self.free.acquire_many(permits))
            .await
            .ok()?
            .ok()?
            .forget();
        Some(Reservation {
            free: Arc::clone(&self.free),
            bytes,
        })
    }
}

impl Reservation {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds at least `bytes`, if there is room for them.
    pub(super) fn cover(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if let Ok(more) = u32::try_from(more)
            && let Ok(permits) = self.free.try_acquire_many(more)
        {
            permits.forget();
            self.bytes = self.bytes.max(bytes);
        }
    }

    /// Takes over what another one holds.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free.add_permits(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_memory_makes_the_next_one_wait_until_bytes_come_back() {
        let memory = Memory::new(3 * STEP_BYTES);
        let held = memory.try_reserve(3 * STEP_BYTES).unwrap();
        assert!(memory.try_reserve(1).is_none());
        assert!(memory.reserve(1, Duration::from_millis(50)).await.is_none());
        let waiting = {
            let memory = memory.clone();
            tokio::spawn(async move { memory.reserve(STEP_BYTES, Duration::from_secs(5)).await })
        };
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(waiting.await.unwrap().unwrap().bytes(), STEP_BYTES);
        assert_eq!(memory.in_use(), 0, "the waiter's reservation was dropped");
    }

    #[test]
    fn an_absorbed_reservation_is_given_back_once() {
        let memory = Memory::new(3 * STEP_BYTES);
        let mut first = memory.try_reserve(STEP_BYTES).unwrap();
        first.absorb(memory.try_reserve(STEP_BYTES).unwrap());
        assert_eq!(memory.in_use(), 2 * STEP_BYTES);
        drop(first);
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn a_reservation_covers_more_only_if_there_is_room() {
        let memory = Memory::new(2 * STEP_BYTES);
        let mut held = memory.try_reserve(STEP_BYTES).unwrap();
        held.cover(STEP_BYTES + 10);
        assert_eq!(memory.in_use(), STEP_BYTES + 10);
        held.cover(STEP_BYTES);
        held.cover(2 * STEP_BYTES + 1);
        assert_eq!(held.bytes(), STEP_BYTES + 10);
        drop(held);
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn a_batch_reserves_whole_steps_within_the_limit() {
        let memory = Memory::new(40_000);
        assert_eq!(memory.rounded(1), STEP_BYTES);
        assert_eq!(memory.rounded(STEP_BYTES + 1), 2 * STEP_BYTES);
        assert_eq!(memory.rounded(39_000), 40_000);
    }
}
