//! One shard's logs on the disk of a simulator.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{Compression, LeaderEpoch, PartitionIndex, ShardId, Timestamp, TopicId};

use crate::log::{
    JournalOptions, KnownTopics, LogConfig, LogError, LogOptions, PartitionLog, Recovered,
    ShardLog, TopicPartition, recover,
};
use crate::runtime::{BufferPool, Simulator, Storage};

pub(super) const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

/// For tails, caches and reads, where a test does not say otherwise.
const MEMORY: usize = 32 << 20;

pub(super) fn partition(index: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex::new(index),
    }
}

/// Options small enough that a few hundred appends roll segments and recycle the journal.
pub(super) fn small_options() -> LogOptions {
    LogOptions {
        journal: JournalOptions {
            file_bytes: 1 << 20,
            files: 2,
            checkpoint_bytes: 4 << 20,
        },
        write_out_bytes: 64 << 10,
        cache_bytes_per_partition: 64 << 10,
        bypass_bytes: 64 << 10,
        read_bytes: 64 << 10,
        lent_bytes: 8 << 20,
        index_bytes: 64,
        open_files: 8,
        removal_step_bytes: 4 << 10,
        compaction: crate::log::CompactionOptions::default(),
        ..LogOptions::default()
    }
}

/// A started shard.
pub(super) struct Rig {
    pub(super) shard: ShardLog,
    /// The logs that could be opened, by the number of their partition.
    pub(super) logs: BTreeMap<usize, Rc<PartitionLog>>,
    /// The others, with the reason.
    pub(super) suspects: BTreeMap<usize, String>,
    pub(super) recovered: Recovered,
}

pub(super) fn known(partitions: i32) -> KnownTopics {
    KnownTopics {
        partitions: (0..partitions)
            .map(|n| (partition(n), format!("topic-{n}")))
            .collect(),
        ..KnownTopics::default()
    }
}

/// Recovers what the simulator's disk holds, where nothing may be suspect, and opens
/// `configs.len()` partitions.
pub(super) async fn start(simulated: Storage, options: LogOptions, configs: &[LogConfig]) -> Rig {
    start_with_pool(simulated, options, configs, BufferPool::new(MEMORY)).await
}

/// As [`start`], with the memory for tails, caches and reads.
pub(super) async fn start_with_pool(
    simulated: Storage,
    options: LogOptions,
    configs: &[LogConfig],
    pool: BufferPool,
) -> Rig {
    let rig = start_any_with_pool(simulated, options, configs, pool).await;
    assert_eq!(rig.suspects, BTreeMap::new(), "nothing is suspect");
    rig
}

/// Recovers what the simulator's disk holds and opens those of `configs.len()` partitions that are
/// not suspect.
pub(super) async fn start_any(
    simulated: Storage,
    options: LogOptions,
    configs: &[LogConfig],
) -> Rig {
    start_any_with_pool(simulated, options, configs, BufferPool::new(MEMORY)).await
}

async fn start_any_with_pool(
    simulated: Storage,
    options: LogOptions,
    configs: &[LogConfig],
    pool: BufferPool,
) -> Rig {
    let topics = known(i32::try_from(configs.len()).unwrap());
    let recovered = recover(&simulated, &topics).await.unwrap();
    let shard = ShardLog::start(
        simulated,
        pool,
        options,
        ShardId::new(0),
        recovered.generation,
    )
    .await
    .unwrap();
    let mut logs = BTreeMap::new();
    let mut suspects = BTreeMap::new();
    for (index, config) in configs.iter().enumerate() {
        let id = partition(i32::try_from(index).unwrap());
        let mut found = recovered.suspects.iter();
        if let Some(suspect) = found.find(|suspect| suspect.topic_partition == id) {
            suspects.insert(index, suspect.reason.clone());
            continue;
        }
        let start = recovered.partitions.get(&id).cloned();
        let folder = &topics.partitions[&id];
        match shard
            .open_partition(id, folder, config.clone(), start)
            .await
        {
            Ok(log) => {
                logs.insert(index, log);
            }
            Err(LogError::Suspect { reason, .. }) => {
                suspects.insert(index, reason);
            }
            Err(error) => panic!("partition {index}: {error}"),
        }
    }
    Rig {
        shard,
        logs,
        suspects,
        recovered,
    }
}

pub(super) fn storage(simulator: &Simulator) -> Storage {
    Storage::simulated(simulator.disk())
}

/// A batch with these record values, stamped with the given time.
pub(super) fn batch(values: &[Vec<u8>], timestamp: i64) -> Bytes {
    keyed_batch(values, None, timestamp)
}

/// As [`batch`], with a key of one byte for each record.
pub(super) fn keyed_batch(values: &[Vec<u8>], keys: Option<&[u8]>, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for (index, value) in values.iter().enumerate() {
        let key = keys.map(|keys| &keys[index..=index]);
        builder
            .append(Timestamp::new(timestamp), key, Some(value), &[])
            .unwrap();
    }
    builder.finish(None)
}
