//! Compaction of 1 KiB records, of which three of four are superseded, uncompressed and without a bound
//! on its share: alone, and beside durable appends to another log of the same core.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use corelog_broker::log::{CompactionConfig, LogConfig, PartitionLog};
use corelog_broker::runtime::{now, sleep};
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{Compression, Durability, Offset, Timestamp};

use crate::latency::while_running;
use crate::rig::{Rig, append, median, open};

const ROUNDS: usize = 5;
const LOG_BYTES: u64 = 256 << 20;
const RECORD_BYTES: usize = 1024;
const RECORDS_PER_BATCH: u64 = 64;

pub(crate) async fn run(root: PathBuf) -> anyhow::Result<String> {
    let config = LogConfig {
        durability: Durability::Written,
        segment_bytes: 64 << 20,
        compaction: Some(CompactionConfig::default()),
        ..LogConfig::default()
    };
    let rig = open(root, 2, config).await?;
    let (probe, log) = (&rig.logs[0], &rig.logs[1]);
    probe.set_config(LogConfig {
        durability: Durability::Sync,
        ..LogConfig::default()
    });
    let (mut rates, mut with, mut without, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fill(log).await?;
        let (_, bytes_per_second) = compact(&rig).await?;
        rates.push(bytes_per_second);
        fill(log).await?;
        let (mut compacting, (seconds, _)) = while_running(probe, compact(&rig)).await?;
        let quiet = async {
            sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        };
        let (mut plain, ()) = while_running(probe, quiet).await?;
        let (p99, plain_p99) = (compacting.percentile(0.99), plain.percentile(0.99));
        with.push(p99);
        without.push(plain_p99);
        ratios.push(p99 / plain_p99);
    }
    rig.shard.close().await?;
    Ok(format!(
        "compaction: {:.0} MB/s of input alone; p99 of a durable append {:.0} us beside it, {:.0} us \
         without: x {:.2}",
        median(rates) / 1e6,
        median(with),
        median(without),
        median(ratios),
    ))
}

/// Compacts what is dirty; returns the seconds and the bytes of input a second.
async fn compact(rig: &Rig) -> anyhow::Result<(f64, f64)> {
    let everything = |_| Some(Offset::new(i64::MAX));
    // The first look asks for the checkpoint that closes the segments for good.
    let (before, start) = loop {
        let (before, start) = (rig.shard.stats(), now());
        if rig.shard.compact_next(everything).await? {
            break (before, start);
        }
        sleep(Duration::from_millis(20)).await;
    };
    let seconds = (now() - start).as_secs_f64();
    // What is dirty is read twice: for its keys, and to be copied.
    let read = rig.shard.stats().compaction_read_bytes - before.compaction_read_bytes;
    Ok((seconds, read as f64 / 2.0 / seconds))
}

/// Appends records; every key comes four times, far apart.
async fn fill(log: &Rc<PartitionLog>) -> anyhow::Result<()> {
    let records = LOG_BYTES / RECORD_BYTES as u64;
    let keys = records / 4;
    let value = vec![7; RECORD_BYTES - 32];
    let mut builder = BatchBuilder::new(Compression::None, RECORDS_PER_BATCH as usize * 1100);
    for first in (0..records).step_by(RECORDS_PER_BATCH as usize) {
        for n in first..first + RECORDS_PER_BATCH {
            let key = format!("key {:012}", n % keys);
            let time = Timestamp::new(1_700_000_000_000);
            builder.append(time, Some(key.as_bytes()), Some(&value), &[])?;
        }
        append(log, &builder.finish(None)).await?;
    }
    while log.end_offset_at(Durability::Written) < log.log_end_offset() {
        log.changed().await;
    }
    Ok(())
}
