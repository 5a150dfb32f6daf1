//! Records go in through one dialect and come out of the other as they were.

use std::time::{Duration, Instant};

use corelog_protocol::kafka::messages::{
    FetchRequest, FetchResponse, InitProducerIdRequest, InitProducerIdResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use corelog_protocol::record::BatchView;
use corelog_protocol::{Compression, ErrorCode, Offset, TopicId};
use tempfile::TempDir;

use super::client::{fetch_of, produce_of};
use super::{KafkaClient, stamped};
use crate::harness::{BrokerProcess, batch_of, values_in};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// All of a batch but what the broker says of it: its offset and the leader's epoch.
fn content(batch: &[u8]) -> (&[u8], &[u8]) {
    (&batch[8..12], &batch[16..])
}

#[test]
fn what_one_dialect_writes_the_other_reads_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut kafka = KafkaClient::connect(broker.kafka());
    let id = kafka.topic("orders");
    let mut native = broker.connect();
    let mut offset = 0;
    for (number, codec) in CODECS.into_iter().enumerate() {
        let batch = stamped(codec, 10 + number as i64, 0);
        let produced = kafka.produce(-1, "orders", &batch);
        assert_eq!(
            (produced.error, produced.base_offset),
            (ErrorCode::None, offset)
        );
        let (_, read) = native.fetch(id, 0, Offset::new(offset), Duration::ZERO);
        assert_eq!(content(&read), content(&batch), "{codec:?}");
        offset += 10;
        let batch = stamped(codec, 20 + number as i64, 0);
        let answer = native.produce(id, 0, &batch);
        assert_eq!(answer.base_offset, Offset::new(offset));
        let (error, read) = kafka.fetch("orders", offset);
        assert_eq!(error, ErrorCode::None);
        assert_eq!(content(&read), content(&batch), "{codec:?}");
        let (view, _) = BatchView::parse(&read).unwrap();
        assert_eq!(view.base_offset(), Offset::new(offset));
        view.verify_crc().unwrap();
        offset += 10;
    }
    assert!(broker.stop().success());
}

#[test]
fn every_level_of_acks_writes() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    assert_eq!(
        client.produce(1, "orders", &batch_of(["one"])).base_offset,
        0
    );
    // It has no answer; that to what follows says that it came before.
    client.send_produce(0, "orders", &batch_of(["none"]));
    assert_eq!(
        client.produce(-1, "orders", &batch_of(["all"])).base_offset,
        2
    );
    let refused = client.produce(2, "orders", &batch_of(["two"]));
    assert_eq!(refused.error, ErrorCode::InvalidRequiredAcks);
    let (_, read) = client.fetch("orders", 0);
    let values: Vec<_> = values_in(&read)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, ["one", "none", "all"]);
}

#[test]
fn what_cannot_be_written_without_an_answer_ends_the_connection() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.send_produce(0, "nowhere", &batch_of(["lost"]));
    client.assert_closed();
}

#[test]
fn produces_that_are_sent_together_are_answered_in_order() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut client = KafkaClient::connect(broker.kafka());
    let topics: Vec<String> = (0..8).map(|number| format!("topic-{number}")).collect();
    for topic in &topics {
        client.topic(topic);
    }
    // Topics of both cores in turn, and a refusal that is known at once between them.
    let mut asked = Vec::new();
    for round in 0..20 {
        for topic in &topics {
            let value = format!("{topic} {round}");
            let id = client.send_produce(-1, topic, &batch_of([value.as_str()]));
            asked.push((id, ErrorCode::None, round));
        }
        let id = client.send_produce(-1, "nowhere", &batch_of(["lost"]));
        asked.push((id, ErrorCode::UnknownTopicOrPartition, -1));
    }
    for (id, error, base_offset) in asked {
        let produced = client.produced(id);
        assert_eq!((produced.error, produced.base_offset), (error, base_offset));
    }
}

#[test]
fn a_fetch_waits_for_records_or_for_its_time() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let id = client.topic("orders");
    let nothing = FetchRequest {
        max_wait_ms: 300,
        ..fetch_of("orders", id, 0)
    };
    let begun = Instant::now();
    let (error, read) = client.fetch_in(12, &nothing);
    assert_eq!((error, read.len()), (ErrorCode::None, 0));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let patient = FetchRequest {
        max_wait_ms: 20_000,
        ..nothing
    };
    let asked = client.send(KafkaApi::Fetch, 12, &patient);
    let mut producer = KafkaClient::connect(broker.kafka());
    producer.produce(-1, "orders", &batch_of(["woken"]));
    let body = client.answer_to(asked, KafkaApi::Fetch, 12);
    let response = FetchResponse::decode(&body, 12).unwrap();
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn every_version_of_a_fetch_brings_the_same() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let id = client.topic("orders");
    client.produce(-1, "orders", &batch_of(["a", "b"]));
    let (_, expected) = client.fetch("orders", 0);
    for version in KafkaApi::Fetch.versions() {
        let (error, read) = client.fetch_in(version, &fetch_of("orders", id, 0));
        assert_eq!((error, &read), (ErrorCode::None, &expected), "{version}");
        let (error, _) = client.fetch_in(version, &fetch_of("orders", id, 3));
        assert_eq!(error, ErrorCode::OffsetOutOfRange, "{version}");
    }
    let unknown = TopicId::from_bytes([7; 16]);
    let (error, _) = client.fetch_in(13, &fetch_of("", unknown, 0));
    assert_eq!(error, ErrorCode::UnknownTopicId);
    let (error, _) = client.fetch_in(12, &fetch_of("nowhere", TopicId::ZERO, 0));
    assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn every_version_of_a_produce_writes() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let id = client.topic("orders");
    for (offset, version) in (0..).zip(KafkaApi::Produce.versions()) {
        let batch = batch_of(["value"]);
        let mut request = produce_of(-1, "orders", 0, &batch);
        request.topic_data[0].topic_id = id;
        let body = client.ask(KafkaApi::Produce, version, &request);
        let response =
            corelog_protocol::kafka::messages::ProduceResponse::decode(&body, version).unwrap();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (0, offset),
            "{version}"
        );
    }
}

#[test]
fn a_retry_is_answered_and_a_gap_refused() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let request = InitProducerIdRequest::default();
    let body = client.ask(KafkaApi::InitProducerId, 4, &request);
    let given = InitProducerIdResponse::decode(&body, 4).unwrap();
    assert_eq!((given.error_code, given.producer_epoch), (0, 0));
    let first = stamped(Compression::None, given.producer_id, 0);
    for _ in 0..2 {
        let produced = client.produce(-1, "orders", &first);
        assert_eq!((produced.error, produced.base_offset), (ErrorCode::None, 0));
    }
    let gap = stamped(Compression::None, given.producer_id, 20);
    let refused = client.produce(-1, "orders", &gap);
    assert_eq!(refused.error, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(values_in_count(&client.fetch("orders", 0).1), 10);
}

fn values_in_count(batches: &[u8]) -> u32 {
    let (view, rest) = BatchView::parse(batches).unwrap();
    assert!(rest.is_empty());
    view.record_count()
}
