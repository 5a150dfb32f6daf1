//! A topic `orders` of three partitions, and the group `order-processors`.

use corelog_protocol::TopicId;

use crate::group_consumers::rig::{Reader, Rig, shares, until};

const GROUP: &str = "order-processors";

/// So many consumers, once the three partitions are theirs.
async fn consumers(rig: &Rig, count: usize, expected: &[usize]) -> Vec<Reader> {
    let mut readers = Vec::new();
    for _ in 0..count {
        readers.push(rig.member(GROUP, "orders").await);
    }
    until(&mut readers, |it| {
        shares(it, 3).as_deref() == Some(expected)
    })
    .await;
    readers
}

/// Appends so many records to each partition, and reads until everybody together has them.
async fn fill_and_read(rig: &Rig, topic: TopicId, readers: &mut [Reader], records: usize) {
    let count = |it: &[Reader]| it.iter().map(|reader| reader.read.len()).sum::<usize>();
    let wanted = count(readers) + 3 * records;
    rig.fill(topic, 0..3, records);
    until(readers, |it| count(it) >= wanted).await;
}

#[tokio::test]
async fn three_consumers_on_three_partitions_read_one_each() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = consumers(&rig, 3, &[1, 1, 1]).await;
    fill_and_read(&rig, topic, &mut readers, 10).await;
    // Each partition is consumed by exactly one consumer.
    for reader in &readers {
        assert_eq!(reader.read.len(), 10);
        assert_eq!(
            reader.offsets(&reader.assigned()[0]),
            (0..10).collect::<Vec<i64>>()
        );
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
    }
}

#[tokio::test]
async fn a_fourth_consumer_is_idle() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = consumers(&rig, 3, &[1, 1, 1]).await;
    let before: Vec<_> = readers.iter().map(Reader::assigned).collect();
    readers.push(rig.member(GROUP, "orders").await);
    while rig.describe(GROUP).members.len() < 4 {
        readers[3].turn().await;
    }
    fill_and_read(&rig, topic, &mut readers, 10).await;
    assert_eq!(shares(&readers, 3), Some(vec![0, 1, 1, 1]));
    assert!(readers[3].read.is_empty());
    // Nobody lost anything to it.
    for (reader, before) in readers.iter().zip(before) {
        assert_eq!(reader.assigned(), before);
    }
}

#[tokio::test]
async fn when_a_consumer_leaves_another_goes_on_with_its_partition() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = consumers(&rig, 4, &[0, 1, 1, 1]).await;
    fill_and_read(&rig, topic, &mut readers, 5).await;
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
    fill_and_read(&rig, topic, &mut readers, 1).await;
    // Nobody reads again what the one that left had committed, and the others notice nothing.
    for reader in &readers {
        assert_eq!(reader.read.len(), 1);
        assert_eq!(reader.read[0].1, 5);
    }
    let heard: Vec<String> = readers.iter().flat_map(|it| it.heard.all()).collect();
    assert_eq!(heard, [format!("assigned {name}")]);
}

#[tokio::test]
async fn every_group_reads_every_record() {
    let rig = Rig::start();
    let topic = rig.create("orders", 3);
    let mut readers = consumers(&rig, 2, &[1, 2]).await;
    let mut other = vec![rig.member("order-analysts", "orders").await];
    fill_and_read(&rig, topic, &mut readers, 4).await;
    until(&mut other, |it| it[0].read.len() >= 12).await;
    for partition in ["orders-0", "orders-1", "orders-2"] {
        assert_eq!(other[0].offsets(partition), [0, 1, 2, 3]);
        let all: Vec<i64> = readers
            .iter()
            .flat_map(|it| it.offsets(partition))
            .collect();
        assert_eq!(all, [0, 1, 2, 3], "{partition}");
    }
}
