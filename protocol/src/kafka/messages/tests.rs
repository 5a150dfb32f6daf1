//! Every message in every version, against the crate `kafka-protocol`: what we write, it reads and writes again, byte for
//! byte; and what it has written, we read as what it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::{Buf, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::kafka::message::Field;
use crate::kafka::message::sample::{Random, Sample};
use crate::kafka::{ReadProblem, Records, Writer};

use super::*;

const SAMPLES: u64 = 60;

/// # Panics
/// The two disagree.
fn compare<'a, M, O>(name: &str)
where
    M: KafkaMessage<'a> + Sample + Field<'a> + std::fmt::Debug,
    O: Decodable + Encodable + std::fmt::Debug,
{
    for version in M::VERSIONS {
        for seed in 0..SAMPLES {
            let what = format!("{name} version {version} seed {seed}");
            let mut random = Random::new(seed);
            let ours = M::sample(&mut random, version);
            let bytes = ours.to_bytes(version).unwrap();
            let mut rest = bytes.clone();
            let theirs = O::decode(&mut rest, version)
                .unwrap_or_else(|error| panic!("{what}: {error}: {ours:?}"));
            assert!(!rest.has_remaining(), "{what}: {ours:?}");
            let mut again = BytesMut::new();
            theirs.encode(&mut again, version).unwrap();
            assert_eq!(again, bytes, "{what}: {ours:?}: {theirs:?}");
            let again: &'a [u8] = Vec::leak(again.to_vec());
            let back = M::decode(again, version).unwrap();
            assert_eq!(format!("{back:?}"), format!("{ours:?}"), "{what}");
        }
    }
}

/// # Panics
/// Damaged bytes make it panic; an error is what they should make.
fn damage<'a, M>(name: &str)
where
    M: KafkaMessage<'a> + Sample,
{
    for version in M::VERSIONS {
        for seed in 0..SAMPLES {
            let mut random = Random::new(seed);
            let bytes = M::sample(&mut random, version).to_bytes(version).unwrap();
            let mut damaged: Vec<u8> = bytes.to_vec();
            random.damage(&mut damaged);
            let damaged: &'a [u8] = Vec::leak(damaged);
            // Whatever comes of it, it comes.
            let _ = M::decode(damaged, version);
            for end in 0..bytes.len().min(64) {
                let cut: &'a [u8] = Vec::leak(bytes[..end].to_vec());
                assert!(
                    M::decode(cut, version).is_err(),
                    "{name} version {version} seed {seed}: {end} bytes are no message"
                );
            }
        }
    }
}

macro_rules! messages {
    ($($message:ident)*) => {
        #[test]
        fn both_codecs_say_the_same_in_every_version() {
            $(compare::<$message, oracle::$message>(stringify!($message));)*
        }

        #[test]
        fn damaged_messages_are_errors() {
            $(damage::<$message>(stringify!($message));)*
        }
    };
}

messages! {
    AlterConfigsRequest
    AlterConfigsResponse
    ApiVersionsRequest
    ApiVersionsResponse
    ConsumerGroupDescribeRequest
    ConsumerGroupDescribeResponse
    ConsumerGroupHeartbeatRequest
    ConsumerGroupHeartbeatResponse
    CreatePartitionsRequest
    CreatePartitionsResponse
    CreateTopicsRequest
    CreateTopicsResponse
    DeleteGroupsRequest
    DeleteGroupsResponse
    DeleteRecordsRequest
    DeleteRecordsResponse
    DeleteTopicsRequest
    DeleteTopicsResponse
    DescribeClusterRequest
    DescribeClusterResponse
    DescribeConfigsRequest
    DescribeConfigsResponse
    DescribeGroupsRequest
    DescribeGroupsResponse
    DescribeLogDirsRequest
    DescribeLogDirsResponse
    DescribeProducersRequest
    DescribeProducersResponse
    DescribeTopicPartitionsRequest
    DescribeTopicPartitionsResponse
    FetchRequest
    FetchResponse
    FindCoordinatorRequest
    FindCoordinatorResponse
    HeartbeatRequest
    HeartbeatResponse
    IncrementalAlterConfigsRequest
    IncrementalAlterConfigsResponse
    InitProducerIdRequest
    InitProducerIdResponse
    JoinGroupRequest
    JoinGroupResponse
    LeaveGroupRequest
    LeaveGroupResponse
    ListGroupsRequest
    ListGroupsResponse
    ListOffsetsRequest
    ListOffsetsResponse
    MetadataRequest
    MetadataResponse
    OffsetCommitRequest
    OffsetCommitResponse
    OffsetDeleteRequest
    OffsetDeleteResponse
    OffsetFetchRequest
    OffsetFetchResponse
    OffsetForLeaderEpochRequest
    OffsetForLeaderEpochResponse
    ProduceRequest
    ProduceResponse
    SaslAuthenticateRequest
    SaslAuthenticateResponse
    SaslHandshakeRequest
    SaslHandshakeResponse
    SyncGroupRequest
    SyncGroupResponse
}

