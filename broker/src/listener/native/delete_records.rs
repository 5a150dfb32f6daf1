//! DeleteRecords: moves the start of logs forward.

use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    DeleteRecordsPartitionResponse, DeleteRecordsRequest, DeleteRecordsResponse,
};
use futures_util::{StreamExt, stream};

use super::server::Server;
use crate::log::TopicPartition;
use crate::partition::{DeleteRecordsCommand, DeleteRecordsOutcome};
use crate::runtime;

/// Partitions of one request that are deleted from at the same time. Each waits for a flush of its
/// shard's journal, so together they wait little longer than one.
const CONCURRENT_PARTITIONS: usize = 256;
/// A longer `timeout_ms` is cut to this.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

pub(super) async fn answer(
    server: Rc<Server>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let timeout = Duration::from_millis(request.timeout_ms.into()).min(MAX_TIMEOUT);
    let deadline = runtime::now() + timeout;
    let server = &*server;
    let partitions = stream::iter(request.partitions)
        .map(|partition| async move {
            let topic_partition = TopicPartition {
                topic_id: partition.topic_id,
                partition: partition.partition,
            };
            let command = DeleteRecordsCommand {
                topic_partition,
                leader_epoch: partition.leader_epoch,
                until: partition.until,
                deadline,
            };
            let outcome = server.router.delete_records(command).await;
            server.note_error(outcome.error_code());
            partition_response(topic_partition, outcome)
        })
        .buffered(CONCURRENT_PARTITIONS)
        .collect()
        .await;
    DeleteRecordsResponse { partitions }
}

fn partition_response(
    topic_partition: TopicPartition,
    outcome: DeleteRecordsOutcome,
) -> DeleteRecordsPartitionResponse {
    let error = outcome.error_code();
    let message = outcome.result.err();
    let mut response = DeleteRecordsPartitionResponse::refused(
        topic_partition.topic_id,
        topic_partition.partition,
        error,
        message.map(|refusal| refusal.message.into_owned()),
    );
    if let Some(marks) = outcome.marks {
        response.log_start_offset = Some(marks.log_start_offset);
        response.leader_epoch = marks.leader_epoch;
    }
    response.hint = outcome.hint;
    response
}
