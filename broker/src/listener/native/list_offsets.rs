//! ListOffsets: earliest, latest, or by timestamp.

use std::rc::Rc;

use corelog_protocol::native::messages::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use futures_util::{StreamExt, stream};

use super::server::Server;
use crate::log::TopicPartition;
use crate::partition::{ListOffsetsCommand, ListOffsetsOutcome, OffsetQuestion};

/// Partitions of one request that are asked at the same time. A search by timestamp may read
/// from the disk.
const CONCURRENT_PARTITIONS: usize = 32;

pub(super) async fn answer(server: Rc<Server>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = request.isolation;
    let server = &*server;
    let partitions = stream::iter(request.partitions)
        .map(|partition| async move {
            let topic_partition = TopicPartition {
                topic_id: partition.topic_id,
                partition: partition.partition,
            };
            let command = ListOffsetsCommand {
                topic_partition,
                leader_epoch: partition.leader_epoch,
                isolation,
                query: OffsetQuestion::Listed(partition.query),
            };
            let outcome = server.router.list_offsets(command).await;
            server.note_error(outcome.error_code());
            partition_response(topic_partition, outcome)
        })
        .buffered(CONCURRENT_PARTITIONS)
        .collect()
        .await;
    ListOffsetsResponse { partitions }
}

fn partition_response(
    topic_partition: TopicPartition,
    outcome: ListOffsetsOutcome,
) -> ListOffsetsPartitionResponse {
    let error = outcome.error_code();
    let (message, listed) = match outcome.result {
        Ok(listed) => (None, Some(listed)),
        Err(refusal) => (Some(refusal.message.into_owned()), None),
    };
    let mut response = ListOffsetsPartitionResponse::refused(
        topic_partition.topic_id,
        topic_partition.partition,
        error,
        message,
    );
    response.offset = listed.and_then(|listed| listed.offset);
    response.timestamp = listed.and_then(|listed| listed.timestamp);
    if let Some(marks) = outcome.marks {
        response.leader_epoch = marks.leader_epoch;
    }
    response.hint = outcome.hint;
    response
}
