#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_protocol_assignment as oracle_assignment;
use kafka_protocol::messages::consumer_protocol_subscription as oracle_subscription;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_partitions()(
        topics in vec(("[a-z]{0,9}", vec(0..=i32::MAX, 0..9)), 0..6),
    ) -> Vec<TopicPartitionNames> {
        let topic = |(topic, partitions): (String, Vec<i32>)| TopicPartitionNames {
            topic,
            partitions: partitions.into_iter().map(PartitionIndex::new).collect(),
        };
        topics.into_iter().map(topic).collect()
    }
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..50).prop_map(Bytes::from))
}

prop_compose! {
    fn any_subscription()(
        topics in vec(".{0,20}", 0..6),
        user_data in any_bytes(),
        owned_partitions in any_partitions(),
        generation_id in option::of(0..=i32::MAX),
        rack_id in option::of(".{0,20}"),
    ) -> ConsumerSubscription {
        ConsumerSubscription { topics, user_data, owned_partitions, generation_id, rack_id }
    }
}

fn oracle_blob(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut blob = version.to_be_bytes().to_vec();
    message.encode(&mut blob, version).unwrap();
    blob
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn numbers(partitions: &[PartitionIndex]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.get()).collect()
}

fn as_oracle_subscription(
    ours: &ConsumerSubscription,
) -> oracle_subscription::ConsumerProtocolSubscription {
    let owned = ours.owned_partitions.iter().map(|owned| {
        oracle_subscription::TopicPartition::default()
            .with_topic(TopicName(text(&owned.topic)))
            .with_partitions(numbers(&owned.partitions))
    });
    oracle_subscription::ConsumerProtocolSubscription::default()
        .with_topics(ours.topics.iter().map(|topic| text(topic)).collect())
        .with_user_data(ours.user_data.clone())
        .with_owned_partitions(owned.collect())
        .with_generation_id(ours.generation_id.unwrap_or(-1))
        .with_rack_id(ours.rack_id.as_deref().map(text))
}

fn as_oracle_assignment(
    ours: &ConsumerAssignment,
) -> oracle_assignment::ConsumerProtocolAssignment {
    let assigned = ours.assigned_partitions.iter().map(|assigned| {
        oracle_assignment::TopicPartition::default()
            .with_topic(TopicName(text(&assigned.topic)))
            .with_partitions(numbers(&assigned.partitions))
    });
    oracle_assignment::ConsumerProtocolAssignment::default()
        .with_assigned_partitions(assigned.collect())
        .with_user_data(ours.user_data.clone())
}

/// What a version keeps of a subscription.
fn cut_to_version(mut subscription: ConsumerSubscription, version: i16) -> ConsumerSubscription {
    if version < 1 {
        subscription.owned_partitions.clear();
    }
    if version < 2 {
        subscription.generation_id = None;
    }
    if version < 3 {
        subscription.rack_id = None;
    }
    subscription
}

proptest! {
    #[test]
    fn subscriptions_agree_with_the_oracle(
        subscription in any_subscription(),
        version in 0..=NEWEST_VERSION,
    ) {
        let ours = cut_to_version(subscription, version);
        let theirs = as_oracle_subscription(&ours);
        let blob = ours.encode(version).unwrap();
        prop_assert_eq!(&blob, &oracle_blob(&theirs, version));
        prop_assert_eq!(ConsumerSubscription::decode(&blob), Ok(ours));
        let decoded = oracle_subscription::ConsumerProtocolSubscription::decode(
            &mut blob.slice(2..), version);
        prop_assert_eq!(decoded.unwrap(), theirs);
    }

    #[test]
    fn assignments_agree_with_the_oracle(
        assigned_partitions in any_partitions(),
        user_data in any_bytes(),
        version in 0..=NEWEST_VERSION,
    ) {
        let ours = ConsumerAssignment { assigned_partitions, user_data };
        let theirs = as_oracle_assignment(&ours);
        let blob = ours.encode(version).unwrap();
        prop_assert_eq!(&blob, &oracle_blob(&theirs, version));
        prop_assert_eq!(ConsumerAssignment::decode(&blob), Ok(ours));
        let decoded = oracle_assignment::ConsumerProtocolAssignment::decode(
            &mut blob.slice(2..), version);
        prop_assert_eq!(decoded.unwrap(), theirs);
    }

    #[test]
    fn a_cut_subscription_is_an_error(
        subscription in any_subscription(),
        version in 0..=NEWEST_VERSION,
        cut: prop::sample::Index,
    ) {
        let blob = subscription.encode(version).unwrap();
        prop_assert!(ConsumerSubscription::decode(&blob[..cut.index(blob.len())]).is_err());
    }

    #[test]
    fn noise_never_panics(version in 0i16..6, noise in vec(any::<u8>(), 0..100)) {
        let blob = [&version.to_be_bytes()[..], &noise].concat();
        let _ = ConsumerSubscription::decode(&blob);
        let _ = ConsumerAssignment::decode(&blob);
    }
}

#[test]
fn a_subscription_has_the_bytes_of_the_schema() {
    let subscription = ConsumerSubscription {
        topics: vec!["t".to_owned()],
        user_data: None,
        owned_partitions: vec![TopicPartitionNames {
            topic: "t".to_owned(),
            partitions: vec![PartitionIndex::new(2)],
        }],
        generation_id: Some(9),
        rack_id: Some("r".to_owned()),
    };
    let golden = [
        &[0, 3][..],               // version
        &[0, 0, 0, 1, 0, 1, b't'], // one topic, 't'
        &[0xff, 0xff, 0xff, 0xff], // no user data
        &[0, 0, 0, 1, 0, 1, b't'], // one topic owned, 't'
        &[0, 0, 0, 1, 0, 0, 0, 2], // one partition, 2
        &[0, 0, 0, 9],             // generation
        &[0, 1, b'r'],             // rack
    ]
    .concat();
    assert_eq!(subscription.encode(3).unwrap(), golden);
    assert_eq!(ConsumerSubscription::decode(&golden), Ok(subscription));
}

#[test]
fn a_later_version_is_read_as_the_newest_known() {
    let subscription = ConsumerSubscription {
        topics: vec!["t".to_owned()],
        generation_id: Some(4),
        ..ConsumerSubscription::default()
    };
    let mut blob = subscription.encode(3).unwrap().to_vec();
    blob[1] = 7;
    blob.extend_from_slice(b"a later field");
    assert_eq!(ConsumerSubscription::decode(&blob), Ok(subscription));
    blob[0] = 0x80;
    assert_eq!(
        ConsumerSubscription::decode(&blob).unwrap_err().field,
        "version"
    );
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_reserved() {
    let blob = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let refused = ConsumerAssignment::decode(&blob).unwrap_err();
    let problem = ReadProblem::CountBeyondBytes {
        count: i32::MAX as usize,
        element_bytes: TOPIC_BYTES_MIN,
        available: 4,
    };
    assert_eq!(refused, Reader::error_at(2, "AssignedPartitions", problem));
}
