//! DescribeLogDirs (KIP-113): how large the partitions are. A node tells of those of its own cores.

use std::collections::HashSet;

use corelog_protocol::PartitionIndex;
use corelog_protocol::kafka::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use corelog_protocol::kafka::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use futures_util::{StreamExt, stream};

use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::log::TopicPartition;
use crate::metadata::{MetadataImage, TopicImage};

/// Partitions of a topic that are asked at the same time.
const CONCURRENT_PARTITIONS: usize = 64;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DescribeLogDirsRequest<'_> = call.decode()?;
    let server = call.server();
    let image = server.router.image();
    let mut topics = Vec::new();
    match &request.topics {
        None => {
            for topic in image.topics() {
                let partitions = topic.indexed_partitions().map(|(index, _)| index);
                topics.push(describe(call, &image, topic, partitions).await);
            }
        }
        Some(asked) => {
            let mut seen = HashSet::new();
            for asked in asked {
                let Some(topic) = image.topic(asked.topic).filter(|it| seen.insert(it.id)) else {
                    continue;
                };
                let once: HashSet<i32> = asked.partitions.iter().copied().collect();
                let partitions = topic.indexed_partitions().map(|(index, _)| index);
                let partitions = partitions.filter(|index| once.contains(&index.get()));
                topics.push(describe(call, &image, topic, partitions).await);
            }
        }
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    let log_dir = server.config.data_dir.to_string_lossy();
    Ok(call.reply(&DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            log_dir: &log_dir,
            topics,
            ..Default::default()
        }],
        ..Default::default()
    }))
}

/// Those of the partitions that the asked node has. One that cannot tell its size, as it is being opened or its log
/// directory failed, is left out.
async fn describe<'a>(
    call: &Call,
    image: &MetadataImage,
    topic: &'a TopicImage,
    partitions: impl Iterator<Item = PartitionIndex>,
) -> DescribeLogDirsTopic<'a> {
    let server = call.server();
    let (router, nodes) = (&server.router, &server.shared.nodes);
    let broker = router.broker_id();
    let node = nodes.of(broker, router.shard_id());
    let partitions =
        partitions.filter(|index| nodes.of_partition(image, topic.id, *index, broker) == node);
    let partitions = stream::iter(partitions)
        .map(|partition| async move {
            let topic_partition = TopicPartition {
                topic_id: topic.id,
                partition,
            };
            let size = router.describe(topic_partition).await.result.ok()?;
            Some(DescribeLogDirsPartition {
                partition_index: partition.get(),
                partition_size: i64::try_from(size.size_bytes).unwrap_or(i64::MAX),
                ..Default::default()
            })
        })
        .buffered(CONCURRENT_PARTITIONS)
        .filter_map(async |described| described);
    DescribeLogDirsTopic {
        name: &topic.name,
        partitions: partitions.collect().await,
    }
}
