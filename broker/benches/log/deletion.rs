//! Appends while the segments below a moved log start are deleted.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corelog_broker::log::{LogConfig, PartitionLog};
use corelog_broker::runtime::{now, sleep};
use corelog_protocol::Durability;

use crate::latency::while_running;
use crate::rig::{append, median, open, record};

const ROUNDS: usize = 5;
const SEGMENTS: usize = 16;
const SEGMENT_BYTES: u64 = 32 << 20;
/// `partition.metadata`, `leader-epoch-checkpoint`, and of the active segment at most four.
const FILES_KEPT: usize = 6;

pub(crate) async fn run(root: PathBuf) -> anyhow::Result<String> {
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        file_delete_delay: Duration::ZERO,
        durability: Durability::Written,
        ..LogConfig::default()
    };
    let folder = root.join("data/topic-1");
    let rig = open(root, 2, config).await?;
    let (probe, log) = (&rig.logs[0], &rig.logs[1]);
    probe.set_config(LogConfig {
        durability: Durability::Sync,
        ..LogConfig::default()
    });
    let (mut with, mut without, mut ratios, mut took) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fill(log).await?;
        rig.shard.checkpoint_now().await?;
        let deletion = async {
            let start = now();
            log.advance_log_start(log.log_end_offset()).await?;
            rig.shard.checkpoint_now().await?;
            while files_in(&folder)? > FILES_KEPT {
                sleep(Duration::from_millis(5)).await;
            }
            Ok((now() - start).as_secs_f64())
        };
        let (mut deleting, seconds) = while_running(probe, deletion).await?;
        let quiet = async {
            rig.shard.checkpoint_now().await?;
            sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        };
        let (mut plain, ()) = while_running(probe, quiet).await?;
        let (p99, plain_p99) = (deleting.percentile(0.99), plain.percentile(0.99));
        with.push(p99);
        without.push(plain_p99);
        ratios.push(p99 / plain_p99);
        took.push(seconds);
    }
    rig.shard.close().await?;
    Ok(format!(
        "deletion: p99 of a durable append {:.0} us while {SEGMENTS} segments of {} MiB are deleted in \
         {:.2} s, {:.0} us without: x {:.2}",
        median(with),
        SEGMENT_BYTES >> 20,
        median(took),
        median(without),
        median(ratios),
    ))
}

fn files_in(folder: &Path) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}

async fn fill(log: &Rc<PartitionLog>) -> anyhow::Result<()> {
    let batch = record(1 << 20);
    let batches = SEGMENTS * (SEGMENT_BYTES as usize / batch.len());
    for _ in 0..batches {
        append(log, &batch).await?;
    }
    while log.end_offset_at(Durability::Written) < log.log_end_offset() {
        log.changed().await;
    }
    Ok(())
}
