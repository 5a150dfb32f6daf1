//! Coordinators on a simulated machine whose power goes, whose disk fails and fills up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod waiting_heartbeats;
mod waiting_members;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::{
    BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId,
};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::{BrokerConfig, TopicConfig};
use crate::group::GroupId;
use crate::group::coordinator::{Answer, Claim, Command, Commit, CoordinatorConfig};
use crate::log::{JournalOptions, KnownTopics, LogOptions, ShardLog, TopicPartition, recover};
use crate::metadata::{MetadataImage, MetadataRecord, OFFSETS_TOPIC, PartitionImage};
use crate::metrics::ShardMetrics;
use crate::partition::Refusal;
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{BufferPool, Mesh, Simulator, Storage, now, sleep};
use crate::shard::{OffsetsTopicOptions, Router, Shard, ShardParts};

const OFFSETS: TopicId = TopicId::from_bytes([7; 16]);
const PARTITIONS: i32 = 2;
const GROUPS: usize = 5;
const BROKER: BrokerId = BrokerId::new(1);
const SHARD: ShardId = ShardId::new(0);

/// A broker of one shard, without a listener.
struct Broker {
    shard: Shard,
}

impl Broker {
    /// `None` where the disk fails.
    async fn start(storage: Storage) -> Option<Self> {
        let recovered = recover(&storage, &known_topics()).await.ok()?;
        assert!(recovered.suspects.is_empty(), "{:?}", recovered.suspects);
        let pool = BufferPool::new(4 << 20);
        let generation = recovered.generation;
        let log = ShardLog::start(storage, pool.clone(), log_options(), SHARD, generation)
            .await
            .ok()?;
        let shard = Shard::new(ShardParts {
            id: SHARD,
            shards: 1,
            broker_id: BROKER,
            mesh: Mesh::new(1, 16).pop().unwrap(),
            log,
            pool,
            data_dir: std::path::PathBuf::from("simulated"),
            metrics: Rc::<ShardMetrics>::default(),
            topic_defaults: Arc::new(TopicConfig::default()),
            mailbox_commands: 4,
            mesh_messages: 16,
            coordinators: CoordinatorConfig::default(),
            offsets_topic: OffsetsTopicOptions::from(&BrokerConfig::default()),
        });
        shard.open_partitions(Arc::new(image()), &recovered).await;
        Some(Self { shard })
    }

    fn router(&self) -> Router {
        self.shard.router()
    }
}

fn log_options() -> LogOptions {
    LogOptions {
        journal: JournalOptions {
            file_bytes: 1 << 20,
            files: 2,
            checkpoint_bytes: 256 << 10,
        },
        write_out_bytes: 64 << 10,
        ..LogOptions::default()
    }
}

fn known_topics() -> KnownTopics {
    let partition = |index| TopicPartition {
        topic_id: OFFSETS,
        partition: PartitionIndex::new(index),
    };
    KnownTopics {
        partitions: (0..PARTITIONS)
            .map(|index| (partition(index), format!("{OFFSETS_TOPIC}-{index}")))
            .collect(),
        ..KnownTopics::default()
    }
}

fn image() -> MetadataImage {
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
    let topic = MetadataRecord::TopicCreated {
        id: OFFSETS,
        name: OFFSETS_TOPIC.to_owned(),
        internal: true,
        configs: configs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        partitions: (0..PARTITIONS)
            .map(|_| PartitionImage {
                leader: Some(BROKER),
                leader_epoch: LeaderEpoch::ZERO,
                replicas: vec![BROKER],
                in_sync_replicas: vec![BROKER],
                partition_epoch: 0,
            })
            .collect(),
    };
    let empty = MetadataImage::empty(Arc::new(TopicConfig::default()));
    empty.apply(&[topic]).unwrap()
}

fn group(number: usize) -> GroupId {
    GroupId::new(format!("group-{number}"))
}

async fn commit(router: &Router, number: usize, offset: i64) -> Result<(), Refusal> {
    let commit = Commit {
        // The only topic there is.
        topic: OFFSETS_TOPIC.to_owned(),
        topic_id: OFFSETS,
        partition: PartitionIndex::ZERO,
        offset: Offset::new(offset),
        leader_epoch: None,
        // So much that a test fills a segment soon.
        metadata: "so far".repeat(600),
    };
    let command = Command::CommitOffsets {
        by: Claim::default(),
        commits: vec![commit],
    };
    let answer = router
        .group(group(number), command, Duration::ZERO)
        .await
        .result?;
    assert_eq!(answer, Answer::OffsetsCommitted);
    Ok(())
}

