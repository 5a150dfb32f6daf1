//! Memory for one batch at a time: what comes out of it decompressed, and what is left of it.
//!
//! How much comes out is known only when it is out. So a little is taken, and more for a batch that
//! needs more; when the batches read together are done, what is above a little is given back.

use corelog_protocol::record::{BatchView, CompressionError, FilterError, ReadBatchError};

use super::rewrite::Round;
use super::stop::Stop;
use crate::log::shard_log::Shared;
use crate::runtime::Charge;

/// What one batch may hold once it is decompressed, and no more than an eighth of the memory; what is
/// more makes its log uncleanable.
pub(super) const LARGEST_DECOMPRESSED: usize = 64 << 20;
/// Kept from one batch for the next.
const KEPT: usize = 1 << 20;
/// A batch that does not fit is tried again with so many times as much.
const GROWTH: usize = 4;

/// Room for a batch, decompressed, and for what is left of it.
pub(super) struct Scratch<'a> {
    shared: &'a Shared,
    /// Bytes that a batch may come to. Twice as many are held.
    allowed: usize,
    charge: Option<Charge>,
}

impl<'a> Scratch<'a> {
    pub(super) async fn take(shared: &'a Shared) -> Result<Scratch<'a>, Stop> {
        let mut scratch = Scratch {
            shared,
            allowed: 0,
            charge: None,
        };
        scratch.grow(KEPT.min(largest(shared))).await?;
        Ok(scratch)
    }

    /// Does what `run` does with a batch and as much memory as that takes; `run` is told the limit,
    /// and is asked again when it meets it.
    pub(super) async fn with<T>(
        &mut self,
        round: &mut Round,
        batch: &BatchView<'_>,
        mut run: impl FnMut(&mut Round, usize) -> Result<T, FilterError>,
    ) -> Result<Result<T, FilterError>, Stop> {
        let largest = largest(self.shared);
        let at_least = batch.size_in_bytes().min(largest);
        if at_least > self.allowed {
            round.release_scratch();
            self.grow(at_least).await?;
        }
        loop {
            match run(round, self.allowed) {
                Err(error) if is_too_small(&error) && self.allowed < largest => {
                    round.release_scratch();
                    let more = self.allowed.saturating_mul(GROWTH);
                    self.grow(more.min(largest)).await?;
                }
                result => return Ok(result),
            }
        }
    }

    /// Gives back what one large batch took; `true` if there was any.
    pub(super) fn settle(&mut self, round: &mut Round) -> bool {
        if self.allowed <= KEPT {
            return false;
        }
        round.release_scratch();
        self.allowed = KEPT;
        if let Some(charge) = &mut self.charge {
            charge.shrink_to(2 * KEPT);
        }
        true
    }

    /// What is held is given up first: nobody waits for memory while holding much.
    async fn grow(&mut self, allowed: usize) -> Result<(), Stop> {
        self.charge = None;
        let memory = &self.shared.memory.compaction;
        let charge = self.shared.charge(memory, 2 * allowed).await;
        self.charge = Some(charge.ok_or(Stop::Ended)?);
        self.allowed = allowed;
        Ok(())
    }
}

/// The most that a batch may come to.
fn largest(shared: &Shared) -> usize {
    LARGEST_DECOMPRESSED.min(shared.memory.compaction.budget() / 8)
}

fn is_too_small(error: &FilterError) -> bool {
    matches!(
        error,
        FilterError::Batch(ReadBatchError::Compression(
            CompressionError::TooLarge { .. }
        ))
    )
}
