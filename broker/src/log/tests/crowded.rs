//! Several partitions share a journal that is nearly always full, so that groups, checkpoints,
//! write-outs and deletions wait for each other. None of them may wait for ever, and none may write
//! to what another has taken away.

use std::cell::Cell;
use std::rc::Rc;

use corelog_protocol::{Durability, PartitionIndex, TopicId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::Model;
use super::rig::{EPOCH, batch, small_options, start, storage};
use crate::log::{AppendError, LogConfig, LogOptions, PartitionLog, TopicPartition};
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{Simulator, spawn};

const SEEDS: u64 = 60;
const APPENDS: usize = 120;

fn config() -> LogConfig {
    LogConfig {
        durability: Durability::Sync,
        segment_bytes: 700 << 10,
        ..LogConfig::default()
    }
}

fn crowded_options() -> LogOptions {
    let mut options = small_options();
    options.journal.checkpoint_bytes = 1 << 20;
    options
}

fn values(random: &mut StdRng, large: bool) -> Vec<Vec<u8>> {
    let records = if large { 1 } else { random.random_range(1..20) };
    (0..records)
        .map(|_| {
            let length = match large {
                true => random.random_range(60_000..300_000),
                false => random.random_range(0..3000),
            };
            vec![random.random(); length]
        })
        .collect()
}

async fn synced(log: &PartitionLog) {
    while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
        log.changed().await;
    }
}

async fn append_all(log: &PartitionLog, random: &mut StdRng, large_percent: u32) -> Model {
    let mut model = Model::default();
    for _ in 0..APPENDS {
        let large = random.random_range(0..100) < large_percent;
        let values = values(random, large);
        let bytes = batch(&values, 1);
        model.sent.extend(values);
        log.append(&bytes, log.log_end_offset(), EPOCH, None)
            .await
            .unwrap();
        if random.random_range(0..8) == 0 {
            synced(log).await;
        }
    }
    synced(log).await;
    model.acknowledged = model.sent.len();
    model
}

/// One partition of large appends beside small ones: the large ones' chunks are on their way to
/// the segment while the small ones fill the journal.
#[test]
fn every_append_ends_although_the_journal_is_always_full() {
    for seed in 0..SEEDS {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        simulator.run(async {
            let configs = vec![config(); 4];
            let rig = start(disk.clone(), crowded_options(), &configs).await;
            let mut appenders = Vec::new();
            for (&index, log) in &rig.logs {
                let log = log.clone();
                let mut random = StdRng::seed_from_u64(seed * 31 + index as u64);
                let large_percent = if index % 2 == 0 { 80 } else { 5 };
                appenders.push(spawn(async move {
                    append_all(&log, &mut random, large_percent).await
                }));
            }
            let mut models = Vec::new();
            for appender in appenders {
                models.push(appender.await);
            }
            for (log, model) in rig.logs.values().zip(&mut models) {
                let context = format!("seed {seed}, running");
                model.check(log, &context).await.unwrap();
            }
            rig.shard.close().await.unwrap();
            let again = start(disk.clone(), crowded_options(), &configs).await;
            for (log, model) in again.logs.values().zip(&mut models) {
                let context = format!("seed {seed}, after a clean stop");
                model.check(log, &context).await.unwrap();
            }
            again.shard.close().await.unwrap();
        });
    }
}

/// A topic is deleted and created again under its name, over and over, while checkpoints run.
#[test]
fn a_deletion_beside_a_checkpoint_harms_neither_the_shard_nor_the_successor() {
    for seed in 0..SEEDS {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        simulator.run(async {
            let rig = start(disk.clone(), crowded_options(), &vec![config(); 2]).await;
            let over = Rc::new(Cell::new(false));
            let busy = {
                let (log, over) = (rig.logs[&0].clone(), over.clone());
                let mut random = StdRng::seed_from_u64(seed);
                spawn(async move {
                    while !over.get() {
                        let bytes = batch(&values(&mut random, true), 1);
                        log.append(&bytes, log.log_end_offset(), EPOCH, None)
                            .await
                            .unwrap();
                    }
                })
            };
            let mut random = StdRng::seed_from_u64(!seed);
            for life in 1..8 {
                let id = TopicPartition {
                    topic_id: TopicId::from_bytes([100 + life; 16]),
                    partition: PartitionIndex::new(0),
                };
                let log = rig
                    .shard
                    .open_partition(id, "comes-and-goes-0", config(), None)
                    .await
                    .unwrap();
                let mut model = Model::default();
                for _ in 0..random.random_range(1..12) {
                    let large = random.random_range(0..2) == 0;
                    let values = values(&mut random, large);
                    let bytes = batch(&values, 1);
                    model.sent.extend(values);
                    log.append(&bytes, log.log_end_offset(), EPOCH, None)
                        .await
                        .unwrap();
                }
                if random.random_range(0..2) == 0 {
                    synced(&log).await;
                    model.acknowledged = model.sent.len();
                    model.check(&log, &format!("seed {seed}")).await.unwrap();
                }
                rig.shard.delete_partition(id).await.unwrap();
            }
            over.set(true);
            busy.await;
            assert_eq!(rig.shard.failure(), None, "seed {seed}");
            rig.shard.close().await.unwrap();
        });
    }
}

/// The disk is full where a segment would end; a checkpoint comes by; then there is room again.
#[test]
fn a_disk_that_fills_at_the_end_of_a_segment_leaves_the_log_as_it_was() {
    for seed in 0..SEEDS {
        let mut simulator = Simulator::new(seed);
        let disk = storage(&simulator);
        let platter = simulator.disk();
        simulator.run(async {
            let configs = vec![config(); 2];
            let rig = start(disk.clone(), crowded_options(), &configs).await;
            let (log, other) = (&rig.logs[&0], &rig.logs[&1]);
            let mut random = StdRng::seed_from_u64(seed);
            let mut model = Model::default();
            let mut refused = 0;
            while refused < 3 {
                let values = values(&mut random, false);
                let bytes = batch(&values, 1);
                platter.set_fault_hook(|operation, _| {
                    (operation == Operation::Allocate).then_some(Fault::NoSpace)
                });
                let appended = log.append(&bytes, log.log_end_offset(), EPOCH, None).await;
                platter.clear_faults();
                match appended {
                    Ok(_) => model.sent.extend(values),
                    Err(AppendError::DiskFull { .. }) => {
                        refused += 1;
                        assert_eq!(log.log_end_offset().get() as usize, model.sent.len());
                        append_all(other, &mut random, 50).await;
                        let appended = log.append(&bytes, log.log_end_offset(), EPOCH, None);
                        appended.await.unwrap();
                        model.sent.extend(values);
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            synced(log).await;
            model.acknowledged = model.sent.len();
            rig.shard.close().await.unwrap();
            let again = start(disk.clone(), crowded_options(), &configs).await;
            let context = format!("seed {seed}");
            model.check(&again.logs[&0], &context).await.unwrap();
            again.shard.close().await.unwrap();
        });
    }
}