#[test]
fn apis_are_found_by_their_keys() {
    for api in KafkaApi::ALL {
        assert_eq!(KafkaApi::from_key(api.key()), Some(*api));
        let theirs = oracle::ApiKey::try_from(api.key()).unwrap();
        assert_eq!(format!("{theirs:?}"), api.name());
        let range = theirs.valid_versions();
        assert!(range.min <= *api.versions().start(), "{}", api.name());
        assert!(range.max >= *api.versions().end(), "{}", api.name());
        for version in api.versions() {
            let flexible = theirs.request_header_version(version) == 2;
            assert_eq!(
                api.is_flexible(version),
                flexible,
                "{} {version}",
                api.name()
            );
        }
    }
    assert_eq!(KafkaApi::from_key(4), None);
}

#[test]
fn elements_take_memory_in_proportion_to_the_message() {
    let elements = 4 * 1024 * 1024;
    let mut bytes = FetchRequest::default().to_bytes(12).unwrap().to_vec();
    // Behind the numbers comes the array of topics, empty: its length is one byte, and 0x01.
    let topics = 4 + 4 + 4 + 4 + 1 + 4 + 4;
    assert_eq!(bytes[topics], 1);
    let mut message = bytes.drain(..topics).collect::<Vec<u8>>();
    let mut count = Writer::new();
    count.unsigned_varint(elements + 1);
    message.extend(count.finish());
    // Each topic without a name, without partitions, without tagged fields.
    message.extend([1, 1, 0].repeat(elements as usize));
    message.extend(&bytes[1..]);
    let error = FetchRequest::decode(&message, 12).unwrap_err();
    let problem = ReadProblem::MemoryBeyondBytes {
        count: elements as usize,
    };
    assert_eq!((error.field, error.problem), ("topics", problem));
}

#[test]
fn records_kept_apart_stand_where_they_would_be() {
    let response = |records: [Records<'static>; 2]| {
        let mut response = FetchResponse::default();
        let partitions = records.map(|records| fetch::PartitionData {
            records,
            ..Default::default()
        });
        response.responses.push(fetch::FetchableTopicResponse {
            topic: "orders",
            partitions: partitions.into(),
            ..Default::default()
        });
        response
    };
    for version in FetchResponse::VERSIONS {
        let mut here = Writer::frame();
        let (first, second) = (&[1; 200][..], &[2; 5][..]);
        let whole = response([Records::Here(first), Records::Here(second)]);
        whole.encode(&mut here, version).unwrap();
        let whole = here.finish_frame().unwrap();
        let mut apart = Writer::frame();
        let pieces = response([Records::Apart(200), Records::Apart(5)]);
        pieces.encode(&mut apart, version).unwrap();
        let pieces = apart.finish_frame().unwrap();
        let together = [&pieces[0], first, &pieces[1], second, &pieces[2]].concat();
        assert_eq!(together, whole[0], "{version}");
        let length = i32::from_be_bytes(together[..4].try_into().unwrap());
        assert_eq!(length as usize, together.len() - 4);
    }
}
