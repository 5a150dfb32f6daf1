//! What a start does about a journal that cannot be right, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corelog_protocol::Durability;

use super::rig::{EPOCH, Rig, batch, known, partition, small_options, start_any, storage};
use crate::log::checkpoint::{Checkpoint, start_checkpoint_path};
use crate::log::journal::format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::{KnownTopics, LogConfig, Recovered, TopicPartition, recover};
use crate::runtime::sim::SimulatedDisk;
use crate::runtime::{BLOCK, Simulator};

const JOURNAL: &str = "journal/shard-0-0.journal";

fn configs(partitions: usize) -> Vec<LogConfig> {
    vec![LogConfig::default(); partitions]
}

async fn append(rig: &Rig, index: usize, value: &str) {
    let log = &rig.logs[&index];
    log.append(
        &batch(&[value.into()], 1),
        log.log_end_offset(),
        EPOCH,
        None,
    )
    .await
    .unwrap();
    while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
        log.changed().await;
    }
}

/// Appends one record a group to these partitions, one after the other, and kills the process.
fn written(simulator: &mut Simulator, partitions: usize, appends: &[usize]) {
    let disk = storage(simulator);
    simulator.run(async {
        let rig = start_any(disk, small_options(), &configs(partitions)).await;
        for &index in appends {
            append(&rig, index, &format!("a record of partition {index}")).await;
        }
    });
    simulator.kill();
}

/// Where the group with this sequence begins in the first journal file.
fn position_of(disk: &SimulatedDisk, sequence: u64) -> u64 {
    let bytes = disk.contents(Path::new(JOURNAL)).unwrap();
    let start = disk.contents(&start_checkpoint_path()).unwrap();
    let generation = Checkpoint::decode(&start).unwrap().generation;
    let at = (0..bytes.len()).step_by(BLOCK).find(|&at| {
        GroupHeader::decode(&bytes[at..])
            .is_some_and(|header| header.sequence == sequence && header.salt == generation.salt)
    });
    at.expect("the group is there") as u64
}

fn damage_header(disk: &SimulatedDisk, sequence: u64) {
    let at = position_of(disk, sequence);
    disk.flip_bit(Path::new(JOURNAL), at + 20, 1).unwrap();
}

fn damage_data(disk: &SimulatedDisk, sequence: u64) {
    let at = position_of(disk, sequence) + GROUP_HEADER_BYTES as u64 + 100;
    disk.flip_bit(Path::new(JOURNAL), at, 1).unwrap();
}

fn recovered(simulator: &mut Simulator, topics: &KnownTopics) -> Recovered {
    let disk = storage(simulator);
    simulator.run(async { recover(&disk, topics).await.unwrap() })
}

fn suspects(recovered: &Recovered) -> BTreeMap<TopicPartition, &str> {
    let suspects = recovered.suspects.iter();
    suspects
        .map(|suspect| (suspect.topic_partition, suspect.reason.as_str()))
        .collect()
}

fn files_below(disk: &SimulatedDisk, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.files()
        .into_iter()
        .filter(|(path, _)| path.starts_with(folder))
        .map(|(path, _)| (path.clone(), disk.contents(&path).unwrap()))
        .collect()
}

#[test]
fn a_group_without_a_header_harms_only_those_who_do_not_go_on_behind_it() {
    let mut simulator = Simulator::new(1);
    // Groups 1 to 6: partition 1 has its last record in the lost group, partition 2 before it.
    written(&mut simulator, 4, &[0, 2, 1, 0, 0, 0]);
    damage_header(&simulator.disk(), 3);
    let found = recovered(&mut simulator, &known(4));
    let suspects = suspects(&found);
    // Partition 3 never had a record, which nobody can know without the group.
    let ids: Vec<_> = suspects.keys().copied().collect();
    assert_eq!(ids, [partition(1), partition(2), partition(3)]);
    assert!(
        suspects[&partition(1)].contains("group 3 is missing from the journal of shard 0"),
        "{suspects:?}"
    );
    assert_eq!(found.partitions[&partition(0)].log_end_offset().get(), 4);
}

