//! What a compaction does where something is in its way.

use std::path::PathBuf;

use super::*;
use crate::log::tests::rig::start;
use crate::runtime::sim::{self, Operation};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        compaction: Some(CompactionConfig {
            min_dirty_ratio: 0.0,
            ..CompactionConfig::default()
        }),
        ..LogConfig::default()
    }
}

/// A log of several closed segments, durable and below a checkpoint.
async fn filled(disk: Storage, partitions: usize) -> (Rig, Vec<Rc<RefCell<Model>>>) {
    let mut options = small_options();
    options.open_files = 1;
    let rig = start(disk, options, &vec![config(); partitions]).await;
    let mut random = StdRng::seed_from_u64(1);
    let mut models = Vec::new();
    for log in rig.logs.values() {
        let model = Rc::new(RefCell::new(Model::default()));
        for _ in 0..150 {
            append_one(log, &model, 20, &mut random).await;
        }
        while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
            log.changed().await;
        }
        models.push(model);
    }
    // The first look asks for the checkpoint that it needs.
    compact_nothing(&rig).await;
    sleep(Duration::from_secs(5)).await;
    (rig, models)
}

/// Looks at all logs, of which nothing is readable.
async fn compact_nothing(rig: &Rig) {
    let shared = rig.shard.shared();
    shared.write_out.ask_for_checkpoint();
    assert!(
        !rig.shard
            .compact_next(|_| Some(Offset::ZERO))
            .await
            .unwrap()
    );
}

async fn compact_all(rig: &Rig) {
    while compact_once(rig).await {}
}

async fn check_now(rig: &Rig, models: &[Rc<RefCell<Model>>]) {
    for (&index, log) in &rig.logs {
        check(log, &models[index], "now").await.unwrap();
    }
}

fn leftovers(simulator: &Simulator) -> Vec<PathBuf> {
    let files = simulator.disk().files().into_iter().map(|(path, _)| path);
    files
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".cleaned") || name.ends_with(".swap")
        })
        .collect()
}

#[test]
fn a_compacted_log_is_smaller_and_merged_and_says_the_same() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        let log = &rig.logs[&0];
        let bytes = log.size_bytes();
        assert!(log.state.borrow().segments.len() > 3);
        log.set_config(LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        });
        compact_all(&rig).await;
        check_now(&rig, &models).await;
        assert!(
            log.size_bytes() < bytes / 3,
            "{} of {bytes}",
            log.size_bytes()
        );
        let left = log.state.borrow().segments.len();
        assert_eq!(left, 2, "one is left, and the active one");
        let stats = rig.shard.stats();
        assert_eq!(stats.compactions, 1);
        assert!(stats.compaction_read_bytes > stats.compaction_written_bytes);
        assert!(!compact_once(&rig).await, "there is nothing left to do");
    });
    assert_eq!(leftovers(&simulator), Vec::<PathBuf>::new());
}

#[test]
fn a_reader_whose_file_was_not_open_finds_what_replaced_it() {
    let mut simulator = Simulator::new(2);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        let log = &rig.logs[&0];
        let end = usize::try_from(log.log_end_offset().get()).unwrap();
        // Leaves a read-ahead behind, with a place in a file that is replaced.
        let first = log
            .read(Offset::ZERO, log.log_end_offset(), 5000)
            .await
            .unwrap();
        let bytes = first.to_bytes();
        let next = split_batches(&bytes).last().unwrap().unwrap().next_offset();
        let old = log.state.borrow().segments.values().next().unwrap().clone();
        compact_all(&rig).await;
        assert!(old.is_retired());
        let from = usize::try_from(next.get()).unwrap();
        let shared = rig.shard.shared();
        let reopened = old.file(&shared.storage).await;
        assert!(reopened.is_err(), "its name is another's now");
        read(log, &models[0], from, end, 5000).await.unwrap();
        check_now(&rig, &models).await;
    });
}

#[test]
fn a_full_disk_ends_a_compaction_and_not_the_log() {
    let mut simulator = Simulator::new(3);
    let disk = storage(&simulator);
    let faults = simulator.disk();
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        for operation in [Operation::Allocate, Operation::Write] {
            faults.set_fault_hook(move |asked, path| {
                let cleaned = path.to_string_lossy().ends_with(".cleaned");
                (asked == operation && cleaned).then_some(sim::Fault::NoSpace)
            });
            assert!(!compact_once(&rig).await);
            assert!(rig.shard.failure().is_none());
        }
        assert_eq!(rig.shard.stats().compaction_failures, 2);
        assert!(
            !faults
                .files()
                .iter()
                .any(|(path, _)| path.to_string_lossy().ends_with(".cleaned")),
            "the room is given back"
        );
        faults.clear_faults();
        assert!(compact_once(&rig).await, "it is tried again");
        check_now(&rig, &models).await;
    });
}

