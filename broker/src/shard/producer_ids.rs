//! The producer ids that this shard gives out.
//!
//! The controller hands out blocks of ids, each once and durably; a shard gives out the ids of its
//! block one by one and asks for the next block when none is left. What is left of a block at a stop is
//! never given out: there are enough.

use std::cell::Cell;

use corelog_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::Router;
use super::state::ShardState;
use crate::controller::{Command, Outcome, ProducerIdBlock};
use crate::partition::Refusal;
use crate::runtime::Semaphore;

/// The last epoch that a producer is given; the one behind it is left for who fences it (Kafka's
/// `TransactionMetadata.isEpochExhausted`).
const LAST_EPOCH: ProducerEpoch = ProducerEpoch::new(i16::MAX - 1);

pub(super) struct ProducerIds {
    block: Cell<ProducerIdBlock>,
    /// Held by who asks the controller: the others want ids of the same block.
    asking: Semaphore,
}

impl Default for ProducerIds {
    fn default() -> Self {
        Self {
            block: Cell::default(),
            asking: Semaphore::new(1),
        }
    }
}

impl ProducerIds {
    fn take(&self) -> Option<ProducerId> {
        let mut block = self.block.get();
        let id = block.take();
        self.block.set(block);
        id
    }
}

impl ShardState {
    async fn next_producer_id(&self) -> Result<ProducerId, Refusal> {
        let ids = &self.producer_ids;
        if let Some(id) = ids.take() {
            return Ok(id);
        }
        let _asking = ids.asking.acquire(1).await;
        loop {
            // Who asked before may have brought a block for all who waited.
            if let Some(id) = ids.take() {
                return Ok(id);
            }
            let block = match self.control(Command::AllocateProducerIds).await {
                Ok(Outcome::AllocateProducerIds(block)) => block,
                Ok(other) => {
                    unreachable!("the controller answers a command with its kind: {other:?}")
                }
                Err(error) => return Err(Refusal::new(error.code(), error.to_string())),
            };
            let none_left = "the cluster has given out all producer ids there are";
            let block =
                block.ok_or_else(|| Refusal::new(ErrorCode::UnknownServerError, none_left))?;
            ids.block.set(block);
        }
    }
}

impl Router {
    /// A new producer id with epoch 0; for a producer that has an id, the same with the next epoch, which
    /// fences the one it has, or a new id when there is no further epoch.
    pub async fn init_producer_id(
        &self,
        current: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), Refusal> {
        if let Some((id, epoch)) = current {
            if id >= self.image().next_producer_id {
                return Err(Refusal::new(
                    ErrorCode::UnknownProducerId,
                    format!("this cluster has not given out producer id {id}: ask for a new one"),
                ));
            }
            if let Some(next) = next_epoch(epoch) {
                return Ok((id, next));
            }
        }
        let id = self.shard.next_producer_id().await?;
        Ok((id, ProducerEpoch::ZERO))
    }
}

fn next_epoch(epoch: ProducerEpoch) -> Option<ProducerEpoch> {
    (epoch < LAST_EPOCH).then(|| ProducerEpoch::new(epoch.get() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_epoch_is_kept_for_who_fences_it() {
        let next = |epoch| next_epoch(ProducerEpoch::new(epoch)).map(ProducerEpoch::get);
        assert_eq!(next(0), Some(1));
        assert_eq!(next(i16::MAX - 2), Some(i16::MAX - 1));
        assert_eq!(next(i16::MAX - 1), None);
        assert_eq!(next(i16::MAX), None);
    }
}
