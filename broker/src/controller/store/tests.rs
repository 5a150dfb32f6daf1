#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use corelog_protocol::{LeaderEpoch, PartitionIndex, TopicId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::metadata::PartitionImage;
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{SimulatedDisk, Simulator};

const CLUSTER: &str = "test-cluster";

async fn open(disk: &SimulatedDisk, snapshot_interval: ByteSize) -> MetadataStore {
    try_open(disk, snapshot_interval).await.unwrap()
}

async fn try_open(
    disk: &SimulatedDisk,
    snapshot_interval: ByteSize,
) -> Result<MetadataStore, MetadataError> {
    MetadataStore::open(
        Storage::simulated(disk.clone()),
        CLUSTER,
        Arc::new(TopicConfig::default()),
        snapshot_interval,
    )
    .await
}

fn broker() -> BrokerStart {
    BrokerStart {
        id: BrokerId::new(1),
        host: "127.0.0.1".to_owned(),
        port: 9190,
        shards: 2,
    }
}

fn created(number: u32, partitions: usize) -> MetadataRecord {
    let partition = PartitionImage {
        leader: Some(BrokerId::new(1)),
        leader_epoch: LeaderEpoch::ZERO,
        replicas: vec![BrokerId::new(1)],
        in_sync_replicas: vec![BrokerId::new(1)],
        partition_epoch: 0,
    };
    MetadataRecord::TopicCreated {
        id: TopicId::from_bytes(u128::from(number + 1).to_be_bytes()),
        name: format!("topic-{number}"),
        internal: false,
        configs: BTreeMap::new(),
        partitions: vec![partition; partitions],
    }
}

/// Two partitions more for the topic that [`created`] with one.
fn added(number: u32) -> MetadataRecord {
    let MetadataRecord::TopicCreated { id, partitions, .. } = created(number, 2) else {
        unreachable!("it is what `created` makes");
    };
    MetadataRecord::PartitionsAdded {
        id,
        first: PartitionIndex::new(1),
        partitions,
    }
}

fn partition_count(image: &MetadataImage) -> usize {
    image.topics().map(|topic| topic.partitions.len()).sum()
}

fn topic_count(image: &MetadataImage) -> u32 {
    image.topics().len() as u32
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    let written = simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        store.start_broker(broker()).await.unwrap();
        for number in 0..10 {
            store.append(&[created(number, 1)]).await.unwrap();
            store.append(&[added(number)]).await.unwrap();
        }
        let image = store.image();
        store.close().await.unwrap();
        image
    });
    simulator.crash();
    let read = simulator.run(async { open(&disk, ByteSize::mib(1)).await.image() });
    assert_eq!(read, written);
    assert_eq!(&*read.cluster_id, CLUSTER);
    // The record that formed the cluster, two of the start, ten topics, which each grew once.
    assert_eq!(read.offset, 22);
    assert_eq!(partition_count(&read), 30);
}

#[test]
fn every_start_raises_the_epochs_of_controller_broker_and_partitions() {
    let mut simulator = Simulator::new(2);
    let disk = simulator.disk();
    let mut broker_epoch = -1;
    for start in 0..4 {
        let image = simulator.run(async {
            let mut store = open(&disk, ByteSize::mib(1)).await;
            store.start_broker(broker()).await.unwrap();
            if start == 0 {
                store.append(&[created(0, 2)]).await.unwrap();
            }
            store.image()
        });
        simulator.crash();
        assert_eq!(image.epoch, start + 1);
        let registered = image.brokers[&BrokerId::new(1)].broker_epoch;
        assert!(registered > broker_epoch);
        broker_epoch = registered;
        for partition in &image.topic("topic-0").unwrap().partitions {
            assert_eq!(partition.leader_epoch, LeaderEpoch::new(start));
        }
    }
}