#[test]
fn another_failed_write_stops_the_log_directory() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    let faults = simulator.disk();
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        faults.set_fault_hook(|asked, path| {
            let cleaned = path.to_string_lossy().ends_with(".cleaned");
            (asked == Operation::SyncData && cleaned).then_some(sim::Fault::Device)
        });
        let compacted = rig
            .shard
            .compact_next(|_| Some(Offset::new(i64::MAX)))
            .await;
        assert!(compacted.is_err());
        assert_eq!(rig.shard.failure().unwrap().operation, "sync");
        faults.clear_faults();
        check_now(&rig, &models).await;
    });
}

#[test]
fn a_batch_that_cannot_be_read_stops_the_compaction_of_its_partition_alone() {
    let mut simulator = Simulator::new(5);
    let disk = storage(&simulator);
    let platter = simulator.disk();
    simulator.run(async {
        let (rig, models) = filled(disk, 2).await;
        let path = {
            let state = rig.logs[&0].state.borrow();
            let second = state.segments.values().nth(1).unwrap();
            second.path().to_owned()
        };
        platter.flip_bit(&path, 5000, 3).unwrap();
        compact_all(&rig).await;
        let stats = rig.shard.stats();
        assert_eq!(
            (stats.uncleanable_partitions, stats.compaction_failures),
            (1, 1)
        );
        assert_eq!(stats.compactions, 1);
        check(&rig.logs[&1], &models[1], "the other").await.unwrap();
        assert!(rig.shard.failure().is_none());
        platter.flip_bit(&path, 5000, 3).unwrap();
        check(&rig.logs[&0], &models[0], "mended").await.unwrap();
    });
    assert_eq!(leftovers(&simulator), Vec::<PathBuf>::new());
}

#[test]
fn a_deleted_partition_is_not_compacted_to_the_end() {
    let mut simulator = Simulator::new(6);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, _) = filled(disk, 1).await;
        let id = rig.logs[&0].id();
        let shard = rig.shard.clone();
        let compacting = spawn(async move {
            shard
                .compact_next(|_| Some(Offset::new(i64::MAX)))
                .await
                .unwrap();
        });
        sleep(Duration::from_micros(500)).await;
        rig.shard.delete_partition(id).await.unwrap();
        compacting.await;
        assert!(rig.shard.failure().is_none());
    });
    let files = simulator.disk().files();
    let left = files.iter().find(|(path, _)| path.starts_with("data"));
    assert_eq!(left, None);
}

#[test]
fn a_clean_stop_ends_the_compaction_under_way() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        let (rig, models) = simulator.run(filled(disk.clone(), 1));
        simulator.run(async {
            let shard = rig.shard.clone();
            let compacting = spawn(async move {
                let _ = shard.compact_next(|_| Some(Offset::new(i64::MAX))).await;
            });
            sleep(Duration::from_micros(seed * 400)).await;
            rig.shard.close().await.unwrap();
            compacting.await;
        });
        assert_eq!(leftovers(&simulator), Vec::<PathBuf>::new(), "seed {seed}");
        simulator.run(async {
            let rig = start(disk, small_options(), &[config()]).await;
            check_now(&rig, &models).await;
        });
    }
}

#[test]
fn young_records_wait_and_old_ones_are_compacted_whatever_the_ratio() {
    let mut simulator = Simulator::new(7);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        let log = &rig.logs[&0];
        let with = |compaction| LogConfig {
            compaction: Some(compaction),
            ..config()
        };
        // The records are as old as the year 1970: the lags are taken from there.
        let age = Duration::from_millis(u64::try_from(crate::runtime::unix_millis()).unwrap());
        log.set_config(with(CompactionConfig {
            min_dirty_ratio: 0.0,
            min_lag: age + Duration::from_secs(60),
            ..CompactionConfig::default()
        }));
        assert!(!compact_once(&rig).await, "too young");
        log.set_config(with(CompactionConfig {
            min_dirty_ratio: 1.0,
            ..CompactionConfig::default()
        }));
        assert!(!compact_once(&rig).await, "not dirty enough");
        log.set_config(with(CompactionConfig {
            min_dirty_ratio: 1.0,
            max_lag: Some(Duration::from_secs(60)),
            ..CompactionConfig::default()
        }));
        assert!(compact_once(&rig).await, "too old");
        check_now(&rig, &models).await;
    });
}
