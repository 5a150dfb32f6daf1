//! Appends while checkpoints of 1,000 dirty partitions run.

use std::path::PathBuf;
use std::rc::Rc;

use corelog_broker::log::{LogConfig, PartitionLog};

use crate::latency::while_running;
use crate::rig::{append, median, open, record, until_durable};

const PARTITIONS: i32 = 1000;
const ROUNDS: usize = 7;
const CHECKPOINTS: usize = 4;

pub(crate) async fn run(root: PathBuf) -> anyhow::Result<String> {
    let rig = open(root, 1 + PARTITIONS, LogConfig::default()).await?;
    let (probe, others) = rig.logs.split_at(1);
    dirty(others).await?;
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let load = async {
            for _ in 0..CHECKPOINTS {
                dirty(others).await?;
            }
            Ok(())
        };
        let (mut plain, ()) = while_running(&probe[0], load).await?;
        let load = async {
            for _ in 0..CHECKPOINTS {
                dirty(others).await?;
                rig.shard.checkpoint_now().await?;
            }
            Ok(())
        };
        let (mut checkpointed, ()) = while_running(&probe[0], load).await?;
        let (p99, plain_p99) = (checkpointed.percentile(0.99), plain.percentile(0.99));
        with.push(p99);
        without.push(plain_p99);
        ratios.push(p99 / plain_p99);
    }
    rig.shard.close().await?;
    Ok(format!(
        "checkpoints: p99 of a durable append {:.0} us while {PARTITIONS} dirty partitions are \
         checkpointed, {:.0} us without: x {:.2}",
        median(with),
        median(without),
        median(ratios),
    ))
}

/// Appends a record to each.
async fn dirty(logs: &[Rc<PartitionLog>]) -> anyhow::Result<()> {
    let batch = record(1024);
    let mut ends = Vec::new();
    for log in logs {
        ends.push(append(log, &batch).await?);
    }
    for (log, end) in logs.iter().zip(ends) {
        until_durable(log, end).await;
    }
    Ok(())
}