/// The story: a topic is created and acknowledged, producers fill it, the power goes. If the topic
/// were gone at the next start, its acknowledged records would be gone with it.
#[test]
fn power_cuts_and_deaths_take_nothing_that_was_acknowledged_or_seen() {
    for seed in 0..40 {
        let mut choices = StdRng::seed_from_u64(seed);
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        let promised = Rc::new(RefCell::new((0, 0, 0)));
        for round in 0..6 {
            let steps = choices.random_range(1..250);
            let partitions = choices.random_range(150..300);
            let promised = Rc::clone(&promised);
            let disk = disk.clone();
            simulator.run_steps(steps, async move {
                let mut store = open(&disk, ByteSize::kib(16)).await;
                let see = |image: &MetadataImage| {
                    let seen = (topic_count(image), partition_count(image), image.epoch);
                    let (topics, partitions, epoch) = *promised.borrow();
                    assert!(
                        seen.0 >= topics && seen.1 >= partitions && seen.2 >= epoch,
                        "seed {seed}, round {round}: {topics} topics with {partitions} partitions \
                         in epoch {epoch} were promised, {seen:?} are there"
                    );
                    for number in 0..seen.0 {
                        let name = format!("topic-{number}");
                        assert!(image.topic(&name).is_some(), "seed {seed}: {name} is gone");
                    }
                    *promised.borrow_mut() = seen;
                };
                see(&store.image());
                see(&store.start_broker(broker()).await.unwrap());
                loop {
                    let next = topic_count(&store.image());
                    // Sometimes more than one block.
                    let partitions = if next.is_multiple_of(8) {
                        partitions
                    } else {
                        1
                    };
                    see(&store.append(&[created(next, partitions)]).await.unwrap());
                    if partitions == 1 {
                        see(&store.append(&[added(next)]).await.unwrap());
                    }
                }
            });
            if choices.random_bool(0.5) {
                simulator.crash();
            } else {
                simulator.kill();
            }
        }
        let (topics, partitions, _) = *promised.borrow();
        simulator.crash();
        let last = simulator.run(async { open(&disk, ByteSize::kib(16)).await.image() });
        assert!(topic_count(&last) >= topics, "seed {seed}");
        assert!(partition_count(&last) >= partitions, "seed {seed}");
    }
}

/// The story: the process dies between a write and its sync, or between a rename and its sync. The
/// next start finds the topic, shows it to the shards, and producers fill it; then the power goes. What
/// that start found was never synced, and the topic would be gone with its acknowledged records.
#[test]
fn what_a_start_found_survives_the_next_power_cut() {
    for seed in 0..400 {
        let mut choices = StdRng::seed_from_u64(seed);
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        let steps = choices.random_range(1..200);
        simulator.run_steps(steps, async {
            let mut store = open(&disk, ByteSize::kib(8)).await;
            for number in 0.. {
                store.append(&[created(number, 1)]).await.unwrap();
            }
        });
        simulator.kill();
        let found = simulator.run(async { open(&disk, ByteSize::kib(8)).await.image() });
        simulator.crash();
        let left = simulator.run(async { open(&disk, ByteSize::kib(8)).await.image() });
        assert_eq!(found.offset, left.offset, "seed {seed}");
        assert!(found == left, "seed {seed}: what was found has changed");
    }
}

#[test]
fn a_log_that_grew_is_replaced_by_a_snapshot() {
    let mut simulator = Simulator::new(4);
    let disk = simulator.disk();
    let image = simulator.run(async {
        let mut store = open(&disk, ByteSize::kib(16)).await;
        for number in 0..21 {
            store.append(&[created(number, 1)]).await.unwrap();
        }
        store.image()
    });
    let logs: Vec<(PathBuf, u64)> = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("log-"))
        .collect();
    // Every fourth entry of one block filled a log.
    assert_eq!(logs, [(log_path(6), 4096)]);
    simulator.crash();
    let read = simulator.run(async { open(&disk, ByteSize::kib(16)).await.image() });
    assert_eq!(read, image);
}

#[test]
fn many_records_become_several_entries() {
    let mut simulator = Simulator::new(5);
    let disk = simulator.disk();
    let records: Vec<MetadataRecord> = (0..20).map(|number| created(number, 10_000)).collect();
    let image = simulator.run(async {
        let mut store = open(&disk, ByteSize::gib(1)).await;
        store.append(&records).await.unwrap()
    });
    assert_eq!(topic_count(&image), 20);
    simulator.crash();
    let read = simulator.run(async { open(&disk, ByteSize::gib(1)).await.image() });
    assert_eq!(read, image);
}

fn disk_with_four_entries(simulator: &mut Simulator) -> SimulatedDisk {
    let disk = simulator.disk();
    simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        for number in 0..4 {
            store.append(&[created(number, 200)]).await.unwrap();
        }
    });
    simulator.crash();
    disk
}

