//! The strategies of committing, and what a successor reads.

use std::time::Duration;

use corelog_client::{
    CommittedOffset, GroupConsumer, GroupError, Listening, Offset, Rebalance, RebalanceListener,
    TopicPartition,
};
use futures_util::{StreamExt, pin_mut};

use super::rig::{Reader, Rig, committed, partition, until};

#[tokio::test]
async fn what_is_handed_out_is_not_committed_before_the_next_poll() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 3);
    let config = rig.config("billing").set("auto.commit.interval.ms", 1);
    let mut consumer = GroupConsumer::new(&config).await.unwrap();
    consumer.subscribe(["orders"]).unwrap();
    let name = partition("orders", 0);
    for expected in 0..3 {
        let record = {
            let stream = consumer.stream();
            pin_mut!(stream);
            stream.next().await.unwrap().unwrap()
        };
        assert_eq!(record.offset.get(), expected);
        // Nothing to commit, but what goes by itself comes before.
        consumer.commit_offsets(&[]).await.unwrap();
        let found = consumer.committed(std::slice::from_ref(&name)).await;
        let committed = found.unwrap()[&name].as_ref().map(|it| it.offset.get());
        assert!(
            committed <= Some(expected),
            "{committed:?} is committed while {expected} is processed"
        );
    }
}

#[tokio::test]
async fn commits_that_nobody_waits_for_come_in_their_order() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 1);
    let config = rig.config("billing").set("enable.auto.commit", false);
    let mut reader = Reader::subscribed(&config, "orders").await;
    reader.until(|it| !it.read.is_empty()).await;
    let name = partition("orders", 0);
    let commit = |offset: i64| {
        let offsets = [(name.clone(), CommittedOffset::from(Offset::new(offset)))];
        reader.consumer.commit_offsets_async(&offsets).unwrap()
    };
    for offset in 0..500 {
        drop(commit(offset));
    }
    let last = commit(1);
    last.await.unwrap();
    assert_eq!(committed(&reader, 0).await, Some(1));
}

#[tokio::test]
async fn more_commits_than_can_wait_are_refused() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 1);
    let mut reader = rig.member("billing", "orders").await;
    reader.until(|it| !it.read.is_empty()).await;
    // This task does not wait, so the one that sends has no turn.
    let refused = (0..2_000).find_map(|_| reader.consumer.commit_async().err());
    let refused = refused.expect("a bound");
    assert!(
        matches!(refused, GroupError::TooManyCommits { waiting: 1_000, .. }),
        "{refused}"
    );
    assert!(refused.is_retriable());
    reader.consumer.close().await.unwrap_err();
}

#[tokio::test]
async fn what_is_another_members_cannot_be_committed() {
    let rig = Rig::start();
    rig.create("orders", 1);
    let mut reader = rig.member("billing", "orders").await;
    reader.until(|it| !it.assigned().is_empty()).await;
    let offsets = [(
        partition("orders", 7),
        CommittedOffset::from(Offset::new(1)),
    )];
    let refused = reader.consumer.commit_offsets(&offsets).await.unwrap_err();
    assert!(
        matches!(&refused, GroupError::NotOwned { partition, .. } if partition.to_string() == "orders-7"),
        "{refused}"
    );
}

/// Commits what was processed when partitions are to be given up, as a program does that commits by hand.
struct CommitsWhenRevoked;

impl RebalanceListener for CommitsWhenRevoked {
    fn revoked<'a>(
        &'a mut self,
        mut rebalance: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        Box::pin(async move {
            let mut offsets = Vec::new();
            for name in partitions {
                let position = rebalance.position(name).unwrap().unwrap();
                offsets.push((name.clone(), CommittedOffset::from(position)));
            }
            rebalance.commit_offsets(&offsets).await.unwrap();
        })
    }
}

#[tokio::test]
async fn a_listener_commits_before_the_partitions_go() {
    let rig = Rig::start();
    let topic = rig.create("orders", 2);
    rig.fill(topic, 0..2, 5);
    let config = rig.config("billing").set("enable.auto.commit", false);
    let mut first = Reader::subscribed(&config, "orders").await;
    first.consumer.set_rebalance_listener(CommitsWhenRevoked);
    first.until(|it| it.read.len() == 10).await;
    let mut readers = vec![first, Reader::subscribed(&config, "orders").await];
    until(&mut readers, |it| it[1].assigned().len() == 1).await;
    let name = readers[1].assigned()[0].clone();
    rig.fill(topic, 0..2, 1);
    until(&mut readers, |it| !it[1].read.is_empty()).await;
    assert_eq!(readers[1].offsets(&name), [5]);
}

#[tokio::test]
async fn partitions_without_a_committed_offset_begin_where_the_reset_says() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 5);
    let reading_with = |reset: &'static str| {
        let config = rig.config(reset).set("auto.offset.reset", reset);
        async move { Reader::subscribed(&config, "orders").await }
    };
    let mut earliest = reading_with("earliest").await;
    earliest.until(|it| it.read.len() == 5).await;
    let mut by_duration = reading_with("by_duration:PT1H").await;
    by_duration.until(|it| it.read.len() == 5).await;
    let mut latest = reading_with("latest").await;
    let name = partition("orders", 0);
    latest
        .until(|it| matches!(it.consumer.position(&name), Ok(Some(_))))
        .await;
    rig.fill(topic, 0..1, 1);
    latest.until(|it| !it.read.is_empty()).await;
    assert_eq!(latest.offsets("orders-0"), [5]);
    let mut none = reading_with("none").await;
    none.until(|it| !it.errors.is_empty()).await;
    let error = none.errors[0].to_string();
    assert!(error.contains("orders-0 has no position"), "{error}");
    // Nothing was read, and so nothing is committed.
    tokio::time::timeout(Duration::from_secs(20), none.consumer.close())
        .await
        .unwrap()
        .unwrap();
    let outside = Reader::new(&rig.config("none")).await;
    assert_eq!(committed(&outside, 0).await, None);
}
