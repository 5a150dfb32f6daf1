//! What Kafka's admin clients ask for. The clients themselves are in `tools/conformance`; here is what they cannot show.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use corelog_protocol::kafka::messages::delete_topics::DeleteTopicState;
use corelog_protocol::kafka::messages::describe_configs::DescribeConfigsResource;
use corelog_protocol::kafka::messages::describe_producers::TopicRequest as ProducersOf;
use corelog_protocol::kafka::messages::describe_topic_partitions::{Cursor, TopicRequest};
use corelog_protocol::kafka::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig,
};
use corelog_protocol::kafka::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use corelog_protocol::{Compression, TopicId};
use tempfile::TempDir;

use super::{KafkaClient, stamped};
use crate::harness::BrokerProcess;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn topic<'a>(name: &'a str, partitions: i32) -> CreatableTopic<'a> {
    CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: -1,
        ..Default::default()
    }
}

fn create(client: &mut KafkaClient, topics: Vec<CreatableTopic<'_>>) -> Vec<ErrorCode> {
    let request = CreateTopicsRequest {
        topics,
        ..Default::default()
    };
    let body = client.ask(KafkaApi::CreateTopics, 7, &request);
    let response = CreateTopicsResponse::decode(&body, 7).unwrap();
    let topics = response.topics.iter();
    topics
        .map(|it| {
            assert_eq!(it.error_code != 0, it.error_message.is_some());
            ErrorCode::from_code(it.error_code).unwrap()
        })
        .collect()
}

