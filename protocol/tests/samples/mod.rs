//! One message of every kind, with every optional part present. Shared by the tests of messages.
#![allow(dead_code, reason = "each test takes what it needs")]

use corelog_protocol::native::*;
use corelog_protocol::{
    Acks, BrokerId, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex,
    ProducerEpoch, ProducerId, ShardId, Timestamp, TopicId,
};

pub(crate) fn topic_id() -> TopicId {
    TopicId::from_bytes(*b"\x01\x02\x03\x04\x05\x06\x47\x08\x89\x0a\x0b\x0c\x0d\x0e\x0f\x10")
}

pub(crate) fn hint() -> RouteHint {
    RouteHint {
        broker: BrokerId::new(2),
        shard: ShardId::new(3),
    }
}

pub(crate) fn error_response() -> ErrorResponse {
    ErrorResponse {
        code: ErrorCode::UnsupportedVersion,
        message: "API 99 is unknown".to_owned(),
    }
}

pub(crate) fn hello_request() -> HelloRequest {
    HelloRequest {
        min_version: 1,
        max_version: 2,
        features: 0x8000_0000_0000_0001,
        client_id: "billing".to_owned(),
        client_software: "corelog-client 0.1.0".to_owned(),
        cluster_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".to_owned()),
        broker_id: Some(BrokerId::new(0)),
        shard: Some(ShardId::new(0)),
        auth_mechanism: Some("PLAIN".to_owned()),
        auth_token: b"\0user\0secret".to_vec(),
    }
}

pub(crate) fn hello_response() -> HelloResponse {
    HelloResponse {
        version: 1,
        features: 0,
        cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        broker_id: BrokerId::new(1),
        shard: ShardId::new(1),
        shards: 2,
        max_frame_metadata: 1024 * 1024,
        max_frame_payload: 100 * 1024 * 1024,
    }
}

pub(crate) fn api_versions_response() -> ApiVersionsResponse {
    ApiVersionsResponse {
        software: "corelog-broker 0.1.0".to_owned(),
        // The APIs that there were when the fixture was written.
        apis: ApiKey::ALL
            .iter()
            .map(|api| api.code())
            .filter(|code| (1..=8).contains(code) || (16..=21).contains(code))
            .map(|api| ApiVersion {
                api,
                min: 1,
                max: 1,
            })
            .collect(),
    }
}

pub(crate) fn goodbye_push() -> GoodbyePush {
    GoodbyePush {
        reason: "the broker is stopping".to_owned(),
    }
}

pub(crate) fn metadata_request() -> MetadataRequest {
    MetadataRequest {
        topics: Some(vec![
            TopicSelector::Name("orders".to_owned()),
            TopicSelector::Id(topic_id()),
        ]),
    }
}

pub(crate) fn metadata_response() -> MetadataResponse {
    MetadataResponse {
        cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        controller: Some(BrokerId::new(1)),
        metadata_offset: 42,
        metadata_epoch: 3,
        brokers: vec![BrokerInfo {
            id: BrokerId::new(1),
            host: "127.0.0.1".to_owned(),
            port: 9190,
            shards: 2,
        }],
        topics: vec![TopicMetadata {
            error: ErrorCode::None,
            name: "orders".to_owned(),
            id: topic_id(),
            durability: Durability::Written,
            internal: true,
            partitions: vec![PartitionMetadata {
                error: ErrorCode::LeaderNotAvailable,
                index: PartitionIndex::new(7),
                leader: Some(BrokerId::new(1)),
                leader_shard: ShardId::new(1),
                leader_epoch: LeaderEpoch::new(5),
                replicas: vec![BrokerId::new(1), BrokerId::new(2)],
                in_sync_replicas: vec![BrokerId::new(2)],
            }],
        }],
    }
}

fn config_entries() -> Vec<ConfigEntry> {
    [
        (ConfigSource::Default, false),
        (ConfigSource::Broker, true),
        (ConfigSource::Topic, false),
    ]
    .map(|(source, read_only)| ConfigEntry {
        name: "retention.ms".to_owned(),
        value: "604800000".to_owned(),
        source,
        read_only,
    })
    .to_vec()
}

