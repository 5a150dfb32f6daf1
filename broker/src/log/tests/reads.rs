//! How much a read brings: as much as is at hand, wherever the pieces end.

use corelog_protocol::record::split_batches;
use corelog_protocol::{Durability, Offset};

use super::rig::{EPOCH, batch, small_options, start, storage};
use crate::log::{LogConfig, PartitionLog};
use crate::runtime::{Simulator, sleep};

/// One record a batch, so that offsets count batches.
const VALUE_BYTES: usize = 3000;

fn config() -> LogConfig {
    LogConfig {
        durability: Durability::Sync,
        segment_bytes: 100 << 10,
        ..LogConfig::default()
    }
}

async fn append(log: &PartitionLog, batches: usize) {
    for _ in 0..batches {
        let values = [vec![1; VALUE_BYTES]];
        log.append(&batch(&values, 1), log.log_end_offset(), EPOCH, None)
            .await
            .unwrap();
    }
    while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
        log.changed().await;
    }
}

/// Reads once and returns the offset behind what came. Less than half of `max_bytes` comes only
/// where the log ends.
async fn read_much(log: &PartitionLog, from: i64, max_bytes: usize) -> i64 {
    let end = log.log_end_offset();
    let read = log.read(Offset::new(from), end, max_bytes).await.unwrap();
    assert!(read.bytes <= max_bytes, "{} of {max_bytes}", read.bytes);
    let bytes = read.to_bytes();
    let mut next = from;
    for batch in split_batches(&bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.base_offset().get(), next, "in order, without a gap");
        next += 1;
    }
    assert!(
        read.bytes >= max_bytes / 2 || next == end.get(),
        "a read of {max_bytes} from {from} brought {} bytes, and the log ends at {end}",
        read.bytes
    );
    next
}

#[test]
fn a_read_goes_on_across_segments_and_into_the_cache() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config()]).await;
        let log = &rig.logs[&0];
        append(log, 200).await;
        // The write-out goes on behind the last append, and the cache shrinks with it.
        sleep(std::time::Duration::from_secs(1)).await;
        append(log, 5).await;
        for max_bytes in [8 << 10, 32 << 10, 64 << 10] {
            for from in 0..205 {
                read_much(log, from, max_bytes).await;
            }
        }
        let stats = rig.shard.stats();
        assert!(stats.read_bytes > 0, "some of it lies in segments only");
        assert!(stats.cached_read_bytes > 0, "and some in memory");
    });
}

#[test]
fn a_reader_that_caught_up_is_not_served_what_it_read_ahead_alone() {
    let mut simulator = Simulator::new(2);
    let disk = storage(&simulator);
    simulator.run(async {
        let rig = start(disk, small_options(), &[config()]).await;
        let log = &rig.logs[&0];
        let mut at = 0;
        for _ in 0..20 {
            append(log, 50).await;
            sleep(std::time::Duration::from_secs(1)).await;
            // Small reads near the end leave little read ahead; then the log grows.
            for max_bytes in [64 << 10, 8 << 10, 8 << 10, 64 << 10] {
                at = read_much(log, at, max_bytes).await;
            }
        }
    });
}

#[test]
fn a_batch_larger_than_a_direct_read_comes_whole_and_only_where_it_fits() {
    let mut simulator = Simulator::new(3);
    let disk = storage(&simulator);
    simulator.run(async {
        let read_bytes = small_options().read_bytes;
        let rig = start(disk, small_options(), &[config()]).await;
        let log = &rig.logs[&0];
        let large = batch(&[vec![2; read_bytes + 5000]], 1);
        append(log, 1).await;
        log.append(&large, Offset::new(1), EPOCH, None)
            .await
            .unwrap();
        append(log, 100).await;
        sleep(std::time::Duration::from_secs(1)).await;
        let end = log.log_end_offset();
        for (from, max_bytes, batches) in [(1, 100, 1), (0, 8 << 10, 1), (0, 1 << 20, 2)] {
            let read = log.read(Offset::new(from), end, max_bytes).await.unwrap();
            let bytes = read.to_bytes();
            let found = split_batches(&bytes).count();
            assert!(
                found == batches || (batches == 2 && found > 2),
                "{found} batches from {from} within {max_bytes}"
            );
        }
    });
}
