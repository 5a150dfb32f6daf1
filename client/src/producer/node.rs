//! Sends what the lanes of one (broker, shard) hold: one task per node, several requests under way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::native::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse,
};
use corelog_protocol::{Acks, ErrorCode};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::delivery::Written;
use super::lane::{Lane, Route, SealedBatch, Taken};
use super::shared::Shared;
use crate::backoff::wait_after;
use crate::cluster::Node;
use crate::connection::Connection;
use crate::error::{ConnectionError, ProduceError, RequestError, words};

/// The lanes of one node that have something to send.
pub(super) struct NodeQueue {
    pub(super) node: Node,
    ready: Mutex<VecDeque<Arc<Lane>>>,
    wake: Notify,
}

impl NodeQueue {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            ready: Mutex::new(VecDeque::new()),
            wake: Notify::new(),
        }
    }

    /// Lists a lane; the caller has claimed the listing.
    pub(super) fn push(&self, lane: Arc<Lane>) {
        self.ready().push_back(lane);
        self.wake.notify_one();
    }

    /// True if a lane of this node waits; those that have moved are passed on.
    fn has_lanes(self: &Arc<Self>) -> bool {
        let mut ready = self.ready();
        ready.retain(|lane| lane.is_routed_to(self));
        !ready.is_empty()
    }

    /// The next attempt waits in the cluster's back-off. Meanwhile the leaders may have moved; if the broker is no longer
    /// in the cluster, they have.
    fn unreachable(self: &Arc<Self>, error: &ConnectionError, shared: &Arc<Shared>) {
        debug!(node = %self.node, %error, "cannot reach a partition leader");
        shared.want_metadata();
        if matches!(error, ConnectionError::UnknownBroker { .. }) {
            let lanes: Vec<Arc<Lane>> = self.ready().drain(..).collect();
            for lane in lanes {
                lane.forget_route(self);
                shared.list(&lane);
            }
        }
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Lane>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch in a request, and what is needed to act on its answer.
struct Shipped {
    lane: Arc<Lane>,
    batch: SealedBatch,
    bytes: Bytes,
    route: Route,
}

/// What came of a request.
struct Answer {
    shipped: Vec<Shipped>,
    result: Result<ProduceResponse, RequestError>,
}

/// Runs until the producer is shut down.
pub(super) async fn run(queue: Arc<NodeQueue>, shared: Arc<Shared>) {
    let mut under_way: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    let mut connection: Option<Connection> = None;
    loop {
        if connection.as_ref().is_some_and(|it| !it.is_open()) {
            // What was under way on it comes back before anything newer leaves: this keeps each lane's order.
            while let Some(answer) = under_way.next().await {
                settle(answer, &queue, &shared);
            }
            connection = None;
        }
        while under_way.len() < shared.settings.max_in_flight && queue.has_lanes() {
            let open = match &connection {
                Some(open) => open,
                None => match shared.cluster.node(queue.node).await {
                    Ok(opened) => connection.insert(opened),
                    Err(error) => {
                        queue.unreachable(&error, &shared);
                        continue;
                    }
                },
            };
            let shipped = collect(&queue, &shared);
            if !shipped.is_empty() {
                under_way.push(send(open, shipped, &shared));
            }
        }
        tokio::select! {
            biased;
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                settle(answer, &queue, &shared);
            }
            () = queue.wake.notified(), if under_way.len() < shared.settings.max_in_flight => {}
        }
    }
}

/// Takes one batch of each lane that is ready, up to `max.request.size`.
fn collect(queue: &Arc<NodeQueue>, shared: &Arc<Shared>) -> Vec<Shipped> {
    let mut shipped = Vec::new();
    let mut room = shared.settings.max_request_bytes;
    // Lanes with more to send go behind all others, and one request carries one batch of each.
    let mut again = Vec::new();
    loop {
        let Some(lane) = queue.ready().pop_front() else {
            break;
        };
        // A single batch may exceed the request's size: it was checked uncompressed, and codecs can add to it.
        let limit = if shipped.is_empty() { usize::MAX } else { room };
        match lane.take(queue, limit) {
            Taken::Batch {
                batch,
                bytes,
                route,
                more,
            } => {
                room = room.saturating_sub(bytes.len());
                if more {
                    again.push(Arc::clone(&lane));
                }
                shipped.push(Shipped {
                    lane,
                    batch,
                    bytes,
                    route,
                });
            }
            Taken::Unfinished(unfinished) => {
                lane.finish(unfinished);
                shared.list(&lane);
            }
            Taken::TooLarge => {
                queue.ready().push_front(lane);
                break;
            }
            Taken::Nothing => {}
            Taken::Elsewhere => shared.list(&lane),
        }
        if room == 0 {
            break;
        }
    }
    queue.ready().extend(again);
    shipped
}

