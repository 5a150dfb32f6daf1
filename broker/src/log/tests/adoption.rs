//! Folders whose segments somebody else wrote, and folders of ours that nothing durable speaks of.

use std::path::{Path, PathBuf};

use corelog_protocol::record::{BatchBuilder, patch_base_offset, split_batches};
use corelog_protocol::{Compression, Durability, LeaderEpoch, Offset, Timestamp};

use super::rig::{EPOCH, Rig, batch, known, partition, small_options, start_any, storage};
use crate::log::{KnownTopics, LogConfig, LogError, recover};
use crate::runtime::Simulator;
use crate::runtime::sim::SimulatedDisk;

const FOLDER: &str = "data/topic-0";

fn segment(base: i64) -> PathBuf {
    Path::new(FOLDER).join(format!("{base:020}.log"))
}

/// A batch as a broker with this epoch stored it, one record for every offset.
fn stored(base: i64, records: i64, epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for offset in base..base + records {
        let value = format!("record {offset}");
        builder
            .append(
                Timestamp::new(1_000 + offset),
                Some(b"key"),
                Some(value.as_bytes()),
                &[],
            )
            .unwrap();
    }
    let mut bytes = builder.finish(None).to_vec();
    patch_base_offset(&mut bytes, Offset::new(base), LeaderEpoch::new(epoch));
    bytes
}

/// Batches of ten records from `from` up to `to`.
fn run_of_batches(from: i64, to: i64, epoch: i32) -> Vec<u8> {
    (from..to)
        .step_by(10)
        .flat_map(|base| stored(base, 10, epoch))
        .collect()
}

/// A broker ran here, so that a start is no first one, and Kafka's segments were laid beside: from
/// offset 1000 on, with a gap in the second one.
fn two_foreign_segments(simulator: &mut Simulator) -> SimulatedDisk {
    let disk = storage(simulator);
    simulator.run(async { start_any(disk, small_options(), &[]).await });
    simulator.kill();
    let disk = simulator.disk();
    disk.put(&segment(1000), &run_of_batches(1000, 2000, 3))
        .unwrap();
    let gap = [run_of_batches(2000, 2100, 3), run_of_batches(2500, 3000, 7)].concat();
    disk.put(&segment(2000), &gap).unwrap();
    disk
}

fn one() -> [LogConfig; 1] {
    [LogConfig::default()]
}

async fn opened(simulated: crate::runtime::Storage) -> Rig {
    start_any(simulated, small_options(), &one()).await
}

/// Every record of the first log: its offset and its value.
async fn all_records(rig: &Rig) -> Vec<(i64, String)> {
    let log = &rig.logs[&0];
    let (mut at, end) = (log.log_start_offset(), log.log_end_offset());
    let mut records = Vec::new();
    while at < end {
        let bytes = log.read(at, end, 64 << 10).await.unwrap().to_bytes();
        assert!(!bytes.is_empty(), "nothing at {at}");
        for batch in split_batches(&bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                records.push((record.offset.get(), value));
            }
            at = batch.next_offset();
        }
    }
    records
}

fn numbered(ranges: &[std::ops::Range<i64>]) -> Vec<(i64, String)> {
    let offsets = ranges.iter().cloned().flatten();
    offsets
        .map(|offset| (offset, format!("record {offset}")))
        .collect()
}

async fn append_durably(rig: &Rig, value: &str) {
    let log = &rig.logs[&0];
    let bytes = batch(&[value.into()], 1);
    log.append(&bytes, log.log_end_offset(), EPOCH, None)
        .await
        .unwrap();
    while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
        log.changed().await;
    }
}

fn suspect_reason(simulator: &mut Simulator) -> String {
    let disk = storage(simulator);
    simulator.run(async { opened(disk).await.suspects[&0].clone() })
}

fn files(disk: &SimulatedDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let files = disk.files().into_iter();
    files
        .filter(|(path, _)| path.starts_with(FOLDER))
        .map(|(path, _)| (path.clone(), disk.contents(&path).unwrap()))
        .collect()
}

