//! What a member of a group does when its coordinator refuses, forgets, moves and takes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog_client::{
    ClientConfig, CommittedOffset, ErrorCode, GroupConsumer, GroupError, Listening, Offset,
    PartitionIndex, Producer, ProducerRecord, Rebalance, RebalanceListener, ShardId,
    TopicPartition,
};

use crate::fake::FakeBroker;

const TURN: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(20);

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("orders", PartitionIndex::new(index))
}

fn config(broker: &FakeBroker) -> ClientConfig {
    broker
        .config()
        .set("group.id", "billing")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", false)
}

async fn fill(broker: &FakeBroker, index: i32, records: usize) {
    let producer = Producer::new(&broker.config()).await.unwrap();
    for _ in 0..records {
        let record = ProducerRecord::to("orders")
            .partition(PartitionIndex::new(index))
            .value("v");
        producer.send(record).await.unwrap().await.unwrap();
    }
}

/// A broker with two partitions of ten records each, of which the group's only member gets these.
async fn broker_assigning(assigned: &[i32]) -> FakeBroker {
    let broker = FakeBroker::start(&[("orders", 2)]).await;
    for index in 0..2 {
        fill(&broker, index, 10).await;
    }
    broker.change(|state| state.group.assigned = assigned.to_vec());
    broker
}

async fn member(config: &ClientConfig) -> GroupConsumer {
    let mut consumer = GroupConsumer::new(config).await.unwrap();
    consumer.subscribe(["orders"]).unwrap();
    consumer
}

/// Polls until `wanted`, and returns partition and offset of what came.
async fn poll_until(
    consumer: &mut GroupConsumer,
    mut wanted: impl FnMut(&GroupConsumer, &[(i32, i64)]) -> bool,
) -> Vec<(i32, i64)> {
    let mut read = Vec::new();
    let polling = async {
        while !wanted(consumer, &read) {
            let records = consumer.poll(TURN).await.unwrap();
            read.extend(
                records
                    .iter()
                    .map(|record| (record.partition.get(), record.offset.get())),
            );
        }
    };
    tokio::time::timeout(LONG, polling).await.unwrap();
    read
}

async fn read(consumer: &mut GroupConsumer, records: usize) -> Vec<(i32, i64)> {
    poll_until(consumer, |_, read| read.len() >= records).await
}

/// The first of them may be under way already; when the second comes, the first was answered.
async fn two_heartbeats(broker: &FakeBroker) {
    let heard = broker.state().group.heartbeats;
    broker
        .until(|state| state.group.heartbeats >= heard + 2)
        .await;
}

// The broker's state is let go of before anything is asserted: a test that fails needs it to end.

fn events(broker: &FakeBroker) -> Vec<String> {
    broker.state().group.events.clone()
}

fn committed(broker: &FakeBroker, index: i32) -> Option<i64> {
    broker.state().group.committed.get(&index).copied()
}

fn after<'a>(events: &'a [String], first: &str) -> &'a [String] {
    let at = events.iter().position(|event| event == first);
    let at = at.unwrap_or_else(|| panic!("no {first} in {events:?}"));
    &events[at + 1..]
}

