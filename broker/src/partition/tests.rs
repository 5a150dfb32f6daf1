//! A partition with its task and a real log, on a simulated machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{
    Acks, Compression, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex,
    ShardId, Timestamp, TopicId,
};

use super::mailbox::MAILBOX_BYTES;
use super::{FetchCommand, FetchOutcome, Partition, ProduceCommand};
use crate::config::TopicConfig;
use crate::log::{
    JournalOptions, KnownTopics, LogConfig, LogOptions, Room, ShardLog, TopicPartition, recover,
};
use crate::metrics::ShardMetrics;
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{
    BufferPool, SimulatedDisk, Simulator, Storage, now, sleep, spawn, timeout, yield_now,
};

mod retries;

const ID: TopicPartition = TopicPartition {
    topic_id: TopicId::from_bytes([7; 16]),
    partition: PartitionIndex::new(0),
};
const MAILBOX: usize = 4;

/// One partition, led at epoch 3.
struct Rig {
    partition: Rc<Partition>,
    log: ShardLog,
    disk: SimulatedDisk,
    metrics: Rc<ShardMetrics>,
}

impl Rig {
    async fn new(disk: SimulatedDisk, durability: &str) -> Self {
        let storage = Storage::simulated(disk.clone());
        let recovered = recover(&storage, &KnownTopics::default()).await.unwrap();
        let options = LogOptions {
            journal: JournalOptions {
                file_bytes: 4 << 20,
                files: 2,
                ..JournalOptions::default()
            },
            ..LogOptions::default()
        };
        let pool = BufferPool::new(64 << 20);
        let shard = ShardId::new(0);
        let log = ShardLog::start(storage, pool, options, shard, recovered.generation)
            .await
            .unwrap();
        let config = config(durability);
        let partition_log = log
            .open_partition(ID, "topic-0", LogConfig::from(&config), None)
            .await
            .unwrap();
        let metrics = Rc::new(ShardMetrics::default());
        let partition = Partition::lead(
            LeaderEpoch::new(3),
            &config,
            partition_log,
            log.clone(),
            Rc::clone(&metrics),
            MAILBOX,
        );
        Self {
            partition: Rc::new(partition),
            log,
            disk,
            metrics,
        }
    }

    fn high_watermark(&self) -> i64 {
        self.partition.marks().high_watermark.get()
    }

    /// Starts a fetch that waits for a first byte, and lets it get to its wait.
    async fn waiting_fetch(
        &self,
        offset: i64,
        wait: Duration,
    ) -> crate::runtime::Task<FetchOutcome> {
        let partition = Rc::clone(&self.partition);
        let task = spawn(async move { partition.fetch(fetch(offset, wait)).await });
        yield_now().await;
        task
    }
}

fn config(durability: &str) -> TopicConfig {
    let explicit = BTreeMap::from([("durability".to_owned(), durability.to_owned())]);
    TopicConfig::default().with_explicit(&explicit).unwrap()
}

fn batch(records: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    let value = vec![b'x'; value_bytes];
    let timestamp = Timestamp::new(crate::runtime::unix_millis());
    for _ in 0..records {
        builder.append(timestamp, None, Some(&value), &[]).unwrap();
    }
    builder.finish(None)
}

fn produce(records: usize) -> ProduceCommand {
    produce_bytes(batch(records, 10))
}

fn produce_bytes(batches: Bytes) -> ProduceCommand {
    ProduceCommand {
        topic_partition: ID,
        leader_epoch: None,
        acks: Acks::All,
        batches,
        deadline: now() + Duration::from_secs(30),
    }
}

fn fetch(offset: i64, wait: Duration) -> FetchCommand {
    FetchCommand {
        topic_partition: ID,
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset: Offset::new(offset),
        max_bytes: 1 << 20,
        min_bytes: 1,
        deadline: now() + wait,
        isolation: IsolationLevel::ReadUncommitted,
        room: Room::Awaited,
    }
}

/// Runs a test on several schedules of tasks and I/O.
fn simulate<Fut: Future<Output = ()>>(durability: &'static str, test: impl Fn(Rig) -> Fut) {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        simulator.run(async { test(Rig::new(disk, durability).await).await });
    }
}

