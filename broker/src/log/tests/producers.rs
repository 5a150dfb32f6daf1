//! The machine stops while idempotent producers append, again and again, at every durability. What the
//! log remembers of them afterwards must be exactly what it holds.
//!
//! The story behind the canaries: a broker whose checkpoint speaks of batches that were in memory only
//! answers their retries as if they were in the log, and they are lost; one whose start forgets the
//! batches behind the checkpoint appends their retries once more. Both pass every test that does not
//! stop the machine between an append and its flush.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::record::{BatchBuilder, ProducerStamp};
use corelog_protocol::{
    Compression, Durability, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{EPOCH, Rig, partition, small_options, start, storage};
use super::workload::seeds;
use crate::log::canary::{Canary, plant};
use crate::log::{LogConfig, LogOptions, PartitionLog, ShardLog};
use crate::runtime::{Simulator, Storage, sleep};

const SEEDS: u64 = 150;
const PRODUCERS: i64 = 4;
const REMEMBERED: usize = 5;

/// A batch as the log took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    id: i64,
    epoch: i16,
    sequence: i32,
    records: i32,
    offset: i64,
}

impl Taken {
    fn end(&self) -> i64 {
        self.offset + i64::from(self.records)
    }

    fn encode(&self, value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None, 1024);
        for _ in 0..self.records {
            builder
                .append(Timestamp::new(1), None, Some(value), &[])
                .unwrap();
        }
        builder.finish(Some(ProducerStamp {
            id: ProducerId::new(self.id),
            epoch: ProducerEpoch::new(self.epoch),
            base_sequence: Sequence::new(self.sequence),
            transactional: false,
        }))
    }
}

/// What was sent to one partition, and is or may be in its log.
#[derive(Default)]
struct History {
    batches: Vec<Taken>,
    /// The log was cut back, or may have been: of some producers it may remember fewer batches.
    was_cut: bool,
}

impl History {
    /// The batch that a producer sends next.
    fn next(&self, random: &mut StdRng, offset: i64) -> Taken {
        let id = random.random_range(0..PRODUCERS);
        let last = self.batches.iter().rev().find(|batch| batch.id == id);
        let (epoch, sequence) = match last {
            None => (0, 0),
            Some(last) if random.random_bool(0.1) => (last.epoch + 1, 0),
            Some(last) => (last.epoch, last.sequence + last.records),
        };
        Taken {
            id,
            epoch,
            sequence,
            records: random.random_range(1..4),
            offset,
        }
    }

    /// Each producer's epoch, and sequence and offset of its last batches, in a log that ends here.
    fn remembered(&self) -> BTreeMap<i64, (i16, Vec<(i32, i64)>)> {
        let mut remembered: BTreeMap<i64, (i16, Vec<(i32, i64)>)> = BTreeMap::new();
        for batch in &self.batches {
            let (epoch, batches) = remembered.entry(batch.id).or_default();
            if *epoch != batch.epoch {
                batches.clear();
            }
            *epoch = batch.epoch;
            batches.push((batch.sequence, batch.offset));
            if batches.len() > REMEMBERED {
                batches.remove(0);
            }
        }
        remembered
    }

    /// Compares it with what the log remembers. What the log does not hold was never sent.
    fn check(&mut self, log: &PartitionLog, context: &str) -> Result<(), String> {
        let end = log.log_end_offset().get();
        let log_start = log.log_start_offset().get();
        self.batches.retain(|batch| batch.end() <= end);
        let found: BTreeMap<i64, (i16, Vec<(i32, i64)>)> = log.with_producers(|producers| {
            let producers = producers.iter().map(|producer| {
                let batches = producer.batches().iter();
                let batches = batches.map(|it| (it.base_sequence.get(), it.base_offset.get()));
                let id = producer.id().get();
                (id, (producer.epoch().get(), batches.collect()))
            });
            producers.collect()
        });
        let expected = self.remembered();
        let agrees = match self.was_cut {
            false => found == expected,
            true => expected
                .iter()
                .all(|(id, (epoch, all))| match found.get(id) {
                    Some((found_epoch, batches)) => {
                        found_epoch == epoch && !batches.is_empty() && all.ends_with(batches)
                    }
                    // What lies below the log start is not read again.
                    None => all.iter().all(|(_, offset)| *offset < log_start),
                }),
        };
        let agrees = agrees && found.keys().all(|id| expected.contains_key(id));
        match agrees {
            true => Ok(()),
            false => Err(format!(
                "{context}: the log ends at {end} and remembers {found:?}; it holds {expected:?}"
            )),
        }
    }
}

