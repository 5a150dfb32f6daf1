#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::config::{ByteSize, TopicConfig};

const TOPIC: TopicId = TopicId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn partition(leader_epoch: i32) -> PartitionImage {
    PartitionImage {
        leader: Some(BrokerId::new(1)),
        leader_epoch: LeaderEpoch::new(leader_epoch),
        replicas: vec![BrokerId::new(1)],
        in_sync_replicas: vec![BrokerId::new(1)],
        partition_epoch: leader_epoch,
    }
}

fn created(id: TopicId, name: &str, partitions: usize) -> MetadataRecord {
    MetadataRecord::TopicCreated {
        id,
        name: name.to_owned(),
        internal: false,
        configs: BTreeMap::new(),
        partitions: vec![partition(0); partitions],
    }
}

fn added(first: i32, partitions: Vec<PartitionImage>) -> MetadataRecord {
    MetadataRecord::PartitionsAdded {
        id: TOPIC,
        first: PartitionIndex::new(first),
        partitions,
    }
}

fn registered(id: i32, broker_epoch: i64) -> MetadataRecord {
    MetadataRecord::BrokerRegistered(BrokerRegistration {
        id: BrokerId::new(id),
        host: "127.0.0.1".to_owned(),
        port: 9190,
        shards: 2,
        broker_epoch,
    })
}

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn empty() -> MetadataImage {
    MetadataImage::empty(Arc::new(TopicConfig::default()))
}

/// One record of every kind, with the names under which the fixture lists them.
fn one_of_each_kind() -> Vec<(&'static str, MetadataRecord)> {
    vec![
        (
            "cluster_formed",
            MetadataRecord::ClusterFormed {
                cluster_id: "q9KVY_fQSkSfg2ZTN3AqHg".to_owned(),
            },
        ),
        (
            "controller_started",
            MetadataRecord::ControllerStarted { epoch: 7 },
        ),
        ("broker_registered", registered(1, 42)),
        (
            "topic_created",
            MetadataRecord::TopicCreated {
                id: TOPIC,
                name: "orders".to_owned(),
                internal: true,
                configs: configs(&[("durability", "written"), ("segment.bytes", "1048576")]),
                partitions: vec![
                    PartitionImage {
                        leader: Some(BrokerId::new(1)),
                        leader_epoch: LeaderEpoch::new(3),
                        replicas: vec![BrokerId::new(1), BrokerId::new(2)],
                        in_sync_replicas: vec![BrokerId::new(1)],
                        partition_epoch: 4,
                    },
                    PartitionImage {
                        leader: None,
                        leader_epoch: LeaderEpoch::new(0),
                        replicas: vec![BrokerId::new(2)],
                        in_sync_replicas: vec![],
                        partition_epoch: 1,
                    },
                ],
            },
        ),
        ("topic_deleted", MetadataRecord::TopicDeleted { id: TOPIC }),
        (
            "topic_config_changed",
            MetadataRecord::TopicConfigChanged {
                id: TOPIC,
                configs: configs(&[("retention.ms", "-1")]),
            },
        ),
        (
            "deleted_topics_forgotten",
            MetadataRecord::DeletedTopicsForgotten { through_offset: 99 },
        ),
        (
            "topic_tombstone",
            MetadataRecord::TopicTombstone {
                id: TOPIC,
                deleted_at: 98,
            },
        ),
        (
            "producer_ids_allocated",
            MetadataRecord::ProducerIdsAllocated {
                next: ProducerId::new(4000),
            },
        ),
        (
            "partitions_added",
            added(
                2,
                vec![PartitionImage {
                    leader: Some(BrokerId::new(2)),
                    leader_epoch: LeaderEpoch::ZERO,
                    replicas: vec![BrokerId::new(2), BrokerId::new(1)],
                    in_sync_replicas: vec![BrokerId::new(2)],
                    partition_epoch: 0,
                }],
            ),
        ),
    ]
}