#[test]
fn produces_get_their_offsets_in_the_order_of_the_calls() {
    simulate("sync", |rig| async move {
        let produces: Vec<_> = (1..=10)
            .map(|n| rig.partition.produce(produce(n)))
            .collect();
        let mut expected = 0;
        for (n, pending) in (1..=10).zip(produces) {
            let outcome = pending.await;
            let produced = outcome.result.unwrap();
            assert_eq!(produced.base_offset.get(), expected);
            expected += n;
            assert_eq!(produced.last_offset.get(), expected - 1);
            let marks = outcome.marks.unwrap();
            assert!(marks.high_watermark > produced.last_offset);
            assert_eq!(marks.leader_epoch, LeaderEpoch::new(3));
        }
        assert_eq!(rig.metrics.produce_requests.get(), 10);
        assert_eq!(rig.metrics.produce_records.get(), 55);
    });
}

#[test]
fn a_waiting_fetch_gets_what_is_produced_and_not_before_it_is_durable() {
    simulate("sync", |rig| async move {
        let reader = rig.waiting_fetch(0, Duration::from_secs(60)).await;
        let syncs = rig.disk.counters().syncs;
        let pending = rig.partition.produce(produce(3));
        let outcome = reader.await;
        assert!(rig.disk.counters().syncs > syncs, "read before the sync");
        let fetched = outcome.result.unwrap();
        assert_eq!(fetched.data.len(), batch(3, 10).len());
        assert_eq!(outcome.marks.unwrap().high_watermark.get(), 3);
        assert!(pending.await.result.is_ok());
    });
}

#[test]
fn a_fetch_without_news_ends_at_its_deadline() {
    simulate("sync", |rig| async move {
        let before = now();
        let outcome = rig
            .partition
            .fetch(fetch(0, Duration::from_millis(500)))
            .await;
        assert!(outcome.result.unwrap().data.is_empty());
        let waited = now() - before;
        assert!(
            (Duration::from_millis(500)..Duration::from_millis(510)).contains(&waited),
            "{waited:?}"
        );
    });
}

#[test]
fn an_earlier_deadline_is_kept_beside_a_later_one() {
    simulate("sync", |rig| async move {
        let late = rig.waiting_fetch(0, Duration::from_secs(60)).await;
        let before = now();
        let early = rig.partition.fetch(fetch(0, Duration::from_millis(100)));
        assert!(early.await.result.unwrap().data.is_empty());
        assert!(now() - before < Duration::from_millis(110));
        drop(late);
    });
}

#[test]
fn a_fetch_that_goes_away_leaves_no_wait_behind() {
    simulate("sync", |rig| async move {
        for _ in 0..100 {
            let wait = rig.partition.fetch(fetch(0, Duration::from_secs(60)));
            assert!(timeout(Duration::from_millis(1), wait).await.is_err());
        }
        assert_eq!(rig.partition.shared.replica.borrow().waiting_fetches(), 0);
    });
}

#[test]
fn min_bytes_counts_what_was_readable_before_the_wait() {
    simulate("sync", |rig| async move {
        let one = batch(1, 10).len();
        rig.partition.produce(produce(1)).await.result.unwrap();
        let partition = Rc::clone(&rig.partition);
        let reader = spawn(async move {
            let command = FetchCommand {
                min_bytes: 2 * one,
                ..fetch(0, Duration::from_secs(60))
            };
            partition.fetch(command).await
        });
        yield_now().await;
        let before = now();
        rig.partition.produce(produce(1)).await.result.unwrap();
        let fetched = reader.await.result.unwrap();
        assert_eq!(fetched.data.len(), 2 * one);
        assert!(
            now() - before < Duration::from_secs(1),
            "it did not wait on"
        );
    });
}

#[test]
fn a_full_mailbox_says_so_and_has_room_again() {
    simulate("sync", |rig| async move {
        let produces: Vec<_> = (0..MAILBOX)
            .map(|_| rig.partition.produce(produce(1)))
            .collect();
        assert!(produces[MAILBOX - 1].crowded().is_some(), "at its bound");
        let one_more = rig.partition.produce(produce(1));
        one_more.crowded().unwrap().room().await;
        assert!(one_more.crowded().is_none());
        assert_eq!(one_more.await.result.unwrap().base_offset.get(), 4);
    });
}