/// The group's offset; 0 where none was committed.
async fn committed(router: &Router, number: usize) -> Result<i64, Refusal> {
    let command = Command::FetchOffsets {
        by: Claim::default(),
        topics: None,
    };
    let answer = router
        .group(group(number), command, Duration::ZERO)
        .await
        .result?;
    let Answer::Offsets(topics) = answer else {
        panic!("offsets were asked for, and it says {answer:?}");
    };
    let found = topics
        .first()
        .and_then(|topic| topic.partitions[0].1.as_ref());
    Ok(found.map_or(0, |committed| committed.offset.get()))
}

/// What is known of one group's offset, which only rises.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Acknowledged, or read.
    least: i64,
    /// Sent, whatever became of it.
    most: i64,
}

type Model = Rc<RefCell<[Known; GROUPS]>>;

/// Commits and reads until the power goes.
async fn work(router: Router, model: Model, number: usize) {
    let mut reads = 0;
    loop {
        let next = model.borrow()[number].most + 1;
        model.borrow_mut()[number].most = next;
        if commit(&router, number, next).await.is_ok() {
            note(&model, number, next);
        }
        reads += 1;
        if reads % 3 == 0
            && let Ok(read) = committed(&router, number).await
        {
            check(&model, number, read);
            note(&model, number, read);
        }
    }
}

fn note(model: &Model, number: usize, offset: i64) {
    let known = &mut model.borrow_mut()[number];
    known.least = known.least.max(offset);
}

fn check(model: &Model, number: usize, found: i64) {
    let known = model.borrow()[number];
    assert!(
        (known.least..=known.most).contains(&found),
        "group {number} is at {found}: {known:?}"
    );
}

#[test]
fn no_power_cut_takes_a_commit_that_was_acknowledged_or_seen() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        let storage = Storage::simulated(disk.clone());
        let model = Model::default();
        for _ in 0..4 {
            let life = Duration::from_micros(random.random_range(1_000..200_000));
            if random.random_ratio(1, 3) {
                let nth = random.random_range(1..200);
                disk.fail_nth(Operation::SyncData, nth, Fault::Device);
            }
            let (storage, model) = (storage.clone(), Rc::clone(&model));
            simulator.run_until(life, async move {
                let Some(broker) = Broker::start(storage).await else {
                    return;
                };
                for number in 0..GROUPS {
                    let found = committed(&broker.router(), number).await;
                    if let Ok(found) = found {
                        check(&model, number, found);
                    }
                }
                let clients = (0..GROUPS * 2)
                    .map(|client| work(broker.router(), Rc::clone(&model), client % GROUPS));
                join_all(clients).await;
            });
            disk.clear_faults();
            match random.random() {
                true => simulator.crash(),
                false => simulator.kill(),
            }
        }
        simulator.run(async move {
            let broker = Broker::start(storage).await.unwrap();
            for number in 0..GROUPS {
                let found = committed(&broker.router(), number).await.unwrap();
                check(&model, number, found);
            }
        });
    }
}

#[test]
fn a_commit_that_meets_a_full_disk_is_refused_and_forgotten() {
    let mut simulator = Simulator::new(7);
    let disk = simulator.disk();
    let storage = Storage::simulated(disk.clone());
    simulator.run(async move {
        let broker = Broker::start(storage).await.unwrap();
        let router = broker.router();
        commit(&router, 0, 1).await.unwrap();
        let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
        disk.set_capacity(Some(used));
        let mut acknowledged = 1;
        let refused = loop {
            match commit(&router, 0, acknowledged + 1).await {
                Ok(()) => acknowledged += 1,
                Err(refusal) => break refusal,
            }
            assert!(acknowledged < 5_000, "the disk never fills up");
        };
        assert_eq!(refused.code, ErrorCode::CoordinatorNotAvailable);
        let refused_at = now();
        // The groups are loaded again, without what was refused.
        let known = loop {
            match committed(&router, 0).await {
                Ok(known) => break known,
                Err(refusal) => assert_eq!(refusal.code, ErrorCode::CoordinatorNotAvailable),
            }
            sleep(Duration::from_millis(10)).await;
            assert!(now() - refused_at < Duration::from_secs(1));
        };
        assert_eq!(known, acknowledged);
        disk.set_capacity(None);
        commit(&router, 0, acknowledged + 5).await.unwrap();
        assert_eq!(committed(&router, 0).await, Ok(acknowledged + 5));
    });
}