pub(crate) fn create_topics_request() -> CreateTopicsRequest {
    CreateTopicsRequest {
        timeout_ms: 30_000,
        validate_only: true,
        topics: vec![
            NewTopic {
                name: "orders".to_owned(),
                partitions: Some(8),
                replication_factor: Some(1),
                configs: vec![("durability".to_owned(), "sync".to_owned())],
            },
            NewTopic {
                name: "defaults".to_owned(),
                ..NewTopic::default()
            },
        ],
    }
}

pub(crate) fn create_topics_response() -> CreateTopicsResponse {
    CreateTopicsResponse {
        topics: vec![CreatedTopic {
            name: "orders".to_owned(),
            id: topic_id(),
            error: ErrorCode::TopicAlreadyExists,
            error_message: Some("topic orders exists".to_owned()),
            partitions: 8,
            replication_factor: 1,
            configs: config_entries(),
        }],
    }
}

pub(crate) fn delete_topics_request() -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        timeout_ms: 30_000,
        topics: vec![TopicSelector::Id(topic_id())],
    }
}

pub(crate) fn delete_topics_response() -> DeleteTopicsResponse {
    DeleteTopicsResponse {
        topics: vec![
            DeletedTopic {
                name: Some("orders".to_owned()),
                id: Some(topic_id()),
                error: ErrorCode::None,
                error_message: None,
            },
            DeletedTopic {
                name: None,
                id: None,
                error: ErrorCode::UnknownTopicId,
                error_message: Some("no such topic".to_owned()),
            },
        ],
    }
}

pub(crate) fn describe_topics_request() -> DescribeTopicsRequest {
    DescribeTopicsRequest { topics: None }
}

pub(crate) fn describe_topics_response() -> DescribeTopicsResponse {
    DescribeTopicsResponse {
        topics: vec![TopicDescription {
            error: ErrorCode::None,
            error_message: None,
            name: "orders".to_owned(),
            id: topic_id(),
            internal: false,
            configs: config_entries(),
            partitions: vec![PartitionDescription {
                index: PartitionIndex::new(0),
                leader: None,
                leader_shard: ShardId::new(0),
                leader_epoch: LeaderEpoch::new(1),
                replicas: vec![BrokerId::new(1)],
                in_sync_replicas: vec![],
                log_start_offset: Offset::new(10),
                high_watermark: Offset::new(20),
                last_stable_offset: Offset::new(19),
                log_end_offset: Offset::new(21),
                size_bytes: 123_456,
            }],
        }],
    }
}

pub(crate) fn alter_topic_configs_request() -> AlterTopicConfigsRequest {
    AlterTopicConfigsRequest {
        validate_only: false,
        topics: vec![AlterTopic {
            name: "orders".to_owned(),
            changes: vec![
                ConfigChange {
                    name: "segment.bytes".to_owned(),
                    value: Some("1048576".to_owned()),
                },
                ConfigChange {
                    name: "segment.ms".to_owned(),
                    value: None,
                },
            ],
        }],
    }
}

pub(crate) fn alter_topic_configs_response() -> AlterTopicConfigsResponse {
    AlterTopicConfigsResponse {
        topics: vec![AlteredTopic {
            name: "orders".to_owned(),
            error: ErrorCode::InvalidConfig,
            error_message: Some("segment.bytes is below 1 MiB".to_owned()),
        }],
    }
}

pub(crate) fn produce_partitions() -> [ProducePartition; 2] {
    [
        ProducePartition {
            topic_id: topic_id(),
            partition: PartitionIndex::new(0),
            leader_epoch: Some(LeaderEpoch::new(5)),
            length: 61,
        },
        ProducePartition {
            topic_id: topic_id(),
            partition: PartitionIndex::new(1),
            leader_epoch: None,
            length: 70,
        },
    ]
}

pub(crate) fn produce_request(partitions: &[ProducePartition]) -> ProduceRequest<'_> {
    ProduceRequest {
        acks: Acks::All,
        timeout_ms: 30_000,
        transactional_id: Some("billing-1"),
        partitions,
    }
}

