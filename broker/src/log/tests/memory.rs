//! What happens when the shard's memory is used up: caches give way and tails are written out, for
//! appends and for reads, and nobody waits for memory that cannot come.

use std::future::Future;
use std::time::Duration;

use corelog_protocol::{Durability, Offset};

use super::rig::{EPOCH, batch, small_options, start_with_pool, storage};
use crate::log::{AppendError, LogConfig, LogOptions, PartitionLog, Room};
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{BufferPool, Charge, Simulator, spawn, timeout};

const MEMORY: usize = 4 << 20;
const VALUE_BYTES: usize = 60 << 10;

/// Every partition alone may cache, and keep from its segment, as much as there is.
fn options() -> LogOptions {
    LogOptions {
        cache_bytes_per_partition: MEMORY as u64,
        write_out_bytes: MEMORY as u64,
        ..small_options()
    }
}

async fn append(log: &PartitionLog) -> Result<(), AppendError> {
    let values = [vec![7; VALUE_BYTES]];
    log.append(&batch(&values, 1), log.log_end_offset(), EPOCH, None)
        .await
        .map(drop)
}

async fn until_written(log: &PartitionLog) {
    while log.end_offset_at(Durability::Written) < log.log_end_offset() {
        log.changed().await;
    }
}

/// Takes all that nobody has: from here on memory only comes from tails and caches.
fn take_the_rest(pool: &BufferPool) -> Charge {
    let rest = pool.charge(pool.budget() - pool.in_use()).unwrap();
    assert!(pool.charge(1).is_err());
    rest
}

/// In virtual time: whatever ends at all ends long before.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(600), future)
        .await
        .unwrap_or_else(|_| panic!("{what} waits for memory for ever"))
}

#[test]
fn an_append_gets_memory_from_what_others_have_not_written_out() {
    for is_written in [true, false] {
        let mut simulator = Simulator::new(1);
        let disk = storage(&simulator);
        simulator.run(async {
            let config = LogConfig {
                durability: Durability::Written,
                ..LogConfig::default()
            };
            let pool = BufferPool::new(MEMORY);
            let rig = start_with_pool(disk, options(), &vec![config; 2], pool.clone()).await;
            for _ in 0..16 {
                append(&rig.logs[&0]).await.unwrap();
            }
            if is_written {
                until_written(&rig.logs[&0]).await;
            }
            let rest = take_the_rest(&pool);
            in_time("an append", append(&rig.logs[&1])).await.unwrap();
            drop(rest);
            in_time("a clean stop", rig.shard.close()).await.unwrap();
        });
    }
}

/// Each partition ends in a begun block, which no write-out brings to the segment, and which keeps the
/// chunk that its batch begins in.
#[test]
fn appends_to_more_partitions_than_memory_holds_go_on() {
    let mut simulator = Simulator::new(4);
    let disk = storage(&simulator);
    simulator.run(async {
        let configs = vec![LogConfig::default(); 2 * MEMORY / VALUE_BYTES];
        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(disk, options(), &configs, pool).await;
        for log in rig.logs.values() {
            in_time("an append", append(log)).await.unwrap();
        }
        for log in rig.logs.values() {
            let read = log.read(Offset::ZERO, Offset::new(1), 1 << 20);
            let read = in_time("a read", read).await.unwrap();
            assert!(read.bytes > VALUE_BYTES);
        }
        in_time("a clean stop", rig.shard.close()).await.unwrap();
    });
}

#[test]
fn a_read_from_a_segment_gets_memory_from_the_caches() {
    let mut simulator = Simulator::new(2);
    let disk = storage(&simulator);
    simulator.run(async {
        let configs = vec![LogConfig::default(); 2];
        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(disk.clone(), options(), &configs, pool).await;
        append(&rig.logs[&0]).await.unwrap();
        rig.shard.close().await.unwrap();

        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(disk, options(), &configs, pool.clone()).await;
        for _ in 0..16 {
            append(&rig.logs[&1]).await.unwrap();
        }
        let _rest = take_the_rest(&pool);
        let read = rig.logs[&0].read(Offset::ZERO, Offset::new(1), 1 << 20);
        let read = in_time("a read", read).await.unwrap();
        assert!(read.bytes > VALUE_BYTES);
    });
}

