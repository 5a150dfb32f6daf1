#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::kafka::ReadProblem;
use crate::{LeaderEpoch, Offset, Timestamp, TopicId};

/// Bytes from lines of hex, each with what it means after a `|`.
fn hex(lines: &str) -> Vec<u8> {
    let digits: String = lines
        .lines()
        .filter_map(|line| line.split('|').next())
        .flat_map(str::chars)
        .filter(|digit| !digit.is_whitespace())
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

/// The record has these bytes, and these bytes are the record.
#[track_caller]
fn golden(record: GroupRecord, key: &str, value: &str) {
    let (key, value) = (hex(key), hex(value));
    let (encoded_key, encoded_value) = record.encode().unwrap();
    assert_eq!(encoded_key, key);
    assert_eq!(encoded_value.unwrap(), value);
    let decoded = GroupRecord::decode(&key, Some(&value));
    assert_eq!(decoded, Ok(DecodedGroupRecord::Record(record)));
}

fn decode_value(key: &str, value: &str) -> Result<DecodedGroupRecord, GroupRecordError> {
    GroupRecord::decode(&hex(key), Some(&hex(value)))
}

const COMMIT_KEY: &str = "
    0001        | type 1
    0001 67     | group 'g'
    0001 74     | topic 't'
    00000005    | partition 5";

fn commit() -> OffsetCommit {
    OffsetCommit {
        offset: Offset::new(258),
        leader_epoch: Some(LeaderEpoch::new(7)),
        metadata: "m".to_owned(),
        commit_timestamp: Timestamp::new(1_000),
        expire_timestamp: None,
        topic_id: TopicId::ZERO,
    }
}

fn commit_record(value: OffsetCommit) -> GroupRecord {
    GroupRecord::OffsetCommit {
        group_id: "g".to_owned(),
        topic: "t".to_owned(),
        partition: PartitionIndex::new(5),
        value: Some(value),
    }
}

#[test]
fn an_offset_commit_is_written_in_version_3() {
    golden(
        commit_record(commit()),
        COMMIT_KEY,
        "0003               | version
         0000000000000102   | offset 258
         00000007           | leader epoch
         0001 6d            | metadata 'm'
         00000000000003e8   | commit timestamp",
    );
}

#[test]
fn an_offset_commit_with_an_expiry_is_written_in_version_1() {
    let commit = OffsetCommit {
        leader_epoch: None,
        expire_timestamp: Some(Timestamp::new(2_000)),
        ..commit()
    };
    golden(
        commit_record(commit),
        COMMIT_KEY,
        "0001               | version
         0000000000000102   | offset 258
         0001 6d            | metadata 'm'
         00000000000003e8   | commit timestamp
         00000000000007d0   | expire timestamp",
    );
}

#[test]
fn an_offset_commit_with_a_topic_id_is_written_in_version_4() {
    let commit = OffsetCommit {
        topic_id: TopicId::from_bytes([0xab; 16]),
        ..commit()
    };
    golden(
        commit_record(commit),
        COMMIT_KEY,
        "0004               | version
         0000000000000102   | offset 258
         00000007           | leader epoch
         02 6d              | metadata 'm': length + 1
         00000000000003e8   | commit timestamp
         01                 | one tagged field
         00 10              | tag 0, 16 bytes
         abababababababababababababababab",
    );
}

#[test]
fn offset_commits_of_older_keys_and_values_are_read() {
    let expected = OffsetCommit {
        leader_epoch: None,
        ..commit()
    };
    let expected = Ok(DecodedGroupRecord::Record(commit_record(expected)));
    let fields = "0000000000000102 0001 6d 00000000000003e8";
    let legacy_key = COMMIT_KEY.replacen("0001 ", "0000 ", 1);
    assert_eq!(
        decode_value(&legacy_key, &format!("0000{fields}")),
        expected
    );
    assert_eq!(decode_value(COMMIT_KEY, &format!("0002{fields}")), expected);
    // Version 1, whose expiry is Kafka's "none".
    let value = format!("0001{fields}ffffffffffffffff");
    assert_eq!(decode_value(COMMIT_KEY, &value), expected);
    // Version 4 with a leader epoch of none and a tag that is not known.
    let value = "0004 0000000000000102 ffffffff 02 6d 00000000000003e8 01 09 02 aaaa";
    assert_eq!(decode_value(COMMIT_KEY, value), expected);
}

const GROUP_KEY: &str = "0002 | type 2
    0001 67                   | group 'g'";

fn group() -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        protocol: Some("range".to_owned()),
        leader: Some("a".to_owned()),
        current_state_timestamp: Some(Timestamp::new(1_000)),
        members: vec![ClassicMember {
            member_id: "a".to_owned(),
            group_instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(&[0xaa]),
            assignment: Bytes::from_static(&[0xbb, 0xcc]),
        }],
    }
}