#[test]
fn topics_that_cannot_be_are_refused_one_by_one() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let assigned = |replicas: &[(i32, &[i32])]| CreatableTopic {
        assignments: replicas
            .iter()
            .map(|(partition_index, broker_ids)| CreatableReplicaAssignment {
                partition_index: *partition_index,
                broker_ids: broker_ids.to_vec(),
            })
            .collect(),
        ..topic("assigned", -1)
    };
    let config = |name, value| CreatableTopic {
        configs: vec![CreatableTopicConfig { name, value }],
        ..topic("configured", 1)
    };
    for (asked, expected) in [
        (topic("orders", 3), ErrorCode::None),
        (topic("orders", 3), ErrorCode::TopicAlreadyExists),
        (topic("none", 0), ErrorCode::InvalidPartitions),
        (topic("a/b", 1), ErrorCode::InvalidTopicException),
        (
            topic("__consumer_offsets", 1),
            ErrorCode::InvalidTopicException,
        ),
        (
            config("retention.ms", Some("soon")),
            ErrorCode::InvalidConfig,
        ),
        (config("retention.ms", None), ErrorCode::InvalidConfig),
        (config("no.such", Some("1")), ErrorCode::InvalidConfig),
        (
            CreatableTopic {
                replication_factor: 2,
                ..topic("many", 1)
            },
            ErrorCode::InvalidReplicationFactor,
        ),
        (assigned(&[(0, &[7])]), ErrorCode::InvalidReplicaAssignment),
        (
            assigned(&[(0, &[1, 1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (assigned(&[(0, &[])]), ErrorCode::InvalidReplicaAssignment),
        (assigned(&[(1, &[1])]), ErrorCode::InvalidReplicaAssignment),
        (
            CreatableTopic {
                num_partitions: 1,
                ..assigned(&[(0, &[1])])
            },
            ErrorCode::InvalidRequest,
        ),
        (assigned(&[(1, &[1]), (0, &[1])]), ErrorCode::None),
    ] {
        let what = format!("{asked:?}");
        assert_eq!(create(&mut client, vec![asked]), [expected], "{what}");
    }
    // A name that comes twice is made not at all; what stands beside it is.
    let twice = vec![
        topic("twice", 1),
        topic("fine", 1),
        topic("twice", 2),
        topic("a/b", 1),
    ];
    let expected = [
        ErrorCode::InvalidRequest,
        ErrorCode::None,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidTopicException,
    ];
    assert_eq!(create(&mut client, twice), expected);
    assert_eq!(
        create(&mut client, vec![topic("twice", 1)]),
        [ErrorCode::None]
    );
}

#[test]
fn topics_are_deleted_by_name_or_by_id() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let id = client.topic("by-id");
    client.topic("by-name");
    let asked = |name, topic_id| DeleteTopicState { name, topic_id };
    let request = DeleteTopicsRequest {
        topics: vec![
            asked(None, id),
            asked(Some("by-name"), TopicId::ZERO),
            asked(None, TopicId::ZERO),
            asked(Some("by-name"), id),
            asked(Some("nowhere"), TopicId::ZERO),
            asked(None, TopicId::from_bytes([9; 16])),
        ],
        ..Default::default()
    };
    let body = client.ask(KafkaApi::DeleteTopics, 6, &request);
    let response = DeleteTopicsResponse::decode(&body, 6).unwrap();
    let errors: Vec<_> = response
        .responses
        .iter()
        .map(|it| ErrorCode::from_code(it.error_code).unwrap())
        .collect();
    let expected = [
        ErrorCode::None,
        ErrorCode::None,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
    ];
    assert_eq!(errors, expected);
    assert_eq!(response.responses[0].name, Some("by-id"));
}

/// Value and source of a setting, and the sources of its synonyms.
fn described(client: &mut KafkaClient, kind: i8, name: &str, key: &str) -> (String, i8, Vec<i8>) {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name,
            configuration_keys: Some(vec![key, "nobody.knows"]),
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    let body = client.ask(KafkaApi::DescribeConfigs, 4, &request);
    let response = DescribeConfigsResponse::decode(&body, 4).unwrap();
    let result = &response.results[0];
    assert_eq!((result.error_code, result.configs.len()), (0, 1));
    let config = &result.configs[0];
    assert!(config.documentation.is_some_and(|it| !it.is_empty()));
    assert_eq!(config.read_only, kind == BROKER);
    let synonyms = config.synonyms.iter().map(|it| it.source);
    (
        config.value.unwrap().to_owned(),
        config.config_source,
        synonyms.collect(),
    )
}

#[test]
fn settings_tell_where_they_come_from_and_change_one_by_one() {
    let folder = TempDir::new().unwrap();
    let settings = "log.retention.ms = 1000000\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let alter = |client: &mut KafkaClient, kind, name, changes: &[(&str, i8, Option<&str>)]| {
        let changes = changes.iter();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: kind,
                resource_name: name,
                configs: changes
                    .map(|&(name, config_operation, value)| AlterableConfig {
                        name,
                        config_operation,
                        value,
                    })
                    .collect(),
            }],
            ..Default::default()
        };
        let body = client.ask(KafkaApi::IncrementalAlterConfigs, 1, &request);
        let response = IncrementalAlterConfigsResponse::decode(&body, 1).unwrap();
        ErrorCode::from_code(response.responses[0].error_code).unwrap()
    };
    let retention = |client: &mut _| described(client, TOPIC, "orders", "retention.ms");
    assert_eq!(
        retention(&mut client),
        ("1000000".to_owned(), 4, vec![4, 5])
    );
    let changes = [
        ("retention.ms", 0, Some("5000")),
        ("cleanup.policy", 2, Some("compact")),
    ];
    assert_eq!(
        alter(&mut client, TOPIC, "orders", &changes),
        ErrorCode::None
    );
    assert_eq!(
        retention(&mut client),
        ("5000".to_owned(), 1, vec![1, 4, 5])
    );
    let policy = |client: &mut _| described(client, TOPIC, "orders", "cleanup.policy").0;
    assert_eq!(policy(&mut client), "compact,delete");
    let changes = [
        ("retention.ms", 1, None),
        ("cleanup.policy", 3, Some("compact")),
    ];
    assert_eq!(
        alter(&mut client, TOPIC, "orders", &changes),
        ErrorCode::None
    );
    assert_eq!(retention(&mut client).1, 4);
    assert_eq!(policy(&mut client), "delete");
    let broker_wide = described(&mut client, BROKER, "1", "log.retention.ms");
    assert_eq!(broker_wide, ("1000000".to_owned(), 4, vec![4, 5]));
    for (kind, name, change, expected) in [
        (
            TOPIC,
            "orders",
            ("retention.ms", 2, Some("1")),
            ErrorCode::InvalidConfig,
        ),
        (
            TOPIC,
            "orders",
            ("retention.ms", 0, None),
            ErrorCode::InvalidConfig,
        ),
        (
            TOPIC,
            "orders",
            ("retention.ms", 9, Some("1")),
            ErrorCode::InvalidRequest,
        ),
        (
            TOPIC,
            "nowhere",
            ("retention.ms", 0, Some("1")),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            BROKER,
            "1",
            ("log.retention.ms", 0, Some("1")),
            ErrorCode::InvalidRequest,
        ),
        (
            BROKER,
            "2",
            ("log.retention.ms", 0, Some("1")),
            ErrorCode::InvalidRequest,
        ),
        (
            77,
            "orders",
            ("retention.ms", 0, Some("1")),
            ErrorCode::InvalidRequest,
        ),
    ] {
        assert_eq!(
            alter(&mut client, kind, name, &[change]),
            expected,
            "{kind} {name} {change:?}"
        );
    }
}

