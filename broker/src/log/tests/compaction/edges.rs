//! What a compaction does where something is in its way.

use std::path::PathBuf;

use super::*;
use crate::log::tests::rig::{start, start_with_pool};
use crate::runtime::sim::{self, Operation};
use crate::runtime::{BufferPool, now};

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
    let pool = BufferPool::new(32 << 20);
    filled_with(disk, partitions, options, pool).await
}

async fn filled_with(
    disk: Storage,
    partitions: usize,
    options: LogOptions,
    pool: BufferPool,
) -> (Rig, Vec<Rc<RefCell<Model>>>) {
    let rig = start_with_pool(disk, options, &vec![config(); partitions], pool).await;
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

/// The path of the closed segment with this number.
fn segment_path(rig: &Rig, number: usize) -> PathBuf {
    let state = rig.logs[&0].state.borrow();
    let segment = state.segments.values().nth(number).unwrap();
    assert!(segment.is_sealed());
    segment.path().to_owned()
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

#[test]
fn a_disk_too_full_for_another_name_ends_a_compaction_and_not_the_log() {
    let mut simulator = Simulator::new(8);
    let disk = storage(&simulator);
    let faults = simulator.disk();
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        faults.set_fault_hook(|asked, path| {
            let cleaned = path.to_string_lossy().ends_with(".cleaned");
            (asked == Operation::Rename && cleaned).then_some(sim::Fault::NoSpace)
        });
        assert!(!compact_once(&rig).await);
        assert!(rig.shard.failure().is_none());
        let is_left = |(path, _): &(PathBuf, u64)| path.to_string_lossy().ends_with(".cleaned");
        assert!(
            !faults.files().iter().any(is_left),
            "the room is given back"
        );
        faults.clear_faults();
        assert!(compact_once(&rig).await, "it is tried again");
        check_now(&rig, &models).await;
    });
    assert_eq!(leftovers(&simulator), Vec::<PathBuf>::new());
}

/// A start takes an exchange for half done while a `.cleaned` of a lower offset is there: the one that
/// stayed behind would have it remove the only copy of records further on.
#[test]
fn a_log_whose_leftover_cannot_be_removed_is_not_compacted_until_it_is() {
    let mut simulator = Simulator::new(9);
    let disk = storage(&simulator);
    let faults = simulator.disk();
    let models = simulator.run(async {
        let (rig, models) = filled(disk.clone(), 1).await;
        faults.set_fault_hook(|asked, path| {
            if !path.to_string_lossy().ends_with(".cleaned") {
                return None;
            }
            match asked {
                Operation::Write => Some(sim::Fault::NoSpace),
                Operation::Remove => Some(sim::Fault::Device),
                _ => None,
            }
        });
        compact_once(&rig).await;
        faults.clear_faults();
        assert!(!compact_once(&rig).await);
        assert_eq!(rig.shard.stats().uncleanable_partitions, 1);
        assert_eq!(rig.shard.stats().compactions, 0);
        assert!(rig.shard.failure().is_none());
        check_now(&rig, &models).await;
        rig.shard.close().await.unwrap();
        models
    });
    assert_eq!(leftovers(&simulator).len(), 1);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config()]).await;
        compact_all(&rig).await;
        assert_eq!(rig.shard.stats().compactions, 1);
        check_now(&rig, &models).await;
    });
    assert_eq!(leftovers(&simulator), Vec::<PathBuf>::new());
}

/// Other brokers leave closed segments without a record. A group that ends in one must still end with
/// a batch that tells how far it reaches: after a crash that is all there is to go by.
#[test]
fn a_closed_segment_without_records_stops_no_compaction_whenever_it_is_killed() {
    for at in 0..40 {
        let mut simulator = Simulator::new(10);
        let disk = storage(&simulator);
        let files = simulator.disk();
        let models = simulator.run(async {
            let (rig, models) = filled(disk.clone(), 1).await;
            let second = segment_path(&rig, 1);
            rig.shard.close().await.unwrap();
            // What it held has newer records in those behind.
            files.put(&second, b"").unwrap();
            models
        });
        let compacting = async {
            let rig = start(disk.clone(), small_options(), &[config()]).await;
            compact_all(&rig).await;
            check_now(&rig, &models).await;
            let state = rig.logs[&0].state.borrow();
            let segments: Vec<_> = state.segments.values().collect();
            let (_active, closed) = segments.split_last().unwrap();
            assert!(closed.len() < 4, "{} are left", closed.len());
            assert!(closed.iter().all(|segment| segment.size() > 0));
        };
        simulator.run_until(Duration::from_micros(at * 500), compacting);
        simulator.kill();
        simulator.run(async {
            let rig = start(disk, small_options(), &[config()]).await;
            check_now(&rig, &models).await;
        });
    }
}