#[test]
fn who_waits_for_memory_is_told_when_the_log_stops() {
    let mut simulator = Simulator::new(3);
    let storage_ = storage(&simulator);
    let disk = simulator.disk();
    simulator.run(async {
        let configs = vec![LogConfig::default(); 4];
        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(storage_, options(), &configs, pool).await;
        append(&rig.logs[&0]).await.unwrap();
        disk.fail_nth(Operation::Write, 40, Fault::Device);
        let appends: Vec<_> = rig
            .logs
            .values()
            .cloned()
            .map(|log| spawn(async move { while append(&log).await.is_ok() {} }))
            .collect();
        for task in appends {
            in_time("an append", task).await;
        }
        assert!(rig.shard.failure().is_some());
        // Tails that will never be written out hold the memory; reads go on without it.
        let end = rig.logs[&0].log_end_offset();
        let read = rig.logs[&0].read(Offset::ZERO, end, 1 << 20);
        assert!(!in_time("a read", read).await.unwrap().is_empty());
    });
}

#[test]
fn a_direct_read_is_charged_for_as_long_as_its_bytes_live() {
    let mut simulator = Simulator::new(5);
    let disk = storage(&simulator);
    simulator.run(async {
        let configs = [LogConfig::default()];
        let rig = start_with_pool(disk.clone(), options(), &configs, BufferPool::new(MEMORY)).await;
        for _ in 0..16 {
            append(&rig.logs[&0]).await.unwrap();
        }
        rig.shard.close().await.unwrap();

        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(disk, options(), &configs, pool.clone()).await;
        let (log, idle) = (&rig.logs[&0], pool.in_use());
        let end = log.log_end_offset();
        let first = log.read(Offset::ZERO, end, 1).await.unwrap();
        let second = log.read(Offset::new(1), end, 1).await.unwrap();
        let held = first.bytes + second.bytes;
        assert!(pool.in_use() >= idle + held, "{} bytes", pool.in_use());
        assert!(rig.shard.lending().lent() >= held);
        // A part keeps all that was read with it.
        let part = second.slices[0].clone();
        drop((first, second));
        assert_eq!(rig.shard.lending().lent(), 0);
        assert!(pool.in_use() > idle);
        drop(part);
        // What was read ahead is given back when somebody wants memory.
        let all = pool.charge_wait(pool.budget() - idle);
        let wanted = async {
            let another = log.read(Offset::ZERO, end, 1).await.unwrap();
            drop(another);
        };
        in_time("a read", wanted).await;
        log.forget_read_aheads();
        drop(in_time("all memory", all).await);
        assert_eq!(pool.in_use(), idle);
    });
}

#[test]
fn every_byte_of_the_budget_is_counted_for_who_holds_it() {
    let mut simulator = Simulator::new(8);
    let disk = storage(&simulator);
    simulator.run(async {
        let configs = [LogConfig::default()];
        let pool = BufferPool::new(MEMORY);
        let rig = start_with_pool(disk, options(), &configs, pool.clone()).await;
        let log = &rig.logs[&0];
        for _ in 0..4 {
            append(log).await.unwrap();
        }
        let stats = rig.shard.stats();
        assert!(stats.dirty_tail_bytes >= 4 * VALUE_BYTES as u64);
        assert_eq!(stats.tail_memory_bytes, pool.in_use() as u64);

        rig.shard.checkpoint_now().await.unwrap();
        log.release_memory(log.shared().unwrap().as_ref(), 0);
        let stats = rig.shard.stats();
        assert_eq!(stats.dirty_tail_bytes, 0, "the segment has it");
        assert_eq!(stats.tail_memory_bytes, 4096, "the begun block");
        assert_eq!(stats.read_memory_bytes, 0);

        let read = log
            .read(Offset::ZERO, log.log_end_offset(), 1)
            .await
            .unwrap();
        let stats = rig.shard.stats();
        assert!(stats.read_memory_bytes >= read.bytes as u64);
        assert_eq!(stats.compaction_memory_bytes, 0);
        assert_eq!(
            stats.tail_memory_bytes + stats.read_memory_bytes,
            pool.in_use() as u64
        );
    });
}

