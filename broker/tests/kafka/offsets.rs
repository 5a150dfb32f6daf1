//! Offsets by time and by epoch.

use corelog_protocol::kafka::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use corelog_protocol::kafka::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use corelog_protocol::kafka::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use corelog_protocol::{Compression, ErrorCode};
use tempfile::TempDir;

use super::{KafkaClient, stamped};
use crate::harness::BrokerProcess;

/// When [`stamped`] writes its first record; the others follow, one each millisecond.
const FIRST: i64 = 1_700_000_000_000;

fn list(client: &mut KafkaClient, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "orders",
            partitions: vec![ListOffsetsPartition {
                timestamp,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let body = client.ask(KafkaApi::ListOffsets, version, &request);
    let response = ListOffsetsResponse::decode(&body, version).unwrap();
    let listed = &response.topics[0].partitions[0];
    (listed.error_code, listed.offset, listed.timestamp)
}

#[test]
fn offsets_are_found_by_time() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    client.produce(-1, "orders", &stamped(Compression::Lz4, 1, 0));
    for version in KafkaApi::ListOffsets.versions() {
        assert_eq!(list(&mut client, version, -1), (0, 10, -1), "latest");
        assert_eq!(list(&mut client, version, -2), (0, 0, -1), "earliest");
        let third = FIRST + 3;
        assert_eq!(list(&mut client, version, third), (0, 3, third));
        assert_eq!(list(&mut client, version, FIRST + 10), (0, -1, -1), "none");
    }
    let unsupported = (ErrorCode::UnsupportedVersion.code(), -1, -1);
    let largest = FIRST + 9;
    for (version, timestamp, expected) in [
        (6, -3, unsupported),
        (7, -3, (0, 9, largest)),
        (7, -4, unsupported),
        (8, -4, (0, 0, -1)),
        (9, -5, (0, -1, -1)),
        (10, -9, unsupported),
    ] {
        let found = list(&mut client, version, timestamp);
        assert_eq!(found, expected, "{timestamp} in version {version}");
    }
}

#[test]
fn the_end_of_an_epoch_is_told() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    client.produce(-1, "orders", &stamped(Compression::None, 1, 0));
    let mut ends = |topic, current_leader_epoch, leader_epoch| {
        let request = OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic,
                partitions: vec![OffsetForLeaderPartition {
                    partition: 0,
                    current_leader_epoch,
                    leader_epoch,
                }],
            }],
            ..Default::default()
        };
        let body = client.ask(KafkaApi::OffsetForLeaderEpoch, 4, &request);
        let response = OffsetForLeaderEpochResponse::decode(&body, 4).unwrap();
        let end = &response.topics[0].partitions[0];
        (end.error_code, end.leader_epoch, end.end_offset)
    };
    assert_eq!(ends("orders", -1, 0), (0, 0, 10));
    let fenced = ErrorCode::UnknownLeaderEpoch.code();
    assert_eq!(ends("orders", 9, 0).0, fenced);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(ends("nowhere", -1, 0).0, unknown);
}