/// Queues a request on the connection and returns its answer to come.
fn send(
    connection: &Connection,
    shipped: Vec<Shipped>,
    shared: &Arc<Shared>,
) -> BoxFuture<'static, Answer> {
    let partitions: Vec<ProducePartition> = shipped
        .iter()
        .map(|part| ProducePartition {
            topic_id: part.route.topic_id,
            partition: part.lane.partition().partition,
            leader_epoch: part.route.leader_epoch,
            length: u32::try_from(part.bytes.len()).expect("batches are bounded by batch.size"),
        })
        .collect();
    let settings = &shared.settings;
    let request = ProduceRequest {
        acks: settings.acks,
        timeout_ms: u32::try_from(settings.connection.request_timeout.as_millis())
            .unwrap_or(u32::MAX),
        transactional_id: None,
        partitions: &partitions,
    };
    let payload: Vec<Bytes> = shipped.iter().map(|part| part.bytes.clone()).collect();
    shared.metrics.requests.add(1);
    if settings.acks == Acks::None {
        let written = connection.send_unanswered(&request, payload);
        let connection = connection.clone();
        return Box::pin(async move {
            let result = match written {
                Ok(written) => match written.await {
                    Ok(()) => Ok(ProduceResponse {
                        partitions: Vec::new(),
                    }),
                    Err(_dropped) => Err(connection.ended().into()),
                },
                Err(error) => Err(error.into()),
            };
            Answer { shipped, result }
        });
    }
    let pending = connection.send(&request, payload);
    let connection = connection.clone();
    Box::pin(async move {
        let result = match pending {
            Ok(pending) => match pending.wait().await {
                Ok(frame) => connection
                    .decode::<ProduceResponse>(
                        corelog_protocol::native::ApiKey::Produce,
                        &frame.metadata,
                    )
                    .map_err(RequestError::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        };
        Answer { shipped, result }
    })
}

/// Acts on the answer for every batch of a request.
fn settle(answer: Answer, queue: &Arc<NodeQueue>, shared: &Arc<Shared>) {
    let Answer { shipped, result } = answer;
    match result {
        Ok(response) if shared.settings.acks == Acks::None => {
            debug_assert!(response.partitions.is_empty(), "acks=0 has no answer");
            for part in shipped {
                let written = Written {
                    base_offset: None,
                    log_append_time: None,
                };
                acknowledge(part, written, shared);
            }
        }
        Ok(response) => settle_each(shipped, response, queue, shared),
        Err(RequestError::Connection(error)) => {
            for part in shipped {
                retry(part, error.to_string(), None, shared);
            }
            shared.want_metadata();
        }
        Err(RequestError::Broker { code, message, .. }) => {
            for part in shipped {
                refuse(part, code, message.clone(), queue, shared);
            }
        }
    }
}

fn settle_each(
    shipped: Vec<Shipped>,
    response: ProduceResponse,
    queue: &Arc<NodeQueue>,
    shared: &Arc<Shared>,
) {
    let mut answers: Vec<Option<ProducePartitionResponse>> =
        response.partitions.into_iter().map(Some).collect();
    for (position, part) in shipped.into_iter().enumerate() {
        let wanted = (part.route.topic_id, part.lane.partition().partition);
        let is_mine = |answer: &Option<ProducePartitionResponse>| {
            answer
                .as_ref()
                .is_some_and(|answer| (answer.topic_id, answer.partition) == wanted)
        };
        // Brokers answer in the order of the request; it is not promised.
        let place = if answers.get(position).is_some_and(is_mine) {
            Some(position)
        } else {
            answers.iter().position(is_mine)
        };
        let Some(answer) = place.and_then(|place| answers[place].take()) else {
            retry(
                part,
                "the broker's answer leaves it out".to_owned(),
                None,
                shared,
            );
            continue;
        };
        if let Some(hint) = answer.hint {
            let node = Node {
                broker: hint.broker,
                shard: hint.shard,
            };
            shared.reroute(&part.lane, node, &part.route);
        }
        if answer.error == ErrorCode::None {
            let written = Written {
                base_offset: Some(answer.base_offset),
                log_append_time: answer.log_append_time,
            };
            acknowledge(part, written, shared);
        } else {
            let message = words(answer.error, answer.error_message);
            refuse(part, answer.error, message, queue, shared);
        }
    }
}

fn acknowledge(part: Shipped, written: Written, shared: &Arc<Shared>) {
    shared.metrics.batches.add(1);
    shared.metrics.records.add(u64::from(part.batch.records));
    shared.metrics.bytes.add(part.bytes.len() as u64);
    part.lane.settled(part.batch.completion.outcome());
    part.batch.settle(Ok(written));
    shared.list(&part.lane);
}

/// The broker answered with an error: again later, or never.
fn refuse(
    part: Shipped,
    code: ErrorCode,
    message: String,
    queue: &Arc<NodeQueue>,
    shared: &Arc<Shared>,
) {
    if leader_is_elsewhere(code) {
        part.lane.forget_route(queue);
        shared.want_metadata();
    }
    if code.is_retriable() {
        retry(part, format!("{code}: {message}"), Some(code), shared);
        return;
    }
    warn!(partition = %part.lane.partition(), %code, message, "a batch was refused");
    let error = ProduceError::Broker {
        partition: part.lane.partition().clone(),
        code,
        message,
    };
    give_up(part.lane, part.batch, error, shared);
}

fn leader_is_elsewhere(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::KafkaStorageError
    )
}

