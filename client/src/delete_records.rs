//! Has the leaders of partitions delete their oldest records.

use std::time::Duration;

use corelog_protocol::Offset;
use corelog_protocol::native::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteUntil,
};

use crate::cluster::Cluster;
use crate::leaders::{Answered, Asked, Found, Inquiry, ask_each};
use crate::record::TopicPartition;

/// Deletes, again and again while leaders are not to be had, for at most `within`. Returns where
/// each log starts now.
pub(crate) async fn delete_records(
    cluster: &Cluster,
    deletions: &[(TopicPartition, DeleteUntil)],
    timeout_ms: u32,
    within: Duration,
) -> Found<Offset> {
    ask_each(cluster, &Deletion { timeout_ms }, deletions, within).await
}

struct Deletion {
    timeout_ms: u32,
}

impl Inquiry for Deletion {
    type Question = DeleteUntil;
    type Found = Offset;
    type Request = DeleteRecordsRequest;
    const ACTION: &'static str = "deleting records";

    fn request(&self, asked: Vec<Asked<DeleteUntil>>) -> DeleteRecordsRequest {
        let partitions = asked.into_iter().map(|asked| DeleteRecordsPartition {
            topic_id: asked.topic_id,
            partition: asked.partition,
            leader_epoch: asked.leader_epoch,
            until: asked.question,
        });
        DeleteRecordsRequest {
            timeout_ms: self.timeout_ms,
            partitions: partitions.collect(),
        }
    }

    fn answers(response: DeleteRecordsResponse) -> Vec<Answered<Offset>> {
        let answered = response.partitions.into_iter().map(|answer| Answered {
            topic_id: answer.topic_id,
            partition: answer.partition,
            error: answer.error,
            error_message: answer.error_message,
            // Beside a success the leader always tells.
            found: answer.log_start_offset.unwrap_or(Offset::ZERO),
        });
        answered.collect()
    }
}