type World = Vec<RefCell<History>>;

/// What a seed decides before anything runs.
struct Plan {
    configs: Vec<LogConfig>,
    options: LogOptions,
    /// Logs are cut back, too.
    cuts: bool,
}

fn configs(random: &mut StdRng) -> Vec<LogConfig> {
    use Durability::{Memory, Sync, Written};
    (0..random.random_range(1..4))
        .map(|_| LogConfig {
            durability: [Memory, Written, Sync][random.random_range(0..3)],
            segment_bytes: [512 << 10, 4 << 20][random.random_range(0..2)],
            file_delete_delay: Duration::from_millis(10),
            ..LogConfig::default()
        })
        .collect()
}

fn options(random: &mut StdRng) -> LogOptions {
    let mut options = small_options();
    options.write_out_bytes = 1 << random.random_range(13..18);
    options
}

async fn check_all(rig: &Rig, world: &World, context: &str) -> Result<(), String> {
    for (index, history) in world.iter().enumerate() {
        let context = format!("{context}, partition {index}");
        history.borrow_mut().check(&rig.logs[&index], &context)?;
    }
    Ok(())
}

/// Starts, checks, and appends until the machine stops.
async fn round(
    disk: &Storage,
    plan: &Plan,
    world: &World,
    mut random: StdRng,
    context: &str,
) -> Result<(), String> {
    let rig = start(disk.clone(), plan.options.clone(), &plan.configs).await;
    check_all(&rig, world, context).await?;
    let tasks = rig.logs.iter().map(|(index, log)| {
        let random = StdRng::seed_from_u64(random.random());
        let log = (log.clone(), rig.shard.clone());
        work(log, &world[*index], plan.cuts, random)
    });
    join_all(tasks.collect::<Vec<_>>()).await;
    Ok(())
}

async fn work(
    (log, shard): (Rc<PartitionLog>, ShardLog),
    history: &RefCell<History>,
    cuts: bool,
    mut random: StdRng,
) {
    loop {
        match random.random_range(0..100) {
            0..82 => append(&log, history, &mut random).await,
            82..90 => sleep(Duration::from_millis(random.random_range(1..10))).await,
            90..95 => shard.checkpoint_now().await.unwrap(),
            95..97 => {
                log.roll_idle();
            }
            97..99 => {
                let to = random.random_range(0..=log.log_end_offset().get());
                log.advance_log_start(Offset::new(to)).await.unwrap();
            }
            _ if cuts => cut(&log, history, &mut random).await,
            _ => {}
        }
    }
}

async fn append(log: &PartitionLog, history: &RefCell<History>, random: &mut StdRng) {
    let base = log.log_end_offset();
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..3) {
        let mut history = history.borrow_mut();
        let last = history.batches.last();
        let offset = last.map_or(base.get(), |last| last.end().max(base.get()));
        let batch = history.next(random, offset);
        let large = random.random_bool(0.1);
        let value = vec![
            b'v';
            if large {
                60_000
            } else {
                random.random_range(10..300)
            }
        ];
        bytes.extend_from_slice(&batch.encode(&value));
        history.batches.push(batch);
    }
    log.append(&bytes, base, EPOCH, None).await.unwrap();
}

async fn cut(log: &PartitionLog, history: &RefCell<History>, random: &mut StdRng) {
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    let to = random.random_range(start..=end);
    history.borrow_mut().was_cut = true;
    log.truncate(Offset::new(to)).await.unwrap();
    let checked = history.borrow_mut().check(log, "after a cut");
    checked.unwrap();
}

