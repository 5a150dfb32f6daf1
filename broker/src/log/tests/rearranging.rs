//! The log start moves up, idle segments are closed, the end is cut back; and what was asked for holds
//! after a power cut, or did not happen.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::record::{patch_base_offset, split_batches};
use corelog_protocol::{Durability, Offset};
use futures_util::future::join;

use super::rig::{EPOCH, Rig, batch, small_options, start, storage};
use crate::log::write_out::Reach;
use crate::log::{LogConfig, PartitionLog, ReadError, RearrangeError};
use crate::runtime::{BLOCK, BufferPool, OpenMode, Simulator, Storage, sleep, spawn};

/// Segments of about five of the batches that [`append`] makes.
fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 10,
        file_delete_delay: Duration::from_secs(60),
        ..LogConfig::default()
    }
}

/// Appends batches of one record of 12,000 bytes, each with its offset as first byte, and waits until
/// they are durable.
async fn append(log: &PartitionLog, count: usize) {
    for _ in 0..count {
        let offset = log.log_end_offset();
        let value = vec![u8::try_from(offset.get()).unwrap(); 12_000];
        let bytes = batch(&[value], 1);
        log.append(&bytes, offset, EPOCH, None).await.unwrap();
    }
    while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
        log.changed().await;
    }
}

async fn rig(disk: &Storage) -> (Rig, Rc<PartitionLog>) {
    let rig = start(disk.clone(), small_options(), &[config()]).await;
    let log = Rc::clone(&rig.logs[&0]);
    (rig, log)
}

/// The offsets that reading from `from` to the end gives, checked against the records' own.
async fn read_from(log: &PartitionLog, from: i64) -> Result<Vec<i64>, ReadError> {
    let (mut at, end) = (Offset::new(from), log.log_end_offset());
    let mut offsets = Vec::new();
    while at < end {
        let bytes = log.read(at, end, 1 << 20).await?.to_bytes();
        for batch in split_batches(&bytes) {
            let batch = batch.unwrap();
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                assert_eq!(
                    i64::from(record.value.unwrap()[0]),
                    record.offset.get(),
                    "the record's bytes"
                );
                offsets.push(record.offset.get());
            }
            at = batch.next_offset();
        }
    }
    Ok(offsets)
}

async fn files(disk: &Storage) -> Vec<String> {
    let entries = disk.list(Path::new("data/topic-0")).await.unwrap();
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.contains(".log"));
    names.sort();
    names
}

#[test]
fn a_log_start_that_was_acknowledged_survives_a_power_cut() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        simulator.run(async {
            let (_rig, log) = rig(&disk).await;
            append(&log, 12).await;
            let start = log.advance_log_start(Offset::new(7)).await.unwrap();
            assert_eq!(start, Offset::new(7));
        });
        simulator.crash();
        simulator.run(async {
            let (_rig, log) = rig(&disk).await;
            assert_eq!(log.log_start_offset(), Offset::new(7));
            assert_eq!(read_from(&log, 7).await.unwrap(), [7, 8, 9, 10, 11]);
            assert!(matches!(
                read_from(&log, 6).await,
                Err(ReadError::OutOfRange { .. })
            ));
        });
    }
}

/// A checkpoint may know more of a log than of the journal: that an extent is in its segment, and not
/// that the group which tells of it was flushed. When the segment has left the log, the group is none
/// the less whole. Seed 57371 of the power cuts found a replay that ended there.
#[test]
fn an_extent_that_left_its_log_does_not_end_the_replay() {
    let mut behind_the_journal = 0;
    for seed in 0..40 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        let config = LogConfig {
            durability: Durability::Written,
            file_delete_delay: Duration::ZERO,
            ..LogConfig::default()
        };
        let configs = [config.clone(), config];
        let start = || start(disk.clone(), small_options(), &configs);
        simulator.run(async {
            let rig = start().await;
            let (log, other) = (&rig.logs[&0], &rig.logs[&1]);
            append_written(log, 1000).await;
            append_written(other, 1000).await;
            let checkpoint = async {
                rig.shard.checkpoint_now().await.unwrap();
            };
            let appends = async {
                sleep(Duration::from_micros(100 * seed)).await;
                append_written(log, 100_000).await;
                log.roll_idle();
                append_written(log, 1000).await;
            };
            join(checkpoint, appends).await;
            let known = log.checkpointed_start().next_offset;
            behind_the_journal += usize::from(known > Offset::new(1));
            log.advance_log_start(log.log_end_offset()).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        });
        simulator.crash();
        simulator.run(async {
            let rig = start().await;
            assert_eq!(rig.logs[&0].log_start_offset(), Offset::new(3), "{seed}");
        });
    }
    assert!(behind_the_journal > 0, "what this test is about never was");
}

