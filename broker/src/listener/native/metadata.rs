//! Metadata: brokers, topics, leaders and shards, as this core's image has them.

use corelog_protocol::native::messages::{
    BrokerInfo, MetadataRequest, MetadataResponse, PartitionMetadata, TopicMetadata, TopicSelector,
};
use corelog_protocol::{BrokerId, Durability, ErrorCode, PartitionIndex, ShardId, TopicId};

use crate::metadata::{MetadataImage, PartitionImage, TopicImage, shard_of};
use crate::shard::Router;

pub(super) fn answer(router: &Router, request: MetadataRequest) -> MetadataResponse {
    let image = router.image();
    let brokers = image
        .brokers
        .values()
        .map(|broker| BrokerInfo {
            id: broker.id,
            host: broker.host.clone(),
            port: broker.port,
            shards: broker.shards,
        })
        .collect();
    let topics = match request.topics {
        None => image
            .topics()
            .map(|topic| describe(&image, topic))
            .collect(),
        Some(selectors) => selectors
            .into_iter()
            .map(|selector| match find(&image, &selector) {
                Some(topic) => describe(&image, topic),
                None => unknown(selector),
            })
            .collect(),
    };
    MetadataResponse {
        cluster_id: image.cluster_id.to_string(),
        controller: Some(router.broker_id()),
        metadata_offset: image.offset,
        metadata_epoch: image.epoch,
        brokers,
        topics,
    }
}

/// The topic that a selector names.
pub(super) fn find<'a>(
    image: &'a MetadataImage,
    selector: &TopicSelector,
) -> Option<&'a TopicImage> {
    let topic = match selector {
        TopicSelector::Name(name) => image.topic(name),
        TopicSelector::Id(id) => image.topic_by_id(*id),
    };
    topic.map(|topic| &**topic)
}

/// The code, name and id with which a topic that is not there is answered.
pub(super) fn missing(selector: TopicSelector) -> (ErrorCode, String, TopicId) {
    match selector {
        TopicSelector::Name(name) => (ErrorCode::UnknownTopicOrPartition, name, TopicId::ZERO),
        TopicSelector::Id(id) => (ErrorCode::UnknownTopicId, String::new(), id),
    }
}

/// The shard that owns a partition on its leader; shard 0 where there is no leader to ask.
pub(super) fn leader_shard(
    image: &MetadataImage,
    topic_id: TopicId,
    index: PartitionIndex,
    leader: Option<BrokerId>,
) -> ShardId {
    match leader.and_then(|leader| image.brokers.get(&leader)) {
        Some(broker) => shard_of(topic_id, index, broker.shards),
        None => ShardId::new(0),
    }
}

fn describe(image: &MetadataImage, topic: &TopicImage) -> TopicMetadata {
    let partition = |(index, partition): (PartitionIndex, &PartitionImage)| PartitionMetadata {
        error: match partition.leader {
            Some(_) => ErrorCode::None,
            None => ErrorCode::LeaderNotAvailable,
        },
        index,
        leader: partition.leader,
        leader_shard: leader_shard(image, topic.id, index, partition.leader),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        in_sync_replicas: partition.in_sync_replicas.clone(),
    };
    TopicMetadata {
        error: ErrorCode::None,
        name: topic.name.to_string(),
        id: topic.id,
        durability: topic.config.durability,
        internal: topic.internal,
        partitions: topic.indexed_partitions().map(partition).collect(),
    }
}

fn unknown(selector: TopicSelector) -> TopicMetadata {
    let (error, name, id) = missing(selector);
    TopicMetadata {
        error,
        name,
        id,
        durability: Durability::default(),
        internal: false,
        partitions: Vec::new(),
    }
}