fn group_record(value: GroupMetadata) -> GroupRecord {
    GroupRecord::GroupMetadata {
        group_id: "g".to_owned(),
        value: Some(value),
    }
}

#[test]
fn a_classic_group_is_written_in_version_3() {
    golden(
        group_record(group()),
        GROUP_KEY,
        "0003                    | version
         0008 636f6e73756d6572   | protocol type 'consumer'
         00000003                | generation
         0005 72616e6765         | protocol 'range'
         0001 61                 | leader 'a'
         00000000000003e8        | current state timestamp
         00000001                | one member
         0001 61                 | member id 'a'
         ffff                    | no group instance id
         0001 63                 | client id 'c'
         0002 2f68               | client host '/h'
         000493e0                | rebalance timeout
         0000afc8                | session timeout
         00000001 aa             | subscription
         00000002 bbcc           | assignment",
    );
}

#[test]
fn classic_groups_of_other_versions_are_read() {
    let begin = "0008 636f6e73756d6572 00000003 0005 72616e6765 0001 61";
    let end = "0000afc8 00000001 aa 00000002 bbcc";
    let versions = [
        format!("0000 {begin} 00000001 0001 61 0001 63 0002 2f68 {end}"),
        format!("0001 {begin} 00000001 0001 61 0001 63 0002 2f68 000493e0 {end}"),
        format!("0002 {begin} 00000000000003e8 00000001 0001 61 0001 63 0002 2f68 000493e0 {end}"),
        "0003".to_owned(),
        "0004 09 636f6e73756d6572 00000003 06 72616e6765 02 61 00000000000003e8
         02 02 61 00 02 63 03 2f68 000493e0 0000afc8 02 aa 03 bbcc 00 | member's tagged fields
         00"
        .to_owned(),
    ];
    for version in [0, 1, 2, 4] {
        let mut expected = group();
        if version < 2 {
            expected.current_state_timestamp = None;
        }
        if version < 1 {
            expected.members[0].rebalance_timeout_ms = 45_000;
        }
        let expected = Ok(DecodedGroupRecord::Record(group_record(expected)));
        let decoded = decode_value(GROUP_KEY, &versions[version]);
        assert_eq!(decoded, expected, "version {version}");
    }
}

#[test]
fn a_consumer_group_has_an_epoch_and_a_tagged_hash() {
    let record = |metadata_hash| GroupRecord::ConsumerGroupMetadata {
        group_id: "g".to_owned(),
        value: Some(ConsumerGroupMetadata {
            epoch: 10,
            metadata_hash,
        }),
    };
    let key = "0003 0001 67";
    golden(
        record(0),
        key,
        "0000 0000000a 00 | the default is not written",
    );
    golden(
        record(-2),
        key,
        "0000 0000000a
         01 00 08 fffffffffffffffe   | one tagged field, tag 0, 8 bytes",
    );
    // The creation time of KIP-1282, tag 1, is skipped.
    let value = "0000 0000000a 01 01 08 0000000000000001";
    let expected = Ok(DecodedGroupRecord::Record(record(0)));
    assert_eq!(decode_value(key, value), expected);
}

#[test]
fn a_member_of_a_consumer_group() {
    let record = |classic_protocols| GroupRecord::ConsumerGroupMember {
        group_id: "g".to_owned(),
        member_id: "a".to_owned(),
        value: Some(ConsumerGroupMember {
            instance_id: None,
            rack_id: Some("r".to_owned()),
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            subscribed_topic_names: vec!["t".to_owned(), "u".to_owned()],
            subscribed_topic_regex: None,
            rebalance_timeout_ms: 300_000,
            server_assignor: Some("uniform".to_owned()),
            classic_protocols,
        }),
    };
    let key = "0005      | type 5
               0001 67   | group 'g'
               0001 61   | member 'a'";
    let fields = "0000             | version
         00                        | no instance id
         02 72                     | rack 'r'
         02 63                     | client id 'c'
         03 2f68                   | client host '/h'
         03 02 74 02 75            | two topic names
         00                        | no regular expression
         000493e0                  | rebalance timeout
         08 756e69666f726d         | assignor 'uniform'
         ";
    golden(record(None), key, &format!("{fields}00 | no tagged fields"));
    let protocols = vec![ClassicProtocol {
        name: "range".to_owned(),
        metadata: Bytes::from_static(&[0xdd]),
    }];
    golden(
        record(Some(protocols)),
        key,
        &format!(
            "{fields}01         | one tagged field
             00 0c              | tag 0, 12 bytes
             01                 | not null
             02                 | one protocol
             06 72616e6765      | 'range'
             02 dd              | metadata
             00 00              | no tagged fields, twice"
        ),
    );
}