/// The fixture was written by version 1 and its lines never change: what they hold must stay readable,
/// and version 1 must still be written as it was. A new kind of record is a new line.
#[test]
fn records_have_the_bytes_of_the_fixture() {
    let fixture = include_str!("../../fixtures/metadata_records_v1.hex");
    let mut expected = String::new();
    for (name, record) in one_of_each_kind() {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes);
        write!(expected, "{name} ").unwrap();
        for byte in &bytes {
            write!(expected, "{byte:02x}").unwrap();
        }
        expected.push('\n');
    }
    assert_eq!(expected, fixture);

    for (line, (name, record)) in fixture.lines().zip(one_of_each_kind()) {
        let hex = line.strip_prefix(name).unwrap().trim();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(decode_record(&bytes), Ok((record, &[][..])));
    }
}

#[test]
fn a_record_of_a_newer_version_or_an_unknown_kind_is_refused() {
    let reseal = |kind: u8, version: u8| {
        let mut bytes = Vec::new();
        encode_record(&MetadataRecord::ControllerStarted { epoch: 1 }, &mut bytes);
        bytes[8] = kind;
        bytes[9] = version;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[0..4]), &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        decode_record(&bytes).unwrap_err()
    };
    assert_eq!(reseal(2, 2), RecordError::Version { found: 2 });
    assert_eq!(reseal(2, 0), RecordError::Version { found: 0 });
    assert_eq!(reseal(200, 1), RecordError::UnknownKind { found: 200 });
    // Its four bytes read as a text's length that nothing follows.
    assert_eq!(
        reseal(1, 1),
        RecordError::Truncated {
            what: "cluster id",
            missing: 1
        }
    );
}

#[test]
fn registering_a_broker_raises_the_epochs_of_what_it_leads() {
    let other = TopicId::from_bytes([9; 16]);
    let mut led_by_two = partition(5);
    led_by_two.leader = Some(BrokerId::new(2));
    let image = empty()
        .apply(&[
            created(TOPIC, "orders", 3),
            MetadataRecord::TopicCreated {
                id: other,
                name: "events".to_owned(),
                internal: false,
                configs: BTreeMap::new(),
                partitions: vec![led_by_two, partition(7)],
            },
            registered(1, 2),
        ])
        .unwrap();
    let epochs = |id| -> Vec<i32> {
        let topic = image.topic_by_id(id).unwrap();
        let epochs = topic.partitions.iter().map(|p| p.leader_epoch.get());
        epochs.collect()
    };
    assert_eq!(epochs(TOPIC), [1, 1, 1]);
    assert_eq!(epochs(other), [5, 8]);
    assert_eq!(image.offset, 2);
    let (topic, second) = image.partition(other, PartitionIndex::new(1)).unwrap();
    assert_eq!(second.partition_epoch, 8);
    assert_eq!(topic.partition_folder(PartitionIndex::new(1)), "events-1");
}

#[test]
fn an_image_is_not_changed_by_the_next_one() {
    let before = empty().apply(&[created(TOPIC, "orders", 1)]).unwrap();
    let after = before
        .apply(&[MetadataRecord::TopicConfigChanged {
            id: TOPIC,
            configs: configs(&[("segment.bytes", "65536")]),
        }])
        .unwrap();
    let segment_bytes = |image: &MetadataImage| image.topic("orders").unwrap().config.segment_bytes;
    assert_eq!(segment_bytes(&before), ByteSize::gib(1));
    assert_eq!(segment_bytes(&after), ByteSize::kib(64));
    assert_eq!(
        after.topic("orders"),
        after.topic_by_id(TOPIC),
        "both indexes show the same topic"
    );
}

#[test]
fn a_deleted_topic_is_remembered_until_no_journal_names_it() {
    let image = empty()
        .apply(&[
            created(TOPIC, "orders", 1),
            MetadataRecord::TopicDeleted { id: TOPIC },
        ])
        .unwrap();
    assert_eq!(image.topic("orders"), None);
    assert_eq!(image.topic_by_id(TOPIC), None);
    assert!(image.is_deleted(TOPIC));

    let forget = |through_offset| MetadataRecord::DeletedTopicsForgotten { through_offset };
    let kept = image.apply(&[forget(0)]).unwrap();
    assert!(kept.is_deleted(TOPIC), "it was deleted at offset 1");
    let forgotten = kept.apply(&[forget(1)]).unwrap();
    assert!(!forgotten.is_deleted(TOPIC));

    // The name is free again at once; the id never is while its tombstone stands.
    let again = TopicId::from_bytes([3; 16]);
    assert!(image.apply(&[created(again, "orders", 2)]).is_ok());
    assert!(image.apply(&[created(TOPIC, "orders", 2)]).is_err());
}

