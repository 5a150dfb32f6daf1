//! Records go in, and come back the same, in order, and only when they are acknowledged as the
//! topic promises.

use std::time::Duration;

use corelog_protocol::{Acks, Durability, ErrorCode, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, batch_of, values_in};

#[test]
fn produced_records_come_back_in_order_with_their_offsets() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("lines", 1));
    for round in 0..10 {
        let values: Vec<String> = (0..100).map(|i| format!("line {round}.{i}")).collect();
        let produced = connection.produce(topic, 0, &batch_of(values.iter().map(String::as_str)));
        assert_eq!(
            produced.error,
            ErrorCode::None,
            "{:?}",
            produced.error_message
        );
        assert_eq!(produced.base_offset.get(), round * 100);
        assert_eq!(produced.last_offset.get(), round * 100 + 99);
        assert!(
            produced.high_watermark > produced.last_offset,
            "acks=all means readable"
        );
    }
    let records = connection.read_all(topic, 0);
    let expected: Vec<(Offset, String)> = (0..1000)
        .map(|i| (Offset::new(i), format!("line {}.{}", i / 100, i % 100)))
        .collect();
    assert_eq!(records, expected);
}

#[test]
fn the_bytes_of_a_batch_come_back_as_they_were_sent() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("bytes", 1));
    let batch = batch_of(["one", "two"]);
    connection.produce(topic, 0, &batch_of(["zero"]));
    connection.produce(topic, 0, &batch);
    let (_, payload) = connection.fetch(topic, 0, Offset::new(1), Duration::ZERO);
    // The broker may patch the base offset (bytes 0..8) and the leader epoch (12..16) only.
    assert_eq!(payload.len(), batch.len());
    assert_eq!(payload[..8], 1i64.to_be_bytes());
    assert_eq!(payload[8..12], batch[8..12]);
    assert_eq!(payload[16..], batch[16..]);
}

#[test]
fn every_level_of_durability_acknowledges_and_says_which_it_is() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    for level in Durability::ALL {
        let name = format!("at-{level}");
        let topic = connection
            .create_topic(NewTopicBuilder::new(&name, 1).config("durability", level.name()));
        for acks in [Acks::Leader, Acks::All] {
            let produced = connection.produce_with(acks, topic, 0, &batch_of(["a", "b"]));
            assert_eq!(
                produced.error,
                ErrorCode::None,
                "{:?}",
                produced.error_message
            );
            assert_eq!(produced.durability, *level);
        }
        assert_eq!(connection.read_all(topic, 0).len(), 4);
    }
}

#[test]
fn without_acks_nothing_is_answered_and_the_records_arrive() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("unanswered", 1));
    connection.send_produce(Acks::None, topic, 0, &batch_of(["silent"]));
    // The next answer on the connection is this produce's: `produce` checks whose it is.
    let produced = connection.produce(topic, 0, &batch_of(["loud"]));
    assert_eq!(produced.base_offset.get(), 1);
    let values: Vec<String> = connection
        .read_all(topic, 0)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, ["silent", "loud"]);
}

#[test]
fn a_fetch_at_the_end_waits_for_the_next_record() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic = producer.create_topic(NewTopicBuilder::new("tail", 1));
    let mut consumer = broker.connect();
    let reader = std::thread::spawn(move || {
        let patience = Duration::from_secs(20);
        consumer.fetch(topic, 0, Offset::ZERO, patience).1
    });
    producer.produce(topic, 0, &batch_of(["news"]));
    let payload = reader.join().unwrap();
    assert_eq!(values_in(&payload), [(Offset::ZERO, "news".to_owned())]);
}

#[test]
fn a_fetch_at_the_end_returns_empty_when_its_time_is_over() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("quiet", 1));
    let (response, payload) = connection.fetch(topic, 0, Offset::ZERO, Duration::from_millis(50));
    assert_eq!(response.error, ErrorCode::None);
    assert_eq!(response.high_watermark, Offset::ZERO);
    assert!(payload.is_empty());
}

#[test]
fn pipelined_produces_keep_their_order() {
    const REQUESTS: i64 = 500;
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("pipeline", 1));
    // More than one mailbox holds, so that back-pressure has its part.
    for i in 0..REQUESTS {
        let value = format!("{i}");
        connection.send_produce(Acks::All, topic, 0, &batch_of([value.as_str()]));
    }
    for _ in 0..REQUESTS {
        let frame = connection.receive().expect("an answer per request");
        assert_eq!(
            frame.header.kind,
            corelog_protocol::native::FrameKind::Response
        );
    }
    let values: Vec<String> = connection
        .read_all(topic, 0)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    let expected: Vec<String> = (0..REQUESTS).map(|i| i.to_string()).collect();
    assert_eq!(values, expected);
}

#[test]
fn offsets_out_of_range_and_unknown_topics_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("short", 1));
    connection.produce(topic, 0, &batch_of(["only"]));
    let (beyond, _) = connection.fetch(topic, 0, Offset::new(2), Duration::ZERO);
    assert_eq!(beyond.error, ErrorCode::OffsetOutOfRange);
    let message = beyond.error_message.unwrap();
    assert!(message.contains("0 to 1"), "{message}");
    let (no_partition, _) = connection.fetch(topic, 1, Offset::ZERO, Duration::ZERO);
    assert_eq!(no_partition.error, ErrorCode::UnknownTopicOrPartition);
    let nobody = TopicId::random();
    let (no_topic, _) = connection.fetch(nobody, 0, Offset::ZERO, Duration::ZERO);
    assert_eq!(no_topic.error, ErrorCode::UnknownTopicId);
    let produced = connection.produce(nobody, 0, &batch_of(["lost"]));
    assert_eq!(produced.error, ErrorCode::UnknownTopicId);
}
