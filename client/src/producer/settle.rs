//! Acts on a request's answer: acknowledges batches, sends them again, splits them or gives them up.

use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::native::{ProducePartitionResponse, ProduceResponse};
use corelog_protocol::{Acks, ErrorCode};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::batch::SealedBatch;
use super::delivery::Written;
use super::lane::{Gone, Lane};
use super::node::{Answer, NodeQueue, Shipped};
use super::shared::Shared;
use crate::backoff::wait_after;
use crate::cluster::Node;
use crate::error::{ProduceError, RequestError, words};

/// Acts on the answer for every batch of a request.
pub(super) fn settle(answer: Answer, queue: &Arc<NodeQueue>, shared: &Arc<Shared>) {
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
        // It was never sent and would not be the next time: `collect` keeps to the broker's limits where it can.
        Err(RequestError::Connection(error)) if !error.is_retriable() => {
            for part in shipped {
                fail_unsendable(part, error.to_string(), shared);
            }
        }
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
    let latency = part.batch.opened.elapsed();
    shared
        .metrics
        .latencies
        .note(latency, u64::from(part.batch.records));
    part.lane.acknowledged(&part.batch, part.route.topic_id);
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
    if code == ErrorCode::MessageTooLarge && part.batch.records > 1 {
        part.lane.refused_as_too_large(part.bytes.len());
        if may_be_split(&part.batch) {
            split(part, shared);
            return;
        }
    }
    if part.batch.stamp.is_some() {
        match code {
            // It is in the log, further back than the broker remembers where.
            ErrorCode::DuplicateSequenceNumber => {
                let written = Written {
                    base_offset: None,
                    log_append_time: None,
                };
                acknowledge(part, written, shared);
                return;
            }
            ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidProducerEpoch => {
                part.lane.out_of_order(&part.batch);
                retry(part, format!("{code}: {message}"), Some(code), shared);
                return;
            }
            _ => {}
        }
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

/// The batch alone is more than the broker accepts in a frame: its records go in two, or its only one fails.
pub(super) fn refuse_unsendable(part: Shipped, max_payload: usize, shared: &Arc<Shared>) {
    if part.batch.records > 1 {
        part.lane.refused_as_too_large(part.bytes.len());
    }
    if may_be_split(&part.batch) {
        split(part, shared);
        return;
    }
    let reason = format!(
        "it takes {} bytes, the broker accepts {max_payload} in a request",
        part.bytes.len()
    );
    fail_unsendable(part, reason, shared);
}

fn fail_unsendable(part: Shipped, reason: String, shared: &Arc<Shared>) {
    warn!(partition = %part.lane.partition(), reason, "a batch cannot be sent");
    let error = ProduceError::Unsendable {
        partition: part.lane.partition().clone(),
        reason,
    };
    give_up(part.lane, part.batch, error, shared);
}

/// The broker knows an idempotent batch as a whole: of one that may be in the log, the parts would be written again.
fn may_be_split(batch: &SealedBatch) -> bool {
    let would_double = batch.is_unknown && batch.stamp.is_some();
    batch.records > 1 && !would_double
}

/// The topic, or a frame, takes no batch this large: its records go in two.
fn split(part: Shipped, shared: &Arc<Shared>) {
    let Shipped {
        lane, batch, bytes, ..
    } = part;
    debug!(
        partition = %lane.partition(),
        bytes = bytes.len(),
        records = batch.records,
        "a batch is too large and is split"
    );
    shared.metrics.retries.add(1);
    let outcome = Arc::clone(batch.completion.outcome());
    let parts = batch.split(&bytes);
    match lane.take_back_parts(&outcome, parts) {
        Ok(()) => shared.list(&lane),
        Err(gone) => fail_gone(gone, shared),
    }
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
    part.batch.is_unknown |= !code.is_some_and(was_not_appended);
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
    match lane.take_back(batch, wait) {
        Ok(()) => list_later(lane, wait, shared),
        Err(gone) => fail_gone(gone, shared),
    }
}

/// Fails batches of a partition that is no more.
pub(super) fn fail_gone(gone: Gone, shared: &Arc<Shared>) {
    for (batch, error) in gone.each() {
        fail(batch, error, shared);
    }
}

/// Fails a batch for good; the lane goes on with the next.
fn give_up(lane: Arc<Lane>, batch: SealedBatch, error: ProduceError, shared: &Arc<Shared>) {
    lane.given_up(&batch);
    fail(batch, error, shared);
    shared.list(&lane);
}

/// Fails a batch that its lane has given up.
pub(super) fn fail(batch: SealedBatch, error: ProduceError, shared: &Arc<Shared>) {
    shared.metrics.errors.add(u64::from(batch.records));
    batch.settle(Err(error));
}

/// The broker looked at the batch and did not take it. After any other answer it may be in the log.
fn was_not_appended(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnknownTopicId
            | ErrorCode::ThrottlingQuotaExceeded
    )
}

/// The error of a batch whose time is over.
pub(super) fn timeout(lane: &Lane, batch: &SealedBatch, failure: Option<String>) -> ProduceError {
    ProduceError::DeliveryTimeout {
        partition: lane.partition().clone(),
        attempts: batch.attempts,
        waited: batch.opened.elapsed(),
        reason: failure
            .or_else(|| batch.last_failure.clone())
            .unwrap_or_else(|| {
                let reason = if lane.has_route() {
                    "it was never sent"
                } else {
                    "no leader of the partition is known"
                };
                reason.to_owned()
            }),
    }
}

/// Lists a lane once its wait is over.
fn list_later(lane: Arc<Lane>, wait: Duration, shared: &Arc<Shared>) {
    let later = Arc::downgrade(shared);
    let at = Instant::now() + wait;
    shared.spawn(async move {
        tokio::time::sleep_until(at).await;
        if let Some(shared) = later.upgrade() {
            shared.list(&lane);
        }
    });
}
