//! Sends what the lanes of one (broker, shard) hold: one task per node, several requests under way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use corelog_protocol::Acks;
use corelog_protocol::native::{
    ApiKey, FrameLimits, ProducePartition, ProduceRequest, ProduceResponse,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tracing::debug;

use super::batch::SealedBatch;
use super::lane::{Lane, Route, Taken};
use super::settle::{fail, refuse_unsendable, settle, timeout};
use super::shared::Shared;
use crate::cluster::Node;
use crate::connection::Connection;
use crate::error::{ConnectionError, RequestError};

/// Most bytes of a produce request's metadata without its partitions: none of them is transactional.
const REQUEST_METADATA_BYTES: u32 = 64;
/// Most bytes of metadata that one partition adds.
const PARTITION_METADATA_BYTES: u32 = 48;

/// What becomes of a batch that may be in the log behind one that was given up.
const LOST_ORDER: &str = "a batch before it was given up, and this one may have been written";

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
pub(super) struct Shipped {
    pub(super) lane: Arc<Lane>,
    pub(super) batch: SealedBatch,
    pub(super) bytes: Bytes,
    pub(super) route: Route,
}

/// What came of a request.
pub(super) struct Answer {
    pub(super) shipped: Vec<Shipped>,
    pub(super) result: Result<ProduceResponse, RequestError>,
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
            let shipped = collect(&queue, open.send_limits(), &shared);
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

/// Takes one batch of each lane that is ready, up to `max.request.size` and to what the broker accepts in a frame.
fn collect(queue: &Arc<NodeQueue>, limits: FrameLimits, shared: &Arc<Shared>) -> Vec<Shipped> {
    let mut shipped = Vec::new();
    let max_payload = usize::try_from(limits.max_payload).unwrap_or(usize::MAX);
    let mut room = shared.settings.max_request_bytes.min(max_payload);
    let most_partitions = most_partitions(&limits);
    // Lanes with more to send go behind all others, and one request carries one batch of each.
    let mut again = Vec::new();
    loop {
        let Some(lane) = queue.ready().pop_front() else {
            break;
        };
        // A single batch may exceed `max.request.size`: it was checked uncompressed, and codecs can add to it.
        let limit = if shipped.is_empty() { usize::MAX } else { room };
        match lane.take(queue, limit, shared.identity.current()) {
            Taken::Batch {
                batch,
                bytes,
                route,
                more,
            } => {
                if more {
                    again.push(Arc::clone(&lane));
                }
                let part = Shipped {
                    lane,
                    batch,
                    bytes,
                    route,
                };
                if part.bytes.len() > max_payload {
                    refuse_unsendable(part, max_payload, shared);
                    continue;
                }
                room = room.saturating_sub(part.bytes.len());
                shipped.push(part);
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
            Taken::NeedsEpochAbove(old) => {
                if !shared.raise_epoch(old) {
                    shared.list(&lane);
                }
            }
            Taken::Uncertain(batches) => {
                for batch in batches {
                    let error = timeout(&lane, &batch, Some(LOST_ORDER.to_owned()));
                    fail(batch, error, shared);
                }
                shared.list(&lane);
            }
            Taken::Elsewhere => shared.list(&lane),
        }
        if room == 0 || shipped.len() >= most_partitions {
            break;
        }
    }
    queue.ready().extend(again);
    shipped
}

/// How many partitions a request can name. One is always tried.
fn most_partitions(limits: &FrameLimits) -> usize {
    let room = limits.max_metadata.saturating_sub(REQUEST_METADATA_BYTES);
    usize::try_from(room / PARTITION_METADATA_BYTES).map_or(usize::MAX, |most| most.max(1))
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
        return Box::pin(async move {
            let result = match written {
                Ok(written) => match written.wait().await {
                    Ok(()) => Ok(ProduceResponse {
                        partitions: Vec::new(),
                    }),
                    Err(error) => Err(error.into()),
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
                    .decode::<ProduceResponse>(ApiKey::Produce, &frame.metadata)
                    .map_err(RequestError::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        };
        Answer { shipped, result }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::native::{FRAME_HEADER_BYTES, FrameKind, encode_frame};
    use corelog_protocol::{LeaderEpoch, PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_request_that_names_as_many_partitions_as_allowed_fits_its_frame() {
        for count in [1, 2, 3, 1000] {
            let partition = ProducePartition {
                topic_id: TopicId::random(),
                partition: PartitionIndex::new(i32::MAX),
                leader_epoch: Some(LeaderEpoch::new(i32::MAX)),
                length: u32::MAX,
            };
            let request = ProduceRequest {
                acks: Acks::All,
                timeout_ms: u32::MAX,
                transactional_id: None,
                partitions: &vec![partition; count],
            };
            let frame = encode_frame(FrameKind::Request, 1, &request, 0).unwrap();
            let metadata = u32::try_from(frame.len() - FRAME_HEADER_BYTES).unwrap();
            let limits = FrameLimits {
                max_metadata: metadata,
                ..FrameLimits::default()
            };
            assert!(most_partitions(&limits) <= count, "{metadata} bytes");
        }
    }
}