async fn append_written(log: &PartitionLog, length: usize) {
    let bytes = batch(&[vec![7; length]], 1);
    let end = log.log_end_offset();
    log.append(&bytes, end, EPOCH, None).await.unwrap();
    while log.end_offset_at(Durability::Written) < log.log_end_offset() {
        log.changed().await;
    }
}

#[test]
fn a_log_start_never_moves_back_nor_behind_the_end() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        append(&log, 3).await;
        log.advance_log_start(Offset::new(2)).await.unwrap();
        let back = log.advance_log_start(Offset::new(1)).await.unwrap();
        assert_eq!(back, Offset::new(2));
        let beyond = log.advance_log_start(Offset::new(4)).await;
        assert!(
            matches!(beyond, Err(RearrangeError::OutOfRange { asked, log_end, .. })
                if asked.get() == 4 && log_end.get() == 3)
        );
        assert_eq!(read_from(&log, 2).await.unwrap(), [2]);
    });
}

/// An idle segment was closed, its last block written and let go from memory, and a checkpoint came
/// before the group that says so: it named the place inside that block with the checksum of none, and
/// the next start called the partition suspect. Seed 2129 of the power cuts found it.
#[test]
fn a_checkpoint_between_the_closing_of_a_segment_and_its_record_knows_the_last_block() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 1).await;
        let next = log.successor_of(&log.active_segment());
        log.roll(&next); // and no group is told
        let shared = log.shared().unwrap();
        log.write_out(&shared, Reach::WholeBlocks).await.unwrap();
        log.release_memory(&shared, 0);
        rig.shard.checkpoint_now().await.unwrap();
    });
    simulator.crash();
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        assert_eq!(read_from(&log, 0).await.unwrap(), [0]);
    });
}

/// A reader was reading the index files of a segment found on disk when the log was cut back inside it:
/// positions that the cut had removed came into the new index, and later reads began in the middle of a
/// batch. Seed 7006 of the power cuts found it.
#[test]
fn an_index_that_was_read_across_a_cut_says_nothing_of_what_was_cut_off() {
    for seed in 0..30 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        let one_segment = LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        };
        simulator.run(async {
            let configs = std::slice::from_ref(&one_segment);
            let rig = start(disk.clone(), small_options(), configs).await;
            append(&rig.logs[&0], 40).await;
            rig.shard.close().await.unwrap();
        });
        simulator.run(async {
            let rig = start(disk.clone(), small_options(), &[one_segment]).await;
            let log = Rc::clone(&rig.logs[&0]);
            let reader = spawn({
                let log = Rc::clone(&log);
                async move {
                    sleep(Duration::from_micros(seed * 20)).await;
                    let read = log.read(Offset::new(3), Offset::new(5), 1).await;
                    assert!(!read.unwrap().is_empty());
                }
            });
            log.truncate(Offset::new(10)).await.unwrap();
            // Batches of another size, so that none begins where one of the old ones did.
            for offset in 10..60 {
                let bytes = batch(&[vec![offset; 7_000]], 1);
                let at = Offset::new(offset.into());
                log.append(&bytes, at, EPOCH, None).await.unwrap();
            }
            reader.await;
            rig.shard.checkpoint_now().await.unwrap();
            log.release_memory(&log.shared().unwrap(), 0);
            for offset in 10..60 {
                let read = log.read(Offset::new(offset), Offset::new(60), 1).await;
                let bytes = read.unwrap().to_bytes();
                let first = split_batches(&bytes).next().unwrap().unwrap();
                assert_eq!(first.base_offset().get(), offset, "seed {seed}");
            }
        });
    }
}

/// A log is cut back to a batch that its segment does not hold yet, and where that batch will be, the
/// file has what a power cut left of an earlier one. An index that was read from there named batches
/// that never were. Seed 64766 of the power cuts found it.
#[test]
fn an_index_is_not_read_from_what_a_cut_has_yet_to_overwrite() {
    for seed in 0..30 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        let one_segment = LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        };
        simulator.run(async {
            let rig = start(disk.clone(), small_options(), &[one_segment]).await;
            let log = Rc::clone(&rig.logs[&0]);
            append(&log, 3).await;
            rig.shard.checkpoint_now().await.unwrap();
            let leftover = batches_of(3..9, 5_000);
            overwrite_from(&disk, &log, leftover).await;
            append(&log, 2).await;
            let reader = spawn({
                let log = Rc::clone(&log);
                async move {
                    let shared = log.shared().unwrap();
                    let segment = log.active_segment();
                    sleep(Duration::from_micros(seed * 50)).await;
                    segment.load_index(&shared.storage).await;
                }
            });
            log.truncate(Offset::new(4)).await.unwrap();
            append(&log, 6).await;
            reader.await;
            rig.shard.checkpoint_now().await.unwrap();
            log.release_memory(&log.shared().unwrap(), 0);
            for offset in 0..10 {
                let read = read_from(&log, offset).await.unwrap();
                assert_eq!(read.first(), Some(&offset), "seed {seed}");
            }
        });
    }
}