#[test]
fn added_partitions_follow_those_that_are_there() {
    let before = empty()
        .apply(&[created(TOPIC, "orders", 2), registered(1, 1)])
        .unwrap();
    let after = before.apply(&[added(2, vec![partition(0); 2])]).unwrap();
    assert_eq!(before.topic("orders").unwrap().partitions.len(), 2);
    let topic = after.topic("orders").unwrap();
    let epochs: Vec<i32> = topic
        .partitions
        .iter()
        .map(|partition| partition.leader_epoch.get())
        .collect();
    assert_eq!(epochs, [1, 1, 0, 0], "the old ones keep what they had");
    assert_eq!(after.topic_by_id(TOPIC), Some(topic));
    assert_eq!(after.topic("orders").unwrap().id, TOPIC);

    let next = after.apply(&[registered(1, 3)]).unwrap();
    let (_, last) = next.partition(TOPIC, PartitionIndex::new(3)).unwrap();
    assert_eq!(last.leader_epoch, LeaderEpoch::new(1));

    for first in [0, 1, 3] {
        let refused = before.apply(&[added(first, vec![partition(0)])]);
        assert_eq!(
            refused,
            Err(ApplyError::PartitionsDoNotFollow {
                name: "orders".to_owned(),
                held: 2,
                first: PartitionIndex::new(first),
            })
        );
    }
    assert_eq!(
        empty().apply(&[added(0, vec![partition(0)])]),
        Err(ApplyError::UnknownTopic { id: TOPIC })
    );
}

#[test]
fn records_that_do_not_follow_from_the_image_are_refused() {
    let image = empty()
        .apply(&[
            MetadataRecord::ClusterFormed {
                cluster_id: "a".to_owned(),
            },
            MetadataRecord::ControllerStarted { epoch: 3 },
            created(TOPIC, "orders", 1),
        ])
        .unwrap();
    let refuse = |record| image.apply(&[record]).unwrap_err();
    let unknown = TopicId::from_bytes([4; 16]);
    assert!(matches!(
        refuse(MetadataRecord::ClusterFormed {
            cluster_id: "b".to_owned()
        }),
        ApplyError::FormedTwice { .. }
    ));
    assert_eq!(
        refuse(MetadataRecord::ControllerStarted { epoch: 3 }),
        ApplyError::EpochNotRaised {
            current: 3,
            found: 3
        }
    );
    assert!(matches!(
        refuse(created(unknown, "orders", 1)),
        ApplyError::TopicExists { .. }
    ));
    assert_eq!(
        refuse(MetadataRecord::TopicDeleted { id: unknown }),
        ApplyError::UnknownTopic { id: unknown }
    );
    assert!(matches!(
        refuse(MetadataRecord::TopicConfigChanged {
            id: TOPIC,
            configs: configs(&[("segment.bytes", "1")]),
        }),
        ApplyError::Config { .. }
    ));
    let mut last = partition(i32::MAX);
    last.partition_epoch = 0;
    let exhausted = image
        .apply(&[
            MetadataRecord::TopicCreated {
                id: unknown,
                name: "old".to_owned(),
                internal: false,
                configs: BTreeMap::new(),
                partitions: vec![last],
            },
            registered(1, 4),
        ])
        .unwrap_err();
    assert!(matches!(exhausted, ApplyError::EpochExhausted { .. }));
}

#[test]
fn a_snapshot_rebuilds_the_image_with_its_epochs() {
    let second = TopicId::from_bytes([5; 16]);
    let image = empty()
        .apply(&[
            MetadataRecord::ClusterFormed {
                cluster_id: "c".to_owned(),
            },
            MetadataRecord::ControllerStarted { epoch: 1 },
            registered(1, 2),
            created(TOPIC, "orders", 2),
            created(second, "events", 1),
            registered(1, 5),
            added(2, vec![partition(0)]),
            MetadataRecord::TopicDeleted { id: second },
        ])
        .unwrap();
    let rebuilt = MetadataImage::from_records(
        image.offset,
        image.epoch,
        &image.to_records(),
        Arc::new(TopicConfig::default()),
    )
    .unwrap();
    assert_eq!(rebuilt, image);
}

