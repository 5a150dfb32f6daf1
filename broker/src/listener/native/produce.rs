//! Produce: record batches to their partitions' lines.
//!
//! The payload is cut into the partitions' shares without looking inside: a partition checks its
//! batches, and one partition's refusal is not another's.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse,
};
use corelog_protocol::{Acks, ErrorCode};
use futures_util::future::Either;

use super::connection::Connection;
use super::outbox::Reply;
use super::receiver::Request;
use super::reply_order::Lanes;
use super::request::{Answer, Order, refuse};
use super::server::Server;
use crate::listener::close::Close;
use crate::log::TopicPartition;
use crate::partition::{ProduceCommand, ProduceOutcome, Refusal};
use crate::runtime;
use crate::shard::PendingProduce;

/// A longer `timeout_ms` is cut to this.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Puts every partition's batches in line. Call order is offset order.
pub(super) fn start(
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Result<impl Future<Output = Answer> + use<>, Refusal> {
    let produce = ProduceRequest::decode(&request.metadata).map_err(refuse)?;
    if produce.transactional_id.is_some() {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            "this broker does not take transactions",
        ));
    }
    let acks = produce.acks;
    let timeout = Duration::from_millis(produce.timeout_ms.into()).min(MAX_TIMEOUT);
    let deadline = runtime::now() + timeout;
    let shares = produce.split_payload(&request.payload).map_err(refuse)?;
    let router = &connection.server.router;
    let mut pending = Vec::with_capacity(shares.len());
    for (share, batches) in shares {
        let topic_partition = TopicPartition {
            topic_id: share.topic_id,
            partition: share.partition,
        };
        let produce = router.produce(ProduceCommand {
            topic_partition,
            leader_epoch: share.leader_epoch,
            acks,
            batches,
            deadline,
        });
        if let Some(crowded) = produce.crowded() {
            connection.flow.hold_back_until(crowded);
        }
        pending.push((topic_partition, produce));
    }
    let server = Rc::clone(&connection.server);
    if acks == Acks::None {
        return Ok(Either::Left(watch_unanswered(server, pending)));
    }
    let lanes = Lanes::new(pending.iter().map(|&(topic_partition, _)| topic_partition));
    let ticket = connection.produce_order.borrow_mut().admit(lanes);
    Ok(Either::Right(async move {
        let mut partitions = Vec::with_capacity(pending.len());
        for (topic_partition, produce) in pending {
            let response = partition_response(topic_partition, produce.await);
            server.note_error(response.error);
            partitions.push(response);
        }
        let reply = Reply::Produce(ProduceResponse { partitions });
        Answer::Ordered(Order::Produce, ticket, reply)
    }))
}

/// Waits for a produce that has no reply. Only the end of the connection can say that it failed.
async fn watch_unanswered(
    server: Rc<Server>,
    pending: Vec<(TopicPartition, PendingProduce)>,
) -> Answer {
    let mut answer = Answer::Nothing;
    for (_, produce) in pending {
        if let Err(refusal) = produce.await.result {
            server.note_error(refusal.code);
            answer = Answer::Close(Close::UnansweredFailure(refusal));
        }
    }
    answer
}

fn partition_response(
    topic_partition: TopicPartition,
    outcome: ProduceOutcome,
) -> ProducePartitionResponse {
    let error = outcome.error_code();
    let (message, produced) = match outcome.result {
        Ok(produced) => (None, Some(produced)),
        Err(refusal) => (Some(refusal.message.into_owned()), None),
    };
    let mut response = ProducePartitionResponse::refused(
        topic_partition.topic_id,
        topic_partition.partition,
        error,
        message,
    );
    if let Some(produced) = produced {
        response.base_offset = produced.base_offset;
        response.last_offset = produced.last_offset;
        response.log_append_time = produced.log_append_time;
    }
    if let Some(marks) = outcome.marks {
        response.log_start_offset = marks.log_start_offset;
        response.high_watermark = marks.high_watermark;
        response.leader_epoch = marks.leader_epoch;
        response.durability = marks.durability;
    }
    response.hint = outcome.hint;
    response
}
