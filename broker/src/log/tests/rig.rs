//! One shard's logs on the disk of a simulator.

use std::rc::Rc;

use bytes::Bytes;
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{Compression, LeaderEpoch, PartitionIndex, ShardId, Timestamp, TopicId};

use crate::log::{
    JournalOptions, KnownTopics, LogConfig, LogOptions, PartitionLog, Recovered, ShardLog,
    TopicPartition, recover,
};
use crate::runtime::{BufferPool, Simulator, Storage};

pub(super) const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

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
        bypass_bytes: 128 << 10,
        read_bytes: 64 << 10,
        open_files: 8,
    }
}

/// A started shard.
pub(super) struct Rig {
    pub(super) shard: ShardLog,
    pub(super) logs: Vec<Rc<PartitionLog>>,
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

/// Recovers what the simulator's disk holds and opens `configs.len()` partitions.
pub(super) async fn start(simulated: Storage, options: LogOptions, configs: &[LogConfig]) -> Rig {
    let topics = known(i32::try_from(configs.len()).unwrap());
    let recovered = recover(&simulated, &topics).await.unwrap();
    assert_eq!(recovered.suspects, [], "nothing is suspect");
    let pool = BufferPool::new(32 << 20);
    let shard = ShardLog::start(
        simulated,
        pool,
        options,
        ShardId::new(0),
        recovered.generation,
    )
    .await
    .unwrap();
    let mut logs = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let id = partition(i32::try_from(index).unwrap());
        let start = recovered.partitions.get(&id).cloned();
        let folder = &topics.partitions[&id];
        logs.push(
            shard
                .open_partition(id, folder, config.clone(), start)
                .await
                .unwrap(),
        );
    }
    Rig {
        shard,
        logs,
        recovered,
    }
}

pub(super) fn storage(simulator: &Simulator) -> Storage {
    Storage::simulated(simulator.disk())
}

/// A batch with these record values, stamped with the given time.
pub(super) fn batch(values: &[Vec<u8>], timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for value in values {
        builder
            .append(Timestamp::new(timestamp), None, Some(value), &[])
            .unwrap();
    }
    builder.finish(None)
}
