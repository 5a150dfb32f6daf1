//! Fetch: record batches by request. See [`partition_reads`](crate::listener::partition_reads).

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse,
};

use super::connection::Connection;
use super::outbox::{Payload, Reply};
use super::receiver::Request;
use super::reply_order::Lanes;
use super::request::{Answer, Order, decode};
use crate::listener::partition_reads::{Appetite, PartitionReads, topic_partition};
use crate::log::TopicPartition;
use crate::partition::{FetchOutcome, FetchedData, Refusal};

pub(super) fn start(
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Result<impl Future<Output = Answer> + use<>, Refusal> {
    let fetch: FetchRequest = decode(request)?;
    let server = Rc::clone(&connection.server);
    let appetite = Appetite {
        min_bytes: fetch.min_bytes as usize,
        max_bytes: fetch.max_bytes as usize,
        max_wait: Duration::from_millis(fetch.max_wait_ms.into()),
    };
    let lanes = Lanes::new(fetch.partitions.iter().map(topic_partition));
    let router = server.router.clone();
    let reads = PartitionReads::new(
        router,
        fetch.partitions,
        fetch.isolation,
        appetite,
        &server.options,
    );
    request.in_flight.add_reply_bytes(reads.max_bytes());
    let ticket = connection.fetch_order.borrow_mut().admit(lanes);
    let under_way = connection.flow.read_under_way();
    Ok(async move {
        let outcomes = reads.outcomes().await;
        for outcome in &outcomes {
            server.note_error(outcome.error_code());
        }
        drop(under_way);
        Answer::Ordered(Order::Fetch, ticket, reply(reads.partitions(), outcomes))
    })
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