fn run_seed(seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut simulator = Simulator::new(seed);
    let disk = storage(&simulator);
    let plan = Plan {
        options: options(&mut random),
        configs: configs(&mut random),
        cuts: random.random_bool(0.3),
    };
    let world: World = plan.configs.iter().map(|_| RefCell::default()).collect();
    for number in 0..random.random_range(2..5) {
        let millis = random.random_range(1..200);
        let workload = StdRng::seed_from_u64(random.random());
        let context = format!("seed {seed}, round {number}");
        let round = round(&disk, &plan, &world, workload, &context);
        if let Some(Err(fault)) = simulator.run_until(Duration::from_millis(millis), round) {
            return Err(fault);
        }
        match random.random() {
            true => simulator.crash(),
            false => simulator.kill(),
        }
    }
    simulator.run(async {
        let rig = start(disk.clone(), plan.options.clone(), &plan.configs).await;
        check_all(&rig, &world, &format!("seed {seed}, at the end")).await?;
        rig.shard.close().await.unwrap();
        Ok(())
    })
}

#[test]
fn after_a_stop_the_log_remembers_exactly_what_it_holds() {
    for seed in seeds(SEEDS) {
        run_seed(seed).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn a_checkpoint_that_remembers_more_than_it_covers_is_caught() {
    assert_is_caught(Canary::ProducersAheadOfCheckpoint);
}

#[test]
fn a_start_that_forgets_the_batches_behind_the_checkpoint_is_caught() {
    assert_is_caught(Canary::ProducersNotReplayed);
}

/// Some seed shows the fault with the planted bug, and not without it.
fn assert_is_caught(canary: Canary) {
    plant(Some(canary));
    let caught = (0..SEEDS).find(|seed| run_seed(*seed).is_err());
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed caught {canary:?}"));
    assert_eq!(run_seed(seed), Ok(()), "without the bug");
}

/// A batch of this producer, one record long.
fn one(id: i64, sequence: i32, offset: i64) -> Taken {
    Taken {
        id,
        epoch: 0,
        sequence,
        records: 1,
        offset,
    }
}

fn known_ids(log: &PartitionLog) -> Vec<i64> {
    let mut ids: Vec<i64> =
        log.with_producers(|producers| producers.iter().map(|it| it.id().get()).collect());
    ids.sort_unstable();
    ids
}

/// A shard remembers so many producers and no more. Those that were idle the longest go, whatever
/// their partition, and a start does not bring them back.
#[test]
fn beyond_the_bound_the_producers_idle_the_longest_are_forgotten() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    let options = LogOptions {
        producers: 32,
        ..small_options()
    };
    simulator.run(async {
        let configs = vec![LogConfig::default(); 2];
        let rig = start(disk.clone(), options.clone(), &configs).await;
        for id in 0..33 {
            let log = &rig.logs[&usize::try_from(id % 2).unwrap()];
            let batch = one(id, 0, 0).encode(b"v");
            let end = log.log_end_offset();
            log.append(&batch, end, EPOCH, None).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        // A sixteenth of the bound goes beside the one too many.
        assert_eq!(
            known_ids(&rig.logs[&0]),
            (4..33).step_by(2).collect::<Vec<_>>()
        );
        assert_eq!(
            known_ids(&rig.logs[&1]),
            (3..33).step_by(2).collect::<Vec<_>>()
        );
        let stats = rig.shard.stats();
        assert_eq!((stats.producers, stats.producers_forgotten), (30, 3));
        rig.shard.close().await.unwrap();

        let rig = start(disk.clone(), options.clone(), &configs).await;
        assert_eq!(rig.shard.stats().producers, 30);
        rig.shard.close().await.unwrap();
    });
}

/// Of ten thousand producers that came in the same millisecond, only as many go as must.
#[test]
fn producers_of_the_same_millisecond_do_not_all_go_at_once() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    let options = LogOptions {
        producers: 32,
        ..small_options()
    };
    simulator.run(async {
        let rig = start(disk.clone(), options, &[LogConfig::default()]).await;
        let log = &rig.logs[&0];
        let batches: Vec<u8> = (0..33).flat_map(|id| one(id, 0, id).encode(b"v")).collect();
        log.append(&batches, Offset::ZERO, EPOCH, None)
            .await
            .unwrap();
        assert_eq!(known_ids(log).len(), 30);
        rig.shard.close().await.unwrap();
    });
}

#[test]
fn a_producer_idle_for_too_long_is_forgotten_also_by_a_start() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    let options = LogOptions {
        producer_expiration: Duration::from_secs(60),
        ..small_options()
    };
    simulator.run(async {
        let configs = [LogConfig::default()];
        let rig = start(disk.clone(), options.clone(), &configs).await;
        let log = &rig.logs[&0];
        let append = async |id, sequence| {
            let batch = one(id, sequence, 0).encode(b"v");
            let end = log.log_end_offset();
            log.append(&batch, end, EPOCH, None).await.unwrap();
        };
        append(1, 0).await;
        append(2, 0).await;
        sleep(Duration::from_secs(40)).await;
        append(2, 1).await;
        sleep(Duration::from_secs(30)).await;
        log.expire_producers();
        assert_eq!(known_ids(log), [2]);
        rig.shard.close().await.unwrap();

        sleep(Duration::from_secs(40)).await;
        let rig = start(disk.clone(), options.clone(), &configs).await;
        assert_eq!(known_ids(&rig.logs[&0]), Vec::<i64>::new());
        rig.shard.close().await.unwrap();
    });
}

