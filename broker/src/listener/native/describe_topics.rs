//! DescribeTopics: configuration from the image, offsets and sizes from the partitions.

use corelog_protocol::native::messages::{
    ConfigEntry, ConfigSource, DescribeTopicsRequest, DescribeTopicsResponse, PartitionDescription,
    TopicDescription, TopicSelector,
};
use corelog_protocol::{ErrorCode, Offset, PartitionIndex};
use futures_util::{StreamExt, stream};

use super::metadata::{find, leader_shard, missing};
use crate::config::{ConfigDescription, ValueSource};
use crate::log::TopicPartition;
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use crate::partition::DescribeOutcome;
use crate::shard::Router;

/// Partitions of a topic that are asked at the same time.
const CONCURRENT_PARTITIONS: usize = 64;

pub(super) async fn answer(
    router: Router,
    request: DescribeTopicsRequest,
) -> DescribeTopicsResponse {
    let image = router.image();
    let mut topics = Vec::new();
    match request.topics {
        None => {
            for topic in image.topics() {
                topics.push(describe(&router, &image, topic).await);
            }
        }
        Some(selectors) => {
            for selector in selectors {
                topics.push(match find(&image, &selector) {
                    Some(topic) => describe(&router, &image, topic).await,
                    None => unknown(selector),
                });
            }
        }
    }
    DescribeTopicsResponse { topics }
}

async fn describe(router: &Router, image: &MetadataImage, topic: &TopicImage) -> TopicDescription {
    let partitions = stream::iter(topic.indexed_partitions())
        .map(|(index, partition)| async move {
            let topic_partition = TopicPartition {
                topic_id: topic.id,
                partition: index,
            };
            let outcome = router.describe(topic_partition).await;
            describe_partition(image, topic, (index, partition), outcome)
        })
        .buffered(CONCURRENT_PARTITIONS)
        .collect()
        .await;
    TopicDescription {
        error: ErrorCode::None,
        error_message: None,
        name: topic.name.to_string(),
        id: topic.id,
        internal: topic.internal,
        configs: configs(image, topic),
        partitions,
    }
}

/// Offsets are zero where the partition could not be asked: it is being opened, or its log
/// directory failed.
fn describe_partition(
    image: &MetadataImage,
    topic: &TopicImage,
    (index, partition): (PartitionIndex, &PartitionImage),
    outcome: DescribeOutcome,
) -> PartitionDescription {
    let marks = outcome.marks;
    let size = outcome.result.ok();
    PartitionDescription {
        index,
        leader: partition.leader,
        leader_shard: leader_shard(image, topic.id, index, partition.leader),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        in_sync_replicas: partition.in_sync_replicas.clone(),
        log_start_offset: marks.map_or(Offset::ZERO, |marks| marks.log_start_offset),
        high_watermark: marks.map_or(Offset::ZERO, |marks| marks.high_watermark),
        last_stable_offset: marks.map_or(Offset::ZERO, |marks| marks.last_stable_offset),
        log_end_offset: size.map_or(Offset::ZERO, |size| size.log_end_offset),
        size_bytes: size.map_or(0, |size| size.size_bytes),
    }
}

/// Every setting in force for a topic, and where it comes from.
pub(super) fn configs(image: &MetadataImage, topic: &TopicImage) -> Vec<ConfigEntry> {
    image
        .topic_defaults()
        .describe(&topic.configs)
        .into_iter()
        .map(config_entry)
        .collect()
}

pub(super) fn config_entry(config: ConfigDescription) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_owned(),
        value: config.value,
        source: config_source(config.source),
        read_only: config.read_only,
    }
}

pub(super) fn config_source(source: ValueSource) -> ConfigSource {
    match source {
        ValueSource::Default => ConfigSource::Default,
        ValueSource::Broker => ConfigSource::Broker,
        ValueSource::Topic => ConfigSource::Topic,
    }
}

fn unknown(selector: TopicSelector) -> TopicDescription {
    let (error, name, id) = missing(selector);
    TopicDescription {
        error,
        error_message: Some(error.message().to_owned()),
        name,
        id,
        internal: false,
        configs: Vec::new(),
        partitions: Vec::new(),
    }
}