#[tokio::test]
async fn a_member_begins_where_the_group_left_off() {
    let broker = broker_assigning(&[0, 1]).await;
    broker.change(|state| {
        state.group.committed.insert(0, 7);
    });
    let mut consumer = member(&config(&broker)).await;
    let mut read = read(&mut consumer, 13).await;
    read.sort_unstable();
    let expected: Vec<(i32, i64)> = (7..10)
        .map(|offset| (0, offset))
        .chain((0..10).map(|offset| (1, offset)))
        .collect();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn polls_that_do_not_wait_get_there_too() {
    let broker = broker_assigning(&[0]).await;
    let mut consumer = member(&config(&broker)).await;
    let polling = async {
        let mut read = 0;
        while read < 10 {
            read += consumer.poll(Duration::ZERO).await.unwrap().len();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, polling).await.unwrap();
}

#[tokio::test]
async fn a_commit_of_an_old_epoch_is_sent_again_with_the_new_one() {
    let broker = broker_assigning(&[0]).await;
    let mut consumer = member(&config(&broker)).await;
    read(&mut consumer, 10).await;
    broker.change(|state| state.group.epoch = 2);
    consumer.commit().await.unwrap();
    assert_eq!(committed(&broker, 0), Some(10));
    let events = events(&broker);
    assert_eq!(events.last().unwrap(), "epoch 2 commits [0@10]");
}

#[tokio::test]
async fn a_commit_goes_on_while_the_coordinator_is_not_to_be_had() {
    for code in [
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
        ErrorCode::RequestTimedOut,
    ] {
        let broker = broker_assigning(&[0]).await;
        let mut consumer = member(&config(&broker)).await;
        read(&mut consumer, 10).await;
        broker.change(|state| state.group.commit_errors = [code, code].into());
        consumer.commit().await.unwrap();
        assert_eq!(committed(&broker, 0), Some(10), "{code}");
    }
}

#[tokio::test]
async fn a_partition_that_cannot_be_committed_is_named_and_the_others_are_committed() {
    let broker = broker_assigning(&[0, 1]).await;
    let mut consumer = member(&config(&broker)).await;
    read(&mut consumer, 20).await;
    broker.change(|state| {
        state.group.partition_errors = [ErrorCode::OffsetMetadataTooLarge].into();
    });
    let error = consumer.commit().await.unwrap_err();
    assert!(
        matches!(&error, GroupError::Partition { partition: found, code, .. }
            if *found == partition(0) && *code == ErrorCode::OffsetMetadataTooLarge),
        "{error}"
    );
    assert!(!error.is_retriable());
    assert_eq!(committed(&broker, 1), Some(10));
}

#[tokio::test]
async fn a_coordinator_that_moved_is_looked_up_again() {
    let broker = broker_assigning(&[0]).await;
    let mut consumer = member(&config(&broker)).await;
    read(&mut consumer, 10).await;
    let lookups = broker.state().group.lookups;
    broker.change(|state| state.group.shard = ShardId::new(0));
    consumer.commit().await.unwrap();
    assert_eq!(committed(&broker, 0), Some(10));
    let now = broker.state().group.lookups;
    assert!(now > lookups);
}

#[derive(Clone, Default)]
struct Heard {
    events: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    fn note(&self, what: &str, partitions: &[TopicPartition]) -> Listening<'static> {
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        let event = format!("{what} {}", names.join(" "));
        self.events.lock().unwrap().push(event);
        Box::pin(std::future::ready(()))
    }
}

impl RebalanceListener for Heard {
    fn assigned<'a>(&'a mut self, _: Rebalance<'a>, all: &'a [TopicPartition]) -> Listening<'a> {
        self.note("assigned", all)
    }

    fn revoked<'a>(&'a mut self, _: Rebalance<'a>, all: &'a [TopicPartition]) -> Listening<'a> {
        self.note("revoked", all)
    }

    fn lost<'a>(&'a mut self, all: &'a [TopicPartition]) -> Listening<'a> {
        self.note("lost", all)
    }
}