#[test]
fn a_partition_that_is_in_doubt_and_ends_in_a_gap_is_suspect() {
    let mut simulator = Simulator::new(2);
    written(&mut simulator, 2, &[0, 1, 0, 1, 1]);
    damage_header(&simulator.disk(), 3);
    let found = recovered(&mut simulator, &known(2));
    let ids: Vec<_> = suspects(&found).into_keys().collect();
    assert_eq!(ids, [partition(0)], "partition 1 goes on at its end");

    let mut simulator = Simulator::new(3);
    written(&mut simulator, 2, &[0, 1, 0, 0, 1]);
    damage_header(&simulator.disk(), 3);
    let found = recovered(&mut simulator, &known(2));
    let ids: Vec<_> = suspects(&found).into_keys().collect();
    assert_eq!(ids, [partition(0)], "its third record follows a hole");
}

/// A write that never happened leaves what the block held before the file was recycled.
#[test]
fn an_older_group_in_the_place_of_a_lost_one_hides_nothing_behind_it() {
    let mut simulator = Simulator::new(10);
    written(&mut simulator, 2, &[0, 1, 0, 1, 1]);
    let disk = simulator.disk();
    let mut bytes = disk.contents(Path::new(JOURNAL)).unwrap();
    let [older, lost] = [1, 3].map(|it| usize::try_from(position_of(&disk, it)).unwrap());
    bytes.copy_within(older..older + BLOCK, lost);
    disk.put(Path::new(JOURNAL), &bytes).unwrap();
    let found = recovered(&mut simulator, &known(2));
    let ids: Vec<_> = suspects(&found).into_keys().collect();
    assert_eq!(ids, [partition(0)]);
    assert_eq!(found.partitions[&partition(1)].log_end_offset().get(), 3);
}

#[test]
fn damaged_bytes_harm_only_the_partition_whose_entry_holds_them() {
    let mut simulator = Simulator::new(4);
    written(&mut simulator, 3, &[0, 1, 0, 0]);
    damage_data(&simulator.disk(), 2);
    let found = recovered(&mut simulator, &known(3));
    let suspects = suspects(&found);
    let ids: Vec<_> = suspects.keys().copied().collect();
    assert_eq!(ids, [partition(1)]);
    let reason = suspects[&partition(1)];
    assert!(reason.contains("group 2 at byte 4096 of journal/shard-0-0.journal"));
    assert!(reason.contains("journal/set-aside-1"), "{reason}");
}

#[test]
fn a_damaged_group_that_nothing_says_was_flushed_is_the_torn_end() {
    let mut simulator = Simulator::new(5);
    written(&mut simulator, 2, &[0, 1, 0]);
    damage_header(&simulator.disk(), 3);
    let found = recovered(&mut simulator, &known(2));
    assert_eq!(found.suspects, []);
    assert!(files_below(&simulator.disk(), "journal/set-aside-1").is_empty());
}

#[test]
fn a_start_without_new_suspects_sets_nothing_aside_and_a_deleted_topic_is_no_longer_suspect() {
    let mut simulator = Simulator::new(6);
    written(&mut simulator, 2, &[0, 1, 0]);
    damage_data(&simulator.disk(), 1);
    let first = recovered(&mut simulator, &known(2));
    assert_eq!(first.suspects.len(), 1);
    let disk = simulator.disk();
    let kept = files_below(&disk, "journal/set-aside-1");
    let names: BTreeSet<_> = kept.keys().filter_map(|path| path.file_name()).collect();
    assert!(
        names.contains(Path::new(JOURNAL).file_name().unwrap()),
        "{names:?}"
    );
    assert!(
        names.contains(start_checkpoint_path().file_name().unwrap()),
        "{names:?}"
    );

    for _ in 0..3 {
        let again = recovered(&mut simulator, &known(2));
        assert_eq!(again.suspects, first.suspects);
    }
    assert!(
        files_below(&disk, "journal/set-aside-1") == kept,
        "what was set aside changed"
    );
    assert!(files_below(&disk, "journal/set-aside-2").is_empty());

    let deleted = KnownTopics {
        deleted: [partition(0).topic_id].into(),
        ..KnownTopics::default()
    };
    assert_eq!(recovered(&mut simulator, &deleted).suspects, []);
    assert_eq!(
        recovered(&mut simulator, &KnownTopics::default()).suspects,
        []
    );
}

