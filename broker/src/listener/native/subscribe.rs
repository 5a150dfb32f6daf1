//! Subscribe, SubscribeCredit and Unsubscribe: record batches pushed as they become readable.
//!
//! A subscription is a task of its own that keeps a fetch waiting per partition and pushes what
//! each brings. Two bounds hold it:
//! - credit, in bytes of payload, which the client grants. A push takes from it; without credit
//!   there is no push. Only a single batch larger than what is left may overdraw it, because it
//!   cannot be cut;
//! - bytes waiting in the connection's outbox, so that a reader that grants credit and does not
//!   read holds a bounded part of the broker's memory.
//!
//! An error of a partition is pushed once and ends that partition's part of the subscription.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::ApiKey;
use corelog_protocol::native::messages::{
    FetchPartition, FetchResponse, SubscribeCreditRequest, SubscribeRequest, SubscribeResponse,
    UnsubscribeRequest, UnsubscribeResponse,
};
use corelog_protocol::{ErrorCode, IsolationLevel};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::batch_end::batch_end;
use super::connection::Connection;
use super::fetch::partition_response;
use super::outbox::{Outgoing, Reply};
use super::receiver::Request;
use super::request::{Answer, decode};
use crate::listener::partition_reads::topic_partition;
use crate::log::Room;
use crate::metrics::ShardMetrics;
use crate::partition::{FetchCommand, FetchOutcome, Refusal};
use crate::runtime::{self, Instant, Notify, Task};
use crate::shard::Router;

/// Partitions that all subscriptions of one connection may have. Each holds a waiting fetch.
const MAX_PARTITIONS: usize = 16 * 1024;
/// How long a fetch waits for records before it is asked anew.
const FETCH_WAIT: Duration = Duration::from_secs(30);
/// The pause before a fetch is asked anew that came back early and empty: its partition has as
/// many waiting readers as it takes.
const CROWDED_PAUSE: Duration = Duration::from_millis(50);

/// The subscriptions of one connection, by the correlation id of their Subscribe.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_id: RefCell<BTreeMap<u32, Subscription>>,
}

struct Subscription {
    credit: Rc<Credit>,
    partitions: usize,
    metrics: Rc<ShardMetrics>,
    /// Dropped to end the subscription.
    _task: Task<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.metrics.subscriptions.decrement();
    }
}

impl Subscriptions {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.borrow().is_empty()
    }

    /// After this nothing more is pushed.
    pub(super) fn end_all(&self) {
        let ended = self.by_id.take();
        drop(ended);
    }
}

/// Bytes that may be pushed. Below zero after a batch that was larger than what was left.
struct Credit {
    bytes: Cell<i64>,
    granted: Notify,
}

impl Credit {
    fn new(bytes: u64) -> Self {
        Self {
            bytes: Cell::new(i64::try_from(bytes).unwrap_or(i64::MAX)),
            granted: Notify::new(),
        }
    }

    fn grant(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.granted.notify_waiters();
    }

    fn take(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Bytes left; zero when overdrawn.
    fn left(&self) -> usize {
        usize::try_from(self.bytes.get()).unwrap_or(0)
    }

    /// Waits for credit.
    async fn some(&self) -> usize {
        loop {
            match self.left() {
                0 => self.granted.notified().await,
                left => return left,
            }
        }
    }
}

pub(super) fn subscribe(connection: &Rc<Connection>, request: &Request) -> Result<Answer, Refusal> {
    let subscribe: SubscribeRequest = decode(request)?;
    let id = request.header.correlation_id;
    let options = &connection.server.options;
    let mut by_id = connection.subscriptions.by_id.borrow_mut();
    if by_id.contains_key(&id) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("subscription {id} exists already on this connection"),
        ));
    }
    if by_id.len() >= options.max_subscriptions {
        return Err(Refusal::new(
            ErrorCode::ThrottlingQuotaExceeded,
            format!(
                "this connection has {} subscriptions, which is the limit \
                 (connection.subscriptions.max)",
                options.max_subscriptions
            ),
        ));
    }
    let partitions: usize = by_id.values().map(|it| it.partitions).sum();
    if partitions + subscribe.partitions.len() > MAX_PARTITIONS {
        return Err(Refusal::new(
            ErrorCode::ThrottlingQuotaExceeded,
            format!("the subscriptions of one connection may have {MAX_PARTITIONS} partitions"),
        ));
    }
    let credit = Rc::new(Credit::new(subscribe.credit_bytes));
    let partitions = subscribe.partitions.len();
    let pusher = Pusher {
        id,
        router: connection.server.router.clone(),
        credit: Rc::clone(&credit),
        max_push_bytes: (subscribe.max_push_bytes as usize)
            .min(options.max_fetch_bytes)
            .clamp(1, connection.outbox.push_limit()),
        isolation: subscribe.isolation,
    };
    // The task runs later, so the response stands before the first push.
    let task = runtime::spawn(pusher.run(Rc::clone(connection), subscribe.partitions));
    let metrics = Rc::clone(connection.server.router.metrics());
    metrics.subscriptions.increment();
    by_id.insert(
        id,
        Subscription {
            credit,
            partitions,
            metrics,
            _task: task,
        },
    );
    Ok(Answer::Reply(Reply::Subscribe(SubscribeResponse {})))
}

