//! DeleteRecords (KIP-107): moves the start of logs forward.

use std::time::Duration;

use corelog_protocol::kafka::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use corelog_protocol::kafka::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use corelog_protocol::native::messages::DeleteUntil;
use corelog_protocol::{ErrorCode, Offset, PartitionIndex};
use futures_util::{StreamExt, stream};

use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::log::TopicPartition;
use crate::metadata::TopicImage;
use crate::partition::DeleteRecordsCommand;
use crate::runtime::{self, Instant};

/// Partitions of one request that are deleted from at the same time: they wait for the same flushes of the journals.
const CONCURRENT_PARTITIONS: usize = 256;
/// A longer time-out is cut to this.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Everything that can be read.
const HIGH_WATERMARK: i64 = -1;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DeleteRecordsRequest<'_> = call.decode()?;
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64).min(MAX_TIMEOUT);
    let deadline = runtime::now() + timeout;
    let image = call.server().router.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = image.topic(topic.name).map(|found| &**found);
        let partitions = stream::iter(&topic.partitions)
            .map(|partition| async move {
                let deleted = delete(call, found, partition, deadline).await;
                let (low_watermark, code) = match deleted {
                    Ok(start) => (start.get(), ErrorCode::None),
                    Err(code) => (-1, code),
                };
                DeleteRecordsPartitionResult {
                    partition_index: partition.partition_index,
                    low_watermark,
                    error_code: call.code(code),
                }
            })
            .buffered(CONCURRENT_PARTITIONS);
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions: partitions.collect().await,
        });
    }
    Ok(call.reply(&DeleteRecordsResponse {
        topics,
        ..Default::default()
    }))
}

/// Returns where the log starts then.
async fn delete(
    call: &Call,
    topic: Option<&TopicImage>,
    asked: &DeleteRecordsPartition,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = PartitionIndex::try_from(asked.partition_index)
        .map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let until = match asked.offset {
        HIGH_WATERMARK => DeleteUntil::HighWatermark,
        offset => Offset::try_from(offset)
            .map(DeleteUntil::Offset)
            .map_err(|_| ErrorCode::OffsetOutOfRange)?,
    };
    let command = DeleteRecordsCommand {
        topic_partition: TopicPartition {
            topic_id: topic.id,
            partition,
        },
        leader_epoch: None,
        until,
        deadline,
    };
    let outcome = call.server().router.delete_records(command).await;
    outcome.result.map_err(|refusal| refusal.code)?;
    let marks = outcome.marks.ok_or(ErrorCode::NotLeaderOrFollower)?;
    Ok(marks.log_start_offset)
}
