//! Topics get more partitions while clients use them.

use std::time::Duration;

use corelog_protocol::native::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, MorePartitions, ProducePartitionResponse,
};
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of, values_in};

/// Asks for more partitions; per topic the error, and the broker's words about it.
fn add(
    connection: &mut Connection,
    topics: &[(&str, i32)],
    validate_only: bool,
) -> Vec<(ErrorCode, String)> {
    let topics = topics.iter().map(|&(name, count)| MorePartitions {
        name: name.to_owned(),
        count,
    });
    let response: CreatePartitionsResponse = connection.ask(&CreatePartitionsRequest {
        timeout_ms: 10_000,
        validate_only,
        topics: topics.collect(),
    });
    let answers = response.topics.into_iter();
    answers
        .map(|topic| (topic.error, topic.error_message.unwrap_or_default()))
        .collect()
}

fn grow(connection: &mut Connection, name: &str, count: i32) {
    let answers = add(connection, &[(name, count)], false);
    assert_eq!(answers, [(ErrorCode::None, String::new())]);
}

fn assert_taken(produced: &ProducePartitionResponse) {
    assert_eq!(
        produced.error,
        ErrorCode::None,
        "{:?}",
        produced.error_message
    );
}

#[test]
fn added_partitions_are_there_on_every_shard_when_the_reply_arrives() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut shards = [broker.connect_to_shard(0), broker.connect_to_shard(1)];
    let topic_id = shards[0].create_topic(NewTopicBuilder::new("grows", 1));
    for round in 0..10 {
        // The controller lives on shard 0: both its own and another shard's clients use it.
        let admin = round % 2;
        let before = 1 + 2 * i32::try_from(round).unwrap();
        grow(&mut shards[admin], "grows", before + 2);
        let topic = shards[1 - admin].topic("grows");
        assert_eq!(topic.id, topic_id);
        assert_eq!(topic.partitions.len(), before as usize + 2);
        for partition in &topic.partitions[before as usize..] {
            let owner = &mut shards[usize::from(partition.leader_shard.get())];
            let produced = owner.produce(topic_id, partition.index.get(), &batch_of(["now"]));
            assert_taken(&produced);
            assert_eq!(produced.base_offset, Offset::ZERO);
        }
    }
}

/// The story: partitions are added and acknowledged, records go to them, the process is killed. Were
/// the partitions gone at the next start, their acknowledged records would be gone with them.
#[test]
fn added_partitions_and_their_records_survive_a_kill() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("grows", 2));
    assert_taken(&connection.produce(topic, 1, &batch_of(["old"])));
    grow(&mut connection, "grows", 6);
    assert_taken(&connection.produce(topic, 1, &batch_of(["older"])));
    assert_taken(&connection.produce(topic, 5, &batch_of(["new"])));
    broker.kill();

    // Also with another number of cores, which places the partitions anew.
    for (cores, epochs) in [(1, [1, 1]), (2, [2, 2])] {
        let broker = BrokerProcess::start(folder.path(), cores);
        let mut connection = broker.connect();
        let described = connection.topic("grows");
        assert_eq!(described.partitions.len(), 6);
        let epoch_of = |partition: usize| described.partitions[partition].leader_epoch;
        assert_eq!([epoch_of(1), epoch_of(5)], epochs.map(LeaderEpoch::new));
        let values = |connection: &mut Connection, topic: TopicId, partition| -> Vec<String> {
            let read = connection.read_all(topic, partition);
            read.into_iter().map(|(_, value)| value).collect()
        };
        assert_eq!(values(&mut connection, topic, 1), ["old", "older"]);
        assert_eq!(values(&mut connection, topic, 5), ["new"]);
        assert_eq!(values(&mut connection, topic, 4), [""; 0]);
        broker.kill();
    }
}