#[tokio::test]
async fn a_fenced_member_loses_its_partitions_and_joins_again() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
        let broker = broker_assigning(&[0]).await;
        let mut consumer = member(&config(&broker)).await;
        let heard = Heard::default();
        consumer.set_rebalance_listener(heard.clone());
        read(&mut consumer, 10).await;
        broker.change(|state| {
            state.group.events.clear();
            state.group.heartbeat_errors = [code].into();
        });
        broker
            .until(|state| state.group.heartbeat_errors.is_empty())
            .await;
        let offsets = [(partition(0), CommittedOffset::from(Offset::new(3)))];
        // The answer is on its way; after it the commit is refused here, before it by the coordinator.
        let refused = consumer.commit_offsets(&offsets).await.unwrap_err();
        assert!(
            matches!(refused, GroupError::NotOwned { .. }),
            "{code}: {refused}"
        );
        assert!(!refused.is_retriable());
        // Nothing was committed: it is read again.
        read(&mut consumer, 10).await;
        let heard = heard.events.lock().unwrap().clone();
        let expected = ["assigned orders-0", "lost orders-0", "assigned orders-0"];
        assert_eq!(heard, expected, "{code}");
        let events = events(&broker);
        assert!(events.contains(&"epoch 0 owns []".to_owned()), "{events:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_lost_partition_is_read_any_more() {
    let broker = broker_assigning(&[0]).await;
    fill(&broker, 0, 100).await;
    let config = config(&broker).set("max.poll.records", 3);
    let mut consumer = member(&config).await;
    read(&mut consumer, 3).await;
    broker.change(|state| {
        state.group.heartbeat_errors = [ErrorCode::FencedMemberEpoch].into();
        state.group.assigned = vec![];
        state.group.events.clear();
    });
    // It does not join before the caller knows, and so sends no second one.
    broker
        .until(|state| state.group.heartbeat_errors.is_empty())
        .await;
    poll_until(&mut consumer, |it, _| it.assignment().is_empty()).await;
    for _ in 0..20 {
        assert_eq!(consumer.poll(TURN).await.unwrap(), []);
    }
    assert_eq!(consumer.assignment(), []);
}

#[tokio::test]
async fn a_revoked_partition_is_committed_and_read_no_more_before_it_is_given_up() {
    let broker = broker_assigning(&[0, 1]).await;
    let config = config(&broker)
        .set("enable.auto.commit", true)
        .set("auto.commit.interval.ms", 3_600_000)
        .set("max.poll.records", 3);
    let mut consumer = member(&config).await;
    let heard = Heard::default();
    consumer.set_rebalance_listener(heard.clone());
    let of_second = |read: &[(i32, i64)]| read.iter().filter(|(index, _)| *index == 1).count();
    let mut all = poll_until(&mut consumer, |_, read| of_second(read) > 0).await;
    broker.change(|state| {
        state.group.events.clear();
        state.group.assigned = vec![0];
    });
    all.extend(poll_until(&mut consumer, |it, _| it.assignment().len() == 1).await);
    let given_up = "epoch 1 owns [0]".to_owned();
    broker
        .until(|state| state.group.events.contains(&given_up))
        .await;
    let count = of_second(&all);
    let expected = [format!("epoch 1 commits [1@{count}]"), given_up];
    assert_eq!(events(&broker), expected);
    for index in 0..2 {
        fill(&broker, index, 5).await;
    }
    all.extend(poll_until(&mut consumer, |_, read| read.contains(&(0, 14))).await);
    assert_eq!(of_second(&all), count);
    assert_eq!(
        heard.events.lock().unwrap().last().unwrap(),
        "revoked orders-1"
    );
}

#[tokio::test]
async fn while_a_revoked_partition_is_being_committed_only_the_others_are_read() {
    let broker = broker_assigning(&[0, 1]).await;
    fill(&broker, 1, 200).await;
    let config = config(&broker)
        .set("enable.auto.commit", true)
        .set("auto.commit.interval.ms", 3_600_000)
        .set("max.poll.records", 3);
    let mut consumer = member(&config).await;
    let of_second = |read: &[(i32, i64)]| read.iter().filter(|(index, _)| *index == 1).count();
    let mut all = poll_until(&mut consumer, |_, read| of_second(read) > 0).await;
    broker.change(|state| {
        state.group.events.clear();
        state.group.assigned = vec![0];
        state.group.hold_commits = true;
    });
    // The member hears of it before it polls again.
    two_heartbeats(&broker).await;
    let is_committing = |_: &GroupConsumer, _: &[(i32, i64)]| {
        let events = events(&broker);
        events.iter().any(|event| event.contains("commits [1@"))
    };
    all.extend(poll_until(&mut consumer, is_committing).await);
    let count = of_second(&all);
    fill(&broker, 0, 5).await;
    all.extend(poll_until(&mut consumer, |_, read| read.contains(&(0, 14))).await);
    assert_eq!(of_second(&all), count);
    assert_eq!(consumer.assignment().len(), 2);
    broker.change(|state| state.group.hold_commits = false);
    all.extend(poll_until(&mut consumer, |it, _| it.assignment().len() == 1).await);
    assert_eq!(of_second(&all), count);
    assert_eq!(committed(&broker, 1), Some(count as i64));
}