pub(crate) fn produce_response() -> ProduceResponse {
    ProduceResponse {
        partitions: vec![
            ProducePartitionResponse {
                topic_id: topic_id(),
                partition: PartitionIndex::new(0),
                error: ErrorCode::None,
                error_message: None,
                base_offset: Offset::new(100),
                last_offset: Offset::new(109),
                log_append_time: Some(Timestamp::new(1_700_000_000_000)),
                log_start_offset: Offset::new(1),
                high_watermark: Offset::new(110),
                leader_epoch: LeaderEpoch::new(5),
                durability: Durability::Memory,
                hint: Some(hint()),
            },
            ProducePartitionResponse::refused(
                topic_id(),
                PartitionIndex::new(1),
                ErrorCode::CorruptMessage,
                Some("record batch CRC-32C differs".to_owned()),
            ),
        ],
    }
}

pub(crate) fn fetch_partitions() -> Vec<FetchPartition> {
    vec![FetchPartition {
        topic_id: topic_id(),
        partition: PartitionIndex::new(3),
        leader_epoch: Some(LeaderEpoch::new(5)),
        last_fetched_epoch: Some(LeaderEpoch::new(4)),
        fetch_offset: Offset::new(1_000),
        max_bytes: 1024 * 1024,
    }]
}

pub(crate) fn fetch_request() -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 * 1024 * 1024,
        isolation: IsolationLevel::ReadCommitted,
        partitions: fetch_partitions(),
    }
}

pub(crate) fn fetch_response() -> FetchResponse {
    FetchResponse {
        partitions: vec![
            FetchPartitionResponse {
                topic_id: topic_id(),
                partition: PartitionIndex::new(3),
                error: ErrorCode::None,
                error_message: None,
                high_watermark: Offset::new(1_010),
                last_stable_offset: Offset::new(1_009),
                log_start_offset: Offset::new(1),
                leader_epoch: LeaderEpoch::new(5),
                diverging_epoch: Some((LeaderEpoch::new(4), Offset::new(900))),
                aborted: vec![AbortedTransaction {
                    producer_id: ProducerId::new(77),
                    first_offset: Offset::new(1_001),
                }],
                preferred_replica: Some(BrokerId::new(2)),
                length: 131,
                hint: Some(hint()),
            },
            FetchPartitionResponse::refused(
                topic_id(),
                PartitionIndex::new(4),
                ErrorCode::OffsetOutOfRange,
                Some("offset 9 is below the log start 10".to_owned()),
            ),
        ],
    }
}

pub(crate) fn subscribe_request() -> SubscribeRequest {
    SubscribeRequest {
        credit_bytes: 8 * 1024 * 1024,
        max_push_bytes: 1024 * 1024,
        isolation: IsolationLevel::ReadUncommitted,
        partitions: fetch_partitions(),
    }
}

pub(crate) fn subscribe_credit_request() -> SubscribeCreditRequest {
    SubscribeCreditRequest {
        subscription: 9,
        bytes: 4 * 1024 * 1024,
    }
}

pub(crate) fn unsubscribe_request() -> UnsubscribeRequest {
    UnsubscribeRequest { subscription: 9 }
}

pub(crate) fn list_offsets_request() -> ListOffsetsRequest {
    ListOffsetsRequest {
        isolation: IsolationLevel::ReadCommitted,
        partitions: [
            OffsetQuery::Earliest,
            OffsetQuery::Latest,
            OffsetQuery::Timestamp(Timestamp::new(1_700_000_000_000)),
        ]
        .map(|query| ListOffsetsPartition {
            topic_id: topic_id(),
            partition: PartitionIndex::new(2),
            leader_epoch: Some(LeaderEpoch::new(5)),
            query,
        })
        .to_vec(),
    }
}

pub(crate) fn list_offsets_response() -> ListOffsetsResponse {
    ListOffsetsResponse {
        partitions: vec![
            ListOffsetsPartitionResponse {
                topic_id: topic_id(),
                partition: PartitionIndex::new(2),
                error: ErrorCode::None,
                error_message: None,
                offset: Some(Offset::new(55)),
                timestamp: Some(Timestamp::new(1_700_000_000_001)),
                leader_epoch: LeaderEpoch::new(5),
                hint: Some(hint()),
            },
            ListOffsetsPartitionResponse::refused(
                topic_id(),
                PartitionIndex::new(3),
                ErrorCode::UnknownTopicOrPartition,
                None,
            ),
        ],
    }
}

