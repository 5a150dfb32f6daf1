//! Compacting this shard's logs in the background: one at a time, below what readers may see.

use std::rc::Rc;
use std::time::Duration;

use super::partitions::Slot;
use super::state::ShardState;
use crate::runtime::{sleep, yield_now};

/// Compacts the log that needs it most, again and again; looks anew after `backoff` when none does.
/// Ends when the log directory has stopped, which says why itself.
pub(super) async fn compact_logs(shard: Rc<ShardState>, backoff: Duration) {
    loop {
        let readable = |id| match shard.partitions.get(id) {
            Some(Slot::Open(partition)) => Some(partition.marks().last_stable_offset),
            Some(Slot::Unusable(_)) | None => None,
        };
        match shard.log.compact_next(readable).await {
            Ok(true) => yield_now().await,
            Ok(false) => sleep(backoff).await,
            Err(_) => return,
        }
    }
}
