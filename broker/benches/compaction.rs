//! How many bytes of a log one core compacts in a second: 1 KiB records, of which three of four are
//! superseded, uncompressed, on the real disk, without a bound on its share.
//!
//! `cargo bench -p corelog-broker --bench compaction [-- MEBIBYTES]`. The log lies in the target
//! folder, because the system's temporary directory may be memory, without direct I/O.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use corelog_broker::log::{
    CompactionConfig, KnownTopics, LogConfig, LogOptions, PartitionLog, ShardLog, TopicPartition,
    recover,
};
use corelog_broker::runtime::{BufferPool, ExecutorOptions, Storage, launch_shard, now, sleep};
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{
    Compression, Durability, LeaderEpoch, Offset, PartitionIndex, ShardId, Timestamp, TopicId,
};

const RECORD_BYTES: usize = 1024;
const RECORDS_PER_BATCH: u64 = 64;
const MEMORY: usize = 256 << 20;

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|it| !it.starts_with('-'));
    let mebibytes = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let root = folder.path().to_owned();
    let options = ExecutorOptions {
        cpu: Some(0),
        ..ExecutorOptions::default()
    };
    let thread = launch_shard(options, move || run(root, mebibytes))?;
    println!("{}", thread.join()??);
    Ok(())
}

async fn run(root: PathBuf, mebibytes: u64) -> anyhow::Result<String> {
    let storage = Storage::real(root).await?;
    let id = TopicPartition {
        topic_id: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex::new(0),
    };
    let mut topics = KnownTopics::default();
    topics.partitions.insert(id, "compacted-0".to_owned());
    let recovered = recover(&storage, &topics).await?;
    let pool = BufferPool::new(MEMORY);
    let generation = recovered.generation;
    let options = LogOptions::default();
    let shard = ShardLog::start(storage, pool, options, ShardId::new(0), generation).await?;
    let config = LogConfig {
        durability: Durability::Written,
        segment_bytes: 64 << 20,
        compaction: Some(CompactionConfig::default()),
        ..LogConfig::default()
    };
    let log = shard
        .open_partition(id, "compacted-0", config, None)
        .await?;
    fill(&log, mebibytes << 20).await?;
    // The first look asks for the checkpoint that closes the segments for good.
    let before = loop {
        let (stats, start) = (shard.stats(), now());
        if shard.compact_next(|_| Some(Offset::new(i64::MAX))).await? {
            break (stats, start);
        }
        sleep(Duration::from_millis(20)).await;
    };
    let took = (now() - before.1).as_secs_f64();
    let stats = shard.stats();
    // Everything is dirty, so both passes read all of it.
    let input = (stats.compaction_read_bytes - before.0.compaction_read_bytes) / 2;
    let written = stats.compaction_written_bytes - before.0.compaction_written_bytes;
    shard.close().await?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(format!(
        "compaction: {:.0} MB in {took:.2} s: {:.0} MB/s of input ({:.0} MB written, key map {} % full)",
        megabytes(input),
        megabytes(input) / took,
        megabytes(written),
        stats.compaction_map_fill_percent,
    ))
}

/// Appends this many bytes of records; every key comes four times, far apart.
async fn fill(log: &PartitionLog, bytes: u64) -> anyhow::Result<()> {
    let records = bytes / RECORD_BYTES as u64;
    let keys = (records / 4).max(1);
    let value = vec![7; RECORD_BYTES - 32];
    let mut builder = BatchBuilder::new(Compression::None, RECORDS_PER_BATCH as usize * 1100);
    for first in (0..records).step_by(RECORDS_PER_BATCH as usize) {
        for n in first..first + RECORDS_PER_BATCH {
            let key = format!("key {:012}", n % keys);
            let time = Timestamp::new(1_700_000_000_000);
            builder.append(time, Some(key.as_bytes()), Some(&value), &[])?;
        }
        let batch = builder.finish(None);
        let end = log.log_end_offset();
        let appended = log.append(&batch, end, LeaderEpoch::ZERO, None).await;
        appended.context("append")?;
    }
    while log.end_offset_at(Durability::Written) < log.log_end_offset() {
        log.changed().await;
    }
    Ok(())
}
