//! Logs on a real folder.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use corelog_broker::log::{
    KnownTopics, LogConfig, LogOptions, PartitionLog, ShardLog, TopicPartition, recover,
};
use corelog_broker::runtime::{BufferPool, Instant, Storage, now, spawn};
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{
    Compression, Durability, LeaderEpoch, Offset, PartitionIndex, ShardId, Timestamp, TopicId,
};

const MEMORY: usize = 256 << 20;
/// Appends that are not durable yet, as of many producers together.
const IN_FLIGHT: usize = 4000;
/// Tasks that append.
const APPENDERS: usize = 32;

pub(crate) fn folder() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

pub(crate) struct Rig {
    pub(crate) shard: ShardLog,
    pub(crate) logs: Vec<Rc<PartitionLog>>,
}

/// Opens this many partitions in `root`, as a start of the broker does.
pub(crate) async fn open(root: PathBuf, partitions: i32, config: LogConfig) -> anyhow::Result<Rig> {
    open_with(root, partitions, config, LogOptions::default()).await
}

pub(crate) async fn open_with(
    root: PathBuf,
    partitions: i32,
    config: LogConfig,
    options: LogOptions,
) -> anyhow::Result<Rig> {
    let storage = Storage::real(root).await?;
    let id = |n| TopicPartition {
        topic_id: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex::new(n),
    };
    let topics = KnownTopics {
        partitions: (0..partitions)
            .map(|n| (id(n), format!("topic-{n}")))
            .collect(),
        ..KnownTopics::default()
    };
    let mut recovered = recover(&storage, &topics).await?;
    let pool = BufferPool::new(MEMORY);
    let generation = recovered.generation;
    let shard = ShardLog::start(storage, pool, options, ShardId::new(0), generation).await?;
    let mut logs = Vec::new();
    for (id, folder) in &topics.partitions {
        let start = recovered.partitions.remove(id);
        logs.push(
            shard
                .open_partition(*id, folder, config.clone(), start)
                .await?,
        );
    }
    Ok(Rig { shard, logs })
}

/// One record with a value of so many bytes.
pub(crate) fn record(value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, value_bytes + 128);
    let time = Timestamp::new(1_700_000_000_000);
    let appended = builder.append(time, None, Some(&vec![7; value_bytes]), &[]);
    appended.expect("a record fits its batch");
    builder.finish(None)
}

/// Appends and returns the log end behind it.
pub(crate) async fn append(log: &PartitionLog, batch: &[u8]) -> anyhow::Result<Offset> {
    let end = log.log_end_offset();
    let appended = log.append(batch, end, LeaderEpoch::ZERO, None).await;
    appended.context("append")?;
    Ok(log.log_end_offset())
}

pub(crate) async fn until_durable(log: &PartitionLog, end: Offset) {
    while log.end_offset_at(Durability::Sync) < end {
        log.changed().await;
    }
}

/// Appends to the logs in turn for this long, and returns the appends a second until all were durable.
/// As in a broker, an append that waits for room in its own segment holds up no other partition: each
/// appender has a share of the logs.
pub(crate) async fn append_in_turn(
    logs: &[Rc<PartitionLog>],
    batch: &Bytes,
    slice: Duration,
) -> anyhow::Result<f64> {
    let start = now();
    let share = logs.len().div_ceil(APPENDERS);
    let appenders: Vec<_> = logs
        .chunks(share)
        .map(|logs_of_one| {
            let in_flight = (IN_FLIGHT * logs_of_one.len() / logs.len()).max(1);
            let (logs, batch) = (logs_of_one.to_vec(), batch.clone());
            spawn(async move { append_until(&logs, &batch, start + slice, in_flight).await })
        })
        .collect();
    let mut appends = 0;
    for appender in appenders {
        appends += appender.await.context("an appender")?;
    }
    Ok(appends as f64 / (now() - start).as_secs_f64())
}

async fn append_until(
    logs: &[Rc<PartitionLog>],
    batch: &[u8],
    end: Instant,
    in_flight: usize,
) -> anyhow::Result<u64> {
    let mut waiting = VecDeque::new();
    let mut appends = 0_u64;
    for log in logs.iter().cycle() {
        if now() > end {
            break;
        }
        waiting.push_back((log, append(log, batch).await?));
        appends += 1;
        if waiting.len() == in_flight
            && let Some((log, end)) = waiting.pop_front()
        {
            until_durable(log, end).await;
        }
    }
    for (log, end) in waiting {
        until_durable(log, end).await;
    }
    Ok(appends)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
