//! Where a group goes on, and the strategies of committing.

use corelog_client::{CommittedOffset, Offset};

use crate::group_consumers::rig::{Reader, Rig, committed, partition};

const GROUP: &str = "order-processors";

/// A reader that commits only when it is told to, of a topic of one partition.
async fn by_hand(rig: &Rig) -> Reader {
    let config = rig.config(GROUP).set("enable.auto.commit", false);
    Reader::subscribed(&config, "orders").await
}

#[tokio::test]
async fn the_next_read_is_at_the_offset_committed_last() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 6);
    let mut reader = by_hand(&rig).await;
    reader.until(|it| it.read.len() == 6).await;
    // Offsets 0, 1 and 2 are consumed.
    let offsets = [(
        partition("orders", 0),
        CommittedOffset::from(Offset::new(3)),
    )];
    reader.consumer.commit_offsets(&offsets).await.unwrap();
    drop(reader);
    let mut successor = by_hand(&rig).await;
    successor.until(|it| it.read.len() == 3).await;
    assert_eq!(successor.offsets("orders-0"), [3, 4, 5]);
}

#[tokio::test]
async fn strategy_1_auto_commit_commits_what_was_polled() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 10);
    let mut reader = rig.member(GROUP, "orders").await;
    reader.until(|it| it.read.len() == 10).await;
    while committed(&reader, 0).await != Some(10) {
        reader.turn().await;
    }
    // A consumer that dies now loses nothing, and its successor repeats nothing.
    drop(reader);
    rig.fill(topic, 0..1, 1);
    let mut successor = rig.member(GROUP, "orders").await;
    successor.until(|it| !it.read.is_empty()).await;
    assert_eq!(successor.offsets("orders-0"), [10]);
}

#[tokio::test]
async fn strategy_1_auto_commit_may_cause_duplicates() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 10);
    // The time to commit does not come.
    let config = rig.config(GROUP).set("auto.commit.interval.ms", 600_000);
    let mut reader = Reader::subscribed(&config, "orders").await;
    reader.until(|it| it.read.len() == 10).await;
    assert_eq!(committed(&reader, 0).await, None);
    drop(reader);
    let mut successor = rig.member(GROUP, "orders").await;
    successor.until(|it| it.read.len() == 10).await;
    assert_eq!(successor.offsets("orders-0"), (0..10).collect::<Vec<i64>>());
}

#[tokio::test]
async fn strategy_2_manual_commit_sync_waits_until_it_is_done() {
    let rig = Rig::start();
    let topic = rig.create("orders", 2);
    rig.fill(topic, 0..2, 5);
    let mut reader = by_hand(&rig).await;
    reader.until(|it| it.read.len() == 10).await;
    assert_eq!(committed(&reader, 0).await, None);
    reader.consumer.commit().await.unwrap();
    assert_eq!(committed(&reader, 0).await, Some(5));
    assert_eq!(committed(&reader, 1).await, Some(5));
    // One partition, with a note.
    let noted = CommittedOffset {
        metadata: "half of them".to_owned(),
        ..CommittedOffset::from(Offset::new(2))
    };
    let name = partition("orders", 1);
    let offsets = [(name.clone(), noted.clone())];
    reader.consumer.commit_offsets(&offsets).await.unwrap();
    let found = reader.consumer.committed(std::slice::from_ref(&name)).await;
    assert_eq!(found.unwrap()[&name], Some(noted));
    assert_eq!(committed(&reader, 0).await, Some(5));
    // Closing commits nothing more.
    rig.fill(topic, 0..2, 1);
    reader.until(|it| it.read.len() == 12).await;
    reader.consumer.close().await.unwrap();
    let mut successor = by_hand(&rig).await;
    successor.until(|it| it.read.len() == 5).await;
    assert_eq!(successor.offsets("orders-0"), [5]);
    assert_eq!(successor.offsets("orders-1"), [2, 3, 4, 5]);
}

#[tokio::test]
async fn strategy_2_manual_commit_async_goes_on_reading() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 3);
    let mut reader = by_hand(&rig).await;
    reader.until(|it| it.read.len() == 3).await;
    let pending = reader.consumer.commit_async().unwrap();
    // The consumer is not held up meanwhile.
    rig.fill(topic, 0..1, 1);
    reader.until(|it| it.read.len() == 4).await;
    pending.await.unwrap();
    assert_eq!(committed(&reader, 0).await, Some(3));
}

#[tokio::test]
async fn strategy_3_commit_on_processing_loses_no_message() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 4);
    let mut reader = by_hand(&rig).await;
    let mut processed = Vec::new();
    reader.until(|it| it.read.len() == 4).await;
    // Each is processed, then committed; the third was not committed yet when the consumer dies.
    for (_, offset) in &reader.read[..3] {
        processed.push(*offset);
        if *offset < 2 {
            let done = CommittedOffset::from(Offset::new(offset + 1));
            let offsets = [(partition("orders", 0), done)];
            reader.consumer.commit_offsets(&offsets).await.unwrap();
        }
    }
    drop(reader);
    let mut successor = by_hand(&rig).await;
    successor.until(|it| it.read.len() == 2).await;
    processed.extend(successor.offsets("orders-0"));
    assert_eq!(processed, [0, 1, 2, 2, 3]);
}
