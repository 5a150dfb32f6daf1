//! Six partitions and three consumers, and what makes them share anew.

use corelog_client::MorePartitions;
use corelog_protocol::native::GroupState;

use crate::group_consumers::rig::{Reader, Rig, shares, until};

const GROUP: &str = "order-processors";

async fn consumers(rig: &Rig, count: usize) -> Vec<Reader> {
    let mut readers = Vec::new();
    for _ in 0..count {
        readers.push(rig.member(GROUP, "orders").await);
    }
    let share = 6 / count;
    until(&mut readers, |it| shares(it, 6) == Some(vec![share; count])).await;
    readers
}

#[tokio::test]
async fn the_steps_when_consumer_4_joins() {
    let rig = Rig::start();
    let topic = rig.create("orders", 6);
    let mut readers = consumers(&rig, 3).await;
    let before: Vec<_> = readers.iter().map(Reader::assigned).collect();
    let epoch = rig.describe(GROUP).epoch;
    for reader in &readers {
        reader.heard.clear();
    }
    // 1. It joins, and 3. the coordinator starts a rebalance: the group's epoch rises.
    readers.push(rig.member(GROUP, "orders").await);
    let mut fourth = readers.pop().unwrap();
    fourth.turn().await;
    while rig.describe(GROUP).epoch == epoch {
        fourth.turn().await;
    }
    // 2. Nobody stops consuming: what a consumer keeps it reads on with, though the others have not even
    // heard of the rebalance.
    rig.fill(topic, 0..6, 1);
    for reader in &mut readers {
        reader.until(|it| !it.read.is_empty()).await;
    }
    readers.push(fourth);
    // 4. The new assignment.
    until(&mut readers, |it| shares(it, 6) == Some(vec![1, 1, 2, 2])).await;
    let taken = readers[3].assigned();
    for (reader, before) in readers.iter().zip(&before) {
        let kept = reader.assigned();
        assert!(kept.iter().all(|name| before.contains(name)));
        // Only those who give something up hear of it, and only of that.
        let given: Vec<&String> = before.iter().filter(|name| !kept.contains(name)).collect();
        let heard = reader.heard.all();
        assert!(given.iter().all(|name| taken.contains(name)));
        match given[..] {
            [] => assert!(heard.is_empty(), "{heard:?}"),
            _ => assert!(heard[0].starts_with("revoked orders-"), "{heard:?}"),
        }
    }
    // 5. Everybody consumes what is its own, and each record was read once.
    rig.fill(topic, 0..6, 1);
    until(&mut readers, |it| {
        it.iter().map(|reader| reader.read.len()).sum::<usize>() >= 12
    })
    .await;
    for index in 0..6 {
        let name = format!("orders-{index}");
        let all: Vec<i64> = readers.iter().flat_map(|it| it.offsets(&name)).collect();
        assert_eq!(all.len(), 2, "{name}: {all:?}");
    }
    let group = rig.describe(GROUP);
    assert_eq!(group.state, GroupState::Stable);
    assert!(group.epoch > epoch);
}

#[tokio::test]
async fn trigger_consumer_joins_group() {
    let rig = Rig::start();
    rig.create("orders", 6);
    let mut readers = consumers(&rig, 1).await;
    readers[0].heard.clear();
    readers.push(rig.member(GROUP, "orders").await);
    until(&mut readers, |it| shares(it, 6) == Some(vec![3, 3])).await;
    let given = readers[1].assigned().join(" ");
    // What it keeps was never taken away from it.
    assert_eq!(readers[0].heard.all(), [format!("revoked {given}")]);
    assert_eq!(readers[1].heard.all(), [format!("assigned {given}")]);
}

#[tokio::test]
async fn trigger_consumer_leaves_group() {
    let rig = Rig::start();
    rig.create("orders", 6);
    let mut readers = consumers(&rig, 2).await;
    readers.remove(0).consumer.close().await.unwrap();
    until(&mut readers, |it| shares(it, 6) == Some(vec![6])).await;
}

#[tokio::test]
async fn trigger_new_partition_added_to_topic() {
    let rig = Rig::start();
    let topic = rig.create("orders", 6);
    let mut readers = consumers(&rig, 2).await;
    let admin = rig.admin().await;
    let more = MorePartitions {
        name: "orders".to_owned(),
        count: 8,
    };
    for added in admin.create_partitions(&[more]).await.unwrap() {
        added.unwrap();
    }
    until(&mut readers, |it| shares(it, 8) == Some(vec![4, 4])).await;
    rig.fill(topic, 6..8, 1);
    until(&mut readers, |it| {
        it.iter().map(|reader| reader.read.len()).sum::<usize>() == 2
    })
    .await;
}

#[tokio::test]
async fn trigger_consumer_session_timeout() {
    let rig = Rig::start();
    let topic = rig.create("orders", 6);
    let mut readers = consumers(&rig, 2).await;
    // Dropped without a word.
    drop(readers.remove(0));
    until(&mut readers, |it| shares(it, 6) == Some(vec![6])).await;
    rig.fill(topic, 0..6, 1);
    until(&mut readers, |it| it[0].read.len() == 6).await;
    let metrics = rig.metrics();
    assert_eq!(metrics.sum("corelog_group_members_fenced_total", ""), 1.0);
    assert_eq!(metrics.sum("corelog_groups", ""), 1.0);
}
