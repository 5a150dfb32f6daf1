//! DescribeTopicPartitions (KIP-966): what Metadata says of partitions, in portions.

use std::collections::BTreeSet;

use corelog_protocol::kafka::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use corelog_protocol::kafka::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use corelog_protocol::{ErrorCode, PartitionIndex};

use crate::controller::check_name;
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::operations;
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};

/// `max.request.partition.size.limit` of Kafka.
const PARTITIONS_MAX: usize = 2000;

pub(in crate::listener::kafka) fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DescribeTopicPartitionsRequest<'_> = call.decode()?;
    let image = call.server().router.image();
    let all = || image.topics().map(|topic| &*topic.name).collect();
    let mut names: BTreeSet<&str> = match &*request.topics {
        [] => all(),
        topics => topics.iter().map(|topic| topic.name).collect(),
    };
    let mut first = 0;
    if let Some(cursor) = &request.cursor {
        if cursor.partition_index < 0 {
            return Err(Close::Senseless {
                api: call.api,
                what: format!("the cursor's partition is {}", cursor.partition_index),
            });
        }
        names = names.split_off(cursor.topic_name);
        if names.first() == Some(&cursor.topic_name) {
            first = cursor.partition_index as usize;
        }
    }
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut room = limit.clamp(1, PARTITIONS_MAX);
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names {
        let Some(topic) = image.topic(name) else {
            topics.push(missing(call, name));
            continue;
        };
        if room == 0 {
            next_cursor = Some((name, 0));
            break;
        }
        let partitions = topic.indexed_partitions().skip(first).take(room);
        let partitions: Vec<_> = partitions
            .map(|it| describe(call, &image, topic, it))
            .collect();
        let end = first + partitions.len();
        room -= partitions.len();
        first = 0;
        topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name),
            topic_id: topic.id,
            is_internal: topic.internal,
            partitions,
            topic_authorized_operations: operations::of_topic(true),
            ..Default::default()
        });
        if end < topic.partitions.len() {
            next_cursor = Some((name, end as i32));
            break;
        }
    }
    Ok(call.reply(&DescribeTopicPartitionsResponse {
        topics,
        next_cursor: next_cursor.map(|(topic_name, partition_index)| {
            Box::new(Cursor {
                topic_name,
                partition_index,
            })
        }),
        ..Default::default()
    }))
}

fn missing<'a>(call: &Call, name: &'a str) -> DescribeTopicPartitionsResponseTopic<'a> {
    let code = match check_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: call.code(code),
        name: Some(name),
        ..Default::default()
    }
}

fn describe(
    call: &Call,
    image: &MetadataImage,
    topic: &TopicImage,
    (index, partition): (PartitionIndex, &PartitionImage),
) -> DescribeTopicPartitionsResponsePartition {
    let nodes = &call.server().shared.nodes;
    let node = |broker| nodes.of_partition(image, topic.id, index, broker);
    let error = match partition.leader {
        Some(_) => ErrorCode::None,
        None => ErrorCode::LeaderNotAvailable,
    };
    let replicas = partition.replicas.iter().copied();
    let in_sync = partition.in_sync_replicas.iter().copied();
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index.get(),
        leader_id: partition.leader.map_or(-1, node),
        leader_epoch: partition.leader_epoch.get(),
        replica_nodes: replicas.map(node).collect(),
        isr_nodes: in_sync.map(node).collect(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    }
}
