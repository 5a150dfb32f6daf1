//! Who reads what: members that come, go and die.

use corelog_client::{CommittedOffset, GroupError, Offset, SeekTo};

use super::rig::{Reader, Rig, partition, shares, until};

#[tokio::test]
async fn three_consumers_share_three_partitions_and_a_fourth_idles() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(rig.member("billing", "orders").await);
    }
    until(&mut readers, |it| shares(it, 3) == Some(vec![1, 1, 1])).await;
    readers.push(rig.member("billing", "orders").await);
    until(&mut readers, |it| shares(it, 3) == Some(vec![0, 1, 1, 1])).await;
    rig.fill(topic, 0..3, 10);
    until(&mut readers, |it| {
        it.iter().map(|it| it.read.len()).sum::<usize>() >= 30
    })
    .await;
    for reader in &readers {
        for name in reader.assigned() {
            assert_eq!(reader.offsets(&name), (0..10).collect::<Vec<i64>>());
        }
        assert_eq!(reader.read.len(), reader.assigned().len() * 10);
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
    }
}

#[tokio::test]
async fn when_one_leaves_its_partition_goes_on_with_the_idle_one_where_it_left_off() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(rig.member("billing", "orders").await);
    }
    until(&mut readers, |it| shares(it, 3) == Some(vec![0, 1, 1, 1])).await;
    rig.fill(topic, 0..3, 5);
    until(&mut readers, |it| {
        it.iter().map(|it| it.read.len()).sum::<usize>() == 15
    })
    .await;
    let leaver = readers.iter().position(|it| !it.assigned().is_empty());
    let leaver = readers.remove(leaver.unwrap());
    let name = leaver.assigned()[0].clone();
    leaver.consumer.close().await.unwrap();
    assert!(leaver.heard.all().contains(&format!("revoked {name}")));
    for reader in &mut readers {
        reader.read.clear();
        reader.heard.clear();
    }
    until(&mut readers, |it| shares(it, 3) == Some(vec![1, 1, 1])).await;
    rig.fill(topic, 0..3, 1);
    until(&mut readers, |it| it.iter().all(|it| !it.read.is_empty())).await;
    // Nobody reads again what the one that left had committed, and the others notice nothing.
    assert!(
        readers
            .iter()
            .all(|it| it.read.iter().all(|(_, offset)| *offset == 5))
    );
    let heard: Vec<String> = readers.iter().flat_map(|it| it.heard.all()).collect();
    assert_eq!(heard, [format!("assigned {name}")]);
}

#[tokio::test]
async fn a_new_member_gets_its_share_and_the_others_keep_reading_the_rest() {
    let rig = Rig::start();
    rig.create("orders", 4);
    let mut readers = vec![rig.member("billing", "orders").await];
    until(&mut readers, |it| shares(it, 4) == Some(vec![4])).await;
    readers[0].heard.clear();
    readers.push(rig.member("billing", "orders").await);
    until(&mut readers, |it| shares(it, 4) == Some(vec![2, 2])).await;
    // What it keeps was never taken away from it.
    let given: Vec<String> = readers[1].assigned();
    assert_eq!(
        readers[0].heard.all(),
        [format!("revoked {}", given.join(" "))]
    );
    assert_eq!(
        readers[1].heard.all(),
        [format!("assigned {}", given.join(" "))]
    );
}

#[tokio::test]
async fn a_member_that_dies_is_replaced_after_its_session() {
    let rig = Rig::start();
    let topic = rig.create("orders", 2);
    let mut readers = vec![
        rig.member("billing", "orders").await,
        rig.member("billing", "orders").await,
    ];
    until(&mut readers, |it| shares(it, 2) == Some(vec![1, 1])).await;
    // Dropped without a word.
    drop(readers.remove(0));
    until(&mut readers, |it| shares(it, 2) == Some(vec![2])).await;
    rig.fill(topic, 0..2, 1);
    until(&mut readers, |it| it[0].read.len() == 2).await;
}

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
