//! No panic is reachable from a socket: requests of every kind with a few bytes damaged, the frame's
//! own CRC made right again, so that the damage reaches what lies behind the frame.

use corelog_protocol::native::{
    AlterTopic, AlterTopicConfigsRequest, ApiVersionsRequest, ConfigChange, ConfigResource,
    CreatePartitionsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeTopicsRequest,
    FetchPartition, FetchRequest, Frame, FrameHeader, FrameKind, FrameLimits, ListOffsetsPartition,
    ListOffsetsRequest, MetadataRequest, MorePartitions, OffsetQuery, ProducePartition,
    ProduceRequest, SubscribeCreditRequest, SubscribeRequest, TopicSelector, UnsubscribeRequest,
    decode_frame,
};
use corelog_protocol::{
    Acks, BrokerId, ErrorCode, IsolationLevel, Offset, PartitionIndex, Timestamp, TopicId,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, Stranger, batch_of, frame, until};

const CONNECTIONS: usize = 300;
const REQUESTS_PER_CONNECTION: usize = 20;

/// One good request of each kind but CreateTopics, of which a damaged one may ask for thousands of
/// partitions, and rightly get them.
fn good_requests(topic_id: TopicId) -> Vec<Frame> {
    let batch = batch_of(["one", "two", "three"]);
    let partition = PartitionIndex::ZERO;
    let produce = [ProducePartition {
        topic_id,
        partition,
        leader_epoch: None,
        length: u32::try_from(batch.len()).unwrap(),
    }];
    let fetch = FetchPartition {
        topic_id,
        partition,
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset: Offset::ZERO,
        max_bytes: 1000,
    };
    let name = || TopicSelector::Name("victim".to_owned());
    [
        frame(
            1,
            &ProduceRequest {
                acks: Acks::All,
                timeout_ms: 100,
                transactional_id: None,
                partitions: &produce,
            },
            &batch,
        ),
        frame(
            2,
            &FetchRequest {
                max_wait_ms: 10,
                min_bytes: 1,
                max_bytes: 1000,
                isolation: IsolationLevel::ReadCommitted,
                partitions: vec![fetch, fetch],
            },
            &[],
        ),
        frame(
            3,
            &SubscribeRequest {
                credit_bytes: 1000,
                max_push_bytes: 100,
                isolation: IsolationLevel::ReadUncommitted,
                partitions: vec![fetch],
            },
            &[],
        ),
        frame(
            4,
            &SubscribeCreditRequest {
                subscription: 3,
                bytes: 7,
            },
            &[],
        ),
        frame(5, &UnsubscribeRequest { subscription: 3 }, &[]),
        frame(
            6,
            &ListOffsetsRequest {
                isolation: IsolationLevel::ReadUncommitted,
                partitions: vec![ListOffsetsPartition {
                    topic_id,
                    partition,
                    leader_epoch: None,
                    query: OffsetQuery::Timestamp(Timestamp::new(5)),
                }],
            },
            &[],
        ),
        frame(
            7,
            &MetadataRequest {
                topics: Some(vec![name(), TopicSelector::Id(topic_id)]),
            },
            &[],
        ),
        frame(
            8,
            &DescribeTopicsRequest {
                topics: Some(vec![name()]),
            },
            &[],
        ),
        frame(
            9,
            &DeleteTopicsRequest {
                timeout_ms: 100,
                topics: vec![name()],
            },
            &[],
        ),
        frame(
            10,
            &AlterTopicConfigsRequest {
                validate_only: true,
                topics: vec![AlterTopic {
                    name: "nobody".to_owned(),
                    changes: vec![ConfigChange {
                        name: "retention.ms".to_owned(),
                        value: Some("1000".to_owned()),
                    }],
                }],
            },
            &[],
        ),
        frame(11, &ApiVersionsRequest {}, &[]),
        frame(
            12,
            &CreatePartitionsRequest {
                timeout_ms: 100,
                validate_only: true,
                topics: vec![MorePartitions {
                    name: "nobody".to_owned(),
                    count: 4,
                }],
            },
            &[],
        ),
        frame(
            13,
            &DescribeConfigsRequest {
                resources: vec![
                    ConfigResource {
                        keys: Some(vec!["retention.ms".to_owned()]),
                        ..ConfigResource::topic("victim")
                    },
                    ConfigResource::broker(BrokerId::new(1)),
                ],
            },
            &[],
        ),
    ]
    .map(|bytes| {
        decode_frame(&mut bytes[..].into(), &FrameLimits::default())
            .unwrap()
            .unwrap()
    })
    .into()
}

/// Changes a few bytes of the metadata and sometimes of the payload, and makes a whole frame of it.
fn damaged(good: &Frame, random: &mut StdRng) -> Vec<u8> {
    let mut metadata = good.metadata.to_vec();
    let mut payload = good.payload.to_vec();
    for _ in 0..random.random_range(0..4) {
        // Lengths and offsets are most often small numbers.
        let byte = match random.random_range(0..3) {
            0 => random.random(),
            1 => random.random_range(0..16),
            _ => 0xFF,
        };
        let part = match random.random_range(0..4) {
            0 if !payload.is_empty() => &mut payload,
            _ => &mut metadata,
        };
        let position = random.random_range(0..part.len());
        part[position] = byte;
    }
    if random.random_range(0..10) == 0 {
        metadata.truncate(random.random_range(0..metadata.len()));
    }
    if random.random_range(0..10) == 0 {
        payload.truncate(random.random_range(0..=payload.len()));
    }
    let header = FrameHeader::for_frame(
        FrameKind::Request,
        good.header.api,
        random.random(),
        &metadata,
        payload.len(),
        &FrameLimits::default(),
    )
    .unwrap();
    [&header.encode()[..], &metadata, &payload].concat()
}

#[test]
fn thousands_of_damaged_requests_harm_nobody() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut bystander = broker.connect();
    let mine = bystander.create_topic(NewTopicBuilder::new("mine", 1));
    for round in 0..CONNECTIONS {
        // It is among what the damaged requests delete.
        let victim = match bystander.topic("victim") {
            topic if topic.error == ErrorCode::None => topic.id,
            _ => bystander.create_topic(NewTopicBuilder::new("victim", 1)),
        };
        let good = good_requests(victim);
        let mut attacker = Stranger::greeted(broker.native());
        let requests: Vec<u8> = (0..REQUESTS_PER_CONNECTION)
            .flat_map(|_| damaged(&good[random.random_range(0..good.len())], &mut random))
            .collect();
        attacker.send(&requests);
        let answer = bystander.produce(mine, 0, &batch_of(["unharmed"]));
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset.get(), round as i64);
    }
    until(|| broker.metrics().total("corelog_connections") == 1.0);
    assert_eq!(bystander.read_all(mine, 0).len(), CONNECTIONS);
    assert!(broker.stop().success());
}