#[test]
fn adding_partitions_is_refused_with_kafkas_errors() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(
        folder.path(),
        1,
        "topic.partitions.max = 8\npartitions.max = 12\noffsets.topic.num.partitions = 1\n",
    );
    let mut connection = broker.connect();
    for name in ["a", "b", "c"] {
        connection.create_topic(NewTopicBuilder::new(name, 3));
    }
    let asked = [
        ("a", 3),
        ("absent", 5),
        ("b", 9),
        ("c", 4),
        ("b/d", 4),
        ("twice", 4),
        ("twice", 5),
    ];
    let expected = [
        (ErrorCode::InvalidPartitions, "3 would not be more"),
        (ErrorCode::UnknownTopicOrPartition, "`absent`"),
        (ErrorCode::InvalidPartitions, "1 to 8 partitions, not 9"),
        (ErrorCode::None, ""),
        (ErrorCode::UnknownTopicOrPartition, "`b/d`"),
        (ErrorCode::InvalidRequest, "twice"),
        (ErrorCode::InvalidRequest, "twice"),
    ];
    for validate_only in [true, false] {
        let answers = add(&mut connection, &asked, validate_only);
        assert_eq!(answers.len(), expected.len());
        for ((code, message), (expected, words)) in answers.iter().zip(&expected) {
            assert_eq!(code, expected, "{message}");
            assert!(message.contains(words), "{message}");
        }
        let grown = if validate_only { 3 } else { 4 };
        assert_eq!(connection.topic("c").partitions.len(), grown);
        assert_eq!(connection.topic("a").partitions.len(), 3);
    }
    let (code, message) = add(&mut connection, &[("a", 6)], false).remove(0);
    assert_eq!(code, ErrorCode::PolicyViolation);
    assert!(message.contains("`partitions.max` (12)"), "{message}");
    grow(&mut connection, "a", 5);
}

#[test]
fn a_fetch_that_waits_goes_on_waiting_while_partitions_are_added() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut admin = broker.connect();
    let topic = admin.create_topic(NewTopicBuilder::new("grows", 1));
    let mut consumer = broker.connect();
    let patience = Duration::from_secs(20);
    let waiting = consumer.send_fetch(topic, 0, Offset::ZERO, patience);
    grow(&mut admin, "grows", 4);
    assert_taken(&admin.produce(topic, 0, &batch_of(["at last"])));
    let frame = consumer.receive().expect("an answer");
    assert_eq!(frame.header.correlation_id, waiting);
    assert_eq!(
        values_in(&frame.payload),
        [(Offset::ZERO, "at last".to_owned())]
    );
}

/// Its one member has them with its next heartbeat. The topic that keeps the group stays as it is: the
/// group is found by the number of its partitions.
#[test]
fn a_group_that_reads_the_topic_is_given_the_added_partitions() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    connection.create_topic(NewTopicBuilder::new("grows", 2));
    let count = |response: &ConsumerGroupHeartbeatResponse| {
        let topics = response.assignment.iter().flatten();
        topics.map(|topic| topic.partitions.len()).sum::<usize>()
    };
    let joined: ConsumerGroupHeartbeatResponse = connection.ask(&ConsumerGroupHeartbeatRequest {
        group: "g".to_owned(),
        member_id: "a".to_owned(),
        member_epoch: ConsumerGroupHeartbeatRequest::JOIN_EPOCH,
        rebalance_timeout_ms: Some(60_000),
        topic_names: Some(vec!["grows".to_owned()]),
        owned: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    });
    assert_eq!((joined.error, count(&joined)), (ErrorCode::None, 2));

    grow(&mut connection, "grows", 5);
    let told: ConsumerGroupHeartbeatResponse = connection.ask(&ConsumerGroupHeartbeatRequest {
        group: "g".to_owned(),
        member_id: "a".to_owned(),
        member_epoch: joined.member_epoch,
        owned: joined.assignment.clone(),
        ..ConsumerGroupHeartbeatRequest::default()
    });
    assert_eq!((told.error, count(&told)), (ErrorCode::None, 5));

    let own = [("__consumer_offsets", 1000)];
    let (code, message) = add(&mut connection, &own, false).remove(0);
    assert_eq!(code, ErrorCode::InvalidPartitions);
    assert!(message.contains("the cluster's own"), "{message}");
}
