//! Whatever comes out of a socket: Kafka's error codes where it can be answered, the end of the connection where it cannot,
//! as Kafka does it; it is counted, and no other connection notices.

use std::time::Duration;

use corelog_protocol::kafka::messages::fetch::FetchPartition;
use corelog_protocol::kafka::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataResponse,
    ProduceRequest, SaslHandshakeRequest, SaslHandshakeResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use corelog_protocol::{Compression, ErrorCode};
use tempfile::TempDir;

use super::client::{fetch_of, frame, metadata_of, produce_of};
use super::{KafkaClient, stamped};
use crate::harness::{BrokerProcess, batch_of, until};

fn counted(broker: &BrokerProcess, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    broker
        .metrics()
        .sum_or_zero("corelog_bad_frames_total", &label)
}

#[test]
fn bytes_that_are_no_request_end_the_connection() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = KafkaClient::connect(broker.kafka());
    bystander.topic("orders");
    let metadata = metadata_of("orders").to_bytes(9).unwrap();
    let mut tail_of_lies = frame(KafkaApi::Metadata.key(), 9, 1, &metadata);
    // The number of topics, behind an empty list of tagged fields of the header.
    let topics = tail_of_lies.len() - metadata.len();
    tail_of_lies[topics] = 0x7f;
    let cases: [(&[u8], &str); 11] = [
        (&[0x16, 3, 1, 2, 0, 1, 0, 1], "other_protocol"),
        (
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "other_protocol",
        ),
        (&[0; 8], "length"),
        (&[0xff; 8], "length"),
        (&[0x7f, 0xff, 0xff, 0xff, 0, 0], "length"),
        (&frame(99, 0, 1, &[]), "unknown_api"),
        (&frame(KafkaApi::Produce.key(), 2, 1, &[]), "api_version"),
        (&frame(KafkaApi::Fetch.key(), 99, 1, &[]), "api_version"),
        (&frame(KafkaApi::Fetch.key(), -1, 1, &[]), "api_version"),
        (&[0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff], "header"),
        (&tail_of_lies, "damaged"),
    ];
    for (bytes, reason) in cases {
        let before = counted(&broker, reason);
        let mut stranger = KafkaClient::connect(broker.kafka());
        stranger.send_raw(bytes);
        stranger.assert_closed();
        assert_eq!(counted(&broker, reason) - before, 1.0, "{reason}");
        bystander.produce(-1, "orders", &batch_of(["unharmed"]));
    }
    assert!(broker.stop().success());
}

#[test]
fn a_request_that_breaks_off_is_counted() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let whole = frame(KafkaApi::Metadata.key(), 0, 1, &[0, 0, 0, 0]);
    for end in [1, 4, 9, whole.len() - 1] {
        let before = counted(&broker, "truncated");
        let mut stranger = KafkaClient::connect(broker.kafka());
        stranger.send_raw(&whole[..end]);
        stranger.finish();
        stranger.assert_closed();
        until(|| counted(&broker, "truncated") - before == 1.0);
    }
}

#[test]
fn a_request_that_stands_still_and_a_connection_without_any_are_closed() {
    let folder = TempDir::new().unwrap();
    let settings = "connection.stall.timeout.ms = 100\nconnections.max.idle.ms = 3000\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut waiting = KafkaClient::connect(broker.kafka());
    let id = waiting.topic("orders");
    let mut silent = KafkaClient::connect(broker.kafka());
    let mut stranger = KafkaClient::connect(broker.kafka());
    stranger.send_raw(&frame(KafkaApi::Metadata.key(), 0, 1, &[0, 0, 0, 0])[..9]);
    // Longer than a request may stand still, and than a connection may be idle: what waits here is the broker.
    let fetch = FetchRequest {
        max_wait_ms: 4_000,
        min_bytes: 1,
        ..fetch_of("orders", id, 0)
    };
    let body = waiting.ask(KafkaApi::Fetch, 12, &fetch);
    assert_eq!(FetchResponse::decode(&body, 12).unwrap().error_code, 0);
    stranger.assert_closed();
    assert_eq!(counted(&broker, "timed_out"), 1.0);
    silent.assert_closed();
    let closed = "corelog_connections_idle_closed_total";
    assert_eq!(broker.metrics().total(closed), 2.0);
    // It was answered a moment ago, however long that took. In this time a connection that is idle would be noticed.
    std::thread::sleep(Duration::from_millis(500));
    waiting.topic("orders");
}