pub(crate) fn delete_records_request() -> DeleteRecordsRequest {
    DeleteRecordsRequest {
        timeout_ms: 30_000,
        partitions: vec![
            DeleteRecordsPartition {
                topic_id: topic_id(),
                partition: PartitionIndex::new(2),
                leader_epoch: Some(LeaderEpoch::new(5)),
                until: DeleteUntil::Offset(Offset::new(55)),
            },
            DeleteRecordsPartition {
                topic_id: topic_id(),
                partition: PartitionIndex::new(3),
                leader_epoch: None,
                until: DeleteUntil::HighWatermark,
            },
        ],
    }
}

pub(crate) fn delete_records_response() -> DeleteRecordsResponse {
    DeleteRecordsResponse {
        partitions: vec![
            DeleteRecordsPartitionResponse {
                topic_id: topic_id(),
                partition: PartitionIndex::new(2),
                error: ErrorCode::None,
                error_message: None,
                log_start_offset: Some(Offset::new(55)),
                leader_epoch: LeaderEpoch::new(5),
                hint: Some(hint()),
            },
            DeleteRecordsPartitionResponse::refused(
                topic_id(),
                PartitionIndex::new(3),
                ErrorCode::OffsetOutOfRange,
                Some("offset 7 is outside 0 to 5".to_owned()),
            ),
        ],
    }
}

pub(crate) fn create_partitions_request() -> CreatePartitionsRequest {
    CreatePartitionsRequest {
        timeout_ms: 30_000,
        validate_only: true,
        topics: vec![MorePartitions {
            name: "orders".to_owned(),
            count: 12,
        }],
    }
}

pub(crate) fn create_partitions_response() -> CreatePartitionsResponse {
    CreatePartitionsResponse {
        topics: vec![AlteredTopic {
            name: "orders".to_owned(),
            error: ErrorCode::InvalidPartitions,
            error_message: Some("topic orders has 16 partitions already".to_owned()),
        }],
    }
}

pub(crate) fn describe_configs_request() -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![
            ConfigResource {
                kind: ConfigResourceKind::Topic,
                name: "orders".to_owned(),
                keys: Some(vec!["retention.ms".to_owned(), "durability".to_owned()]),
            },
            ConfigResource {
                kind: ConfigResourceKind::Broker,
                name: "1".to_owned(),
                keys: None,
            },
        ],
    }
}

pub(crate) fn describe_configs_response() -> DescribeConfigsResponse {
    let configs = [
        (ConfigType::Boolean, ConfigSource::Default, "true"),
        (ConfigType::Text, ConfigSource::Broker, "sync"),
        (ConfigType::List, ConfigSource::Topic, "compact,delete"),
        (ConfigType::Short, ConfigSource::Default, "1"),
        (ConfigType::Int, ConfigSource::Default, "1000"),
        (ConfigType::Long, ConfigSource::Topic, "604800000"),
        (ConfigType::Double, ConfigSource::Default, "0.5"),
    ];
    DescribeConfigsResponse {
        resources: vec![
            ConfigResourceDescription {
                kind: ConfigResourceKind::Topic,
                name: "orders".to_owned(),
                error: ErrorCode::None,
                error_message: None,
                configs: configs
                    .map(|(value_type, source, value)| ConfigDescription {
                        name: "some.key".to_owned(),
                        value: value.to_owned(),
                        source,
                        read_only: value_type == ConfigType::Boolean,
                        value_type,
                        default_value: "as it was".to_owned(),
                        documentation: "What it does.".to_owned(),
                    })
                    .to_vec(),
            },
            ConfigResourceDescription {
                kind: ConfigResourceKind::Broker,
                name: "one".to_owned(),
                error: ErrorCode::InvalidRequest,
                error_message: Some("a broker's name is its id, found one".to_owned()),
                configs: vec![],
            },
        ],
    }
}

pub(crate) fn init_producer_id_request() -> InitProducerIdRequest {
    InitProducerIdRequest {
        current: Some((ProducerId::new(1_000), ProducerEpoch::new(3))),
    }
}

pub(crate) fn init_producer_id_response() -> InitProducerIdResponse {
    InitProducerIdResponse {
        error: ErrorCode::InvalidProducerEpoch,
        error_message: Some("producer 1000 has epoch 4".to_owned()),
        producer_id: ProducerId::new(1_000),
        producer_epoch: ProducerEpoch::new(4),
    }
}

