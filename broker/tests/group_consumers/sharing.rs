//! Who reads what: members that stop polling, static members, and what one member may do.

use corelog_client::{CommittedOffset, GroupError, Offset, SeekTo};

use super::rig::{Reader, Rig, partition, shares, until};

#[tokio::test]
async fn a_member_that_stops_polling_leaves_and_comes_back() {
    let rig = Rig::start();
    let topic = rig.create("orders", 2);
    let slow = rig.config("billing").set("max.poll.interval.ms", 150);
    let mut slow = Reader::subscribed(&slow, "orders").await;
    slow.until(|it| it.assigned().len() == 2).await;
    let mut readers = vec![rig.member("billing", "orders").await];
    // The slow one does not poll any more.
    until(&mut readers, |it| shares(it, 2) == Some(vec![2])).await;
    let offsets = [(
        partition("orders", 0),
        CommittedOffset::from(Offset::new(1)),
    )];
    let refused = slow.consumer.commit_offsets(&offsets).await.unwrap_err();
    assert!(
        matches!(&refused, GroupError::NotOwned { reason, .. } if reason.contains("max.poll.interval.ms = 150")),
        "{refused}"
    );
    rig.fill(topic, 0..2, 1);
    readers.push(slow);
    until(&mut readers, |it| {
        shares(it, 2) == Some(vec![1, 1]) && it[1].heard.all().len() == 3
    })
    .await;
    let heard = readers[1].heard.all();
    assert_eq!(
        heard[..2],
        ["assigned orders-0 orders-1", "lost orders-0 orders-1"]
    );
    assert!(heard[2].starts_with("assigned orders-"), "{heard:?}");
}

#[tokio::test]
async fn a_static_member_that_restarts_goes_on_with_its_partitions_and_nobody_else_notices() {
    let rig = Rig::start();
    rig.create("orders", 2);
    let static_config = rig.config("billing").set("group.instance.id", "one");
    let mut readers = vec![
        Reader::subscribed(&static_config, "orders").await,
        rig.member("billing", "orders").await,
    ];
    until(&mut readers, |it| shares(it, 2) == Some(vec![1, 1])).await;
    readers[1].heard.clear();
    let first = readers.remove(0);
    let had = first.assigned();
    first.consumer.close().await.unwrap();
    readers.push(Reader::subscribed(&static_config, "orders").await);
    until(&mut readers, |it| shares(it, 2) == Some(vec![1, 1])).await;
    assert_eq!(readers[1].assigned(), had);
    assert_eq!(readers[0].heard.all(), [] as [String; 0]);
}

#[tokio::test]
async fn pause_seek_position_and_lag_are_those_of_the_member() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 10);
    let mut reader = rig.member("billing", "orders").await;
    let first = partition("orders", 0);
    reader.until(|it| it.read.len() == 10).await;
    assert_eq!(reader.consumer.lag(&first).await.unwrap(), Some(0));
    reader.consumer.pause(&first).unwrap();
    rig.fill(topic, 0..1, 3);
    for _ in 0..5 {
        reader.turn().await;
    }
    assert_eq!(reader.read.len(), 10);
    assert_eq!(reader.consumer.lag(&first).await.unwrap(), Some(3));
    reader.consumer.resume(&first).unwrap();
    let seven = SeekTo::Offset(Offset::new(7));
    reader.consumer.seek(&first, seven).await.unwrap();
    let position = reader.consumer.position(&first).unwrap();
    assert_eq!(position.map(|it| it.get()), Some(7));
    reader.until(|it| it.read.len() == 16).await;
    assert_eq!(reader.offsets("orders-0")[10..], [7, 8, 9, 10, 11, 12]);
}
