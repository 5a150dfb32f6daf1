//! Asks the leaders of partitions for offsets: the log's start, its end, or the first record at or after a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::native::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, OffsetQuery,
};
use corelog_protocol::{IsolationLevel, Offset, Timestamp};

use crate::cluster::Cluster;
use crate::error::ConsumeError;
use crate::leaders::{Answered, Asked, Found, Inquiry, ask_each};
use crate::record::TopicPartition;

/// What a leader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; for a time, of the first record at or after it.
    pub offset: Offset,
    /// That record's time, when a time was asked for.
    pub timestamp: Option<Timestamp>,
}

/// Asks for one offset per partition; the first error is the whole call's.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    queries: &[(TopicPartition, OffsetQuery)],
    isolation: IsolationLevel,
    within: Duration,
) -> Result<HashMap<TopicPartition, Option<ListedOffset>>, ConsumeError> {
    list_offsets_each(cluster, queries, isolation, within)
        .await
        .into_iter()
        .map(|(partition, found)| found.map(|offset| (partition, offset)))
        .collect()
}

/// Asks for one offset per partition, again and again while leaders are not to be had, for at most `within`.
pub(crate) async fn list_offsets_each(
    cluster: &Cluster,
    queries: &[(TopicPartition, OffsetQuery)],
    isolation: IsolationLevel,
    within: Duration,
) -> Found<Option<ListedOffset>> {
    ask_each(cluster, &OffsetsAt { isolation }, queries, within).await
}

struct OffsetsAt {
    isolation: IsolationLevel,
}

impl Inquiry for OffsetsAt {
    type Question = OffsetQuery;
    /// `None` means that no record is at or after the time asked for.
    type Found = Option<ListedOffset>;
    type Request = ListOffsetsRequest;
    const ACTION: &'static str = "asking for offsets";

    fn request(&self, asked: Vec<Asked<OffsetQuery>>) -> ListOffsetsRequest {
        let partitions = asked.into_iter().map(|asked| ListOffsetsPartition {
            topic_id: asked.topic_id,
            partition: asked.partition,
            leader_epoch: asked.leader_epoch,
            query: asked.question,
        });
        ListOffsetsRequest {
            isolation: self.isolation,
            partitions: partitions.collect(),
        }
    }

    fn answers(response: ListOffsetsResponse) -> Vec<Answered<Option<ListedOffset>>> {
        let answered = response.partitions.into_iter().map(|answer| Answered {
            topic_id: answer.topic_id,
            partition: answer.partition,
            error: answer.error,
            error_message: answer.error_message,
            found: answer.offset.map(|offset| ListedOffset {
                offset,
                timestamp: answer.timestamp,
            }),
        });
        answered.collect()
    }
}

/// A list without the duplicates that a caller may have put in.
pub(crate) fn each_once(
    partitions: &[TopicPartition],
    query: OffsetQuery,
) -> Vec<(TopicPartition, OffsetQuery)> {
    let mut queries: Vec<(TopicPartition, OffsetQuery)> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        if !queries.iter().any(|(other, _)| other == partition) {
            queries.push((
                TopicPartition {
                    topic: Arc::clone(&partition.topic),
                    partition: partition.partition,
                },
                query,
            ));
        }
    }
    queries
}