fn topic_partitions() -> Vec<TopicPartitions> {
    vec![
        TopicPartitions {
            topic_id: topic_id(),
            partitions: vec![PartitionIndex::new(0), PartitionIndex::new(7)],
        },
        TopicPartitions {
            topic_id: TopicId::ZERO,
            partitions: vec![],
        },
    ]
}

fn member_epoch() -> MemberEpoch {
    MemberEpoch {
        member_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        epoch: 12,
    }
}

pub(crate) fn find_coordinator_request() -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        groups: vec!["billing".to_owned(), String::new()],
    }
}

pub(crate) fn find_coordinator_response() -> FindCoordinatorResponse {
    FindCoordinatorResponse {
        coordinators: vec![
            Coordinator {
                group: "billing".to_owned(),
                error: ErrorCode::None,
                error_message: None,
                broker: BrokerId::new(2),
                shard: ShardId::new(3),
            },
            Coordinator {
                group: String::new(),
                error: ErrorCode::InvalidGroupId,
                error_message: Some("a group has a name".to_owned()),
                broker: BrokerId::ZERO,
                shard: ShardId::new(0),
            },
        ],
    }
}

pub(crate) fn consumer_group_heartbeat_request() -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group: "billing".to_owned(),
        member_id: member_epoch().member_id,
        member_epoch: ConsumerGroupHeartbeatRequest::LEAVE_FOR_NOW_EPOCH,
        instance_id: Some("billing-1".to_owned()),
        rack_id: Some("north".to_owned()),
        rebalance_timeout_ms: Some(300_000),
        topic_names: Some(vec!["orders".to_owned(), "invoices".to_owned()]),
        topic_pattern: Some("audit-.*".to_owned()),
        assignor: Some("uniform".to_owned()),
        owned: Some(topic_partitions()),
        wait_ms: 5_000,
    }
}

pub(crate) fn consumer_group_heartbeat_response() -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error: ErrorCode::FencedMemberEpoch,
        error_message: Some("the member is in epoch 13".to_owned()),
        member_epoch: 13,
        heartbeat_interval_ms: 5_000,
        session_timeout_ms: 45_000,
        assignment: Some(topic_partitions()),
        hint: Some(hint()),
    }
}

pub(crate) fn offset_commit_request() -> OffsetCommitRequest {
    OffsetCommitRequest {
        group: "billing".to_owned(),
        member: Some(member_epoch()),
        topics: vec![OffsetCommitTopic {
            topic_id: topic_id(),
            partitions: vec![
                OffsetCommitPartition {
                    partition: PartitionIndex::new(2),
                    offset: Offset::new(1_000),
                    leader_epoch: Some(LeaderEpoch::new(5)),
                    metadata: "invoice 77".to_owned(),
                },
                OffsetCommitPartition {
                    partition: PartitionIndex::new(3),
                    offset: Offset::ZERO,
                    leader_epoch: None,
                    metadata: String::new(),
                },
            ],
        }],
    }
}

fn offset_partition_errors() -> Vec<OffsetPartitionError> {
    vec![
        OffsetPartitionError {
            partition: PartitionIndex::new(2),
            error: ErrorCode::None,
            error_message: None,
        },
        OffsetPartitionError {
            partition: PartitionIndex::new(3),
            error: ErrorCode::UnknownTopicOrPartition,
            error_message: Some("the topic has 3 partitions".to_owned()),
        },
    ]
}

pub(crate) fn offset_commit_response() -> OffsetCommitResponse {
    OffsetCommitResponse {
        error: ErrorCode::None,
        error_message: None,
        topics: vec![OffsetCommitTopicResponse {
            topic_id: topic_id(),
            partitions: offset_partition_errors(),
        }],
        hint: Some(hint()),
    }
}

pub(crate) fn offset_fetch_request() -> OffsetFetchRequest {
    OffsetFetchRequest {
        group: "billing".to_owned(),
        member: Some(member_epoch()),
        topics: Some(topic_partitions()),
    }
}