#[test]
fn damage_before_a_good_entry_is_refused() {
    for seed in 0..50 {
        let mut simulator = Simulator::new(seed);
        let disk = disk_with_four_entries(&mut simulator);
        let mut choices = StdRng::seed_from_u64(seed);
        // An entry takes two blocks; padding is not protected and holds nothing.
        let record_bytes = disk.contents(&log_path(1)).unwrap()[4..8]
            .try_into()
            .unwrap();
        let used = HEADER_BYTES as u64 + u64::from(u32::from_le_bytes(record_bytes));
        let entry = choices.random_range(0..3);
        let position = entry * 8192 + choices.random_range(0..used);
        disk.flip_bit(&log_path(1), position, choices.random_range(0..8))
            .unwrap();
        let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
        let Some(MetadataError::Damaged {
            position,
            good_position,
            ..
        }) = refused
        else {
            panic!("seed {seed}: {refused:?}");
        };
        assert_eq!(
            (position, good_position),
            (entry * 8192, (entry + 1) * 8192)
        );
    }
}

#[test]
fn a_torn_last_entry_is_cut_off() {
    let mut simulator = Simulator::new(6);
    let disk = disk_with_four_entries(&mut simulator);
    disk.flip_bit(&log_path(1), 3 * 8192 + 100, 0).unwrap();
    let image = simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        assert_eq!(topic_count(&store.image()), 3);
        store.append(&[created(3, 1)]).await.unwrap()
    });
    simulator.crash();
    assert_eq!(disk.contents(&log_path(1)).unwrap().len(), 3 * 8192 + 4096);
    let read = simulator.run(async { open(&disk, ByteSize::mib(1)).await.image() });
    assert_eq!(read, image);
}

#[test]
fn a_damaged_or_missing_snapshot_is_refused() {
    let mut simulator = Simulator::new(7);
    let disk = disk_with_four_entries(&mut simulator);
    let snapshot = disk.contents(Path::new(SNAPSHOT)).unwrap();
    for position in 0..snapshot.len() as u64 {
        // Two bytes of the header are reserved, yet covered by its checksum.
        disk.flip_bit(Path::new(SNAPSHOT), position, 3).unwrap();
        let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
        assert!(
            matches!(refused, Some(MetadataError::Snapshot { .. })),
            "byte {position}: {refused:?}"
        );
        disk.flip_bit(Path::new(SNAPSHOT), position, 3).unwrap();
    }
    disk.put(Path::new(SNAPSHOT), &snapshot[..snapshot.len() - 1])
        .unwrap();
    let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
    assert!(matches!(refused, Some(MetadataError::Snapshot { .. })));

    simulator.run(async {
        let storage = Storage::simulated(disk.clone());
        storage.remove_file(Path::new(SNAPSHOT)).await.unwrap();
    });
    let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
    let found = format!("metadata/log-{:020}", 1);
    assert!(
        matches!(&refused, Some(MetadataError::SnapshotMissing { found: f }) if *f == found),
        "{refused:?}"
    );
}

#[test]
fn a_folder_with_records_but_no_metadata_is_refused() {
    let mut simulator = Simulator::new(8);
    let disk = simulator.disk();
    simulator.run(async {
        let storage = Storage::simulated(disk.clone());
        storage
            .create_dir_all(Path::new("data/orders-0"))
            .await
            .unwrap();
    });
    let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
    assert!(
        matches!(&refused, Some(MetadataError::SnapshotMissing { found }) if found == "data"),
        "{refused:?}"
    );
}

#[test]
fn a_missing_log_is_refused() {
    let mut simulator = Simulator::new(9);
    let disk = disk_with_four_entries(&mut simulator);
    simulator.run(async {
        let storage = Storage::simulated(disk.clone());
        storage.remove_file(&log_path(1)).await.unwrap();
    });
    let refused = simulator.run(try_open(&disk, ByteSize::mib(1))).err();
    assert!(matches!(refused, Some(MetadataError::LogMissing { .. })));
}

