//! Topics are created, described, changed and deleted, and every shard knows at once.

use std::time::Duration;

use corelog_protocol::native::{
    AlterTopic, AlterTopicConfigsRequest, AlterTopicConfigsResponse, ConfigChange,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeTopicsRequest, DescribeTopicsResponse,
    TopicDescription, TopicSelector,
};
use corelog_protocol::{Durability, ErrorCode, Offset};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of};

fn delete(connection: &mut Connection, name: &str) -> ErrorCode {
    let response: DeleteTopicsResponse = connection.ask(&DeleteTopicsRequest {
        timeout_ms: 10_000,
        topics: vec![TopicSelector::Name(name.to_owned())],
    });
    response.topics[0].error
}

fn describe(connection: &mut Connection, name: &str) -> TopicDescription {
    let mut response: DescribeTopicsResponse = connection.ask(&DescribeTopicsRequest {
        topics: Some(vec![TopicSelector::Name(name.to_owned())]),
    });
    response.topics.remove(0)
}

fn alter(connection: &mut Connection, name: &str, key: &str, value: Option<&str>) -> ErrorCode {
    let response: AlterTopicConfigsResponse = connection.ask(&AlterTopicConfigsRequest {
        validate_only: false,
        topics: vec![AlterTopic {
            name: name.to_owned(),
            changes: vec![ConfigChange {
                name: key.to_owned(),
                value: value.map(str::to_owned),
            }],
        }],
    });
    response.topics[0].error
}

#[test]
fn a_created_topic_is_there_on_every_shard_when_the_reply_arrives() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut shards = [broker.connect_to_shard(0), broker.connect_to_shard(1)];
    for round in 0..10 {
        // The controller lives on shard 0: both its own and another shard's clients use it.
        let creator = round % 2;
        let name = format!("topic-{round}");
        let topic_id = shards[creator].create_topic(NewTopicBuilder::new(&name, 2));
        let topic = shards[1 - creator].topic(&name);
        assert_eq!(topic.id, topic_id);
        for partition in topic.partitions {
            let owner = &mut shards[usize::from(partition.leader_shard.get())];
            let produced = owner.produce(topic_id, partition.index.get(), &batch_of(["now"]));
            assert_eq!(
                produced.error,
                ErrorCode::None,
                "{:?}",
                produced.error_message
            );
        }
    }
}

#[test]
fn creating_is_refused_with_kafkas_errors() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    connection.create_topic(NewTopicBuilder::new("there", 1));
    let mut three_replicas = NewTopicBuilder::new("replicated", 1).build();
    three_replicas.replication_factor = Some(3);
    let created = connection.create_topics(vec![
        NewTopicBuilder::new("there", 1).build(),
        NewTopicBuilder::new("not/a/name", 1).build(),
        NewTopicBuilder::new("empty", 0).build(),
        NewTopicBuilder::new("unknown-key", 1)
            .config("no.such.key", "1")
            .build(),
        NewTopicBuilder::new("bad-value", 1)
            .config("segment.bytes", "-5")
            .build(),
        three_replicas,
    ]);
    let errors: Vec<ErrorCode> = created.iter().map(|topic| topic.error).collect();
    assert_eq!(
        errors,
        [
            ErrorCode::TopicAlreadyExists,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidPartitions,
            ErrorCode::InvalidConfig,
            ErrorCode::InvalidConfig,
            ErrorCode::InvalidReplicationFactor,
        ]
    );
    let messages: Vec<&str> = created
        .iter()
        .map(|topic| topic.error_message.as_deref().unwrap_or_default())
        .collect();
    assert!(messages[3].contains("no.such.key"), "{messages:?}");
    assert!(messages[4].contains("segment.bytes"), "{messages:?}");
    assert_eq!(connection.metadata(None).topics.len(), 1);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_starts_anew() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let first = connection.create_topic(NewTopicBuilder::new("again", 4));
    for partition in 0..4 {
        connection.produce(first, partition, &batch_of(["old"]));
    }
    assert_eq!(delete(&mut connection, "again"), ErrorCode::None);
    assert_eq!(
        connection.produce(first, 0, &batch_of(["late"])).error,
        ErrorCode::UnknownTopicId
    );
    assert_eq!(
        delete(&mut connection, "again"),
        ErrorCode::UnknownTopicOrPartition
    );
    let second = connection.create_topic(NewTopicBuilder::new("again", 4));
    assert_ne!(second, first);
    for partition in 0..4 {
        assert_eq!(connection.read_all(second, partition), []);
        connection.produce(second, partition, &batch_of(["new"]));
    }
    broker.kill();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    for partition in 0..4 {
        let read = connection.read_all(second, partition);
        assert_eq!(read, [(Offset::ZERO, "new".to_owned())]);
    }
}

