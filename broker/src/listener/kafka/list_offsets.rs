//! ListOffsets: earliest, latest, or by timestamp.

use corelog_protocol::kafka::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use corelog_protocol::kafka::messages::{ListOffsetsRequest, ListOffsetsResponse};
use corelog_protocol::native::messages::OffsetQuery;
use corelog_protocol::{ErrorCode, IsolationLevel, LeaderEpoch, PartitionIndex, Timestamp};
use futures_util::{StreamExt, stream};

use super::call::{Answer, Call};
use crate::listener::close::Close;
use crate::log::TopicPartition;
use crate::metadata::TopicImage;
use crate::partition::{ListOffsetsCommand, ListOffsetsOutcome, OffsetQuestion, Refusal};

/// Partitions of one request that are asked at the same time. A search by timestamp may read from the disk.
const CONCURRENT_PARTITIONS: usize = 32;

/// Timestamps that stand for something else: `ListOffsetsRequest` of Kafka.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

pub(super) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: ListOffsetsRequest<'_> = call.decode()?;
    let isolation = isolation_level(call, request.isolation_level)?;
    let image = call.server().router.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = image.topic(topic.name).map(|found| &**found);
        let partitions = stream::iter(&topic.partitions)
            .map(|partition| list(call, found, isolation, partition))
            .buffered(CONCURRENT_PARTITIONS);
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions: partitions.collect().await,
        });
    }
    Ok(call.reply(&ListOffsetsResponse {
        topics,
        ..Default::default()
    }))
}

/// The isolation level of a number.
///
/// # Errors
/// There is no such level; there is no place in the responses to say so.
pub(super) fn isolation_level(call: &Call, level: i8) -> Result<IsolationLevel, Close> {
    let known = u8::try_from(level).ok().and_then(IsolationLevel::from_id);
    known.ok_or_else(|| Close::Senseless {
        api: call.api,
        what: format!("isolation level {level} is neither 0 nor 1"),
    })
}

async fn list(
    call: &Call,
    topic: Option<&TopicImage>,
    isolation: IsolationLevel,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let outcome = match command(topic, isolation, asked) {
        Ok(command) => call.server().router.list_offsets(command).await,
        Err(refusal) => ListOffsetsOutcome::refused(refusal, None),
    };
    let mut response = ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: call.code(outcome.error_code()),
        ..Default::default()
    };
    if let Ok(listed) = outcome.result
        && let Some(offset) = listed.offset
    {
        response.offset = offset.get();
        response.timestamp = listed.timestamp.map_or(-1, |time| time.get());
        let epoch = outcome.marks.map(|marks| marks.leader_epoch);
        response.leader_epoch = LeaderEpoch::to_sentinel(epoch);
    }
    response
}

fn command(
    topic: Option<&TopicImage>,
    isolation: IsolationLevel,
    asked: &ListOffsetsPartition,
) -> Result<ListOffsetsCommand, Refusal> {
    let unknown = |reason: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, reason);
    let topic = topic.ok_or_else(|| unknown("there is no such topic".to_owned()))?;
    let partition = PartitionIndex::try_from(asked.partition_index)
        .map_err(|error| unknown(error.to_string()))?;
    let query = match asked.timestamp {
        LATEST => OffsetQuery::Latest,
        EARLIEST => OffsetQuery::Earliest,
        time @ 0.. => OffsetQuery::Timestamp(Timestamp::new(time)),
        other => {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!("this version of the request has no timestamp {other}"),
            ));
        }
    };
    Ok(ListOffsetsCommand {
        topic_partition: TopicPartition {
            topic_id: topic.id,
            partition,
        },
        leader_epoch: LeaderEpoch::from_sentinel(asked.current_leader_epoch),
        isolation,
        query: OffsetQuestion::Listed(query),
    })
}