#[test]
fn promises_of_large_requests_cost_nothing_and_keep_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    // A quarter of this is for received requests.
    let settings = "shard.memory.bytes = 67108864\nsocket.request.max.bytes = 33554432\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut bystander = KafkaClient::connect(broker.kafka());
    bystander.topic("orders");
    let before = broker.resident_bytes();
    let liars: Vec<_> = (0..1000)
        .map(|_| {
            let mut liar = KafkaClient::connect(broker.kafka());
            let mut promise = frame(KafkaApi::Produce.key(), 9, 1, &[0; 100]);
            promise[..4].copy_from_slice(&(32_i32 << 20).to_be_bytes());
            liar.send_raw(&promise);
            liar
        })
        .collect();
    let large = "x".repeat(1_000_000);
    let produced = bystander.produce(-1, "orders", &batch_of([large.as_str()]));
    assert_eq!(produced.error, ErrorCode::None);
    let cost = broker.resident_bytes().saturating_sub(before);
    assert!(cost < 32 << 20, "{cost} bytes for promises");
    drop(liars);
    until(|| broker.metrics().total("corelog_receive_bytes") == 0.0);
    assert!(broker.stop().success());
}

#[test]
fn a_client_that_takes_no_answers_is_dropped() {
    let folder = TempDir::new().unwrap();
    let settings = "connection.stall.timeout.ms = 200\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut bystander = KafkaClient::connect(broker.kafka());
    let id = bystander.topic("orders");
    let value = "x".repeat(900_000);
    bystander.produce(-1, "orders", &batch_of([value.as_str()]));
    let mut greedy = KafkaClient::connect(broker.kafka());
    for _ in 0..100 {
        greedy.send(KafkaApi::Fetch, 12, &fetch_of("orders", id, 0));
    }
    until(|| broker.metrics().total("corelog_connections") <= 1.0);
    let produced = bystander.produce(-1, "orders", &batch_of(["unharmed"]));
    assert_eq!(produced.error, ErrorCode::None);
    assert!(broker.stop().success());
}

#[test]
fn api_versions_of_the_future_are_answered_in_version_0() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.send_raw(&frame(KafkaApi::ApiVersions.key(), 77, 5, &[1, 2, 3]));
    let (id, body) = client.receive().unwrap();
    let response = ApiVersionsResponse::decode(&body, 0).unwrap();
    let unsupported = ErrorCode::UnsupportedVersion.code();
    assert_eq!((id, response.error_code), (5, unsupported));
    assert_eq!(response.api_keys.len(), KafkaApi::ALL.len());
    // The connection goes on, and a name that is none is refused.
    for (name, error) in [("librdkafka", 0), ("-", ErrorCode::InvalidRequest.code())] {
        let request = ApiVersionsRequest {
            client_software_name: name,
            client_software_version: "1.0",
        };
        let body = client.ask(KafkaApi::ApiVersions, 3, &request);
        let response = ApiVersionsResponse::decode(&body, 3).unwrap();
        assert_eq!(response.error_code, error, "{name}");
    }
}

