//! What was acknowledged is there after the next start, however the broker ended.

use corelog_protocol::{ErrorCode, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of};

const PARTITIONS: i32 = 4;

/// Appends ten batches, numbered from `first`, to every partition, and adds their values to what is
/// expected of it.
fn fill(connection: &mut Connection, topic: TopicId, first: i64, expected: &mut [Vec<String>]) {
    for (partition, expected) in (0..).zip(expected) {
        for round in first..first + 10 {
            let batch: Vec<String> = (0..7)
                .map(|i| format!("partition {partition} round {round} record {i}"))
                .collect();
            let produced = connection.produce(
                topic,
                partition,
                &batch_of(batch.iter().map(String::as_str)),
            );
            assert_eq!(
                produced.error,
                ErrorCode::None,
                "{:?}",
                produced.error_message
            );
            expected.extend(batch);
        }
    }
}

fn assert_holds(connection: &mut Connection, topic: TopicId, expected: &[Vec<String>]) {
    for (partition, expected) in (0..).zip(expected) {
        let records = connection.read_all(topic, partition);
        let offsets: Vec<Offset> = records.iter().map(|(offset, _)| *offset).collect();
        let in_order: Vec<Offset> = (0..).map(Offset::new).take(offsets.len()).collect();
        assert_eq!(offsets, in_order, "partition {partition}");
        let values: Vec<&String> = records.iter().map(|(_, value)| value).collect();
        assert_eq!(
            values,
            expected.iter().collect::<Vec<_>>(),
            "partition {partition}"
        );
    }
}

#[test]
fn a_clean_stop_keeps_everything() {
    let folder = TempDir::new().unwrap();
    let mut expected = vec![Vec::new(); PARTITIONS as usize];
    for run in 0..3 {
        let broker = BrokerProcess::start(folder.path(), 1);
        let mut connection = broker.connect();
        let topic = if run == 0 {
            connection.create_topic(NewTopicBuilder::new("kept", PARTITIONS))
        } else {
            connection.topic("kept").id
        };
        assert_holds(&mut connection, topic, &expected);
        fill(&mut connection, topic, run * 10, &mut expected);
        assert!(broker.stop().success());
    }
    assert!(
        !folder.path().join("ports.json").exists(),
        "a stopped broker has no ports"
    );
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.topic("kept").id;
    assert_holds(&mut connection, topic, &expected);
}

/// The broker dies with every acknowledged record in its journal, most of them nowhere else: the
/// segments are written later and never synced on the way of an acknowledgement.
#[test]
fn kill_9_keeps_what_was_acknowledged_at_sync_and_at_written() {
    for level in ["sync", "written"] {
        let folder = TempDir::new().unwrap();
        let mut expected = vec![Vec::new(); PARTITIONS as usize];
        for run in 0..3 {
            let broker = BrokerProcess::start(folder.path(), 1);
            let mut connection = broker.connect();
            let topic = if run == 0 {
                let topic = NewTopicBuilder::new("kept", PARTITIONS).config("durability", level);
                connection.create_topic(topic)
            } else {
                connection.topic("kept").id
            };
            assert_holds(&mut connection, topic, &expected);
            fill(&mut connection, topic, run * 10, &mut expected);
            broker.kill();
        }
        let broker = BrokerProcess::start(folder.path(), 1);
        let mut connection = broker.connect();
        let topic = connection.topic("kept").id;
        assert_holds(&mut connection, topic, &expected);
    }
}

/// Ownership is computed, not stored: with another number of cores the partitions move, and
/// their journals are replayed wherever they lie.
#[test]
fn another_number_of_cores_finds_the_same_records() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("moved", PARTITIONS));
    let mut expected = vec![Vec::new(); PARTITIONS as usize];
    fill(&mut connection, topic, 0, &mut expected);
    broker.kill();
    for (run, cores) in [1, 2].into_iter().enumerate() {
        let broker = BrokerProcess::start(folder.path(), cores);
        let mut connection = broker.connect();
        assert_holds(&mut connection, topic, &expected);
        fill(&mut connection, topic, 10 * (run as i64 + 1), &mut expected);
        broker.kill();
    }
}

#[test]
fn every_start_raises_the_leader_epoch() {
    let folder = TempDir::new().unwrap();
    let mut epochs = Vec::new();
    for run in 0..3 {
        let broker = BrokerProcess::start(folder.path(), 1);
        let mut connection = broker.connect();
        if run == 0 {
            connection.create_topic(NewTopicBuilder::new("led", 1));
        }
        epochs.push(connection.topic("led").partitions[0].leader_epoch);
        broker.kill();
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}