pub(crate) fn offset_fetch_response() -> OffsetFetchResponse {
    OffsetFetchResponse {
        error: ErrorCode::None,
        error_message: None,
        topics: vec![OffsetFetchTopicResponse {
            topic_id: topic_id(),
            name: "orders".to_owned(),
            partitions: vec![
                OffsetFetchPartitionResponse {
                    partition: PartitionIndex::new(2),
                    error: ErrorCode::None,
                    error_message: None,
                    offset: Some(Offset::new(1_000)),
                    leader_epoch: Some(LeaderEpoch::new(5)),
                    metadata: "invoice 77".to_owned(),
                },
                OffsetFetchPartitionResponse {
                    partition: PartitionIndex::new(3),
                    error: ErrorCode::UnstableOffsetCommit,
                    error_message: Some("a transaction is under way".to_owned()),
                    offset: None,
                    leader_epoch: None,
                    metadata: String::new(),
                },
            ],
        }],
        hint: Some(hint()),
    }
}

pub(crate) fn offset_delete_request() -> OffsetDeleteRequest {
    OffsetDeleteRequest {
        group: "billing".to_owned(),
        topics: vec![OffsetDeleteTopic {
            name: "orders".to_owned(),
            partitions: vec![PartitionIndex::new(2), PartitionIndex::new(3)],
        }],
    }
}

pub(crate) fn offset_delete_response() -> OffsetDeleteResponse {
    OffsetDeleteResponse {
        error: ErrorCode::None,
        error_message: None,
        topics: vec![OffsetDeleteTopicResponse {
            name: "orders".to_owned(),
            partitions: offset_partition_errors(),
        }],
        hint: Some(hint()),
    }
}

pub(crate) fn list_groups_response() -> ListGroupsResponse {
    let groups = [
        (GroupKind::Consumer, GroupState::Empty),
        (GroupKind::Consumer, GroupState::Assigning),
        (GroupKind::Consumer, GroupState::Reconciling),
        (GroupKind::Consumer, GroupState::Stable),
        (GroupKind::Classic, GroupState::PreparingRebalance),
        (GroupKind::Classic, GroupState::CompletingRebalance),
        (GroupKind::Classic, GroupState::Dead),
    ];
    ListGroupsResponse {
        error: ErrorCode::CoordinatorLoadInProgress,
        error_message: Some("partition 7 of __consumer_offsets is being read".to_owned()),
        groups: groups
            .map(|(kind, state)| ListedGroup {
                group: "billing".to_owned(),
                kind,
                state,
            })
            .to_vec(),
    }
}

pub(crate) fn describe_groups_request() -> DescribeGroupsRequest {
    DescribeGroupsRequest {
        groups: vec!["billing".to_owned(), "nobody".to_owned()],
    }
}

pub(crate) fn describe_groups_response() -> DescribeGroupsResponse {
    DescribeGroupsResponse {
        groups: vec![
            GroupDescription {
                group: "billing".to_owned(),
                error: ErrorCode::None,
                error_message: None,
                kind: GroupKind::Consumer,
                state: GroupState::Stable,
                epoch: 13,
                assignment_epoch: 12,
                assignor: "uniform".to_owned(),
                members: vec![GroupMember {
                    member_id: member_epoch().member_id,
                    instance_id: Some("billing-1".to_owned()),
                    rack_id: Some("north".to_owned()),
                    client_id: "billing".to_owned(),
                    client_host: "127.0.0.1".to_owned(),
                    epoch: 12,
                    topic_names: vec!["orders".to_owned()],
                    topic_pattern: Some("audit-.*".to_owned()),
                    assigned: topic_partitions(),
                    target: topic_partitions(),
                }],
            },
            GroupDescription::refused(
                "nobody".to_owned(),
                ErrorCode::GroupIdNotFound,
                Some("there is no group nobody".to_owned()),
            ),
        ],
    }
}

pub(crate) fn delete_groups_request() -> DeleteGroupsRequest {
    DeleteGroupsRequest {
        groups: vec!["billing".to_owned()],
    }
}

pub(crate) fn delete_groups_response() -> DeleteGroupsResponse {
    DeleteGroupsResponse {
        groups: vec![DeletedGroup {
            group: "billing".to_owned(),
            error: ErrorCode::NonEmptyGroup,
            error_message: Some("group billing has 2 members".to_owned()),
        }],
    }
}