#[test]
fn batches_that_are_none_are_refused_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let good = stamped(Compression::None, 5, 0);
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = good.to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        batch
    };
    let short = good[..good.len() - 1].to_vec();
    // Offset, size, checksum, magic, attributes, no key, an empty value: smaller than any batch.
    let old = [&[0; 11][..], &[14], &[0; 4], &[0, 0], &[0xff; 4], &[0; 4]].concat();
    // Where a batch has its length, its magic, its checksum, its attributes.
    for (what, batch, error) in [
        ("magic 0", with(16, &[0]), ErrorCode::InvalidRecord),
        ("magic 1", with(16, &[1]), ErrorCode::InvalidRecord),
        (
            "a checksum",
            with(17, &[1, 2, 3, 4]),
            ErrorCode::CorruptMessage,
        ),
        (
            "a length beyond the bytes",
            with(8, &[0x7f; 4]),
            ErrorCode::CorruptMessage,
        ),
        (
            "a length below any header",
            with(8, &[0, 0, 0, 3]),
            ErrorCode::CorruptMessage,
        ),
        ("an end too early", short, ErrorCode::CorruptMessage),
        ("a small old message", old, ErrorCode::InvalidRecord),
        ("nothing", Vec::new(), ErrorCode::InvalidRecord),
    ] {
        let produced = client.produce(-1, "orders", &batch);
        assert_eq!(produced.error, error, "{what}: {produced:?}");
        assert!(produced.message.is_some(), "{what}");
    }
    assert_eq!(client.produce(-1, "orders", &good).base_offset, 0);
}

#[test]
fn transactions_are_refused_for_good() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let mut refused = Vec::new();
    let transactional_id = Some("billing");
    let request = InitProducerIdRequest {
        transactional_id,
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let body = client.ask(KafkaApi::InitProducerId, 4, &request);
    refused.push(InitProducerIdResponse::decode(&body, 4).unwrap().error_code);
    let request = FindCoordinatorRequest {
        key: "billing",
        key_type: 1,
        ..Default::default()
    };
    let body = client.ask(KafkaApi::FindCoordinator, 3, &request);
    refused.push(
        FindCoordinatorResponse::decode(&body, 3)
            .unwrap()
            .error_code,
    );
    let batch = batch_of(["value"]);
    let request = ProduceRequest {
        transactional_id,
        ..produce_of(-1, "orders", 0, &batch)
    };
    let asked = client.send(KafkaApi::Produce, 9, &request);
    refused.push(client.produced(asked).error.code());
    for code in refused {
        let code = ErrorCode::from_code(code).unwrap();
        assert_eq!(code, ErrorCode::TransactionalIdAuthorizationFailed);
        assert!(!code.is_retriable());
    }
}

#[test]
fn names_that_no_topic_may_have_are_refused_where_a_topic_would_be_made() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "ümlaut", long.as_str()] {
        let body = client.ask(KafkaApi::Metadata, 9, &metadata_of(name));
        let response = MetadataResponse::decode(&body, 9).unwrap();
        let expected = ErrorCode::InvalidTopicException.code();
        assert_eq!(response.topics[0].error_code, expected, "{name}");
    }
    // The cluster's own are not made by asking.
    let body = client.ask(KafkaApi::Metadata, 9, &metadata_of("__consumer_offsets"));
    let response = MetadataResponse::decode(&body, 9).unwrap();
    let expected = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(response.topics[0].error_code, expected);
}

#[test]
fn a_partition_that_is_named_twice_harms_nobody() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let id = client.topic("orders");
    let batch = batch_of(["value"]);
    let mut request = produce_of(-1, "orders", 0, &batch);
    request.topic_data.push(request.topic_data[0].clone());
    let asked = client.send(KafkaApi::Produce, 9, &request);
    assert_eq!(client.produced(asked).error, ErrorCode::None);
    let mut request: FetchRequest<'_> = fetch_of("orders", id, 0);
    let again = FetchPartition {
        partition: 0,
        fetch_offset: 1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    request.topics[0].partitions.push(again);
    let (error, _) = client.fetch_in(12, &request);
    assert_eq!(error, ErrorCode::None);
}

#[test]
fn authentication_is_refused_as_there_is_none() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    let request = SaslHandshakeRequest { mechanism: "PLAIN" };
    let body = client.ask(KafkaApi::SaslHandshake, 1, &request);
    let response = SaslHandshakeResponse::decode(&body, 1).unwrap();
    assert_eq!(response.error_code, ErrorCode::IllegalSaslState.code());
    assert!(response.mechanisms.is_empty());
}