#[test]
fn metadata_of_another_cluster_is_refused() {
    let mut simulator = Simulator::new(10);
    let disk = disk_with_four_entries(&mut simulator);
    let refused = simulator.run(async {
        MetadataStore::open(
            Storage::simulated(disk),
            "other",
            Arc::new(TopicConfig::default()),
            ByteSize::mib(1),
        )
        .await
        .err()
    });
    assert_eq!(
        refused.unwrap().to_string(),
        "the data folder belongs to cluster `other`, its metadata to cluster `test-cluster`"
    );
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    let mut simulator = Simulator::new(11);
    let disk = simulator.disk();
    simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        store.append(&[created(0, 1)]).await.unwrap();
        disk.fail_nth(Operation::SyncData, 1, Fault::Device);
        let failed = store.append(&[created(1, 1)]).await;
        assert!(matches!(failed, Err(MetadataError::Io(_))), "{failed:?}");
        let syncs = disk.counters();
        let refused = store.append(&[created(1, 1)]).await;
        assert!(matches!(refused, Err(MetadataError::Stopped { .. })));
        assert_eq!(disk.counters(), syncs, "not even tried");
        assert_eq!(topic_count(&store.image()), 1);
    });
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut simulator = Simulator::new(12);
    let disk = simulator.disk();
    simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        store.append(&[created(0, 1)]).await.unwrap();
        disk.fail_nth(Operation::Write, 1, Fault::NoSpace);
        let refused = store.append(&[created(1, 400)]).await;
        assert!(
            matches!(&refused, Err(MetadataError::Io(error))
                if error.kind() == io::ErrorKind::StorageFull),
            "{refused:?}"
        );
        store.append(&[created(1, 1)]).await.unwrap();
        store.append(&[created(2, 1)]).await.unwrap();
    });
    simulator.crash();
    let read = simulator.run(async { open(&disk, ByteSize::mib(1)).await.image() });
    assert_eq!(topic_count(&read), 3);
}

#[test]
fn records_that_do_not_apply_never_reach_the_log() {
    let mut simulator = Simulator::new(13);
    let disk = simulator.disk();
    simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        store.append(&[created(0, 1)]).await.unwrap();
        let before = disk.counters();
        let refused = store.append(&[created(0, 1)]).await;
        assert!(matches!(refused, Err(MetadataError::Apply(_))));
        assert_eq!(disk.counters(), before);
        store.append(&[created(1, 1)]).await.unwrap();
    });
}

/// The fixture holds a snapshot and a log of version 1 and never changes.
#[test]
fn snapshot_and_log_have_the_bytes_of_the_fixture() {
    let mut simulator = Simulator::new(14);
    let disk = simulator.disk();
    let image = simulator.run(async {
        let mut store = open(&disk, ByteSize::mib(1)).await;
        store.start_broker(broker()).await.unwrap();
        store.append(&[created(0, 1)]).await.unwrap()
    });
    let mut written = String::new();
    for path in [PathBuf::from(SNAPSHOT), log_path(1)] {
        writeln!(written, "{}", path.display()).unwrap();
        let bytes = disk.contents(&path).unwrap();
        for (index, line) in bytes.chunks(32).enumerate() {
            // Padding is all zeros and not listed.
            if line.iter().any(|&byte| byte != 0) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(written, "{:04x} {hex}", index * 32).unwrap();
            }
        }
    }
    let fixture = include_str!("../../../fixtures/metadata_store_v1.hex");
    assert_eq!(written, fixture);

    let other = Simulator::new(15).disk();
    let mut simulator = Simulator::new(15);
    let mut file: Option<(PathBuf, Vec<u8>)> = None;
    let put = |file: &mut Option<(PathBuf, Vec<u8>)>| {
        if let Some((path, bytes)) = file.take() {
            other.put(&path, &bytes).unwrap();
        }
    };
    for line in fixture.lines() {
        match line.split_once(' ') {
            None => {
                put(&mut file);
                let blocks = if line.contains("log-") { 2 } else { 0 };
                file = Some((PathBuf::from(line), vec![0; blocks * BLOCK]));
            }
            Some((at, hex)) => {
                let (_, bytes) = file.as_mut().unwrap();
                let at = usize::from_str_radix(at, 16).unwrap();
                bytes.resize(bytes.len().max(at + hex.len() / 2), 0);
                for index in 0..hex.len() / 2 {
                    let byte = &hex[index * 2..index * 2 + 2];
                    bytes[at + index] = u8::from_str_radix(byte, 16).unwrap();
                }
            }
        }
    }
    put(&mut file);
    let read = simulator.run(async { open(&other, ByteSize::mib(1)).await.image() });
    assert_eq!(read, image);
}