fn any_text() -> impl Strategy<Value = String> {
    "\\PC{0,30}"
}

fn any_id() -> impl Strategy<Value = TopicId> {
    any::<[u8; 16]>().prop_map(TopicId::from_bytes)
}

fn any_brokers() -> impl Strategy<Value = Vec<BrokerId>> {
    vec((0..i32::MAX).prop_map(BrokerId::new), 0..4)
}

fn any_partition() -> impl Strategy<Value = PartitionImage> {
    (
        -1..i32::MAX,
        0..i32::MAX,
        any::<i32>(),
        any_brokers(),
        any_brokers(),
    )
        .prop_map(
            |(leader, leader_epoch, partition_epoch, replicas, in_sync_replicas)| PartitionImage {
                leader: BrokerId::from_sentinel(leader),
                leader_epoch: LeaderEpoch::new(leader_epoch),
                replicas,
                in_sync_replicas,
                partition_epoch,
            },
        )
}

fn any_record() -> impl Strategy<Value = MetadataRecord> {
    let configs = || btree_map(any_text(), any_text(), 0..4);
    prop_oneof![
        any_text().prop_map(|cluster_id| MetadataRecord::ClusterFormed { cluster_id }),
        any::<i32>().prop_map(|epoch| MetadataRecord::ControllerStarted { epoch }),
        (
            0..i32::MAX,
            any_text(),
            any::<u16>(),
            1..u16::MAX,
            any::<i64>()
        )
            .prop_map(|(id, host, port, shards, broker_epoch)| {
                MetadataRecord::BrokerRegistered(BrokerRegistration {
                    id: BrokerId::new(id),
                    host,
                    port,
                    shards,
                    broker_epoch,
                })
            }),
        (
            any_id(),
            any_text(),
            any::<bool>(),
            configs(),
            vec(any_partition(), 0..5)
        )
            .prop_map(|(id, name, internal, configs, partitions)| {
                MetadataRecord::TopicCreated {
                    id,
                    name,
                    internal,
                    configs,
                    partitions,
                }
            }),
        any_id().prop_map(|id| MetadataRecord::TopicDeleted { id }),
        (any_id(), configs())
            .prop_map(|(id, configs)| MetadataRecord::TopicConfigChanged { id, configs }),
        any::<i64>()
            .prop_map(|through_offset| MetadataRecord::DeletedTopicsForgotten { through_offset }),
        (any_id(), any::<i64>())
            .prop_map(|(id, deleted_at)| MetadataRecord::TopicTombstone { id, deleted_at }),
        (0..=i64::MAX).prop_map(|next| MetadataRecord::ProducerIdsAllocated {
            next: ProducerId::new(next),
        }),
        (any_id(), 0..i32::MAX, vec(any_partition(), 0..5)).prop_map(|(id, first, partitions)| {
            MetadataRecord::PartitionsAdded {
                id,
                first: PartitionIndex::new(first),
                partitions,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn records_are_read_back_as_written(records in vec(any_record(), 1..5)) {
        let mut bytes = Vec::new();
        for record in &records {
            encode_record(record, &mut bytes);
        }
        let mut rest = bytes.as_slice();
        for record in &records {
            let (read, after) = decode_record(rest).unwrap();
            prop_assert_eq!(&read, record);
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn one_flipped_bit_is_noticed(record in any_record(), position: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes);
        let position = position.index(bytes.len());
        bytes[position] ^= 1u8 << bit;
        prop_assert!(decode_record(&bytes).is_err());
    }

    #[test]
    fn a_cut_record_is_refused(record in any_record(), length: prop::sample::Index) {
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes);
        bytes.truncate(length.index(bytes.len()));
        let refused = decode_record(&bytes).unwrap_err();
        prop_assert!(matches!(refused, RecordError::Truncated { .. }), "{}", refused);
    }

    /// A body that passes its checksum and lies about its counts costs no more memory than it has.
    #[test]
    fn a_sealed_body_of_noise_is_read_or_refused(kind in 0u8..12, body in vec(any::<u8>(), 0..200)) {
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        let mut checked = vec![kind, 1];
        checked.extend(&body);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &checked);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(checked);
        let _ = decode_record(&bytes);
    }
}
