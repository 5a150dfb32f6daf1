//! Thousands of damaged records of `__consumer_offsets` and blobs of the consumer protocol: no
//! reader panics, and none takes more memory than a small multiple of what it was given.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting_allocator;
mod damage;

use bytes::Bytes;
use corelog_protocol::kafka::*;
use corelog_protocol::{PartitionIndex, Timestamp, TopicId};
use counting_allocator::measure;
use damage::{damage, seeded};

/// An empty compact string is one byte on the wire and 24 in memory; the rest is room for the
/// texts themselves.
const MEMORY_FACTOR: usize = 32;
const SLACK: usize = 512;
const ROUNDS: usize = 20_000;

fn records() -> Vec<GroupRecord> {
    let group_id = || "group".to_owned();
    let member_id = || "member".to_owned();
    let topics: Vec<_> = (0..5)
        .map(|topic| TopicPartitions {
            topic_id: TopicId::from_bytes([topic; 16]),
            partitions: (0..9).map(PartitionIndex::new).collect(),
        })
        .collect();
    let protocol = ClassicProtocol {
        name: "range".to_owned(),
        metadata: Bytes::from_static(&[1; 40]),
    };
    let member = ClassicMember {
        member_id: member_id(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 2,
        subscription: Bytes::from_static(&[2; 40]),
        assignment: Bytes::from_static(&[3; 40]),
    };
    vec![
        GroupRecord::GroupMetadata {
            group_id: group_id(),
            value: Some(GroupMetadata {
                protocol_type: "consumer".to_owned(),
                generation: 1,
                protocol: Some("range".to_owned()),
                leader: Some(member_id()),
                current_state_timestamp: None,
                members: vec![member; 4],
            }),
        },
        GroupRecord::ConsumerGroupMember {
            group_id: group_id(),
            member_id: member_id(),
            value: Some(ConsumerGroupMember {
                subscribed_topic_names: vec!["topic".to_owned(); 9],
                classic_protocols: Some(vec![protocol; 3]),
                ..ConsumerGroupMember::default()
            }),
        },
        GroupRecord::TargetAssignmentMember {
            group_id: group_id(),
            member_id: member_id(),
            value: Some(topics),
        },
        GroupRecord::RegularExpression {
            group_id: group_id(),
            regular_expression: "t.*".to_owned(),
            value: Some(RegularExpression {
                topics: vec!["topic".to_owned(); 9],
                version: 1,
                timestamp: Timestamp::new(2),
            }),
        },
    ]
}

#[test]
fn damaged_records_take_no_more_memory_than_their_bytes_allow() {
    let mut random = seeded();
    let records: Vec<_> = records()
        .iter()
        .map(|record| record.encode().unwrap())
        .collect();
    for round in 0..ROUNDS {
        let (key, value) = &records[round % records.len()];
        let value = damage(value.as_deref().unwrap(), &mut random);
        let given = key.len() + value.len();
        let (_, taken) = measure(|| GroupRecord::decode(key, Some(&value)));
        let allowed = MEMORY_FACTOR * given + SLACK;
        assert!(taken.peak_bytes <= allowed, "{taken:?} for {value:02x?}");

        let key = damage(key, &mut random);
        let (_, taken) = measure(|| GroupRecord::decode(&key, None));
        let allowed = MEMORY_FACTOR * key.len() + SLACK;
        assert!(taken.peak_bytes <= allowed, "{taken:?} for {key:02x?}");
    }
}

#[test]
fn damaged_blobs_take_no_more_memory_than_their_bytes_allow() {
    let mut random = seeded();
    let partitions = |topic: &str| TopicPartitionNames {
        topic: topic.to_owned(),
        partitions: (0..9).map(PartitionIndex::new).collect(),
    };
    let subscription = ConsumerSubscription {
        topics: vec!["topic".to_owned(); 9],
        owned_partitions: vec![partitions("a"), partitions("b")],
        ..ConsumerSubscription::default()
    };
    let blob = subscription.encode(3).unwrap();
    for _ in 0..ROUNDS {
        let blob = damage(&blob, &mut random);
        let (_, taken) = measure(|| {
            let _ = ConsumerSubscription::decode(&blob);
            let _ = ConsumerAssignment::decode(&blob);
        });
        let allowed = MEMORY_FACTOR * blob.len() + SLACK;
        assert!(taken.peak_bytes <= allowed, "{taken:?} for {blob:02x?}");
    }
}
