#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ShardId, TopicId};

use super::ownership::{OwnedPartition, Owner};
use crate::config::TopicConfig;
use crate::metadata::{BrokerRegistration, MetadataImage, MetadataRecord, PartitionImage};

const HERE: BrokerId = BrokerId::new(1);
const ELSEWHERE: BrokerId = BrokerId::new(2);

fn owner(shard: u16, shards: u16) -> Owner {
    Owner {
        broker: HERE,
        shard: ShardId::new(shard),
        shards,
    }
}

fn topic(id: u8, name: &str, leaders: &[BrokerId]) -> MetadataRecord {
    MetadataRecord::TopicCreated {
        id: TopicId::from_bytes([id; 16]),
        name: name.to_owned(),
        internal: false,
        configs: BTreeMap::new(),
        partitions: leaders.iter().copied().map(led_by).collect(),
    }
}

fn led_by(leader: BrokerId) -> PartitionImage {
    PartitionImage {
        leader: Some(leader),
        leader_epoch: LeaderEpoch::ZERO,
        replicas: vec![leader],
        in_sync_replicas: vec![leader],
        partition_epoch: 0,
    }
}

fn image(records: &[MetadataRecord]) -> MetadataImage {
    empty().apply(records).unwrap()
}

fn empty() -> MetadataImage {
    MetadataImage::empty(Arc::new(TopicConfig::default()))
}

fn folders(partitions: &[OwnedPartition]) -> Vec<String> {
    partitions.iter().map(OwnedPartition::folder).collect()
}

#[test]
fn every_led_partition_is_opened_by_exactly_one_shard() {
    let image = image(&[topic(1, "a", &[HERE; 5]), topic(2, "b", &[HERE; 3])]);
    for shards in [1, 2, 3] {
        let mut opened = Vec::new();
        for shard in 0..shards {
            let changes = owner(shard, shards).changes(&empty(), &image);
            assert!(changes.deleted.is_empty() && changes.updated.is_empty());
            opened.extend(folders(&changes.opened));
        }
        opened.sort();
        let all = ["a-0", "a-1", "a-2", "a-3", "a-4", "b-0", "b-1", "b-2"];
        assert_eq!(opened, all, "{shards} shards");
    }
}

#[test]
fn partitions_that_another_broker_leads_are_not_opened() {
    let image = image(&[topic(1, "a", &[HERE, ELSEWHERE, HERE])]);
    let changes = owner(0, 1).changes(&empty(), &image);
    assert_eq!(folders(&changes.opened), ["a-0", "a-2"]);
}

#[test]
fn a_topic_created_again_is_deleted_before_it_is_opened() {
    let old = image(&[topic(1, "a", &[HERE; 2])]);
    let deleted = MetadataRecord::TopicDeleted {
        id: TopicId::from_bytes([1; 16]),
    };
    let new = old.apply(&[deleted, topic(2, "a", &[HERE])]).unwrap();
    let changes = owner(0, 1).changes(&old, &new);
    let ids: Vec<_> = changes.deleted.iter().map(|id| id.topic_id).collect();
    assert_eq!(ids, [TopicId::from_bytes([1; 16]); 2]);
    assert_eq!(folders(&changes.opened), ["a-0"]);
    assert_eq!(changes.opened[0].id.topic_id, TopicId::from_bytes([2; 16]));
}

#[test]
fn only_what_changed_is_touched() {
    let old = image(&[topic(1, "a", &[HERE]), topic(2, "b", &[HERE])]);
    let changed = MetadataRecord::TopicConfigChanged {
        id: TopicId::from_bytes([2; 16]),
        configs: BTreeMap::from([("durability".to_owned(), "written".to_owned())]),
    };
    let new = old.apply(&[changed, topic(3, "c", &[HERE])]).unwrap();
    let changes = owner(0, 1).changes(&old, &new);
    assert!(changes.deleted.is_empty());
    assert_eq!(folders(&changes.updated), ["b-0"]);
    assert_eq!(folders(&changes.opened), ["c-0"]);
}

#[test]
fn added_partitions_are_opened_and_the_others_stay_open() {
    let old = image(&[topic(1, "a", &[HERE; 3]), topic(2, "b", &[HERE])]);
    let added = MetadataRecord::PartitionsAdded {
        id: TopicId::from_bytes([1; 16]),
        first: PartitionIndex::new(3),
        partitions: [HERE, ELSEWHERE, HERE].map(led_by).to_vec(),
    };
    let new = old.apply(&[added]).unwrap();
    for shards in [1, 2, 3] {
        let (mut opened, mut updated) = (Vec::new(), Vec::new());
        for shard in 0..shards {
            let changes = owner(shard, shards).changes(&old, &new);
            assert!(changes.deleted.is_empty());
            opened.extend(folders(&changes.opened));
            updated.extend(folders(&changes.updated));
        }
        opened.sort();
        updated.sort();
        assert_eq!(opened, ["a-3", "a-5"], "{shards} shards");
        assert_eq!(updated, ["a-0", "a-1", "a-2"], "{shards} shards");
    }
}

#[test]
fn a_new_registration_updates_the_leader_epoch() {
    let old = image(&[topic(1, "a", &[HERE])]);
    let registered = MetadataRecord::BrokerRegistered(BrokerRegistration {
        id: HERE,
        host: "localhost".to_owned(),
        port: 9190,
        shards: 1,
        broker_epoch: 1,
    });
    let new = old.apply(&[registered]).unwrap();
    let changes = owner(0, 1).changes(&old, &new);
    assert!(changes.opened.is_empty());
    assert_eq!(changes.updated[0].leader_epoch, LeaderEpoch::new(1));
    assert_eq!(changes.updated[0].id.partition, PartitionIndex::new(0));
}