/// A broker that dies right after it recorded a deletion leaves the partition's folder behind. Were it
/// not removed before the id is forgotten, no later topic of that name could be opened.
#[test]
fn a_deletion_that_a_crash_cut_short_is_finished_by_the_next_start() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let first = connection.create_topic(NewTopicBuilder::new("again", 1));
    connection.produce(first, 0, &batch_of(["old"]));
    let partition = folder.path().join("data/again-0");
    let files: Vec<_> = std::fs::read_dir(&partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert_eq!(delete(&mut connection, "again"), ErrorCode::None);
    assert!(!partition.exists());
    broker.kill();
    std::fs::create_dir(&partition).unwrap();
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }

    let broker = BrokerProcess::start(folder.path(), 2);
    assert!(!partition.exists(), "the start removed it");
    let mut connection = broker.connect();
    let second = connection.create_topic(NewTopicBuilder::new("again", 1));
    let produced = connection.produce(second, 0, &batch_of(["new"]));
    assert_eq!(
        produced.error,
        ErrorCode::None,
        "{:?}",
        produced.error_message
    );
    let read = connection.read_all(second, 0);
    assert_eq!(read, [(Offset::ZERO, "new".to_owned())]);
}

#[test]
fn a_fetch_that_waits_is_told_of_the_deletion() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut admin = broker.connect();
    let topic = admin.create_topic(NewTopicBuilder::new("doomed", 1));
    let mut consumer = broker.connect();
    let reader = std::thread::spawn(move || {
        let patience = Duration::from_secs(20);
        consumer.fetch(topic, 0, Offset::ZERO, patience).0.error
    });
    assert_eq!(delete(&mut admin, "doomed"), ErrorCode::None);
    let error = reader.join().unwrap();
    // Whether the fetch came before or after the deletion is for the machine to decide.
    assert!(
        matches!(
            error,
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::NotLeaderOrFollower
        ),
        "{error:?}"
    );
}

#[test]
fn a_changed_setting_counts_at_once_and_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("tuned", 2));
    let batch = batch_of([&*"x".repeat(2000)]);
    assert_eq!(
        alter(&mut connection, "tuned", "max.message.bytes", Some("1000")),
        ErrorCode::None
    );
    assert_eq!(
        alter(&mut connection, "tuned", "durability", Some("written")),
        ErrorCode::None
    );
    for partition in 0..2 {
        let refused = connection.produce(topic, partition, &batch);
        assert_eq!(refused.error, ErrorCode::MessageTooLarge);
        let produced = connection.produce(topic, partition, &batch_of(["short"]));
        assert_eq!(produced.durability, Durability::Written);
    }
    assert!(broker.stop().success());
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    assert_eq!(connection.topic("tuned").durability, Durability::Written);
    assert_eq!(
        alter(&mut connection, "tuned", "max.message.bytes", None),
        ErrorCode::None
    );
    for partition in 0..2 {
        assert_eq!(
            connection.produce(topic, partition, &batch).error,
            ErrorCode::None
        );
    }
    assert_eq!(
        alter(&mut connection, "tuned", "no.such.key", Some("1")),
        ErrorCode::InvalidConfig
    );
}

#[test]
fn a_description_shows_offsets_of_all_shards() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic =
        connection.create_topic(NewTopicBuilder::new("seen", 4).config("retention.ms", "1234567"));
    for partition in 0..4 {
        for _ in 0..=partition {
            connection.produce(topic, partition, &batch_of(["one"]));
        }
    }
    let description = describe(&mut connection, "seen");
    assert_eq!(description.error, ErrorCode::None);
    let setting = description
        .configs
        .iter()
        .find(|entry| entry.name == "retention.ms")
        .unwrap();
    assert_eq!(setting.value, "1234567");
    for (partition, state) in (0..).zip(&description.partitions) {
        assert_eq!(state.high_watermark, Offset::new(partition + 1));
        assert_eq!(state.last_stable_offset, Offset::new(partition + 1));
        assert_eq!(state.log_end_offset, Offset::new(partition + 1));
        assert_eq!(state.log_start_offset, Offset::ZERO);
        assert!(state.size_bytes > 0);
    }
}
