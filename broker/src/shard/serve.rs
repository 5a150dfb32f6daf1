//! What a shard does for the other shards and for the control thread.

use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::ErrorCode;

use super::message::{CopiedFetchOutcome, ShardMessage, StopPhase, StopReport};
use super::partitions::Slot;
use super::state::ShardState;
use crate::log::TopicPartition;
use crate::partition::{
    FetchCommand, Fetched, FetchedData, Outcome, Partition, ProduceReply, Refusal,
};
use crate::runtime::{queue, spawn};

/// The most one forwarded fetch copies, whatever it asks for: the copy is memory outside of both
/// shards' pools. A reader that wants more per request follows the hint.
const MAX_COPIED_FETCH_BYTES: usize = 1 << 20;

/// A step of the broker's stop, and whom to tell when it is done.
pub(crate) struct StopRequest {
    pub(crate) phase: StopPhase,
    pub(crate) done: mpsc::Sender<StopReport>,
}

/// Receives for ever. Nothing in here waits, or one slow partition would hold up all: what takes
/// time gets a task of its own, and the senders' lanes bound how many there are.
pub(super) async fn serve(shard: Rc<ShardState>, stops: queue::Sender<StopRequest>) {
    loop {
        let (from, message) = shard.mesh.recv().await;
        match message {
            ShardMessage::Produce { command, reply } => {
                let reply = ProduceReply::Forwarded(reply);
                match local(&shard, command.topic_partition) {
                    Ok(partition) => partition.submit(command, reply),
                    Err(refusal) => reply.send(Outcome::refused(refusal, None)),
                }
            }
            ShardMessage::Fetch { command, reply } => {
                let shard = Rc::clone(&shard);
                spawn(async move { drop(reply.send(fetch_copy(&shard, command).await)) }).detach();
            }
            ShardMessage::ListOffsets { command, reply } => {
                let partition = local(&shard, command.topic_partition);
                spawn(async move {
                    let outcome = match partition {
                        Ok(partition) => partition.list_offsets(command).await,
                        Err(refusal) => Outcome::refused(refusal, None),
                    };
                    let _ = reply.send(outcome);
                })
                .detach();
            }
            ShardMessage::DeleteRecords { command, reply } => {
                let partition = local(&shard, command.topic_partition);
                spawn(async move {
                    let outcome = match partition {
                        Ok(partition) => partition.delete_records(command).await,
                        Err(refusal) => Outcome::refused(refusal, None),
                    };
                    let _ = reply.send(outcome);
                })
                .detach();
            }
            ShardMessage::Group {
                partition,
                group_id,
                command,
                reply,
            } => {
                let shard = Rc::clone(&shard);
                spawn(async move {
                    // The lane between the shards is no place to wait.
                    let patience = Duration::ZERO;
                    let answer = shard.coordinate(partition, group_id, command, patience);
                    let _ = reply.send(answer.await);
                })
                .detach();
            }
            ShardMessage::ListGroups { reply } => {
                let shard = Rc::clone(&shard);
                spawn(async move { drop(reply.send(shard.list_groups().await)) }).detach();
            }
            ShardMessage::Describe {
                topic_partition,
                reply,
            } => {
                let outcome = match local(&shard, topic_partition) {
                    Ok(partition) => partition.describe(),
                    Err(refusal) => Outcome::refused(refusal, None),
                };
                let _ = reply.send(outcome);
            }
            ShardMessage::DescribeProducers {
                topic_partition,
                reply,
            } => {
                let outcome = match local(&shard, topic_partition) {
                    Ok(partition) => partition.describe_producers(),
                    Err(refusal) => Outcome::refused(refusal, None),
                };
                let _ = reply.send(outcome);
            }
            ShardMessage::Controller { command, reply } => {
                let shard = Rc::clone(&shard);
                spawn(async move { drop(reply.send(shard.control(command).await)) }).detach();
            }
            ShardMessage::Applied { offset } => shard.note_applied(from, offset),
            ShardMessage::HandOff(connection) => {
                // At the bound the connection is closed: its client tries again.
                if shard.hand_offs.push(connection).is_err() {
                    shard
                        .metrics
                        .connections_rejected
                        .increment("hand_off_queue_full");
                }
            }
            ShardMessage::Snapshot { reply } => drop(reply.send(shard.snapshot())),
            ShardMessage::Stop { phase, done } => {
                // A broker asks for one step after the other, so there is always room.
                let _ = stops.try_send(StopRequest { phase, done });
            }
        }
    }
}

/// A partition that another shard takes to be here.
fn local(shard: &ShardState, id: TopicPartition) -> Result<Rc<Partition>, Refusal> {
    match shard.partitions.get(id) {
        Some(Slot::Open(partition)) => Ok(partition),
        Some(Slot::Unusable(refusal)) => Err(refusal),
        None => Err(Refusal::new(
            ErrorCode::NotLeaderOrFollower,
            "the partition is being opened or closed",
        )),
    }
}

async fn fetch_copy(shard: &ShardState, mut command: FetchCommand) -> CopiedFetchOutcome {
    command.max_bytes = command.max_bytes.min(MAX_COPIED_FETCH_BYTES);
    match local(shard, command.topic_partition) {
        Ok(partition) => partition.fetch(command).await.map(|fetched| Fetched {
            data: copy(&fetched.data),
            diverging_epoch: fetched.diverging_epoch,
        }),
        Err(refusal) => Outcome::refused(refusal, None),
    }
}

fn copy(data: &FetchedData) -> Bytes {
    let mut copied = BytesMut::with_capacity(data.len());
    for slice in data.slices() {
        copied.extend_from_slice(slice);
    }
    copied.freeze()
}
