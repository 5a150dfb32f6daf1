use corelog_protocol::{Durability, Offset, Timestamp};

use super::model::Model;
use super::rig::{EPOCH, batch, small_options, start, storage};
use crate::log::{AppendError, LogConfig, ReadError};
use crate::runtime::Simulator;

fn config(durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        segment_bytes: 256 << 10,
        ..LogConfig::default()
    }
}

fn value(index: usize, length: usize) -> Vec<u8> {
    let mut value = vec![u8::try_from(index % 251).unwrap(); length.max(8)];
    value[..8].copy_from_slice(&(index as u64).to_le_bytes());
    value
}

#[test]
fn appended_records_are_read_back_before_and_after_a_clean_stop() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let mut model = Model::default();
        let rig = start(disk.clone(), small_options(), &[config(Durability::Sync)]).await;
        let log = &rig.logs[&0];
        for index in 0..400 {
            let values: Vec<_> = (0..3)
                .map(|n| value(index * 3 + n, 700 * (n + 1)))
                .collect();
            let info = log
                .append(&batch(&values, 1000), log.log_end_offset(), EPOCH, None)
                .await
                .unwrap();
            assert_eq!(info.last_offset.get(), info.base_offset.get() + 2);
            model.sent.extend(values);
        }
        while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
            log.changed().await;
        }
        model.acknowledged = model.sent.len();
        model.check(log, "while running").await.unwrap();
        rig.shard.close().await.unwrap();
        let again = start(disk.clone(), small_options(), &[config(Durability::Sync)]).await;
        assert!(
            again.recovered.report.contains(" 0 journal groups"),
            "{}",
            again.recovered.report
        );
        model
            .check(&again.logs[&0], "after a clean stop")
            .await
            .unwrap();
    });
}

#[test]
fn segments_of_a_clean_stop_hold_nothing_but_batches() {
    let mut simulator = Simulator::new(2);
    let storage_ = storage(&simulator);
    let disk = simulator.disk();
    simulator.run(async {
        let rig = start(storage_, small_options(), &[config(Durability::Written)]).await;
        let log = &rig.logs[&0];
        for index in 0..200 {
            let values = [value(index, 5000)];
            log.append(&batch(&values, 1), log.log_end_offset(), EPOCH, None)
                .await
                .unwrap();
        }
        rig.shard.close().await.unwrap();
    });
    let mut offset = 0;
    let segments: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|it| it == "log"))
        .collect();
    assert!(segments.len() >= 4, "{segments:?}");
    for (path, _) in segments {
        let name: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(name, offset, "a segment is named after its first offset");
        for batch in corelog_protocol::record::split_batches(&disk.contents(&path).unwrap()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.base_offset().get(), offset);
            offset = batch.next_offset().get();
        }
    }
    assert_eq!(offset, 200);
}

#[test]
fn a_read_ends_before_the_bound_it_was_given_and_starts_with_the_batch_of_its_offset() {
    let mut simulator = Simulator::new(3);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config(Durability::Sync)]).await;
        let log = &rig.logs[&0];
        for index in 0..100 {
            let values: Vec<_> = (0..10).map(|n| value(index * 10 + n, 900)).collect();
            log.append(&batch(&values, 1), log.log_end_offset(), EPOCH, None)
                .await
                .unwrap();
        }
        for (from, until) in [(0, 1000), (5, 500), (505, 520), (999, 1000), (15, 19)] {
            let read = log
                .read(Offset::new(from), Offset::new(until), 1 << 20)
                .await
                .unwrap();
            let bytes = read.to_bytes();
            let mut next = from / 10 * 10;
            for batch in corelog_protocol::record::split_batches(&bytes) {
                let batch = batch.unwrap();
                assert_eq!(batch.base_offset().get(), next);
                next = batch.next_offset().get();
            }
            assert!(next <= until, "{from}..{until} gave {next}");
            if until - from > 10 {
                assert!(next > from, "{from}..{until} gave nothing");
            }
        }
        let outside = log.read(Offset::new(1001), Offset::new(2000), 100).await;
        assert!(
            matches!(outside, Err(ReadError::OutOfRange { .. })),
            "{outside:?}"
        );
        let small = log
            .read(Offset::new(20), Offset::new(1000), 1)
            .await
            .unwrap();
        assert!(small.bytes > 9000, "the first batch comes whole");
    });
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_and_changes_nothing() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config(Durability::Sync)]).await;
        let log = &rig.logs[&0];
        let refused = log
            .append(&batch(&[value(0, 300 << 10)], 1), Offset::ZERO, EPOCH, None)
            .await;
        assert!(
            matches!(refused, Err(AppendError::TooLarge { limit: 262_144, .. })),
            "{refused:?}"
        );
        assert_eq!(log.log_end_offset(), Offset::ZERO);
        log.append(&batch(&[value(0, 100)], 1), Offset::ZERO, EPOCH, None)
            .await
            .unwrap();
    });
}

#[test]
fn a_timestamp_finds_the_first_record_that_is_not_older() {
    let mut simulator = Simulator::new(5);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config(Durability::Sync)]).await;
        let log = &rig.logs[&0];
        for index in 0..300_usize {
            let time = 10_000 + 10 * i64::try_from(index).unwrap();
            log.append(
                &batch(&[value(index, 3000)], time),
                log.log_end_offset(),
                EPOCH,
                None,
            )
            .await
            .unwrap();
        }
        let end = log.log_end_offset();
        for index in [0, 1, 77, 150, 299] {
            let time = Timestamp::new(10_000 + 10 * index - 5);
            let found = log.find_timestamp(time, end).await.unwrap();
            assert_eq!(
                found,
                Some((Timestamp::new(10_000 + 10 * index), Offset::new(index)))
            );
        }
        let largest = Timestamp::new(10_000 + 10 * 299);
        assert_eq!(
            log.find_largest_timestamp(end).await.unwrap(),
            Some((largest, Offset::new(299)))
        );
        assert_eq!(
            log.find_largest_timestamp(Offset::new(299)).await.unwrap(),
            None
        );
        assert_eq!(
            log.find_timestamp(Timestamp::new(99_999), end)
                .await
                .unwrap(),
            None
        );
    });
}

#[test]
fn a_failed_sync_stops_the_log_directory_for_good() {
    use crate::runtime::sim::{Fault, Operation};
    let mut simulator = Simulator::new(6);
    let storage_ = storage(&simulator);
    let disk = simulator.disk();
    simulator.run(async {
        let rig = start(storage_, small_options(), &[config(Durability::Sync)]).await;
        let log = &rig.logs[&0];
        log.append(&batch(&[value(0, 100)], 1), Offset::ZERO, EPOCH, None)
            .await
            .unwrap();
        while log.end_offset_at(Durability::Sync) < Offset::new(1) {
            log.changed().await;
        }
        disk.fail_nth(Operation::SyncData, 1, Fault::Device);
        log.append(&batch(&[value(1, 100)], 1), Offset::new(1), EPOCH, None)
            .await
            .unwrap();
        let failure = rig.shard.failed().await;
        assert_eq!(failure.operation, "sync");
        assert_eq!(
            log.end_offset_at(Durability::Sync),
            Offset::new(1),
            "nothing after it counts"
        );
        let refused = log
            .append(&batch(&[value(2, 100)], 1), Offset::new(2), EPOCH, None)
            .await;
        assert!(
            matches!(refused, Err(AppendError::Stopped(_))),
            "{refused:?}"
        );
        assert!(
            log.read(Offset::ZERO, Offset::new(1), 100).await.is_ok(),
            "reads go on"
        );
    });
}