#[test]
fn segments_of_another_broker_are_served_and_appended_to() {
    let mut simulator = Simulator::new(1);
    let disk = two_foreign_segments(&mut simulator);
    for name in [
        "00000000000000001000.txnindex",
        "00000000000000002000.snapshot",
    ] {
        disk.put(&Path::new(FOLDER).join(name), b"Kafka's").unwrap();
    }
    let simulated = storage(&simulator);
    simulator.run(async {
        let rig = opened(simulated.clone()).await;
        let log = &rig.logs[&0];
        assert_eq!(log.log_start_offset().get(), 1000);
        assert_eq!(log.log_end_offset().get(), 3000);
        assert_eq!(all_records(&rig).await, numbered(&[1000..2100, 2500..3000]));
        let found = log.find_timestamp(Timestamp::new(3_600), log.log_end_offset());
        let found = found.await.unwrap().unwrap();
        assert_eq!(found, (Timestamp::new(3_600), Offset::new(2600)));
        let end = log.end_offset_for_epoch(LeaderEpoch::new(3));
        assert_eq!(end, Some((LeaderEpoch::new(3), Offset::new(2500))));
        append_durably(&rig, "record 3000").await;
        let rig_end = rig.logs[&0].log_end_offset();
        assert_eq!(rig_end.get(), 3001);
    });
    assert!(
        disk.contents(&segment(1000).with_extension("index"))
            .is_some()
    );
    let kept = Path::new(FOLDER).join("00000000000000001000.txnindex");
    assert_eq!(disk.contents(&kept).unwrap(), b"Kafka's");
    // The appended record is in the journal only, and says nothing about what was before it.
    simulator.kill();
    simulator.run(async {
        let rig = opened(simulated.clone()).await;
        assert_eq!(all_records(&rig).await, numbered(&[1000..2100, 2500..3001]));
    });
}

/// A batch of a lower epoch behind a higher one would pass for damage at the next start.
#[test]
fn epochs_do_not_fall_behind_those_of_an_adopted_log() {
    let mut simulator = Simulator::new(2);
    two_foreign_segments(&mut simulator);
    let disk = storage(&simulator);
    for round in 0..3 {
        simulator.run(async {
            let rig = opened(disk.clone()).await;
            append_durably(&rig, "more").await;
            assert_eq!(rig.logs[&0].log_end_offset().get(), 3001 + round);
            assert_eq!(rig.logs[&0].latest_epoch(), Some(LeaderEpoch::new(7)));
        });
        simulator.kill();
    }
}

#[test]
fn the_torn_end_of_a_foreign_log_is_cut() {
    let mut simulator = Simulator::new(3);
    let disk = two_foreign_segments(&mut simulator);
    let whole = disk.contents(&segment(2000)).unwrap();
    let torn = [&whole[..], &stored(3000, 10, 7)[..70], &[0; 5000]].concat();
    disk.put(&segment(2000), &torn).unwrap();
    let simulated = storage(&simulator);
    simulator.run(async {
        let rig = opened(simulated).await;
        assert_eq!(all_records(&rig).await, numbered(&[1000..2100, 2500..3000]));
    });
    assert_eq!(disk.contents(&segment(2000)).unwrap(), whole);
}

#[test]
fn damage_before_the_end_of_a_foreign_log_is_refused_and_nothing_changes() {
    type Damage = fn(&SimulatedDisk);
    let cases: [(Damage, &str); 5] = [
        (
            |disk| disk.flip_bit(&segment(1000), 900, 1).unwrap(),
            "00000000000000001000.log is damaged: at byte",
        ),
        (
            |disk| disk.flip_bit(&segment(2000), 900, 1).unwrap(),
            "and there is a whole batch at byte",
        ),
        (
            |disk| {
                let whole = disk.contents(&segment(1000)).unwrap();
                disk.put(&segment(1000), &whole[..whole.len() - 9]).unwrap();
            },
            "00000000000000001000.log is damaged",
        ),
        (
            |disk| {
                disk.put(&segment(1500), &run_of_batches(1500, 1600, 3))
                    .unwrap()
            },
            "it begins before offset 2000, where the segment before it ends",
        ),
        (
            // Whole batches, and their offsets go back.
            |disk| {
                disk.put(&segment(2000), &run_of_batches(1000, 1500, 3))
                    .unwrap()
            },
            "there is a whole batch at byte 0",
        ),
    ];
    for (damage, expected) in cases {
        let mut simulator = Simulator::new(4);
        let disk = two_foreign_segments(&mut simulator);
        damage(&disk);
        let before = files(&disk);
        let reason = suspect_reason(&mut simulator);
        assert!(reason.contains(expected), "{reason}");
        assert!(files(&disk) == before, "{expected}: the files changed");
    }
}