/// One way. Credit for a subscription that is not there is no error: it may have crossed the
/// subscription's end.
pub(super) fn credit(connection: &Connection, request: &Request) -> Result<Answer, Refusal> {
    let SubscribeCreditRequest {
        subscription,
        bytes,
    } = decode(request)?;
    if let Some(subscription) = connection.subscriptions.by_id.borrow().get(&subscription) {
        subscription.credit.grant(bytes);
    }
    Ok(Answer::Nothing)
}

/// After the response nothing more is pushed for the subscription. Ending one that is not there
/// is no error.
pub(super) fn unsubscribe(connection: &Connection, request: &Request) -> Result<Answer, Refusal> {
    let UnsubscribeRequest { subscription } = decode(request)?;
    let ended = connection
        .subscriptions
        .by_id
        .borrow_mut()
        .remove(&subscription);
    drop(ended);
    Ok(Answer::Reply(Reply::Unsubscribe(UnsubscribeResponse {})))
}

struct Pusher {
    id: u32,
    router: Router,
    credit: Rc<Credit>,
    max_push_bytes: usize,
    isolation: IsolationLevel,
}

/// What a partition's fetch brought.
struct Arrival {
    partition: FetchPartition,
    /// The most that the fetch was allowed to bring.
    max_bytes: usize,
    outcome: FetchOutcome,
}

impl Pusher {
    async fn run(self, connection: Rc<Connection>, partitions: Vec<FetchPartition>) {
        let mut fetches: FuturesUnordered<_> =
            partitions.into_iter().map(|it| self.next(it)).collect();
        while let Some(arrival) = fetches.next().await {
            if let Some(partition) = self.push(&connection, arrival).await {
                fetches.push(self.next(partition));
            }
        }
    }

    /// Waits for credit and then for records.
    async fn next(&self, partition: FetchPartition) -> Arrival {
        loop {
            let max_bytes = self
                .credit
                .some()
                .await
                .min(self.max_push_bytes)
                .min(partition.max_bytes.max(1) as usize);
            let deadline = runtime::now() + FETCH_WAIT;
            let outcome = self.fetch(&partition, max_bytes, deadline).await;
            let is_empty = match &outcome.result {
                Ok(fetched) => fetched.data.is_empty() && fetched.diverging_epoch.is_none(),
                Err(_) => false,
            };
            if !is_empty {
                return Arrival {
                    partition,
                    max_bytes,
                    outcome,
                };
            }
            if runtime::now() < deadline {
                runtime::sleep(CROWDED_PAUSE).await;
            }
        }
    }

    async fn fetch(
        &self,
        partition: &FetchPartition,
        max_bytes: usize,
        deadline: Instant,
    ) -> FetchOutcome {
        let command = FetchCommand {
            topic_partition: topic_partition(partition),
            leader_epoch: partition.leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            fetch_offset: partition.fetch_offset,
            max_bytes,
            min_bytes: 1,
            deadline,
            isolation: self.isolation,
            room: Room::Awaited,
        };
        self.router.fetch(command).await
    }

    /// Pushes what came; returns the partition with its next offset if it goes on.
    async fn push(&self, connection: &Connection, arrival: Arrival) -> Option<FetchPartition> {
        let Arrival {
            mut partition,
            max_bytes,
            outcome,
        } = arrival;
        connection.outbox.room_for_pushes().await;
        let (mut goes_on, mut bytes) = (false, 0);
        if let Ok(fetched) = &outcome.result
            && let Some(end) = batch_end(&fetched.data)
        {
            bytes = fetched.data.len();
            // Other partitions used the credit that this fetch counted on: it is asked anew for
            // what is left, so that only a batch that cannot be cut overdraws.
            let left = self.credit.left();
            if left < bytes && left < max_bytes {
                return Some(partition);
            }
            partition.fetch_offset = end.next_offset;
            // With the epoch that the client came with, the end of that epoch would look like a
            // place where the log was cut back.
            partition.last_fetched_epoch = end.leader_epoch;
            goes_on = true;
        }
        self.credit.take(bytes);
        let (response, data) = partition_response(topic_partition(&partition), outcome);
        let push = FetchResponse {
            partitions: vec![response],
        };
        let push = Outgoing::new(
            (ApiKey::Subscribe.code(), self.id),
            Reply::Push(push, vec![data]),
            None,
        );
        connection.note_held(&push);
        connection.outbox.push(push);
        connection.flow.sender.wake();
        goes_on.then_some(partition)
    }
}