/// Retention takes records away, and with them nothing of what is remembered.
#[test]
fn what_left_the_log_is_still_remembered() {
    let mut simulator = Simulator::new(1);
    let disk = storage(&simulator);
    simulator.run(async {
        let configs = [LogConfig::default()];
        let rig = start(disk.clone(), small_options(), &configs).await;
        let log = &rig.logs[&0];
        let batch = one(1, 0, 0).encode(b"v");
        log.append(&batch, Offset::ZERO, EPOCH, None).await.unwrap();
        log.roll_idle();
        log.advance_log_start(Offset::new(1)).await.unwrap();
        rig.shard.checkpoint_now().await.unwrap();
        assert_eq!(log.segments().len(), 1, "the segment is gone");
        rig.shard.close().await.unwrap();

        let rig = start(disk.clone(), small_options(), &configs).await;
        assert_eq!(known_ids(&rig.logs[&0]), [1]);
        rig.shard.close().await.unwrap();
    });
}

/// The journal says nothing of the partition, and no checkpoint does: all there is are the segment's
/// bytes, and a retry of them is about to come.
#[test]
fn batches_that_only_their_segment_holds_are_remembered() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    let id = partition(0);
    let storage = storage(&simulator);
    simulator.run(async {
        let rig = start(storage.clone(), small_options(), &[LogConfig::default()]).await;
        rig.shard.close().await.unwrap();
    });
    let mut bytes = one(7, 3, 0).encode(b"v").to_vec();
    corelog_protocol::record::patch_base_offset(&mut bytes, Offset::ZERO, EPOCH);
    let folder = std::path::Path::new("data/topic-1");
    let claimed = super::super::folder::partition_metadata(id.topic_id);
    disk.put(&folder.join("partition.metadata"), claimed.as_bytes())
        .unwrap();
    let segment = super::super::segment::log_file_name(Offset::ZERO);
    disk.put(&folder.join(&segment), &bytes).unwrap();
    simulator.run(async {
        let configs = vec![LogConfig::default(); 2];
        let rig = start(storage.clone(), small_options(), &configs).await;
        assert_eq!(known_ids(&rig.logs[&1]), [7]);
        rig.shard.close().await.unwrap();
    });

    // Without the claim they are another cluster's, and so is the id.
    let stranger = std::path::Path::new("data/topic-2");
    disk.put(&stranger.join(&segment), &bytes).unwrap();
    simulator.run(async {
        let configs = vec![LogConfig::default(); 3];
        let rig = start(storage.clone(), small_options(), &configs).await;
        assert_eq!(rig.logs[&2].log_end_offset(), Offset::new(1));
        assert_eq!(known_ids(&rig.logs[&2]), Vec::<i64>::new());
        rig.shard.close().await.unwrap();
    });
}
