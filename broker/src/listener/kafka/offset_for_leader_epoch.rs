//! OffsetForLeaderEpoch (KIP-320): where an epoch's records end, by which a consumer sees that its log and the leader's part.

use corelog_protocol::kafka::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use corelog_protocol::kafka::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use corelog_protocol::{ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex};

use super::call::{Answer, Call};
use crate::listener::close::Close;
use crate::log::TopicPartition;
use crate::metadata::TopicImage;
use crate::partition::{ListOffsetsCommand, OffsetQuestion};

pub(super) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: OffsetForLeaderEpochRequest<'_> = call.decode()?;
    let image = call.server().router.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = image.topic(topic.topic).map(|found| &**found);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let end = match end_of_epoch(call, found, asked).await {
                Ok(end) => end,
                Err(code) => EpochEndOffset {
                    error_code: call.code(code),
                    ..Default::default()
                },
            };
            partitions.push(EpochEndOffset {
                partition: asked.partition,
                ..end
            });
        }
        topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions,
        });
    }
    Ok(call.reply(&OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    }))
}

async fn end_of_epoch(
    call: &Call,
    topic: Option<&TopicImage>,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = PartitionIndex::try_from(asked.partition)
        .map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let Some(epoch) = LeaderEpoch::from_sentinel(asked.leader_epoch) else {
        // No epoch ends nowhere.
        return Ok(EpochEndOffset::default());
    };
    let command = ListOffsetsCommand {
        topic_partition: TopicPartition {
            topic_id: topic.id,
            partition,
        },
        leader_epoch: LeaderEpoch::from_sentinel(asked.current_leader_epoch),
        isolation: IsolationLevel::ReadUncommitted,
        query: OffsetQuestion::EpochEnd(epoch),
    };
    let outcome = call.server().router.list_offsets(command).await;
    let found = outcome.result.map_err(|refusal| refusal.code)?;
    Ok(EpochEndOffset {
        leader_epoch: LeaderEpoch::to_sentinel(found.leader_epoch),
        end_offset: Offset::to_sentinel(found.offset),
        ..Default::default()
    })
}
