//! What the fake broker says about topics, and does with them.

use bytes::Bytes;
use corelog_client::{
    Durability, ErrorCode, Offset, PartitionIndex, ShardId, Timestamp, TopicId, TopicSelector,
};
use corelog_protocol::native::{
    AlterTopicConfigsRequest, AlterTopicConfigsResponse, AlteredTopic, ApiKey, ApiVersionsResponse,
    BrokerInfo, ConfigDescription, ConfigResource, ConfigResourceDescription, ConfigResourceKind,
    ConfigSource, ConfigType, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, DeleteRecordsPartitionResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DeleteUntil, DeletedTopic, DescribeConfigsRequest, DescribeConfigsResponse, Frame,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, Message, MetadataRequest, MetadataResponse,
    OffsetQuery, PartitionMetadata, TopicMetadata,
};

use corelog_protocol::{ProducerEpoch, ProducerId};

use crate::fake::{BROKER, Outlet, SHARDS, Shared, State, shard_of};
use crate::log::Topic;

pub(crate) fn about_topics(api: ApiKey, frame: &Frame, outlet: &Outlet, shared: &Shared) {
    let mut state = shared.state();
    let metadata = &frame.metadata;
    match api {
        ApiKey::Metadata => {
            state.seen.metadata_requests += 1;
            let request = MetadataRequest::decode(metadata).unwrap();
            outlet.reply(frame, &describe(&request, &state), Bytes::new());
        }
        ApiKey::ApiVersions => {
            let response = ApiVersionsResponse {
                software: "fake".to_owned(),
                apis: Vec::new(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::InitProducerId => {
            let request = InitProducerIdRequest::decode(metadata).unwrap();
            let (producer_id, producer_epoch) = match request.current {
                Some((id, epoch)) => (id, ProducerEpoch::new(epoch.get() + 1)),
                None => {
                    state.producer_ids += 1;
                    (ProducerId::new(state.producer_ids), ProducerEpoch::ZERO)
                }
            };
            state.seen.raised_epochs += usize::from(request.current.is_some());
            let response = InitProducerIdResponse {
                error: ErrorCode::None,
                error_message: None,
                producer_id,
                producer_epoch,
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &list_offsets(&request, &mut state), Bytes::new());
        }
        ApiKey::DeleteRecords => {
            let request = DeleteRecordsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &delete_records(&request, &mut state), Bytes::new());
        }
        ApiKey::CreateTopics => {
            let request = CreateTopicsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &create(&request, &mut state), Bytes::new());
        }
        ApiKey::DeleteTopics => {
            let request = DeleteTopicsRequest::decode(metadata).unwrap();
            let topics = request.topics.into_iter().map(|topic| {
                let name = name_of(topic);
                let found = state.topics.remove(&name).is_some();
                DeletedTopic {
                    name: Some(name),
                    id: None,
                    error: error_unless(found, ErrorCode::UnknownTopicOrPartition),
                    error_message: None,
                }
            });
            let response = DeleteTopicsResponse {
                topics: topics.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::AlterTopicConfigs => {
            let request = AlterTopicConfigsRequest::decode(metadata).unwrap();
            let topics = request.topics.into_iter().map(|altered| {
                let topic = state.topics.get_mut(&altered.name);
                let found = topic.is_some();
                if let Some(topic) = topic {
                    for change in altered.changes {
                        match change.value {
                            Some(value) => topic.configs.insert(change.name, value),
                            None => topic.configs.remove(&change.name),
                        };
                    }
                }
                AlteredTopic {
                    name: altered.name,
                    error: error_unless(found, ErrorCode::UnknownTopicOrPartition),
                    error_message: None,
                }
            });
            let response = AlterTopicConfigsResponse {
                topics: topics.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::CreatePartitions => {
            let request = CreatePartitionsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &enlarge(&request, &mut state), Bytes::new());
        }
        ApiKey::DescribeConfigs => {
            state.seen.describe_configs += 1;
            let request = DescribeConfigsRequest::decode(metadata).unwrap();
            let resources = request.resources.iter();
            let response = DescribeConfigsResponse {
                resources: resources.map(|it| describe_configs(it, &state)).collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        other => outlet.refuse(frame, ErrorCode::UnsupportedVersion, &other.to_string()),
    }
}

fn name_of(topic: TopicSelector) -> String {
    match topic {
        TopicSelector::Name(name) => name,
        TopicSelector::Id(id) => id.to_string(),
    }
}

fn error_unless(good: bool, code: ErrorCode) -> ErrorCode {
    if good { ErrorCode::None } else { code }
}

fn describe(request: &MetadataRequest, state: &State) -> MetadataResponse {
    let names: Vec<String> = match &request.topics {
        Some(topics) => topics
            .iter()
            .map(|selector| match selector {
                TopicSelector::Name(name) => name.clone(),
                TopicSelector::Id(id) => {
                    let mut topics = state.topics.iter();
                    let found = topics.find(|(_, topic)| topic.id == *id);
                    found.map_or_else(String::new, |(name, _)| name.clone())
                }
            })
            .collect(),
        None => state.topics.keys().cloned().collect(),
    };
    MetadataResponse {
        cluster_id: "fake".to_owned(),
        controller: Some(BROKER),
        metadata_offset: 1,
        metadata_epoch: 1,
        brokers: vec![BrokerInfo {
            id: BROKER,
            host: "127.0.0.1".to_owned(),
            port: state.port,
            shards: SHARDS,
        }],
        topics: names
            .into_iter()
            .map(|name| {
                let topic = state.topics.get(&name);
                let all_on_shard_0 = state.script.all_on_shard_0;
                TopicMetadata {
                    error: error_unless(topic.is_some(), ErrorCode::UnknownTopicOrPartition),
                    id: topic.map_or(TopicId::ZERO, |topic| topic.id),
                    name,
                    durability: Durability::Sync,
                    internal: false,
                    partitions: topic.map_or_else(Vec::new, |topic| leaders(topic, all_on_shard_0)),
                }
            })
            .collect(),
    }
}

fn leaders(topic: &Topic, all_on_shard_0: bool) -> Vec<PartitionMetadata> {
    (0..)
        .zip(&topic.partitions)
        .map(|(index, partition)| PartitionMetadata {
            error: ErrorCode::None,
            index: PartitionIndex::new(index),
            leader: Some(BROKER),
            leader_shard: if all_on_shard_0 {
                ShardId::new(0)
            } else {
                shard_of(index)
            },
            leader_epoch: partition.leader_epoch,
            replicas: vec![BROKER],
            in_sync_replicas: vec![BROKER],
        })
        .collect()
}

fn list_offsets(request: &ListOffsetsRequest, state: &mut State) -> ListOffsetsResponse {
    let partitions = request.partitions.iter().map(|wanted| {
        let mut answer = ListOffsetsPartitionResponse::refused(
            wanted.topic_id,
            wanted.partition,
            ErrorCode::UnknownTopicId,
            None,
        );
        let topic = state.topic_by_id(wanted.topic_id);
        if let Some(log) = topic.and_then(|topic| topic.partition(wanted.partition)) {
            answer.error = ErrorCode::None;
            let found: Option<(Offset, Option<Timestamp>)> = match wanted.query {
                OffsetQuery::Earliest => Some((log.log_start, None)),
                OffsetQuery::Latest => Some((log.end, None)),
                OffsetQuery::Timestamp(time) => log
                    .first_at_or_after(time)
                    .map(|(offset, time)| (offset, Some(time))),
            };
            answer.offset = found.map(|(offset, _)| offset);
            answer.timestamp = found.and_then(|(_, time)| time);
        }
        answer
    });
    ListOffsetsResponse {
        partitions: partitions.collect(),
    }
}

fn delete_records(request: &DeleteRecordsRequest, state: &mut State) -> DeleteRecordsResponse {
    let partitions = request.partitions.iter().map(|wanted| {
        let mut answer = DeleteRecordsPartitionResponse::refused(
            wanted.topic_id,
            wanted.partition,
            ErrorCode::UnknownTopicId,
            None,
        );
        let topic = state.topic_by_id(wanted.topic_id);
        if let Some(log) = topic.and_then(|topic| topic.partition(wanted.partition)) {
            let until = match wanted.until {
                DeleteUntil::HighWatermark => log.end,
                DeleteUntil::Offset(offset) => offset,
            };
            if until <= log.end {
                log.log_start = log.log_start.max(until);
                answer.error = ErrorCode::None;
            } else {
                answer.error = ErrorCode::OffsetOutOfRange;
                answer.error_message = Some(format!("{until} lies beyond {}", log.end));
            }
            answer.log_start_offset = Some(log.log_start);
        }
        answer
    });
    DeleteRecordsResponse {
        partitions: partitions.collect(),
    }
}

fn create(request: &CreateTopicsRequest, state: &mut State) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|new| {
        let mut topic = Topic::new(new.partitions.unwrap_or(1));
        topic.configs.extend(new.configs.iter().cloned());
        let id = topic.id;
        let free = !state.topics.contains_key(&new.name);
        if free {
            state.topics.insert(new.name.clone(), topic);
        }
        CreatedTopic {
            name: new.name.clone(),
            id,
            error: error_unless(free, ErrorCode::TopicAlreadyExists),
            error_message: None,
            partitions: new.partitions.unwrap_or(1),
            replication_factor: 1,
            configs: Vec::new(),
        }
    });
    CreateTopicsResponse {
        topics: topics.collect(),
    }
}

fn enlarge(request: &CreatePartitionsRequest, state: &mut State) -> CreatePartitionsResponse {
    let topics = request.topics.iter().map(|more| AlteredTopic {
        name: more.name.clone(),
        error: match state.topics.get_mut(&more.name) {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(topic) if request.validate_only => error_unless(
                topic.partitions.len() < usize::try_from(more.count).unwrap(),
                ErrorCode::InvalidPartitions,
            ),
            Some(topic) => error_unless(topic.grow(more.count), ErrorCode::InvalidPartitions),
        },
        error_message: None,
    });
    CreatePartitionsResponse {
        topics: topics.collect(),
    }
}

/// Only what a topic sets itself; this broker has no settings.
fn describe_configs(resource: &ConfigResource, state: &State) -> ConfigResourceDescription {
    let topic = match resource.kind {
        ConfigResourceKind::Topic => state.topics.get(&resource.name),
        ConfigResourceKind::Broker => None,
    };
    let keys = resource.keys.as_deref();
    let settings = topic.iter().flat_map(|topic| &topic.configs);
    ConfigResourceDescription {
        kind: resource.kind,
        name: resource.name.clone(),
        error: match resource.kind {
            ConfigResourceKind::Topic => {
                error_unless(topic.is_some(), ErrorCode::UnknownTopicOrPartition)
            }
            ConfigResourceKind::Broker => ErrorCode::InvalidRequest,
        },
        error_message: None,
        configs: settings
            .filter(|(name, _)| keys.is_none_or(|keys| keys.contains(name)))
            .map(|(name, value)| ConfigDescription {
                name: name.clone(),
                value: value.clone(),
                source: ConfigSource::Topic,
                read_only: false,
                value_type: ConfigType::Long,
                default_value: "-1".to_owned(),
                documentation: String::new(),
            })
            .collect(),
    }
}
