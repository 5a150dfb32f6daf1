//! Whose clock stamps a record, and how far a producer's clock may be off.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::native::{OffsetQuery, ProducePartitionResponse};
use corelog_protocol::record::{BatchBuilder, split_batches};
use corelog_protocol::{Compression, ErrorCode, Offset, Timestamp, TimestampType, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder};

const HOUR: i64 = 3_600_000;

fn batch_at(timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4, 1024);
    for timestamp in timestamps {
        let timestamp = Timestamp::new(*timestamp);
        builder
            .append(timestamp, None, Some(b"value"), &[])
            .unwrap();
    }
    builder.finish(None)
}

fn now() -> i64 {
    Timestamp::now().get()
}

/// Timestamps of all records, and whose they are.
fn stored(connection: &mut Connection, topic: TopicId) -> Vec<(i64, TimestampType)> {
    let (answer, payload) = connection.fetch(topic, 0, Offset::ZERO, Duration::ZERO);
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    let mut stored = Vec::new();
    for batch in split_batches(&payload) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let mut decompressed = Vec::new();
        for record in batch.records(&mut decompressed, 1 << 20).unwrap() {
            let timestamp = match batch.timestamp_type() {
                TimestampType::CreateTime => record.unwrap().timestamp,
                TimestampType::LogAppendTime => batch.max_timestamp(),
            };
            stored.push((timestamp.get(), batch.timestamp_type()));
        }
    }
    stored
}

fn assert_refused(answer: &ProducePartitionResponse, named: &[&str]) {
    assert_eq!(answer.error, ErrorCode::InvalidTimestamp);
    let message = answer.error_message.as_deref().unwrap_or_default();
    for name in named {
        assert!(message.contains(name), "no {name:?} in {message:?}");
    }
}

#[test]
fn create_time_is_the_producers() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("created", 1));
    let times = [now(), 5, Timestamp::NONE.get(), now() + HOUR / 2];
    let answer = connection.produce(topic, 0, &batch_at(&times));
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    assert_eq!(answer.log_append_time, None);
    let expected: Vec<_> = times
        .iter()
        .map(|time| (*time, TimestampType::CreateTime))
        .collect();
    assert_eq!(stored(&mut connection, topic), expected);
}

#[test]
fn log_append_time_is_the_leaders_whatever_the_producer_says() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let stamped = NewTopicBuilder::new("stamped", 1)
        .config("message.timestamp.type", "LogAppendTime")
        .config("message.timestamp.before.max.ms", "1000")
        .config("message.timestamp.after.max.ms", "1000");
    let topic = connection.create_topic(stamped);
    let before = now();
    let answer = connection.produce(topic, 0, &batch_at(&[5, -1, now() + 100 * HOUR]));
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    let time = answer.log_append_time.unwrap().get();
    assert!((before..=now()).contains(&time), "{time}");
    let expected = [(time, TimestampType::LogAppendTime); 3];
    assert_eq!(stored(&mut connection, topic), expected);
    // The stamp is what time lookups go by, also after a restart.
    assert!(broker.stop().success());
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let found = connection.list_offset(topic, 0, OffsetQuery::Timestamp(Timestamp::new(time)));
    assert_eq!(found.offset, Some(Offset::ZERO));
    assert_eq!(found.timestamp, Some(Timestamp::new(time)));
    let later = Timestamp::new(time + 1);
    let none = connection.list_offset(topic, 0, OffsetQuery::Timestamp(later));
    assert_eq!(none.offset, None);
}

#[test]
fn a_record_too_far_ahead_is_refused_with_its_whole_produce() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    // The default: one hour, as in Kafka.
    let topic = connection.create_topic(NewTopicBuilder::new("ahead", 1));
    let far = now() + 2 * HOUR;
    let answer = connection.produce(topic, 0, &batch_at(&[now(), far, now()]));
    let named = [
        far.to_string(),
        "message.timestamp.after.max.ms=3600000".to_owned(),
    ];
    assert_refused(&answer, &[&named[0], &named[1]]);
    let two = [batch_at(&[now()]), batch_at(&[far])].concat();
    assert_refused(&connection.produce(topic, 0, &two), &[&named[0]]);
    assert_eq!(
        stored(&mut connection, topic),
        [],
        "nothing of it was appended"
    );
}

#[test]
fn a_record_too_far_behind_is_refused_wherever_it_stands_in_its_batch() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let behind =
        NewTopicBuilder::new("behind", 1).config("message.timestamp.before.max.ms", "60000");
    let topic = connection.create_topic(behind);
    let old = now() - HOUR;
    for (times, place) in [([old, now(), now()], ""), ([now(), now(), old], "record 2")] {
        let answer = connection.produce(topic, 0, &batch_at(&times));
        let named = [
            old.to_string(),
            "message.timestamp.before.max.ms=60000".to_owned(),
        ];
        assert_refused(&answer, &[&named[0], &named[1], place]);
    }
    let fine = [now() - 1000, Timestamp::NONE.get(), now()];
    let answer = connection.produce(topic, 0, &batch_at(&fine));
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    assert_eq!(stored(&mut connection, topic).len(), 3);
}