#[test]
fn a_folder_of_another_topic_is_refused_until_its_metadata_is_removed() {
    let mut simulator = Simulator::new(5);
    let disk = two_foreign_segments(&mut simulator);
    let metadata = Path::new(FOLDER).join("partition.metadata");
    disk.put(&metadata, b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ")
        .unwrap();
    let simulated = storage(&simulator);
    simulator.run(async {
        let rig = start_any(simulated.clone(), small_options(), &[]).await;
        let opened = rig
            .shard
            .open_partition(partition(0), "topic-0", LogConfig::default(), None)
            .await;
        let Err(error @ LogError::ForeignFolder { .. }) = opened.map(|_| ()) else {
            panic!("a folder of another topic was opened");
        };
        let said = error.to_string();
        assert!(said.contains("remove its partition.metadata"), "{said}");
        simulated.remove_file(&metadata).await.unwrap();
        let log = rig
            .shard
            .open_partition(partition(0), "topic-0", LogConfig::default(), None)
            .await
            .unwrap();
        assert_eq!(log.log_end_offset().get(), 3000);
    });
}

/// A crash before the first flush leaves segments of which nothing was acknowledged, in any state. A
/// simulated one left the second segment and not the first: the log began at its offset 14, although
/// nobody had moved the log start.
#[test]
fn what_was_never_acknowledged_is_set_aside_when_its_beginning_is_missing() {
    let mut simulator = Simulator::new(6);
    let disk = two_foreign_segments(&mut simulator);
    let ours = format!("version: 0\ntopic_id: {}", partition(0).topic_id);
    let metadata = Path::new(FOLDER).join("partition.metadata");
    disk.put(&metadata, ours.as_bytes()).unwrap();
    disk.flip_bit(&segment(1000), 900, 1).unwrap();
    // An earlier start set aside a segment of the same name.
    let earlier = segment(2000).with_extension("log.set-aside");
    disk.put(&earlier, b"earlier").unwrap();
    let simulated = storage(&simulator);
    simulator.run(async {
        let rig = opened(simulated).await;
        let records = all_records(&rig).await;
        assert!(records.is_empty(), "{} records", records.len());
        append_durably(&rig, "more").await;
    });
    for (base, aside) in [(1000, "log.set-aside"), (2000, "log.set-aside-2")] {
        assert_eq!(disk.contents(&segment(base)), None);
        let aside = segment(base).with_extension(aside);
        assert!(disk.contents(&aside).is_some(), "its bytes are kept");
    }
    assert_eq!(disk.contents(&earlier).unwrap(), b"earlier");
}

#[test]
fn a_bad_or_missing_index_is_rebuilt_when_it_is_needed() {
    type Damage = fn(&SimulatedDisk, &Path);
    let damages: [Damage; 4] = [
        |disk, index| disk.put(index, b"not an index").unwrap(),
        |disk, index| disk.put(index, &[]).unwrap(),
        // It ascends, and names no batch.
        |disk, index| disk.put(index, &[0, 0, 0, 77, 0, 0, 0x10, 0]).unwrap(),
        |disk, index| {
            let whole = disk.contents(index).unwrap();
            disk.put(index, &whole[..whole.len() / 16 * 8]).unwrap();
        },
    ];
    for damage in damages {
        let mut simulator = Simulator::new(7);
        let disk = two_foreign_segments(&mut simulator);
        let simulated = storage(&simulator);
        simulator.run(async {
            opened(simulated.clone()).await.shard.close().await.unwrap();
        });
        simulator.kill();
        damage(&disk, &segment(1000).with_extension("index"));
        simulator.run(async {
            let rig = opened(simulated.clone()).await;
            let log = &rig.logs[&0];
            let (from, end) = (Offset::new(1995), log.log_end_offset());
            let read = log.read(from, end, 1000).await.unwrap().to_bytes();
            let first = split_batches(&read).next().unwrap().unwrap();
            assert_eq!(first.base_offset().get(), 1990);
            let first = log.state.borrow().segments[&Offset::new(1000)].clone();
            let found = first.index.borrow().position_before(from);
            let size = first.size();
            assert!(found + 3 * 4096 > size, "byte {found} of {size}");
        });
    }
}

/// The metadata is restored a start too late: what the journals held is set aside, so the segments
/// are not all there was.
#[test]
fn a_partition_that_the_metadata_forgot_for_one_start_is_not_opened_as_if_it_were_new() {
    let mut simulator = Simulator::new(8);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = opened(disk.clone()).await;
        append_durably(&rig, "acknowledged").await;
    });
    simulator.kill();
    simulator.run(async { recover(&disk, &KnownTopics::default()).await.unwrap() });
    for _ in 0..2 {
        let found = simulator.run(async { recover(&disk, &known(1)).await.unwrap() });
        assert_eq!(found.partitions.len(), 0);
        let [suspect] = &found.suspects[..] else {
            panic!("{:?}", found.suspects);
        };
        assert_eq!(suspect.topic_partition, partition(0));
        assert!(suspect.reason.contains("set-aside-1"), "{}", suspect.reason);
    }
}