#[test]
fn a_list_of_aborted_transactions_keeps_its_segment_apart() {
    let mut simulator = Simulator::new(11);
    let disk = storage(&simulator);
    let files = simulator.disk();
    simulator.run(async {
        let (rig, models) = filled(disk, 1).await;
        let third = segment_path(&rig, 2);
        let list = third.with_extension("txnindex");
        files.put(&list, b"a list").unwrap();
        let log = &rig.logs[&0];
        log.set_config(LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        });
        compact_all(&rig).await;
        check_now(&rig, &models).await;
        assert_eq!(segment_path(&rig, 1), third);
        let left = log.state.borrow().segments.len();
        assert_eq!(
            left, 3,
            "what lies before it, what lies behind it, and the active one"
        );
        assert_eq!(files.contents(&list).unwrap(), b"a list");
    });
}

#[test]
fn a_small_memory_bounds_what_a_compaction_holds() {
    const MEMORY: usize = 2 << 20;
    let mut simulator = Simulator::new(12);
    let disk = storage(&simulator);
    let compacted = simulator.run_until(Duration::from_secs(60), async {
        let (rig, models) = filled_with(disk, 1, small_options(), BufferPool::new(MEMORY)).await;
        assert!(compact_once(&rig).await);
        check_now(&rig, &models).await;
    });
    assert!(
        compacted.is_some(),
        "it waits for memory that it holds itself"
    );
}

#[test]
fn what_a_batch_decompresses_to_is_charged_and_bounded() {
    const LARGE: usize = 768 << 10;
    for (memory, is_compacted) in [(32 << 20, true), (4 << 20, false)] {
        let mut simulator = Simulator::new(13);
        let disk = storage(&simulator);
        simulator.run(async {
            let mut options = small_options();
            options.compaction.io_bytes = 4096;
            let pool = BufferPool::new(memory);
            let (rig, models) = filled_with(disk, 1, options, pool).await;
            let log = &rig.logs[&0];
            let key = b"large".to_vec();
            let (value, time) = (vec![0; LARGE], models[0].borrow().sent.len() as i64 * TICK);
            let mut builder = BatchBuilder::new(Compression::Lz4, 1024);
            let headers = [Header {
                key: "h",
                value: None,
            }];
            let headers = &headers[..models[0].borrow().sent.len() % 2];
            let time = Timestamp::new(time);
            builder
                .append(time, Some(&key), Some(&value), headers)
                .unwrap();
            let batch = builder.finish(None);
            assert!(batch.len() < 16 << 10, "{}", batch.len());
            log.append(&batch, log.log_end_offset(), EPOCH, None)
                .await
                .unwrap();
            models[0].borrow_mut().sent.push(Sent {
                key,
                value: Some(value),
            });
            let mut random = StdRng::seed_from_u64(2);
            for _ in 0..30 {
                append_one(log, &models[0], 20, &mut random).await;
            }
            rig.shard.checkpoint_now().await.unwrap();
            let shard = rig.shard.clone();
            let peak = Rc::new(std::cell::Cell::new(0));
            spawn({
                let (shard, peak) = (shard.clone(), peak.clone());
                async move {
                    loop {
                        peak.set(peak.get().max(shard.stats().compaction_memory_bytes));
                        sleep(Duration::from_micros(5)).await;
                    }
                }
            })
            .detach();
            compact_all(&rig).await;
            let stats = rig.shard.stats();
            assert_eq!(stats.compactions, u64::from(is_compacted));
            assert_eq!(stats.uncleanable_partitions, u64::from(!is_compacted));
            assert_eq!(stats.compaction_memory_bytes, 0);
            if is_compacted {
                assert!(peak.get() >= 2 * LARGE as u64, "{} charged", peak.get());
            }
            check_now(&rig, &models).await;
        });
    }
}

#[test]
fn a_stop_does_not_wait_for_the_share_of_the_disk() {
    let mut simulator = Simulator::new(14);
    let disk = storage(&simulator);
    simulator.run(async {
        let mut options = small_options();
        options.compaction.bytes_per_second = Some(100);
        let (rig, _) = filled_with(disk, 1, options, BufferPool::new(32 << 20)).await;
        let shard = rig.shard.clone();
        let compacting =
            spawn(async move { shard.compact_next(|_| Some(Offset::new(i64::MAX))).await });
        sleep(Duration::from_secs(1)).await;
        let start = now();
        rig.shard.close().await.unwrap();
        compacting.await.unwrap();
        let took = now() - start;
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}