const TOPIC: &str = "0000000000000000000000000000000b | topic id
    03 00000001 00000002                              | two partitions
    00                                                | no tagged fields
    ";

fn topics() -> Vec<TopicPartitions> {
    vec![TopicPartitions {
        topic_id: TopicId::from_bytes(11u128.to_be_bytes()),
        partitions: vec![PartitionIndex::new(1), PartitionIndex::new(2)],
    }]
}

#[test]
fn the_target_assignment() {
    golden(
        GroupRecord::TargetAssignmentMetadata {
            group_id: "g".to_owned(),
            value: Some(TargetAssignmentMetadata {
                assignment_epoch: 10,
            }),
        },
        "0006 0001 67",
        "0000 0000000a 00",
    );
    golden(
        GroupRecord::TargetAssignmentMember {
            group_id: "g".to_owned(),
            member_id: "a".to_owned(),
            value: Some(topics()),
        },
        "0007 0001 67 0001 61",
        &format!("0000 02 {TOPIC} 00"),
    );
}

fn current_assignment() -> GroupRecord {
    GroupRecord::CurrentMemberAssignment {
        group_id: "g".to_owned(),
        member_id: "a".to_owned(),
        value: Some(CurrentMemberAssignment {
            member_epoch: 10,
            previous_member_epoch: 9,
            state: MemberState::UnrevokedPartitions,
            assigned_partitions: topics(),
            partitions_pending_revocation: vec![],
        }),
    }
}

#[test]
fn the_current_assignment_of_a_member() {
    let key = "0008 0001 67 0001 61";
    golden(
        current_assignment(),
        key,
        &format!(
            "0000        | version
             0000000a    | member epoch
             00000009    | previous member epoch
             01          | unrevoked partitions
             02 {TOPIC}
             01          | nothing to revoke
             00"
        ),
    );
    // A state of a later version; and the assignment epochs of KIP-1251, tag 0 of a topic.
    let value = "0000 0000000a 00000009 55
        02 0000000000000000000000000000000b 02 00000001 01 00 05 02 00000009 01 00";
    let decoded = decode_value(key, value).unwrap();
    let DecodedGroupRecord::Record(GroupRecord::CurrentMemberAssignment { value, .. }) = decoded
    else {
        panic!("{decoded:?}");
    };
    assert_eq!(value.unwrap().state, MemberState::Unknown);
}

#[test]
fn a_resolved_regular_expression() {
    golden(
        GroupRecord::RegularExpression {
            group_id: "g".to_owned(),
            regular_expression: "t.*".to_owned(),
            value: Some(RegularExpression {
                topics: vec!["t1".to_owned()],
                version: 77,
                timestamp: Timestamp::new(1_000),
            }),
        },
        "0010             | type 16
         0001 67          | group 'g'
         0003 742e2a      | 't.*'",
        "0000                  | version
         02 03 7431            | one topic, 't1'
         000000000000004d      | metadata version
         00000000000003e8      | timestamp
         00",
    );
}

#[test]
fn what_coordinators_do_not_keep_is_told_apart() {
    let partition_metadata = DecodedGroupRecord::PartitionMetadata {
        group_id: "g".to_owned(),
    };
    let decoded = decode_value("0004 0001 67", "ff | never read");
    assert_eq!(decoded, Ok(partition_metadata));
    for record_type in [9, 15, 17, i16::MAX, -1] {
        let mut key = record_type.to_be_bytes().to_vec();
        key.push(0xff);
        let decoded = GroupRecord::decode(&key, Some(&[]));
        assert_eq!(decoded, Ok(DecodedGroupRecord::UnknownType { record_type }));
    }
}

#[test]
fn a_newer_version_of_a_value_is_refused_by_name() {
    let refused = decode_value(GROUP_KEY, "0005").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the value of a record of type 2 of __consumer_offsets has version 5, versions 0 to 4 are \
         known"
    );
    let refused = decode_value("0003 0001 67", "ffff").unwrap_err();
    assert!(matches!(
        refused,
        GroupRecordError::ValueVersion { found: -1, .. }
    ));
}

