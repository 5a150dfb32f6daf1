//! A topic is deleted and created again under its name, over and over, and the machine stops at any
//! point in between.
//!
//! The story: both topics' records lie in one journal and their segments under one path. A start that
//! goes by the path gives the new topic the old one's records; one that removes what the old topic
//! left too late, or twice, takes records of the new one along.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::{Durability, PartitionIndex, ShardId, TopicId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Fault, Model};
use super::rig::{EPOCH, batch, partition, small_options, storage};
use super::workload::seeds;
use crate::log::{
    KnownTopics, LogConfig, PartitionLog, ShardLog, TopicPartition, recover, remove_deleted_topics,
};
use crate::runtime::{BufferPool, Simulator, Storage, sleep, spawn};

const SEEDS: u64 = 100;
const FOLDER: &str = "topic-0";
const NEIGHBOUR: &str = "neighbour-0";

/// What the metadata holds: it is durable before a shard acts on it.
#[derive(Default)]
struct Metadata {
    /// The topic that has the name now.
    topic: Option<TopicPartition>,
    deleted: BTreeSet<TopicId>,
    topics: u8,
}

impl Metadata {
    fn create(&mut self) -> TopicPartition {
        self.topics += 1;
        let id = TopicPartition {
            topic_id: TopicId::from_bytes([100 + self.topics; 16]),
            partition: PartitionIndex::new(0),
        };
        self.topic = Some(id);
        id
    }

    fn delete(&mut self) {
        let topic = self.topic.take();
        self.deleted.extend(topic.map(|id| id.topic_id));
    }

    fn known(&self) -> KnownTopics {
        let named = self.topic.map(|id| (id, FOLDER.to_owned()));
        let neighbour = (partition(0), NEIGHBOUR.to_owned());
        KnownTopics {
            partitions: named.into_iter().chain([neighbour]).collect(),
            deleted: self.deleted.clone(),
        }
    }
}

#[derive(Default)]
struct World {
    metadata: Metadata,
    model: Model,
}

#[test]
fn a_topic_created_again_has_its_own_records_and_no_others() {
    for seed in seeds(SEEDS) {
        run_seed(seed).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

fn run_seed(seed: u64) -> Result<(), Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut simulator = Simulator::new(seed);
    let disk = storage(&simulator);
    let world = Rc::new(RefCell::new(World::default()));
    for round in 0..random.random_range(2..6) {
        let millis = random.random_range(1..150);
        let workload = StdRng::seed_from_u64(random.random());
        let context = format!("seed {seed}, round {round}");
        let run = lives(&disk, &world, workload, context);
        if let Some(Err(fault)) = simulator.run_until(Duration::from_millis(millis), run) {
            return Err(fault);
        }
        if random.random() {
            simulator.crash();
        } else {
            simulator.kill();
        }
    }
    let context = format!("seed {seed}, at the end");
    simulator.run(async {
        start(&disk, &world, &context).await?;
        Ok(())
    })
}

struct Started {
    shard: ShardLog,
    topic: Option<Rc<PartitionLog>>,
    neighbour: Rc<PartitionLog>,
}

/// Starts a shard and checks the topic, if there is one.
async fn start(disk: &Storage, world: &RefCell<World>, context: &str) -> Result<Started, Fault> {
    let topics = world.borrow().metadata.known();
    let recovered = recover(disk, &topics).await.unwrap();
    assert_eq!(recovered.suspects, [], "{context}");
    remove_deleted_topics(disk, &topics.deleted).await.unwrap();
    let pool = BufferPool::new(32 << 20);
    let shard = ShardLog::start(
        disk.clone(),
        pool,
        small_options(),
        ShardId::new(0),
        recovered.generation,
    )
    .await
    .unwrap();
    let mut logs = BTreeMap::new();
    for (&id, folder) in &topics.partitions {
        let start = recovered.partitions.get(&id).cloned();
        let config = LogConfig::default();
        let log = shard.open_partition(id, folder, config, start).await;
        let log = log.unwrap_or_else(|error| panic!("{context}: {folder}: {error}"));
        logs.insert(folder.as_str(), log);
    }
    let topic = logs.remove(FOLDER);
    let neighbour = logs.remove(NEIGHBOUR).unwrap();
    if let Some(log) = &topic {
        let mut checked = world.borrow().model.clone();
        checked.check(log, context).await?;
        world.borrow_mut().model = checked;
    }
    Ok(Started {
        shard,
        topic,
        neighbour,
    })
}

/// Appends, deletes and creates until the machine stops.
async fn lives(
    disk: &Storage,
    world: &Rc<RefCell<World>>,
    mut random: StdRng,
    context: String,
) -> Result<(), Fault> {
    let Started {
        shard,
        mut topic,
        neighbour,
    } = start(disk, world, &context).await?;
    spawn(append_for_ever(neighbour, random.random())).detach();
    loop {
        let log = match topic.take() {
            Some(log) => log,
            None => {
                let id = {
                    let mut world = world.borrow_mut();
                    world.model = Model::default();
                    world.metadata.create()
                };
                let config = LogConfig::default();
                let opened = shard.open_partition(id, FOLDER, config, None).await;
                opened.unwrap_or_else(|error| panic!("{context}: {error}"))
            }
        };
        for _ in 0..random.random_range(0..20) {
            append(&log, world, &mut random).await;
        }
        if random.random_range(0..8) == 0 {
            topic = Some(log);
            continue;
        }
        world.borrow_mut().metadata.delete();
        shard.delete_partition(log.id()).await.unwrap();
    }
}

async fn append(log: &PartitionLog, world: &RefCell<World>, random: &mut StdRng) {
    let length = match random.random_range(0..10) {
        0 => random.random_range(70_000..200_000),
        _ => random.random_range(1..3000),
    };
    let value = vec![random.random(); length];
    let bytes = batch(std::slice::from_ref(&value), 1);
    world.borrow_mut().model.sent.push(value);
    let appended = log.append(&bytes, log.log_end_offset(), EPOCH, None);
    appended.await.unwrap();
    if random.random_range(0..3) == 0 {
        while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
            log.changed().await;
        }
        let mut world = world.borrow_mut();
        world.model.acknowledged = world.model.sent.len();
    }
}

async fn append_for_ever(log: Rc<PartitionLog>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let length = random.random_range(1..60_000);
        let bytes = batch(&[vec![7; length]], 1);
        let appended = log.append(&bytes, log.log_end_offset(), EPOCH, None);
        appended.await.unwrap();
        sleep(Duration::from_micros(random.random_range(1..2000))).await;
    }
}