#[test]
fn partitions_are_described_in_portions() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let made = create(&mut client, vec![topic("a", 3), topic("b", 2)]);
    assert_eq!(made, [ErrorCode::None; 2]);
    let mut cursor: Option<(String, i32)> = None;
    let mut found = Vec::new();
    let mut portions = 0;
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: ["b", "a", "nowhere"]
                .map(|name| TopicRequest { name })
                .to_vec(),
            response_partition_limit: 2,
            cursor: cursor.as_ref().map(|(topic_name, partition_index)| {
                Box::new(Cursor {
                    topic_name,
                    partition_index: *partition_index,
                })
            }),
        };
        let body = client.ask(KafkaApi::DescribeTopicPartitions, 0, &request);
        let response = DescribeTopicPartitionsResponse::decode(&body, 0).unwrap();
        for topic in &response.topics {
            assert_eq!(topic.error_code != 0, topic.name == Some("nowhere"));
            for partition in &topic.partitions {
                found.push((topic.name.unwrap().to_owned(), partition.partition_index));
            }
        }
        portions += 1;
        let next = response.next_cursor.as_ref();
        cursor = next.map(|it| (it.topic_name.to_owned(), it.partition_index));
        if cursor.is_none() {
            break;
        }
    }
    let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)];
    let expected = expected.map(|(topic, partition)| (topic.to_owned(), partition));
    assert_eq!(found, expected);
    assert_eq!(portions, 3);
}

#[test]
fn producers_and_sizes_of_partitions_are_told() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let batch = stamped(Compression::None, 33, 0);
    client.produce(-1, "orders", &batch);
    let request = DescribeProducersRequest {
        topics: vec![ProducersOf {
            name: "orders",
            partition_indexes: vec![0, 5, 0],
        }],
    };
    let body = client.ask(KafkaApi::DescribeProducers, 0, &request);
    let response = DescribeProducersResponse::decode(&body, 0).unwrap();
    let [known, unknown, again] = &response.topics[0].partitions[..] else {
        panic!("{response:?}");
    };
    let producer = &known.active_producers[0];
    assert_eq!((producer.producer_id, producer.last_sequence), (33, 9));
    assert_eq!(
        unknown.error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    assert_eq!(again.error_code, ErrorCode::InvalidRequest.code());
    let body = client.ask(
        KafkaApi::DescribeLogDirs,
        4,
        &DescribeLogDirsRequest::default(),
    );
    let response = DescribeLogDirsResponse::decode(&body, 4).unwrap();
    let orders = response.results[0]
        .topics
        .iter()
        .find(|it| it.name == "orders");
    let size = orders.unwrap().partitions[0].partition_size;
    assert_eq!(size, batch.len() as i64);
}

#[test]
fn the_cluster_is_described_to_who_asks_for_brokers() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    for (endpoint_type, expected) in [
        (1, ErrorCode::None),
        (2, ErrorCode::MismatchedEndpointType),
        (3, ErrorCode::UnsupportedEndpointType),
    ] {
        let request = DescribeClusterRequest {
            endpoint_type,
            ..Default::default()
        };
        let body = client.ask(KafkaApi::DescribeCluster, 1, &request);
        let response = DescribeClusterResponse::decode(&body, 1).unwrap();
        assert_eq!(response.error_code, expected.code());
        let brokers: Vec<_> = response.brokers.iter().map(|it| it.broker_id).collect();
        assert_eq!(brokers, if endpoint_type == 1 { vec![1] } else { vec![] });
    }
}