/// Puts a batch back for another attempt, as long as `retries` and `delivery.timeout.ms` allow.
fn retry(mut part: Shipped, failure: String, code: Option<ErrorCode>, shared: &Arc<Shared>) {
    let settings = &shared.settings;
    let age = part.batch.opened.elapsed();
    if part.batch.attempts > settings.retries || age >= settings.delivery_timeout {
        let error = match code {
            Some(code) if part.batch.attempts > settings.retries => ProduceError::Broker {
                partition: part.lane.partition().clone(),
                code,
                message: failure,
            },
            _ => timeout(&part.lane, &part.batch, Some(failure)),
        };
        give_up(part.lane, part.batch, error, shared);
        return;
    }
    debug!(
        partition = %part.lane.partition(),
        attempts = part.batch.attempts,
        failure,
        "a batch goes again"
    );
    shared.metrics.retries.add(1);
    let wait = wait_after(
        settings.connection.retry_backoff,
        part.batch.attempts.saturating_sub(1),
    );
    part.batch.last_failure = Some(failure);
    let Shipped { lane, batch, .. } = part;
    lane.take_back(batch, wait);
    list_later(lane, wait, shared);
}

/// Fails a batch for good; the lane goes on with the next.
pub(super) fn give_up(
    lane: Arc<Lane>,
    batch: SealedBatch,
    error: ProduceError,
    shared: &Arc<Shared>,
) {
    shared.metrics.errors.add(u64::from(batch.records));
    lane.settled(batch.completion.outcome());
    batch.settle(Err(error));
    shared.list(&lane);
}

/// The error of a batch whose time is over.
pub(super) fn timeout(lane: &Lane, batch: &SealedBatch, failure: Option<String>) -> ProduceError {
    ProduceError::DeliveryTimeout {
        partition: lane.partition().clone(),
        attempts: batch.attempts,
        waited: batch.opened.elapsed(),
        reason: failure
            .or_else(|| batch.last_failure.clone())
            .unwrap_or_else(|| "it was never sent".to_owned()),
    }
}

/// Lists a lane once its wait is over.
fn list_later(lane: Arc<Lane>, wait: Duration, shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    let at = Instant::now() + wait;
    tokio::spawn(async move {
        tokio::time::sleep_until(at).await;
        if let Some(shared) = shared.upgrade() {
            shared.list(&lane);
        }
    });
}