#[test]
fn few_large_requests_fill_a_mailbox_too() {
    simulate("written", |rig| async move {
        let large = batch(1, 1 << 20);
        let mut config = config("written");
        config.max_message_bytes = crate::config::ByteSize::mib(16);
        rig.partition.update(LeaderEpoch::new(3), &config);
        let first = rig.partition.produce(produce_bytes(large.clone()));
        assert!(first.crowded().is_none());
        let huge = rig
            .partition
            .produce(produce_bytes(batch(1, MAILBOX_BYTES)));
        huge.crowded().unwrap().room().await;
        assert!(first.await.result.is_ok());
        assert!(huge.await.result.is_ok());
    });
}

#[test]
fn deletion_answers_all_who_wait() {
    simulate("sync", |rig| async move {
        let reader = rig.waiting_fetch(0, Duration::from_secs(60)).await;
        let produces = [
            rig.partition.produce(produce(1)),
            rig.partition.produce(produce(1)),
        ];
        rig.partition.forget_deleted();
        rig.log.delete_partition(ID).await.unwrap();
        assert_eq!(
            reader.await.error_code(),
            ErrorCode::UnknownTopicOrPartition
        );
        for pending in produces {
            assert_eq!(
                pending.await.error_code(),
                ErrorCode::UnknownTopicOrPartition
            );
        }
        let late = rig.partition.produce(produce(1)).await;
        assert_eq!(late.error_code(), ErrorCode::UnknownTopicOrPartition);
        let read = rig.partition.fetch(fetch(0, Duration::ZERO)).await;
        assert_eq!(read.error_code(), ErrorCode::UnknownTopicOrPartition);
    });
}

/// Raised while a produce waits, the new level holds for that produce too.
#[test]
fn a_produce_that_waits_is_answered_at_the_new_durability() {
    simulate("memory", |rig| async move {
        rig.partition.produce(produce(5)).await.result.unwrap();
        let pending = rig.partition.produce(produce(1));
        rig.partition.update(LeaderEpoch::new(3), &config("sync"));
        let outcome = pending.await;
        assert!(outcome.result.is_ok());
        assert_eq!(outcome.marks.unwrap().durability, Durability::Sync);
        assert_eq!(rig.high_watermark(), 6);
        let synced = rig.partition.shared.log.end_offset_at(Durability::Sync);
        assert_eq!(synced.get(), 6, "and so is everything before it");
    });
}

/// The flush fails: nobody is told that the records are safe, the reason is told instead, and
/// what was readable stays so.
#[test]
fn after_a_failed_flush_produces_are_refused_and_reads_go_on() {
    simulate("sync", |rig| async move {
        rig.partition.produce(produce(2)).await.result.unwrap();
        rig.disk.set_fault_hook(|operation, _| {
            (operation == Operation::SyncData).then_some(Fault::Device)
        });
        let refused = rig.partition.produce(produce(1)).await.result.unwrap_err();
        assert_eq!(refused.code, ErrorCode::KafkaStorageError);
        assert!(refused.message.contains("sync"), "{}", refused.message);
        let later = rig.partition.produce(produce(1)).await;
        assert_eq!(later.error_code(), ErrorCode::KafkaStorageError);
        assert_eq!(rig.high_watermark(), 2);
        let read = rig.partition.fetch(fetch(0, Duration::ZERO)).await;
        assert_eq!(read.result.unwrap().data.len(), batch(2, 10).len());
        let waiting = rig.partition.fetch(fetch(2, Duration::from_millis(50)));
        assert!(waiting.await.result.unwrap().data.is_empty());
    });
}

#[test]
fn closing_answers_what_was_taken_and_refuses_what_comes() {
    simulate("sync", |rig| async move {
        let reader = rig.waiting_fetch(0, Duration::from_secs(60)).await;
        let produces: Vec<_> = (0..3).map(|_| rig.partition.produce(produce(1))).collect();
        rig.partition.close().await;
        for pending in produces {
            assert!(pending.await.result.is_ok());
        }
        drop(reader.await);
        let late = rig.partition.produce(produce(1)).await;
        assert_eq!(late.error_code(), ErrorCode::NotLeaderOrFollower);
        rig.log.close().await.unwrap();
    });
}

#[test]
fn a_produce_past_its_deadline_is_not_appended() {
    simulate("sync", |rig| async move {
        let command = ProduceCommand {
            deadline: now(),
            ..produce(1)
        };
        let outcome = rig.partition.produce(command).await;
        assert_eq!(outcome.error_code(), ErrorCode::RequestTimedOut);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.high_watermark(), 0);
    });
}