/// Batches of one record of so many bytes at these offsets.
fn batches_of(offsets: std::ops::Range<i64>, length: usize) -> Vec<u8> {
    let at = |offset| {
        let mut bytes = batch(&[vec![1; length]], 1).to_vec();
        patch_base_offset(&mut bytes, Offset::new(offset), EPOCH);
        bytes
    };
    offsets.flat_map(at).collect()
}

/// Writes these bytes behind the end of the log's only segment, where no batch is.
async fn overwrite_from(disk: &Storage, log: &PartitionLog, bytes: Vec<u8>) {
    let segment = log.active_segment();
    let file = disk
        .open(segment.path(), OpenMode::ReadWrite)
        .await
        .unwrap();
    let begun = segment.size() % BLOCK as u64;
    let block = segment.size() - begun;
    let kept = file.read_at(block, usize::try_from(begun).unwrap()).await;
    let all = [&kept.unwrap()[..], &bytes].concat();
    let mut buffer = BufferPool::new(1 << 20)
        .aligned(all.len().next_multiple_of(BLOCK))
        .unwrap();
    buffer.fill(0);
    buffer[..all.len()].copy_from_slice(&all);
    file.write_at(buffer, block).await.0.unwrap();
}

#[test]
fn files_below_the_log_start_go_after_their_delay_and_no_sooner_than_a_checkpoint() {
    let mut simulator = Simulator::new(2);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 12).await;
        assert_eq!(files(&disk).await.len(), 3);
        log.advance_log_start(Offset::new(11)).await.unwrap();
        assert_eq!(log.segments().len(), 3, "a replay would want them");
        rig.shard.checkpoint_now().await.unwrap();
        assert_eq!(log.segments().len(), 1);
        sleep(Duration::from_secs(1)).await;
        let names = files(&disk).await;
        assert_eq!(names[0], "00000000000000000000.log.deleted");
        assert_eq!(names.len(), 3);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(files(&disk).await, ["00000000000000000010.log"]);
        assert_eq!(log.size_bytes(), log.segments()[0].size_bytes);
        assert_eq!(rig.shard.stats().segments_removed, 2);
    });
}

#[test]
fn who_reads_a_removed_segment_has_all_its_bytes_and_nobody_else_any() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 12).await;
        rig.shard.checkpoint_now().await.unwrap();
        let removed: Vec<_> = log.segments().into_iter().take(2).collect();
        let log_segments = || log.state.borrow().segments.clone();
        let [read, unread] = [0, 5].map(|base| log_segments()[&Offset::new(base)].clone());
        let read_file = read.file(&disk).await.unwrap();
        // As an operator's shell would hold it.
        let unread_file = disk.open(unread.path(), OpenMode::Read).await.unwrap();
        log.advance_log_start(Offset::new(11)).await.unwrap();
        rig.shard.checkpoint_now().await.unwrap();
        sleep(Duration::from_secs(61)).await;
        assert_eq!(files(&disk).await, ["00000000000000000010.log"]);
        assert_eq!(read_file.len().await.unwrap(), removed[0].size_bytes);
        let left = unread_file.len().await.unwrap();
        assert!(
            left <= small_options().removal_step_bytes,
            "{left} bytes are left"
        );
    });
}

#[test]
fn what_an_operator_linked_keeps_its_bytes_when_its_segment_is_removed() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    let simulated = simulator.disk();
    simulator.run(async move {
        let (rig, log) = rig(&disk).await;
        append(&log, 12).await;
        rig.shard.checkpoint_now().await.unwrap();
        let path = log.state.borrow().segments[&Offset::new(0)]
            .path()
            .to_owned();
        let before = simulated.contents(&path).unwrap();
        let copy = Path::new("copy.log");
        simulated.link(&path, copy).unwrap();
        log.advance_log_start(Offset::new(11)).await.unwrap();
        rig.shard.checkpoint_now().await.unwrap();
        sleep(Duration::from_secs(61)).await;
        assert_eq!(files(&disk).await, ["00000000000000000010.log"]);
        assert_eq!(simulated.contents(copy).unwrap(), before);
    });
}

#[test]
fn a_full_disk_gets_the_space_of_removed_segments_at_once() {
    let mut simulator = Simulator::new(6);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 40).await;
        rig.shard.checkpoint_now().await.unwrap();
        let active = log.active_segment().base_offset();
        log.advance_log_start(Offset::new(39)).await.unwrap();
        rig.shard.checkpoint_now().await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert!(files(&disk).await.len() > 5, "they have a minute");
        log.shared().unwrap().removal.hurry();
        sleep(Duration::from_millis(100)).await;
        let kept = format!("{:020}.log", active.get());
        assert_eq!(files(&disk).await, [kept]);
    });
}