#[test]
fn readers_wait_for_each_other_at_their_bound_and_for_nobody_else() {
    let mut simulator = Simulator::new(6);
    let disk = storage(&simulator);
    simulator.run(async {
        let lent_bytes = 4 * VALUE_BYTES;
        let options = LogOptions {
            lent_bytes,
            ..options()
        };
        let configs = vec![LogConfig::default(); 8];
        let rig = start_with_pool(disk, options, &configs, BufferPool::new(MEMORY)).await;
        for log in rig.logs.values() {
            append(log).await.unwrap();
        }
        let read = |index: usize| rig.logs[&index].read(Offset::ZERO, Offset::new(1), 1 << 20);
        let mut held = Vec::new();
        for index in 0..8 {
            if let Ok(read) = timeout(Duration::from_millis(1), read(index)).await {
                held.push(read.unwrap());
            }
        }
        assert!((1..8).contains(&held.len()), "{} reads", held.len());
        assert!(rig.shard.lending().lent() <= lent_bytes);
        // Whoever does not want to wait gets nothing, and appends go on.
        let log = &rig.logs[&7];
        let end = Offset::new(1);
        let none = log.read_in(Room::IfFree, Offset::ZERO, end, 1 << 20).await;
        assert!(none.unwrap().is_empty());
        in_time("an append", append(log)).await.unwrap();
        let waiting = spawn({
            let log = log.clone();
            async move { log.read(Offset::ZERO, end, 1 << 20).await.unwrap().bytes }
        });
        drop(held);
        assert!(in_time("a read", waiting).await > VALUE_BYTES);
    });
}

#[test]
fn the_indexes_of_closed_segments_stay_within_their_bound() {
    let mut simulator = Simulator::new(7);
    let disk = storage(&simulator);
    simulator.run(async {
        let config = LogConfig {
            segment_bytes: 256 << 10,
            ..LogConfig::default()
        };
        let options = LogOptions {
            index_bytes: 512,
            ..options()
        };
        let rig = start_with_pool(disk, options, &[config], BufferPool::new(MEMORY)).await;
        let log = &rig.logs[&0];
        for _ in 0..200 {
            append(log).await.unwrap();
        }
        let end = log.log_end_offset();
        for round in 0..3 {
            for offset in (0..end.get()).step_by(3).map(Offset::new) {
                let read = log.read(offset, end, 1).await.unwrap();
                assert!(read.bytes > VALUE_BYTES, "round {round}, offset {offset}");
                let indexes = rig.shard.stats().index_bytes;
                assert!(indexes <= 512, "{indexes} bytes of indexes");
            }
        }
        assert!(rig.shard.stats().index_bytes > 0, "none was loaded");
    });
}

#[test]
fn a_partition_that_is_idle_at_its_checkpoint_has_no_file_open_and_little_memory() {
    let mut simulator = Simulator::new(8);
    let disk = storage(&simulator);
    simulator.run(async {
        const IDLE: usize = 20;
        let pool = BufferPool::new(MEMORY);
        let options = LogOptions {
            open_files: 100,
            ..options()
        };
        let configs = vec![LogConfig::default(); IDLE + 1];
        let rig = start_with_pool(disk, options, &configs, pool.clone()).await;
        for index in 0..IDLE {
            append(&rig.logs[&index]).await.unwrap();
        }
        for index in 0..IDLE {
            until_written(&rig.logs[&index]).await;
        }
        // The first one may have begun before.
        let before = rig.shard.stats().checkpoints;
        while rig.shard.stats().checkpoints < before + 2 {
            append(&rig.logs[&IDLE]).await.unwrap();
        }
        let open = rig.shard.stats().open_files;
        assert!(
            open <= 1,
            "{open} files are open, and one partition is busy"
        );
        let rest = rig.logs[&IDLE].memory_bytes();
        let idle = (pool.in_use() - rest) / IDLE;
        assert!(idle <= 4096, "an idle partition holds {idle} bytes");
        assert!(rest > 0);
    });
}