#[test]
fn damage_is_named_with_its_field_and_place() {
    let refused = decode_value(COMMIT_KEY, "0003 ffffffffffffffff").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the value of a record of type 1 of __consumer_offsets is damaged: \
         field offset at byte 2: must not be negative, found -1"
    );
    let refused = decode_value("0007 0001 67 0001 61", "0000 ffffffff07").unwrap_err();
    let GroupRecordError::Value { error, .. } = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(
        error.problem,
        ReadProblem::CountBeyondBytes { count, .. } if count == i32::MAX as usize - 1
    ));
}

#[test]
fn an_id_that_no_string_holds_is_not_written() {
    let record = |length| GroupRecord::GroupMetadata {
        group_id: "x".repeat(length),
        value: None,
    };
    assert!(record(32_767).encode().is_ok());
    let refused = record(32_768).encode().unwrap_err();
    assert!(matches!(
        refused,
        WriteError::TooLong {
            length: 32_768,
            max: 32_767,
            ..
        }
    ));
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=i64::MAX).prop_map(Timestamp::new)
}

fn any_topics() -> impl Strategy<Value = Vec<TopicPartitions>> {
    let partitions = vec((0..=i32::MAX).prop_map(PartitionIndex::new), 0..20);
    let topic = (any::<[u8; 16]>(), partitions).prop_map(|(id, partitions)| TopicPartitions {
        topic_id: TopicId::from_bytes(id),
        partitions,
    });
    vec(topic, 0..8)
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

prop_compose! {
    fn any_commit()(
        offset in 0..=i64::MAX,
        leader_epoch in option::of(0..=i32::MAX),
        metadata in text(),
        commit_timestamp in timestamp(),
        topic_id in any::<[u8; 16]>(),
        with_topic_id: bool,
    ) -> OffsetCommit {
        OffsetCommit {
            offset: Offset::new(offset),
            leader_epoch: leader_epoch.map(LeaderEpoch::new),
            metadata,
            commit_timestamp,
            expire_timestamp: None,
            topic_id: TopicId::from_bytes(if with_topic_id { topic_id } else { [0; 16] }),
        }
    }
}

prop_compose! {
    fn any_classic_member()(
        (member_id, client_id, client_host) in (text(), text(), text()),
        group_instance_id in option::of(text()),
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        subscription in any_bytes(),
        assignment in any_bytes(),
    ) -> ClassicMember {
        ClassicMember {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        }
    }
}

prop_compose! {
    fn any_group()(
        protocol_type in text(),
        generation: i32,
        protocol in option::of(text()),
        leader in option::of(text()),
        current_state_timestamp in option::of(timestamp()),
        members in vec(any_classic_member(), 0..5),
    ) -> GroupMetadata {
        GroupMetadata {
            protocol_type,
            generation,
            protocol,
            leader,
            current_state_timestamp,
            members,
        }
    }
}

prop_compose! {
    fn any_member()(
        (instance_id, rack_id) in (option::of(text()), option::of(text())),
        (client_id, client_host) in (text(), text()),
        subscribed_topic_names in vec(text(), 0..10),
        subscribed_topic_regex in option::of(text()),
        rebalance_timeout_ms: i32,
        server_assignor in option::of(text()),
        classic_protocols in option::of(vec((text(), any_bytes()), 0..4)),
    ) -> ConsumerGroupMember {
        ConsumerGroupMember {
            instance_id,
            rack_id,
            client_id,
            client_host,
            subscribed_topic_names,
            subscribed_topic_regex,
            rebalance_timeout_ms,
            server_assignor,
            classic_protocols: classic_protocols.map(|protocols| {
                let protocol = |(name, metadata)| ClassicProtocol { name, metadata };
                protocols.into_iter().map(protocol).collect()
            }),
        }
    }
}

prop_compose! {
    fn any_current()(
        member_epoch: i32,
        previous_member_epoch: i32,
        state in 0i8..=2,
        assigned_partitions in any_topics(),
        partitions_pending_revocation in any_topics(),
    ) -> CurrentMemberAssignment {
        CurrentMemberAssignment {
            member_epoch,
            previous_member_epoch,
            state: MemberState::from_number(state),
            assigned_partitions,
            partitions_pending_revocation,
        }
    }
}

fn any_record() -> impl Strategy<Value = GroupRecord> {
    let texts = || (text(), text());
    prop_oneof![
        (texts(), 0..=i32::MAX, option::of(any_commit())).prop_map(
            |((group_id, topic), partition, value)| GroupRecord::OffsetCommit {
                group_id,
                topic,
                partition: PartitionIndex::new(partition),
                value,
            }
        ),
        (text(), option::of(any_group()))
            .prop_map(|(group_id, value)| GroupRecord::GroupMetadata { group_id, value }),
        (text(), option::of(any::<(i32, i64)>())).prop_map(|(group_id, value)| {
            let value = value.map(|(epoch, metadata_hash)| ConsumerGroupMetadata {
                epoch,
                metadata_hash,
            });
            GroupRecord::ConsumerGroupMetadata { group_id, value }
        }),
        (texts(), option::of(any_member())).prop_map(|((group_id, member_id), value)| {
            GroupRecord::ConsumerGroupMember {
                group_id,
                member_id,
                value,
            }
        }),
        (text(), option::of(any::<i32>())).prop_map(|(group_id, value)| {
            let value = value.map(|assignment_epoch| TargetAssignmentMetadata { assignment_epoch });
            GroupRecord::TargetAssignmentMetadata { group_id, value }
        }),
        (texts(), option::of(any_topics())).prop_map(|((group_id, member_id), value)| {
            GroupRecord::TargetAssignmentMember {
                group_id,
                member_id,
                value,
            }
        }),
        (texts(), option::of(any_current())).prop_map(|((group_id, member_id), value)| {
            GroupRecord::CurrentMemberAssignment {
                group_id,
                member_id,
                value,
            }
        }),
        (
            texts(),
            option::of((vec(text(), 0..10), any::<i64>(), timestamp()))
        )
            .prop_map(|((group_id, regular_expression), value)| {
                let value = value.map(|(topics, version, timestamp)| RegularExpression {
                    topics,
                    version,
                    timestamp,
                });
                GroupRecord::RegularExpression {
                    group_id,
                    regular_expression,
                    value,
                }
            }),
    ]
}

proptest! {
    #[test]
    fn every_record_survives_its_bytes(record in any_record()) {
        let (key, value) = record.encode().unwrap();
        let decoded = GroupRecord::decode(&key, value.as_deref());
        prop_assert_eq!(decoded, Ok(DecodedGroupRecord::Record(record)));
    }

    #[test]
    fn a_record_cut_or_lengthened_is_an_error(record in any_record(), cut: prop::sample::Index) {
        let (key, value) = record.encode().unwrap();
        let cut_key = &key[..cut.index(key.len())];
        prop_assert!(GroupRecord::decode(cut_key, value.as_deref()).is_err());
        let long_key = [&key[..], &[0]].concat();
        prop_assert!(GroupRecord::decode(&long_key, value.as_deref()).is_err());
        if let Some(value) = value {
            let cut_value = &value[..cut.index(value.len())];
            prop_assert!(GroupRecord::decode(&key, Some(cut_value)).is_err());
            let long_value = [&value[..], &[0]].concat();
            prop_assert!(GroupRecord::decode(&key, Some(&long_value)).is_err());
        }
    }

    /// What a flipped bit leaves readable is at most as large as what it was read from.
    #[test]
    fn a_flipped_bit_never_panics(record in any_record(), at: prop::sample::Index, bit in 0u32..8) {
        let (key, value) = record.encode().unwrap();
        let mut flipped = key.to_vec();
        flipped[at.index(key.len())] ^= 1u8 << bit;
        let _ = GroupRecord::decode(&flipped, value.as_deref());
        if let Some(value) = value {
            let mut flipped = value.to_vec();
            flipped[at.index(value.len())] ^= 1u8 << bit;
            if let Ok(DecodedGroupRecord::Record(record)) = GroupRecord::decode(&key, Some(&flipped)) {
                let (_, again) = record.encode().unwrap();
                prop_assert!(again.unwrap().len() <= value.len() + MOST_ADDED_BY_REWRITING);
            }
        }
    }

    #[test]
    fn noise_never_panics(record_type in 0i16..20, body in vec(any::<u8>(), 0..100),
                          value in vec(any::<u8>(), 0..200), version in 0i16..5) {
        let key = [&record_type.to_be_bytes()[..], &body].concat();
        let value = [&version.to_be_bytes()[..], &value].concat();
        let _ = GroupRecord::decode(&key, Some(&value));
    }
}

/// A value read in one version may be written in another: version 3 instead of 4 or 0 has wider
/// lengths or more fields, for a commit and for each of five members.
const MOST_ADDED_BY_REWRITING: usize = 40 + 5 * 40;
