//! Fetch: record batches by request.
//!
//! A fetch of one partition waits inside the partition. A fetch of several reads what each has,
//! in the request's order and within its bytes; if that is less than `min_bytes`, it waits until
//! any of them has more and reads again. It is answered at the deadline at the latest, and at
//! once when a partition refuses, which is how the client learns of it.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::connection::Connection;
use super::outbox::{Payload, Reply};
use super::receiver::Request;
use super::reply_order::Lanes;
use super::request::{Answer, Order, decode};
use crate::log::TopicPartition;
use crate::partition::{FetchCommand, FetchOutcome, FetchedData, Refusal};
use crate::runtime::{self, Instant};
use crate::shard::Router;

/// A longer `max_wait_ms` is cut to this.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

pub(super) fn start(
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Result<impl Future<Output = Answer> + use<>, Refusal> {
    let fetch: FetchRequest = decode(request)?;
    let max_bytes = (fetch.max_bytes as usize).min(connection.server.options.max_fetch_bytes);
    request.in_flight.add_reply_bytes(max_bytes);
    let lanes = Lanes::new(fetch.partitions.iter().map(topic_partition));
    let ticket = connection.fetch_order.borrow_mut().admit(lanes);
    let server = Rc::clone(&connection.server);
    let fetch = Fetch {
        router: server.router.clone(),
        max_bytes,
        min_bytes: (fetch.min_bytes as usize).min(max_bytes),
        deadline: runtime::now() + Duration::from_millis(fetch.max_wait_ms.into()).min(MAX_WAIT),
        request: fetch,
    };
    let under_way = connection.read_under_way();
    Ok(async move {
        let outcomes = match &fetch.request.partitions[..] {
            [only] => vec![
                fetch
                    .read(only, max_bytes, fetch.min_bytes, fetch.deadline)
                    .await,
            ],
            _ => fetch.read_all().await,
        };
        for outcome in &outcomes {
            server.note_error(outcome.error_code());
        }
        drop(under_way);
        Answer::Ordered(
            Order::Fetch,
            ticket,
            reply(&fetch.request.partitions, outcomes),
        )
    })
}

pub(super) fn topic_partition(partition: &FetchPartition) -> TopicPartition {
    TopicPartition {
        topic_id: partition.topic_id,
        partition: partition.partition,
    }
}

struct Fetch {
    router: Router,
    request: FetchRequest,
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
}

impl Fetch {
    /// Reads one partition within `room` and its own limit.
    async fn read(
        &self,
        partition: &FetchPartition,
        room: usize,
        min_bytes: usize,
        deadline: Instant,
    ) -> FetchOutcome {
        let command = FetchCommand {
            topic_partition: topic_partition(partition),
            leader_epoch: partition.leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            fetch_offset: partition.fetch_offset,
            max_bytes: room.min(partition.max_bytes as usize),
            min_bytes,
            deadline,
            isolation: self.request.isolation,
        };
        self.router.fetch(command).await
    }

    async fn read_all(&self) -> Vec<FetchOutcome> {
        loop {
            let outcomes = self.read_present().await;
            let total: usize = outcomes.iter().map(data_length).sum();
            if total >= self.min_bytes
                || outcomes.iter().any(is_final)
                || runtime::now() >= self.deadline
                || !self.wait_for_more(&outcomes).await
            {
                return outcomes;
            }
        }
    }

    /// What every partition has now. Once the bytes are spent, the rest answer with their marks.
    async fn read_present(&self) -> Vec<FetchOutcome> {
        let mut outcomes = Vec::with_capacity(self.request.partitions.len());
        let mut room = self.max_bytes;
        for partition in &self.request.partitions {
            let outcome = self.read(partition, room, 0, runtime::now()).await;
            room = room.saturating_sub(data_length(&outcome));
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Waits until a partition has more than it gave; false if nothing came.
    async fn wait_for_more(&self, outcomes: &[FetchOutcome]) -> bool {
        let mut waits: FuturesUnordered<_> = self
            .request
            .partitions
            .iter()
            .zip(outcomes)
            .map(|(partition, outcome)| (partition, data_length(outcome)))
            // One that gave all it may has nothing to add.
            .filter(|&(partition, had)| had < partition.max_bytes as usize)
            .map(|(partition, had)| async move {
                let outcome = self
                    .read(partition, usize::MAX, had + 1, self.deadline)
                    .await;
                outcome.result.is_err() || data_length(&outcome) > had
            })
            .collect();
        while let Some(has_more) = waits.next().await {
            if has_more {
                return true;
            }
        }
        false
    }
}

fn data_length(outcome: &FetchOutcome) -> usize {
    outcome
        .result
        .as_ref()
        .map_or(0, |fetched| fetched.data.len())
}

/// Whether waiting cannot improve the answer.
fn is_final(outcome: &FetchOutcome) -> bool {
    match &outcome.result {
        Ok(fetched) => fetched.diverging_epoch.is_some(),
        Err(_) => true,
    }
}

fn reply(partitions: &[FetchPartition], outcomes: Vec<FetchOutcome>) -> Reply {
    let mut payload = Payload::with_capacity(outcomes.len());
    let partitions = partitions
        .iter()
        .zip(outcomes)
        .map(|(partition, outcome)| {
            let (response, data) = partition_response(topic_partition(partition), outcome);
            payload.push(data);
            response
        })
        .collect();
    Reply::Fetch(FetchResponse { partitions }, payload)
}

/// One partition's part of a reply or a push.
pub(super) fn partition_response(
    topic_partition: TopicPartition,
    outcome: FetchOutcome,
) -> (FetchPartitionResponse, FetchedData) {
    let error = outcome.error_code();
    let (message, fetched) = match outcome.result {
        Ok(fetched) => (None, fetched),
        Err(refusal) => (Some(refusal.message.into_owned()), Default::default()),
    };
    let mut response = FetchPartitionResponse::refused(
        topic_partition.topic_id,
        topic_partition.partition,
        error,
        message,
    );
    if let Some(marks) = outcome.marks {
        response.high_watermark = marks.high_watermark;
        response.last_stable_offset = marks.last_stable_offset;
        response.log_start_offset = marks.log_start_offset;
        response.leader_epoch = marks.leader_epoch;
    }
    response.diverging_epoch = fetched.diverging_epoch;
    response.length = u32::try_from(fetched.data.len()).expect("max_bytes is a u32");
    response.hint = outcome.hint;
    (response, fetched.data)
}