/// Wherever a start that sets journals aside is cut short, the next one finds the same.
#[test]
fn a_cut_at_any_step_of_setting_aside_changes_nothing() {
    let expected = {
        let mut simulator = Simulator::new(7);
        written(&mut simulator, 3, &[0, 1, 2, 0, 2]);
        damage_data(&simulator.disk(), 2);
        recovered(&mut simulator, &known(3))
    };
    assert_eq!(expected.suspects.len(), 1);
    let mut cuts = 0;
    for steps in 1.. {
        let mut simulator = Simulator::new(7);
        written(&mut simulator, 3, &[0, 1, 2, 0, 2]);
        damage_data(&simulator.disk(), 2);
        let disk = storage(&simulator);
        let topics = known(3);
        let finished = simulator.run_steps(steps, async {
            recover(&disk, &topics).await.unwrap();
        });
        if finished.is_some() {
            break;
        }
        cuts += 1;
        simulator.crash();
        let found = recovered(&mut simulator, &topics);
        let ids = |found: &Recovered| -> Vec<_> { suspects(found).into_keys().collect() };
        assert_eq!(ids(&found), ids(&expected), "cut after {steps} steps");
        for (id, start) in &expected.partitions {
            let end = found.partitions[id].log_end_offset();
            assert_eq!(end, start.log_end_offset(), "cut after {steps} steps");
        }
    }
    assert!(cuts > 20, "only {cuts} cuts");
}

#[test]
fn a_journal_of_a_topic_that_nobody_knows_is_kept() {
    let mut simulator = Simulator::new(8);
    written(&mut simulator, 1, &[0, 0]);
    let found = recovered(&mut simulator, &KnownTopics::default());
    let ids: Vec<_> = suspects(&found).into_keys().collect();
    assert_eq!(ids, [partition(0)], "it must not pass for new one day");
    let disk = simulator.disk();
    let kept = files_below(&disk, "journal/set-aside-1");
    assert!(kept.contains_key(&Path::new("journal/set-aside-1/shard-0-0.journal").to_owned()));
    recovered(&mut simulator, &KnownTopics::default());
    assert!(files_below(&disk, "journal/set-aside-2").is_empty());
}

/// A segment that lost bytes which the checkpoint relies on is found when it is read back: nothing
/// of it is padded, cut or removed before.
#[test]
fn nothing_of_a_segment_is_cut_before_it_was_read_back() {
    let mut simulator = Simulator::new(9);
    let (disk, simulated) = (storage(&simulator), simulator.disk());
    let mut options = small_options();
    options.bypass_bytes = 1;
    let configs = configs(2);
    simulator.run(async {
        let rig = start_any(disk.clone(), options.clone(), &configs).await;
        append(&rig, 0, &"x".repeat(300_000)).await;
        append(&rig, 0, "short").await;
        append(&rig, 1, "short").await;
        append(&rig, 1, "short").await;
    });
    simulator.kill();
    let segment = Path::new("data/topic-0/00000000000000000000.log");
    simulated.flip_bit(segment, 10_000, 3).unwrap();
    simulated
        .put(
            Path::new("data/topic-0/00000000000000000099.log"),
            b"a stranger",
        )
        .unwrap();
    let before = files_below(&simulated, "data/topic-0");
    let found = recovered(&mut simulator, &known(2));
    let suspects = suspects(&found);
    assert!(
        suspects[&partition(0)].contains("does not hold what was journaled"),
        "{suspects:?}"
    );
    assert_eq!(suspects.len(), 1);
    let after = files_below(&simulated, "data/topic-0");
    assert!(after == before, "the files of a suspect partition changed");
}
