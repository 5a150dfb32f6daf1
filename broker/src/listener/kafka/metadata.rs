//! Metadata: brokers, topics and leaders, as this core's image has them. A topic that is not there is created, if the client
//! and the broker allow it.

use std::collections::{BTreeMap, HashSet};

use corelog_protocol::kafka::messages::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use corelog_protocol::kafka::messages::{MetadataRequest, MetadataResponse};
use corelog_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::call::{Answer, Call};
use super::nodes::Nodes;
use super::operations;
use crate::controller::{Command, NewTopic, Outcome, check_name};
use crate::listener::close::Close;
use crate::metadata::{MetadataImage, PartitionImage, TopicImage, is_internal};

/// Before this version an empty list asks for all topics, as there was no null.
const FIRST_WITH_NULL: i16 = 1;

pub(super) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: MetadataRequest<'_> = call.decode()?;
    let server = call.server();
    let nodes = &server.shared.nodes;
    let asked = match request.topics {
        Some(topics) if topics.is_empty() && call.version < FIRST_WITH_NULL => None,
        asked => asked.map(each_once),
    };
    let mut refused = BTreeMap::new();
    if let Some(asked) = &asked
        && request.allow_auto_topic_creation
        && server.config.auto_create_topics_enable
    {
        refused = create_missing(call, asked).await;
    }
    let image = server.router.image();
    let topics = match &asked {
        None => image
            .topics()
            .map(|topic| describe(nodes, &image, topic))
            .collect(),
        Some(asked) => asked
            .iter()
            .map(|asked| match find(&image, asked) {
                Some(topic) => describe(nodes, &image, topic),
                None => missing(call, asked, &refused),
            })
            .collect(),
    };
    let mut response = MetadataResponse {
        brokers: nodes
            .all()
            .map(|node| MetadataResponseBroker {
                node_id: node.id,
                host: node.host,
                port: node.port_number(),
                rack: None,
            })
            .collect(),
        cluster_id: Some(&image.cluster_id),
        controller_id: nodes.controller(),
        topics,
        cluster_authorized_operations: operations::of_cluster(
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    };
    for topic in &mut response.topics {
        topic.topic_authorized_operations =
            operations::of_topic(request.include_topic_authorized_operations);
    }
    Ok(call.reply(&response))
}

/// A topic asked for twice is answered once.
fn each_once(mut topics: Vec<MetadataRequestTopic<'_>>) -> Vec<MetadataRequestTopic<'_>> {
    let mut seen = HashSet::new();
    topics.retain(|topic| seen.insert((topic.topic_id, topic.name)));
    topics
}

/// Creates the topics that are named and not there. Returns why it could not.
async fn create_missing(
    call: &Call,
    asked: &[MetadataRequestTopic<'_>],
) -> BTreeMap<String, ErrorCode> {
    let router = &call.server().router;
    let image = router.image();
    let names = asked.iter().filter_map(|topic| topic.name);
    let names = names.filter(|name| image.topic(name).is_none() && !is_internal(name));
    let topics: Vec<_> = names
        .map(|name| NewTopic {
            name: name.to_owned(),
            ..NewTopic::default()
        })
        .collect();
    if topics.is_empty() {
        return BTreeMap::new();
    }
    let named: Vec<_> = topics.iter().map(|topic| topic.name.clone()).collect();
    let command = Command::CreateTopics {
        topics,
        validate_only: false,
    };
    match router.control(command).await {
        Ok(Outcome::CreateTopics(results)) => named
            .into_iter()
            .zip(results)
            .filter_map(|(name, result)| Some((name, result.err()?.code)))
            // Somebody else was faster.
            .filter(|(_, code)| *code != ErrorCode::TopicAlreadyExists)
            .collect(),
        Ok(outcome) => unreachable!("topics were created, and it says {outcome:?}"),
        Err(error) => named.into_iter().map(|name| (name, error.code())).collect(),
    }
}

/// The topic that is asked for: by its id, if it is named by one.
fn find<'a>(image: &'a MetadataImage, asked: &MetadataRequestTopic<'_>) -> Option<&'a TopicImage> {
    let topic = match asked.topic_id {
        TopicId::ZERO => image.topic(asked.name?),
        id => image.topic_by_id(id),
    };
    topic.map(|topic| &**topic)
}

fn missing<'a>(
    call: &Call,
    asked: &MetadataRequestTopic<'a>,
    refused: &BTreeMap<String, ErrorCode>,
) -> MetadataResponseTopic<'a> {
    /// From this version on a topic that is not known by its id has no name; before, the name could not be null.
    const FIRST_WITHOUT_NAME: i16 = 12;
    let (code, name) = match asked.topic_id {
        TopicId::ZERO => {
            let name = asked.name.unwrap_or_default();
            let unknown = match check_name(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            (refused.get(name).copied().unwrap_or(unknown), Some(name))
        }
        _ if call.version < FIRST_WITHOUT_NAME => (ErrorCode::UnknownTopicId, Some("")),
        _ => (ErrorCode::UnknownTopicId, None),
    };
    MetadataResponseTopic {
        error_code: call.code(code),
        name,
        topic_id: asked.topic_id,
        ..Default::default()
    }
}

fn describe<'a>(
    nodes: &Nodes,
    image: &MetadataImage,
    topic: &'a TopicImage,
) -> MetadataResponseTopic<'a> {
    let partition = |(index, partition): (PartitionIndex, &PartitionImage)| {
        let node = |broker| nodes.of_partition(image, topic.id, index, broker);
        let error = match partition.leader {
            Some(_) => ErrorCode::None,
            None => ErrorCode::LeaderNotAvailable,
        };
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: index.get(),
            leader_id: partition.leader.map_or(-1, node),
            leader_epoch: partition.leader_epoch.get(),
            replica_nodes: partition.replicas.iter().copied().map(node).collect(),
            isr_nodes: partition
                .in_sync_replicas
                .iter()
                .copied()
                .map(node)
                .collect(),
            offline_replicas: Vec::new(),
        }
    };
    MetadataResponseTopic {
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: topic.indexed_partitions().map(partition).collect(),
        ..Default::default()
    }
}
