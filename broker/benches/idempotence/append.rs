//! The broker's side: a partition and its log, on a simulated machine.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_broker::config::TopicConfig;
use corelog_broker::log::{
    JournalOptions, KnownTopics, LogConfig, LogOptions, ShardLog, TopicPartition, recover,
};
use corelog_broker::metrics::ShardMetrics;
use corelog_broker::partition::{Partition, ProduceCommand, SubmittedProduce};
use corelog_broker::runtime::{BufferPool, SimulatedDisk, Simulator, Storage, now};
use corelog_protocol::record::{BatchBuilder, ProducerStamp};
use corelog_protocol::{
    Acks, Compression, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Sequence, ShardId,
    Timestamp, TopicId,
};

use crate::counting::Load;

const ID: TopicPartition = TopicPartition {
    topic_id: TopicId::from_bytes([7; 16]),
    partition: PartitionIndex::new(0),
};
const EPOCH: LeaderEpoch = LeaderEpoch::new(0);
/// As many as an idempotent producer has under way.
const UNDER_WAY: usize = 5;

pub(crate) fn run(load: Load) {
    let batches = (0..load.batches).map(|number| batch(load, number));
    let batches: Vec<Bytes> = batches.collect();
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    measured(&mut simulator, disk, batches);
}

fn batch(load: Load, number: u32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 16 << 10);
    for _ in 0..load.records {
        builder
            .append(Timestamp::new(1), None, Some(&[b'x'; 100]), &[])
            .expect("a batch takes it");
    }
    let sequence = i32::try_from(number * load.records).expect("a short run");
    builder.finish(load.idempotent.then(|| ProducerStamp {
        id: ProducerId::new(5),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::new(sequence),
        transactional: false,
    }))
}

#[inline(never)]
fn measured(simulator: &mut Simulator, disk: SimulatedDisk, batches: Vec<Bytes>) {
    simulator.run(async {
        let partition = partition(disk).await;
        let mut under_way = VecDeque::with_capacity(UNDER_WAY);
        for batches in batches {
            if under_way.len() == UNDER_WAY {
                settle(under_way.pop_front()).await;
            }
            under_way.push_back(partition.produce(ProduceCommand {
                topic_partition: ID,
                leader_epoch: None,
                acks: Acks::All,
                batches,
                deadline: now() + Duration::from_secs(30),
            }));
        }
        while !under_way.is_empty() {
            settle(under_way.pop_front()).await;
        }
    });
}

async fn settle(produce: Option<SubmittedProduce>) {
    if let Some(produce) = produce {
        produce.await.result.expect("nothing is wrong with it");
    }
}

/// A partition that acknowledges what is synced, alone in its log.
async fn partition(disk: SimulatedDisk) -> Partition {
    let storage = Storage::simulated(disk);
    let recovered = recover(&storage, &KnownTopics::default())
        .await
        .expect("an empty disk");
    let options = LogOptions {
        journal: JournalOptions {
            file_bytes: 16 << 20,
            files: 2,
            ..JournalOptions::default()
        },
        ..LogOptions::default()
    };
    let pool = BufferPool::new(64 << 20);
    let shard = ShardId::new(0);
    let log = ShardLog::start(storage, pool, options, shard, recovered.generation)
        .await
        .expect("an empty disk");
    let config = TopicConfig::default();
    let partition_log = log
        .open_partition(ID, "topic-0", LogConfig::from(&config), None)
        .await
        .expect("a new partition");
    Partition::lead(
        EPOCH,
        &config,
        partition_log,
        log,
        Rc::new(ShardMetrics::default()),
        UNDER_WAY,
    )
}
