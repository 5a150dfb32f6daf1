//! Fetch: record batches by request.
//!
//! A fetch of one partition waits inside the partition. A fetch of several reads what each has,
//! in the request's order and within its bytes; if that is less than `min_bytes`, it waits until
//! any of them has more and reads again. It is answered at the deadline at the latest, and at
//! once when a partition refuses, which is how the client learns of it.
//!
//! While it waits it holds no records. When readers hold all the memory they may, a fetch waits in
//! line for its first partition that has records, and brings of the others what there is room for.

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
use crate::log::{Room, TopicPartition};
use crate::partition::{FetchCommand, FetchOutcome, FetchedData, Refusal};
use crate::runtime::{self, Instant};
use crate::shard::Router;

/// A longer `max_wait_ms` is cut to this.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

/// A reply brings at most this part of what readers may hold, so that a few large fetches leave room
/// for others; a single larger batch comes alone.
const LENDING_SHARE: usize = 4;

pub(super) fn start(
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Result<impl Future<Output = Answer> + use<>, Refusal> {
    let fetch: FetchRequest = decode(request)?;
    let server = Rc::clone(&connection.server);
    let max_bytes = (fetch.max_bytes as usize)
        .min(server.options.max_fetch_bytes)
        .min(server.router.lending().limit() / LENDING_SHARE);
    request.in_flight.add_reply_bytes(max_bytes);
    let lanes = Lanes::new(fetch.partitions.iter().map(topic_partition));
    let ticket = connection.fetch_order.borrow_mut().admit(lanes);
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
                    .read(
                        only,
                        max_bytes,
                        fetch.min_bytes,
                        fetch.deadline,
                        Room::Awaited,
                    )
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
        room_in_memory: Room,
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
            room: room_in_memory,
        };
        self.router.fetch(command).await
    }

    async fn read_all(&self) -> Vec<FetchOutcome> {
        let mut has_more = true;
        loop {
            let outcomes = self.read_present().await;
            let lengths: Vec<usize> = outcomes.iter().map(data_length).collect();
            if lengths.iter().sum::<usize>() >= self.min_bytes
                || outcomes.iter().any(is_final)
                || runtime::now() >= self.deadline
                || !has_more
            {
                return outcomes;
            }
            drop(outcomes);
            has_more = self.wait_for_more(&lengths).await;
        }
    }

    /// What every partition has now. Once the bytes are spent, the rest answer with their marks.
    async fn read_present(&self) -> Vec<FetchOutcome> {
        let mut outcomes = Vec::with_capacity(self.request.partitions.len());
        let mut room = self.max_bytes;
        for partition in &self.request.partitions {
            let in_memory = match room {
                room if room == self.max_bytes => Room::Awaited,
                _ => Room::IfFree,
            };
            let outcome = self
                .read(partition, room, 0, runtime::now(), in_memory)
                .await;
            room = room.saturating_sub(data_length(&outcome));
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Waits until a partition has more than the `lengths` that were there; false if nothing came.
    async fn wait_for_more(&self, lengths: &[usize]) -> bool {
        let mut waits: FuturesUnordered<_> = self
            .request
            .partitions
            .iter()
            .zip(lengths.iter().copied())
            // One that gave all it may has nothing to add.
            .filter(|&(partition, had)| had < self.max_bytes.min(partition.max_bytes as usize))
            .map(|(partition, had)| async move {
                let outcome = self
                    .read(
                        partition,
                        self.max_bytes,
                        had + 1,
                        self.deadline,
                        Room::Awaited,
                    )
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