#[test]
fn what_a_crash_leaves_of_removed_segments_goes_at_the_next_start() {
    let mut simulator = Simulator::new(3);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 12).await;
        log.advance_log_start(Offset::new(11)).await.unwrap();
        rig.shard.checkpoint_now().await.unwrap();
    });
    simulator.kill();
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        assert_eq!(log.segments().len(), 1);
        sleep(Duration::from_secs(61)).await;
        assert_eq!(files(&disk).await, ["00000000000000000010.log"]);
        assert_eq!(read_from(&log, 11).await.unwrap(), [11]);
    });
}

#[test]
fn an_idle_segment_is_closed_and_stays_closed_after_a_power_cut() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        simulator.run(async {
            let (rig, log) = rig(&disk).await;
            assert!(!log.roll_idle(), "an empty segment is not closed");
            append(&log, 2).await;
            assert!(log.roll_idle());
            assert!(!log.roll_idle());
            if seed % 2 == 0 {
                rig.shard.checkpoint_now().await.unwrap();
                assert_eq!(files(&disk).await, ["00000000000000000000.log"]);
            }
            // Everything is old: the only segment left is the empty one.
            log.advance_log_start(Offset::new(2)).await.unwrap();
            rig.shard.checkpoint_now().await.unwrap();
            assert_eq!(log.segments().len(), 1);
            assert_eq!(log.size_bytes(), 0);
            sleep(Duration::from_millis(seed * 10)).await;
        });
        simulator.crash();
        simulator.run(async {
            let (_rig, log) = rig(&disk).await;
            assert_eq!(log.log_start_offset(), Offset::new(2));
            append(&log, 2).await;
            assert_eq!(read_from(&log, 2).await.unwrap(), [2, 3]);
        });
    }
}

#[test]
fn a_segment_is_closed_when_its_time_is_up() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        append(&log, 1).await;
        assert!(!log.roll_if_due().await);
        let hour = Duration::from_secs(3600);
        let config = |jitter| LogConfig {
            segment_age: hour,
            segment_jitter: jitter,
            ..config()
        };
        log.set_config(config(Duration::ZERO));
        sleep(hour - Duration::from_secs(1)).await;
        assert!(!log.roll_if_due().await);
        sleep(Duration::from_secs(2)).await;
        assert!(log.roll_if_due().await);
        append(&log, 1).await;
        log.set_config(config(hour));
        assert!(!log.roll_if_due().await, "never before half the time");
        assert_eq!(log.segments().len(), 2);
    });
}

/// The batches of [`append`] are stamped 1 ms after 1970.
#[test]
fn the_age_of_a_segment_counts_from_its_first_record_after_a_restart() {
    let mut simulator = Simulator::new(6);
    let disk = storage(&simulator);
    simulator.run(async {
        let (rig, log) = rig(&disk).await;
        append(&log, 1).await;
        assert!(!log.roll_if_due().await);
        rig.shard.close().await.unwrap();
    });
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        assert!(log.roll_if_due().await);
        assert!(!log.roll_if_due().await);
    });
}

#[test]
fn a_cut_log_ends_there_and_goes_on_there() {
    for to in 0..12 {
        for seed in 0..4 {
            let mut simulator = Simulator::new(seed);
            let disk = storage(&simulator);
            simulator.run(async {
                let (rig, log) = rig(&disk).await;
                append(&log, 12).await;
                if seed % 2 == 0 {
                    rig.shard.checkpoint_now().await.unwrap();
                }
                let end = log.truncate(Offset::new(to)).await.unwrap();
                assert_eq!(end, Offset::new(to));
                assert_eq!(log.log_end_offset(), end);
                append(&log, 3).await;
                let expected: Vec<i64> = (0..to + 3).collect();
                assert_eq!(read_from(&log, 0).await.unwrap(), expected);
            });
            simulator.crash();
            simulator.run(async {
                let (rig, log) = rig(&disk).await;
                let expected: Vec<i64> = (0..to + 3).collect();
                assert_eq!(read_from(&log, 0).await.unwrap(), expected);
                rig.shard.close().await.unwrap();
            });
        }
    }
}

#[test]
fn a_cut_below_the_log_start_is_refused() {
    let mut simulator = Simulator::new(5);
    let disk = storage(&simulator);
    simulator.run(async {
        let (_rig, log) = rig(&disk).await;
        append(&log, 4).await;
        log.advance_log_start(Offset::new(2)).await.unwrap();
        let cut = log.truncate(Offset::new(1)).await;
        assert!(matches!(cut, Err(RearrangeError::OutOfRange { .. })));
        assert_eq!(log.truncate(Offset::new(9)).await.unwrap(), Offset::new(4));
        assert_eq!(read_from(&log, 2).await.unwrap(), [2, 3]);
    });
}
