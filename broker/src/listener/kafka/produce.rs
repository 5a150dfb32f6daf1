//! Produce: record batches to their partitions' lines.
//!
//! Only the request's framing is looked at here. A partition checks its batches, and one partition's refusal is not
//! another's.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::kafka::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
};
use corelog_protocol::kafka::messages::{ProduceRequest, ProduceResponse};
use corelog_protocol::{Acks, ErrorCode, PartitionIndex, TopicId};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::call::{Answer, Call};
use crate::listener::close::Close;
use crate::log::TopicPartition;
use crate::metadata::MetadataImage;
use crate::partition::{ProduceCommand, ProduceOutcome, Refusal};
use crate::runtime::{self, Instant};
use crate::shard::PendingProduce;

/// A longer `timeout_ms` is cut to this.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Where a partition's batches are.
enum Share {
    InLine(PendingProduce),
    Refused(Refusal),
}

/// A topic of the request, by whichever of the two the version has.
struct Topic {
    name: String,
    id: TopicId,
    partitions: Vec<(i32, Share)>,
}

/// Puts every partition's batches in line. Call order is offset order.
pub(super) fn start(mut call: Call) -> LocalBoxFuture<'static, Answer> {
    let (acks, topics) = match put_in_line(&call) {
        Ok(in_line) => in_line,
        Err(close) => return std::future::ready(Answer::Close(close)).boxed_local(),
    };
    // Each partition holds on to its own share.
    call.body = Bytes::new();
    match acks {
        Acks::None => watch_unanswered(call, topics).boxed_local(),
        _ => answer(call, topics).boxed_local(),
    }
}

fn put_in_line(call: &Call) -> Result<(Acks, Vec<Topic>), Close> {
    let request: ProduceRequest<'_> = call.decode()?;
    let refusal = if request.transactional_id.is_some() {
        Some(Refusal::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "this broker does not take transactions: produce without a transactional.id",
        ))
    } else {
        None
    };
    let acks = i8::try_from(request.acks).ok().and_then(Acks::from_id);
    let refusal = refusal.or_else(|| {
        acks.is_none().then(|| {
            Refusal::new(
                ErrorCode::InvalidRequiredAcks,
                format!("acks is {}, it must be 0, 1 or -1", request.acks),
            )
        })
    });
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let line = Line {
        call,
        image: &call.server().router.image(),
        // A response is sent to whoever did not clearly renounce it.
        acks: acks.unwrap_or(Acks::All),
        deadline: runtime::now() + timeout.min(MAX_TIMEOUT),
        refusal,
    };
    let topics = request.topic_data.iter().map(|topic| line.take(topic));
    Ok((line.acks, topics.collect()))
}

/// What the shares of a request have in common.
struct Line<'a> {
    call: &'a Call,
    image: &'a MetadataImage,
    acks: Acks,
    deadline: Instant,
    /// What is wrong with the request as a whole.
    refusal: Option<Refusal>,
}

impl Line<'_> {
    fn take(&self, topic: &TopicProduceData<'_>) -> Topic {
        /// Names topics by their ids.
        const FIRST_WITH_IDS: i16 = 13;
        let found = match self.call.version {
            FIRST_WITH_IDS.. => self
                .image
                .topic_by_id(topic.topic_id)
                .ok_or(ErrorCode::UnknownTopicId),
            _ => self
                .image
                .topic(topic.name)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let id = found.map(|topic| topic.id);
        let partitions = topic.partition_data.iter();
        Topic {
            name: topic.name.to_owned(),
            id: topic.topic_id,
            partitions: partitions
                .map(|partition| {
                    let share = match self.put_in_line(id, partition) {
                        Ok(pending) => Share::InLine(pending),
                        Err(refusal) => Share::Refused(refusal),
                    };
                    (partition.index, share)
                })
                .collect(),
        }
    }

    fn put_in_line(
        &self,
        topic: Result<TopicId, ErrorCode>,
        partition: &PartitionProduceData<'_>,
    ) -> Result<PendingProduce, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let topic_id = topic.map_err(|code| Refusal::new(code, code.message()))?;
        let index = PartitionIndex::try_from(partition.index)
            .map_err(|error| Refusal::new(ErrorCode::UnknownTopicOrPartition, error.to_string()))?;
        let records = partition.records.unwrap_or_default();
        let router = &self.call.server().router;
        let pending = router.produce(ProduceCommand {
            topic_partition: TopicPartition {
                topic_id,
                partition: index,
            },
            leader_epoch: None,
            acks: self.acks,
            batches: self.call.body.slice_ref(records),
            deadline: self.deadline,
        });
        if let Some(crowded) = pending.crowded() {
            self.call.connection.flow.hold_back_until(crowded);
        }
        Ok(pending)
    }
}

impl Share {
    async fn outcome(self) -> ProduceOutcome {
        match self {
            Self::InLine(pending) => pending.await,
            Self::Refused(refusal) => ProduceOutcome::refused(refusal, None),
        }
    }
}

async fn answer(call: Call, topics: Vec<Topic>) -> Answer {
    let mut answered = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut outcomes = Vec::with_capacity(topic.partitions.len());
        for (index, share) in topic.partitions {
            outcomes.push((index, share.outcome().await));
        }
        answered.push((topic.name, topic.id, outcomes));
    }
    let responses = answered.iter().map(|(name, id, outcomes)| {
        let partitions = outcomes.iter();
        TopicProduceResponse {
            name,
            topic_id: *id,
            partition_responses: partitions
                .map(|(index, outcome)| partition_response(&call, *index, outcome))
                .collect(),
        }
    });
    call.reply(&ProduceResponse {
        responses: responses.collect(),
        ..Default::default()
    })
}

fn partition_response<'a>(
    call: &Call,
    index: i32,
    outcome: &'a ProduceOutcome,
) -> PartitionProduceResponse<'a> {
    let mut response = PartitionProduceResponse {
        index,
        error_code: call.code(outcome.error_code()),
        base_offset: -1,
        ..Default::default()
    };
    if let Some(marks) = outcome.marks {
        response.log_start_offset = marks.log_start_offset.get();
    }
    match &outcome.result {
        Ok(produced) => {
            response.base_offset = produced.base_offset.get();
            response.log_append_time_ms = produced.log_append_time.map_or(-1, |time| time.get());
        }
        Err(refusal) => response.error_message = Some(&refusal.message),
    }
    response
}

/// Waits for a produce that has no reply. Only the end of the connection can say that it failed.
async fn watch_unanswered(call: Call, topics: Vec<Topic>) -> Answer {
    let mut answer = Answer::Nothing;
    for (_, share) in topics.into_iter().flat_map(|topic| topic.partitions) {
        if let Err(refusal) = share.outcome().await.result {
            call.code(refusal.code);
            answer = Answer::Close(Close::UnansweredFailure(refusal));
        }
    }
    answer
}