#[tokio::test]
async fn what_the_caller_asked_to_be_committed_is_committed_before_a_partition_is_given_up() {
    let broker = broker_assigning(&[0, 1]).await;
    let mut consumer = member(&config(&broker)).await;
    read(&mut consumer, 20).await;
    broker.change(|state| state.group.hold_commits = true);
    let commit = |offset| {
        let offset = CommittedOffset::from(Offset::new(offset));
        consumer.commit_offsets_async(&[(partition(1), offset)])
    };
    let first = commit(3).unwrap();
    broker
        .until(|state| state.group.committed.get(&1) == Some(&3))
        .await;
    // It waits behind the first one.
    let second = commit(7).unwrap();
    broker.change(|state| state.group.assigned = vec![0]);
    two_heartbeats(&broker).await;
    for _ in 0..20 {
        consumer.poll(TURN).await.unwrap();
    }
    assert_eq!(consumer.assignment().len(), 2);
    broker.change(|state| state.group.hold_commits = false);
    poll_until(&mut consumer, |it, _| it.assignment().len() == 1).await;
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(committed(&broker, 1), Some(7));
}

#[tokio::test]
async fn closing_commits_and_then_leaves() {
    for (instance, epoch) in [(None, -1), (Some("one"), -2)] {
        let broker = broker_assigning(&[0]).await;
        let mut config = config(&broker)
            .set("enable.auto.commit", true)
            .set("auto.commit.interval.ms", 3_600_000);
        if let Some(instance) = instance {
            config = config.set("group.instance.id", instance);
        }
        let mut consumer = member(&config).await;
        read(&mut consumer, 10).await;
        consumer.close().await.unwrap();
        let events = events(&broker);
        let after = after(&events, "epoch 1 commits [0@10]");
        assert_eq!(after, [format!("leaves with {epoch}")]);
    }
}

#[tokio::test]
async fn partitions_wait_until_their_committed_offsets_are_known() {
    let broker = broker_assigning(&[0]).await;
    broker.change(|state| {
        state.group.committed.insert(0, 4);
        state.group.fetch_errors = [
            ErrorCode::CoordinatorLoadInProgress,
            ErrorCode::StaleMemberEpoch,
            ErrorCode::UnknownMemberId,
        ]
        .into();
    });
    let mut consumer = member(&config(&broker)).await;
    let read = read(&mut consumer, 6).await;
    assert_eq!(read[0], (0, 4));
    let left = broker.state().group.fetch_errors.len();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_lost_connection_costs_the_member_nothing() {
    let broker = broker_assigning(&[0]).await;
    let mut consumer = member(&config(&broker)).await;
    let heard = Heard::default();
    consumer.set_rebalance_listener(heard.clone());
    read(&mut consumer, 10).await;
    broker.change(|state| state.group.events.clear());
    broker.drop_connections();
    fill(&broker, 0, 5).await;
    let more = read(&mut consumer, 5).await;
    assert_eq!(more, (10..15).map(|offset| (0, offset)).collect::<Vec<_>>());
    consumer.commit().await.unwrap();
    assert_eq!(heard.events.lock().unwrap().len(), 1);
    // After the loss it says everything again, in its old epoch.
    let events = events(&broker);
    assert!(
        !events.contains(&"epoch 0 owns []".to_owned()),
        "{events:?}"
    );
}
