//! What the fake broker answers to produces and fetches.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corelog_client::{Acks, ErrorCode, ShardId};
use corelog_protocol::native::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, Frame, FrameKind, Message,
    ProducePartitionResponse, ProduceRequest, ProduceResponse, RouteHint, SubscribeRequest,
};
use tokio::sync::watch;

use crate::fake::{BROKER, Lost, Outlet, Shared, State, shard_of};

pub(crate) fn produce(
    frame: &Frame,
    shard: ShardId,
    outlet: &Outlet,
    shared: &Arc<Shared>,
) -> Result<(), Lost> {
    {
        let mut state = shared.state();
        state.seen.produce_requests += 1;
        state.seen.largest_produce = state.seen.largest_produce.max(frame.payload.len());
        if state.script.hold_produce {
            // Later requests of this connection are read meanwhile, so that a test sees how many come.
            state.seen.produce_waiting += 1;
            let waiting = state.seen.produce_waiting;
            state.seen.most_produce_waiting = state.seen.most_produce_waiting.max(waiting);
            drop(state);
            let (frame, outlet, shared) = (frame.clone(), outlet.clone(), Arc::clone(shared));
            tokio::spawn(async move {
                let mut changes = shared.watch();
                while shared.state().script.hold_produce {
                    changes.changed().await.unwrap();
                }
                shared.state().seen.produce_waiting -= 1;
                let response = append(&frame, shard, &mut shared.state());
                outlet.reply(&frame, &response, Bytes::new());
                shared.changed();
            });
            return Ok(());
        }
        if let Some(code) = state.script.produce_errors.pop_front() {
            let request = ProduceRequest::decode(&frame.metadata).unwrap();
            let partitions = request
                .partitions()
                .map(|it| ProducePartitionResponse::refused(it.topic_id, it.partition, code, None));
            let response = ProduceResponse {
                partitions: partitions.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
            return Ok(());
        }
    }
    let response = append(frame, shard, &mut shared.state());
    let mut state = shared.state();
    if state.script.lose_after_append > 0 {
        state.script.lose_after_append -= 1;
        let most = state.script.max_batch_bytes_after_loss.take();
        state.script.max_batch_bytes = most.or(state.script.max_batch_bytes);
        return Err(Lost);
    }
    let request = ProduceRequest::decode(&frame.metadata).unwrap();
    if request.acks != Acks::None {
        outlet.reply(frame, &response, Bytes::new());
    }
    Ok(())
}

fn append(frame: &Frame, shard: ShardId, state: &mut State) -> ProduceResponse {
    let request = ProduceRequest::decode(&frame.metadata).unwrap();
    let mut partitions = Vec::new();
    for (wanted, bytes) in request.split_payload(&frame.payload).unwrap() {
        let home = shard_of(wanted.partition.get());
        let misrouted = home != shard;
        state.seen.misrouted += usize::from(misrouted);
        let mut answer = ProducePartitionResponse::refused(
            wanted.topic_id,
            wanted.partition,
            ErrorCode::UnknownTopicId,
            None,
        );
        if state
            .script
            .max_batch_bytes
            .is_some_and(|most| bytes.len() > most)
        {
            state.seen.too_large += 1;
            answer.error = ErrorCode::MessageTooLarge;
        } else if let Some(topic) = state.topic_by_id(wanted.topic_id)
            && let Some(log) = topic.partition(wanted.partition)
        {
            match log.append(&bytes) {
                Ok(offsets) => {
                    (answer.base_offset, answer.last_offset) = offsets;
                    answer.error = ErrorCode::None;
                }
                Err(code) => answer.error = code,
            }
            answer.hint = misrouted.then_some(RouteHint {
                broker: BROKER,
                shard: home,
            });
        }
        partitions.push(answer);
    }
    ProduceResponse { partitions }
}

/// Reads what there is of the partitions asked for.
fn read(
    state: &mut State,
    wanted: &[FetchPartition],
    max_bytes: usize,
) -> (FetchResponse, Bytes, bool) {
    let mut payload = BytesMut::new();
    let mut partitions = Vec::new();
    let mut urgent = false;
    let scripted = state.script.fetch_errors.pop_front();
    for part in wanted {
        let (id, index) = (part.topic_id, part.partition);
        let mut answer =
            FetchPartitionResponse::refused(id, index, ErrorCode::UnknownTopicId, None);
        let damage = state.script.damage_reads;
        if let Some(code) = scripted {
            answer.error = code;
        } else if let Some(log) = state
            .topic_by_id(id)
            .and_then(|topic| topic.partition(index))
        {
            answer.high_watermark = log.end;
            answer.log_start_offset = log.log_start;
            let room = max_bytes
                .saturating_sub(payload.len())
                .min(usize::try_from(part.max_bytes).unwrap());
            match log.read(part.fetch_offset, room) {
                Some(bytes) => {
                    answer.error = ErrorCode::None;
                    answer.length = u32::try_from(bytes.len()).unwrap();
                    let at = payload.len();
                    payload.extend_from_slice(&bytes);
                    if damage && !bytes.is_empty() {
                        payload[at + bytes.len() - 1] ^= 1;
                    }
                }
                None => answer.error = ErrorCode::OffsetOutOfRange,
            }
        }
        urgent |= answer.error != ErrorCode::None;
        partitions.push(answer);
    }
    (FetchResponse { partitions }, payload.freeze(), urgent)
}

pub(crate) async fn fetch(frame: &Frame, outlet: &Outlet, shared: &Shared) {
    let request = FetchRequest::decode(&frame.metadata).unwrap();
    let wait = std::time::Duration::from_millis(u64::from(request.max_wait_ms));
    let deadline = tokio::time::Instant::now() + wait;
    let mut changes = shared.watch();
    loop {
        let (response, payload, urgent) = read(
            &mut shared.state(),
            &request.partitions,
            usize::try_from(request.max_bytes).unwrap(),
        );
        let enough = payload.len() >= usize::try_from(request.min_bytes).unwrap();
        let over = tokio::time::Instant::now() >= deadline;
        if enough || urgent || over {
            shared.state().seen.read += payload.len();
            outlet.reply(frame, &response, payload);
            return;
        }
        // Out of time is looked at above.
        let _ = tokio::time::timeout_at(deadline, changes.changed()).await;
    }
}

/// Pushes what comes, one partition after the other, within the credit.
pub(crate) async fn push(
    request: SubscribeRequest,
    id: u32,
    mut credit: watch::Receiver<u64>,
    outlet: Outlet,
    shared: Arc<Shared>,
) {
    let mut wanted = request.partitions;
    let mut pushed = 0u64;
    let mut changes = shared.watch();
    loop {
        let may_push = pushed < *credit.borrow() || shared.state().script.ignore_credit;
        let mut moved = false;
        for part in wanted.clone().iter().filter(|_| may_push) {
            let most = usize::try_from(request.max_push_bytes).unwrap();
            let (response, payload, urgent) =
                read(&mut shared.state(), std::slice::from_ref(part), most);
            if payload.is_empty() && !urgent {
                continue;
            }
            moved = true;
            pushed += payload.len() as u64;
            shared.state().seen.pushed = pushed;
            shared.state().seen.read += payload.len();
            let next = corelog_protocol::record::split_batches(&payload)
                .filter_map(Result::ok)
                .last()
                .map(|batch| batch.next_offset());
            match next {
                Some(next) if !urgent => {
                    let mine = wanted.iter_mut().find(|other| {
                        (other.topic_id, other.partition) == (part.topic_id, part.partition)
                    });
                    mine.unwrap().fetch_offset = next;
                }
                // A partition with an error is pushed no more.
                _ => wanted.retain(|other| other != part),
            }
            outlet.send(FrameKind::Push, id, &response, payload);
            if pushed >= *credit.borrow() {
                break;
            }
        }
        shared.changed();
        changes.borrow_and_update();
        if !moved {
            tokio::select! {
                _ = changes.changed() => {}
                granted = credit.changed() => if granted.is_err() { return },
            }
        } else {
            tokio::task::yield_now().await;
        }
    }
}
