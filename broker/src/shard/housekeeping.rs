//! What a shard does on its own, time and again: old segments go, idle ones are closed, producers
//! that were idle for too long are forgotten.
//!
//! Each partition is looked at once in every `log.retention.check.interval.ms`, one after the other
//! and evenly spread over that time, so that ten thousand partitions cost no burst and an append
//! never waits behind the others' deletions. Shards begin at a random moment of the interval.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::partitions::Slot;
use super::state::ShardState;
use crate::runtime::{ShutdownSignal, random_u64, sleep};

/// Runs until `stop`; whatever it is at is finished first.
pub(super) async fn keep_house(shard: Rc<ShardState>, interval: Duration, stop: ShutdownSignal) {
    let phase = random_u64() as f64 / u64::MAX as f64;
    if !pause(interval.mul_f64(phase), &stop).await {
        return;
    }
    while round(&shard, interval, &stop).await {}
}

/// Looks at every partition once. False when it is time to stop.
async fn round(shard: &ShardState, interval: Duration, stop: &ShutdownSignal) -> bool {
    // Ids: a topic that is deleted meanwhile is not kept alive.
    let ids = shard.partitions.ids();
    let between = interval / u32::try_from(ids.len().max(1)).unwrap_or(u32::MAX);
    let mut files_wait = false;
    for id in &ids {
        if shard.log.failure().is_none()
            && let Some(Slot::Open(partition)) = shard.partitions.get(*id)
        {
            match partition.enforce_retention().await {
                Ok(wait) => files_wait |= wait,
                Err(refusal) => {
                    let reason = &refusal.message;
                    tracing::warn!(partition = %id, "retention was not enforced: {reason}");
                }
            }
            shard.metrics.retention_checks.increment();
            partition.forget_idle_producers();
        }
        if !pause(between, stop).await {
            return false;
        }
    }
    if files_wait && let Err(error) = shard.log.checkpoint_now().await {
        tracing::warn!("files of deleted segments stay for now: {error}");
    }
    !ids.is_empty() || pause(between, stop).await
}

/// Sleeps. False when it is time to stop.
async fn pause(duration: Duration, stop: &ShutdownSignal) -> bool {
    match select(pin!(sleep(duration)), pin!(stop.wait())).await {
        Either::Left(_) => true,
        Either::Right(_) => false,
    }
}
