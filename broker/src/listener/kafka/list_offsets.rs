//! ListOffsets: earliest, latest, or by timestamp, also the largest.

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
const LARGEST_TIMESTAMP: i64 = -3;
/// Of what is not in tiered storage; here that is everything.
const EARLIEST_LOCAL: i64 = -4;
/// Of what is in tiered storage.
const LATEST_TIERED: i64 = -5;

/// The versions from which on there are those (KIP-734, KIP-405, KIP-1005).
const FIRST_WITH_LARGEST_TIMESTAMP: i16 = 7;
const FIRST_WITH_EARLIEST_LOCAL: i16 = 8;
const FIRST_WITH_LATEST_TIERED: i16 = 9;

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
    let outcome = match command(call.version, topic, isolation, asked) {
        Ok(Some(command)) => call.server().router.list_offsets(command).await,
        Ok(None) => return nothing(asked, ErrorCode::None.code()),
        Err(refusal) => ListOffsetsOutcome::refused(refusal, None),
    };
    let mut response = nothing(asked, call.code(outcome.error_code()));
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

fn nothing(asked: &ListOffsetsPartition, error_code: i16) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code,
        ..Default::default()
    }
}

/// The question for the partition; none if nothing can be there.
fn command(
    version: i16,
    topic: Option<&TopicImage>,
    isolation: IsolationLevel,
    asked: &ListOffsetsPartition,
) -> Result<Option<ListOffsetsCommand>, Refusal> {
    let unknown = |reason: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, reason);
    let topic = topic.ok_or_else(|| unknown("there is no such topic".to_owned()))?;
    let partition = PartitionIndex::try_from(asked.partition_index)
        .map_err(|error| unknown(error.to_string()))?;
    let query = match asked.timestamp {
        LATEST => OffsetQuestion::Listed(OffsetQuery::Latest),
        EARLIEST => OffsetQuestion::Listed(OffsetQuery::Earliest),
        LARGEST_TIMESTAMP if version >= FIRST_WITH_LARGEST_TIMESTAMP => {
            OffsetQuestion::LargestTimestamp
        }
        EARLIEST_LOCAL if version >= FIRST_WITH_EARLIEST_LOCAL => {
            OffsetQuestion::Listed(OffsetQuery::Earliest)
        }
        LATEST_TIERED if version >= FIRST_WITH_LATEST_TIERED => return Ok(None),
        time @ 0.. => OffsetQuestion::Listed(OffsetQuery::Timestamp(Timestamp::new(time))),
        other => {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!("version {version} of the request has no timestamp {other}"),
            ));
        }
    };
    Ok(Some(ListOffsetsCommand {
        topic_partition: TopicPartition {
            topic_id: topic.id,
            partition,
        },
        leader_epoch: LeaderEpoch::from_sentinel(asked.current_leader_epoch),
        isolation,
        query,
    }))
}
