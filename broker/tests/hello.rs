//! The first frame of a connection: who may come in, and which core serves it.

use std::time::Duration;

use corelog_protocol::native::{
    ApiKey, ApiVersionsRequest, FrameKind, GoodbyePush, HelloRequest, HelloResponse, Message,
    MetadataRequest,
};
use corelog_protocol::{BrokerId, ErrorCode, Offset, ShardId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, Stranger, frame, hello};

#[test]
fn a_client_that_means_another_broker_or_speaks_another_version_is_told() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let right = broker.connect().hello;
    let cases = [
        (
            HelloRequest {
                cluster_id: Some("elsewhere".to_owned()),
                ..hello()
            },
            ErrorCode::InconsistentClusterId,
        ),
        (
            HelloRequest {
                broker_id: Some(BrokerId::new(right.broker_id.get() + 1)),
                ..hello()
            },
            ErrorCode::RebootstrapRequired,
        ),
        (
            HelloRequest {
                min_version: 2,
                max_version: 9,
                ..hello()
            },
            ErrorCode::UnsupportedVersion,
        ),
        (
            HelloRequest {
                auth_mechanism: Some("PLAIN".to_owned()),
                ..hello()
            },
            ErrorCode::UnsupportedSaslMechanism,
        ),
    ];
    let count = cases.len() as f64;
    for (request, code) in cases {
        let mut stranger = Stranger::connect(broker.native());
        stranger.send(&frame(12, &request, &[]));
        let (error, id) = stranger.error();
        assert_eq!((error.code, id), (code, 12), "{}", error.message);
        stranger.assert_closed();
    }
    let label = "reason=\"hello_refused\"";
    let rejected = broker
        .metrics()
        .sum_or_zero("corelog_connections_rejected_total", label);
    assert_eq!(rejected, count);

    let mut welcome = Stranger::connect(broker.native());
    let request = HelloRequest {
        cluster_id: Some(right.cluster_id.clone()),
        broker_id: Some(right.broker_id),
        min_version: 0,
        max_version: 7,
        ..hello()
    };
    welcome.send(&frame(1, &request, &[]));
    let answer = HelloResponse::decode(&welcome.receive().unwrap().metadata).unwrap();
    assert_eq!(answer, right);
}

#[test]
fn the_shard_asked_for_serves_the_connection_and_what_came_with_the_hello() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    for shard in 0..2 {
        let mut client = Stranger::connect(broker.native());
        let request = HelloRequest {
            shard: Some(ShardId::new(shard)),
            ..hello()
        };
        // The next request is read by the accepting core, together with the Hello.
        let metadata = MetadataRequest { topics: None };
        client.send(&[frame(1, &request, &[]), frame(2, &metadata, &[])].concat());
        let answer = client.receive().unwrap();
        let answer = HelloResponse::decode(&answer.metadata).unwrap();
        assert_eq!((answer.shard.get(), answer.shards), (shard, 2));
        assert_eq!(client.receive().unwrap().header.correlation_id, 2);
    }
    let metrics = broker.metrics();
    assert_eq!(metrics.total("corelog_connections_handed_off_total"), 1.0);
    assert_eq!(metrics.total("corelog_connections_accepted_total"), 2.0);
}

#[test]
fn a_shard_that_does_not_exist_is_no_reason_to_refuse() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let served_by = broker.connect_to_shard(40).hello.shard;
    assert_eq!(served_by.get(), 0);
}

#[test]
fn connections_that_want_no_shard_are_spread() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let clients: Vec<_> = (0..6).map(|_| broker.connect()).collect();
    for shard in 0..2 {
        let here = clients
            .iter()
            .filter(|it| it.hello.shard.get() == shard)
            .count();
        assert_eq!(here, 3);
    }
}

#[test]
fn a_second_hello_is_refused_and_the_connection_goes_on() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = Stranger::greeted(broker.native());
    client.send(&frame(5, &hello(), &[]));
    assert_eq!(client.error().0.code, ErrorCode::InvalidRequest);
    client.send(&frame(6, &ApiVersionsRequest {}, &[]));
    assert_eq!(client.receive().unwrap().header.correlation_id, 6);
}

#[test]
fn a_stopping_broker_says_goodbye_and_waits_for_no_reader() {
    let folder = TempDir::new().unwrap();
    let settings = "shutdown.drain.ms = 600000\n";
    let broker = BrokerProcess::start_with(folder.path(), 2, settings);
    let mut clients: Vec<_> = (0..4).map(|_| broker.connect()).collect();
    let topic_id = clients[0].create_topic(NewTopicBuilder::new("unread", 1));
    for client in &mut clients {
        client.send_fetch(topic_id, 0, Offset::ZERO, Duration::from_secs(300));
        // Answered, so the fetch before it is under way.
        client.metadata(None);
    }
    assert!(broker.stop().success());
    for client in &mut clients {
        let frame = client.receive().expect("a goodbye");
        assert_eq!(frame.header.kind, FrameKind::Push);
        assert_eq!(frame.header.api_key(), Some(ApiKey::Goodbye));
        let goodbye = GoodbyePush::decode(&frame.metadata).unwrap();
        assert!(goodbye.reason.contains("stopping"), "{}", goodbye.reason);
        assert!(client.receive().is_none());
    }
}
