//! Whether the batches of idempotent producers are new, retries, or neither (KIP-98, KIP-360).
//!
//! Kafka's rules. Each producer counts its records per partition; a batch must go on where the one
//! before ended. One of the last five batches, sent again, is a retry and is answered with the offset
//! it got. A higher epoch begins at sequence 0 and fences every lower one. A producer that the log does
//! not remember may begin anywhere: it is new, or it was idle for so long that it was forgotten.
//!
//! Only decides; the log itself notes what it takes. A produce is judged as a whole before anything
//! of it is appended, each batch against the log and the batches before it.

use corelog_protocol::record::BatchView;
use corelog_protocol::{ErrorCode, ProducerEpoch, ProducerId, Sequence};

use super::append_rules::refuse_batch;
use super::canary::{Canary, is_planted};
use super::request::{Produced, Refusal};
use crate::log::{ProducedBatch, Producer, Producers};

/// What the log holds of a produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: all of it is to be appended.
    Nothing,
    /// The first batches, since an earlier attempt was appended in part. The rest begins at this
    /// byte.
    First { held: Produced, rest_from: usize },
    /// Everything, there.
    All(Produced),
}

/// Tells retries from what is new in whole batches that the append rules have passed.
pub(crate) fn judge(producers: &mut Producers, batches: &[u8]) -> Result<Held, Refusal> {
    let mut held: Option<Produced> = None;
    let mut rest_from = None;
    let mut begun = Begun::default();
    let mut rest = batches;
    while !rest.is_empty() {
        let at = batches.len() - rest.len();
        let (batch, after) = BatchView::parse(rest).map_err(refuse_batch)?;
        rest = after;
        let known = match Stamp::of(&batch) {
            Some(stamp) => {
                let known = match begun.get(stamp.id) {
                    Some(begun) => {
                        stamp.follows(begun.epoch, begun.next_sequence())?;
                        None
                    }
                    None => stamp.find(producers.get(stamp.id))?,
                };
                if known.is_none() && !rest.is_empty() {
                    begun.set(stamp);
                }
                known
            }
            None => None,
        };
        match known {
            Some(known) if rest_from.is_none() => held = Some(extended(held, &known)),
            Some(known) => return Err(retry_behind_new(&known)),
            None => rest_from = rest_from.or(Some(at)),
        }
    }
    Ok(match (held, rest_from) {
        (None, _) => Held::Nothing,
        (Some(held), None) => Held::All(held),
        (Some(held), Some(rest_from)) => Held::First { held, rest_from },
    })
}

fn extended(held: Option<Produced>, by: &ProducedBatch) -> Produced {
    match held {
        None => Produced {
            base_offset: by.base_offset,
            last_offset: by.last_offset(),
            log_append_time: by.append_time(),
        },
        Some(held) => Produced {
            last_offset: held.last_offset.max(by.last_offset()),
            ..held
        },
    }
}

/// What a batch says of its producer.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    id: ProducerId,
    epoch: ProducerEpoch,
    base_sequence: Sequence,
    last_offset_delta: i32,
}

impl Stamp {
    fn of(batch: &BatchView<'_>) -> Option<Stamp> {
        Some(Stamp {
            id: batch.producer_id()?,
            epoch: batch.producer_epoch()?,
            base_sequence: batch.base_sequence()?,
            last_offset_delta: batch.last_offset_delta(),
        })
    }

    fn next_sequence(&self) -> Sequence {
        self.base_sequence
            .advance(self.last_offset_delta)
            .advance(1)
    }

    /// The batch in the log that this one repeats; `None` when it is new and may be appended.
    fn find(&self, known: Option<&Producer>) -> Result<Option<ProducedBatch>, Refusal> {
        let Some(known) = known else {
            return Ok(None);
        };
        if self.epoch == known.epoch() {
            let mut batches = known.batches().iter().rev();
            let repeated = batches.find(|it| {
                it.base_sequence == self.base_sequence
                    && it.last_offset_delta == self.last_offset_delta
            });
            if let Some(repeated) = repeated {
                return Ok((!is_planted(Canary::DuplicateAppended)).then_some(*repeated));
            }
        }
        self.follows(known.epoch(), known.next_sequence())?;
        Ok(None)
    }

    /// Whether it may come where that epoch is the last, and that sequence the next.
    fn follows(&self, epoch: ProducerEpoch, next: Sequence) -> Result<(), Refusal> {
        if self.epoch < epoch {
            if is_planted(Canary::FenceForgotten) {
                return Ok(());
            }
            return Err(Refusal::new(
                ErrorCode::InvalidProducerEpoch,
                format!(
                    "epoch {} of producer {} is over: epoch {epoch} has taken its place in this \
                     partition",
                    self.epoch, self.id
                ),
            ));
        }
        let expected = if self.epoch == epoch {
            next
        } else {
            Sequence::ZERO
        };
        if self.base_sequence == expected || is_planted(Canary::SequenceGapAccepted) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::OutOfOrderSequenceNumber,
            format!(
                "the batch of producer {} (epoch {}) begins at sequence {} and {expected} is to \
                 come next in this partition: records before it are missing, or it is older than \
                 the last five batches",
                self.id, self.epoch, self.base_sequence
            ),
        ))
    }
}

/// The last new batch of each producer in a produce, other than the produce's last batch. Most
/// produces hold one batch and have none.
#[derive(Default)]
struct Begun(Vec<Stamp>);

impl Begun {
    fn get(&self, id: ProducerId) -> Option<&Stamp> {
        self.0.iter().find(|stamp| stamp.id == id)
    }

    fn set(&mut self, stamp: Stamp) {
        match self.0.iter_mut().find(|it| it.id == stamp.id) {
            Some(earlier) => *earlier = stamp,
            None => self.0.push(stamp),
        }
    }
}

/// Offsets ascend within a produce; no answer could name them.
fn retry_behind_new(known: &ProducedBatch) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRecord,
        format!(
            "a batch that is in the log at offset {} stands behind one that is not: send what is \
             retried before what is new",
            known.base_offset
        ),
    )
}

#[cfg(test)]
mod tests;
