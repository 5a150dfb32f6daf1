//! Brokers that die, topics that are replaced, members that nobody lets in.

use corelog_client::GroupError;

use super::rig::{Reader, Rig, partition, shares, until};

#[tokio::test]
async fn a_group_goes_on_after_its_broker_was_killed() {
    let mut rig = Rig::start();
    let topic = rig.create("orders", 2);
    rig.fill(topic, 0..2, 5);
    let mut readers = vec![
        rig.member("billing", "orders").await,
        rig.member("billing", "orders").await,
    ];
    until(&mut readers, |it| {
        shares(it, 2) == Some(vec![1, 1]) && it.iter().map(|it| it.read.len()).sum::<usize>() >= 10
    })
    .await;
    for reader in &readers {
        reader.consumer.commit().await.unwrap();
    }
    rig.kill_broker();
    for _ in 0..3 {
        for reader in &mut readers {
            reader.turn().await;
        }
    }
    rig.start_broker();
    for reader in &mut readers {
        reader.read.clear();
    }
    rig.fill(topic, 0..2, 5);
    until(&mut readers, |it| {
        shares(it, 2) == Some(vec![1, 1]) && it.iter().map(|it| it.read.len()).sum::<usize>() >= 10
    })
    .await;
    for reader in &readers {
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
        let name = reader.assigned()[0].clone();
        assert_eq!(reader.offsets(&name), [5, 6, 7, 8, 9]);
    }
}

#[tokio::test]
async fn a_commit_waits_for_the_broker_to_come_back() {
    let mut rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 5);
    let config = rig.config("billing").set("enable.auto.commit", false);
    let mut reader = Reader::subscribed(&config, "orders").await;
    reader.until(|it| it.read.len() == 5).await;
    rig.kill_broker();
    let commit = reader.consumer.commit_async().unwrap();
    rig.start_broker();
    commit.await.unwrap();
    let name = partition("orders", 0);
    let found = reader.consumer.committed(std::slice::from_ref(&name)).await;
    assert_eq!(
        found.unwrap()[&name].as_ref().map(|it| it.offset.get()),
        Some(5)
    );
}

#[tokio::test]
async fn a_commit_without_a_broker_ends_with_the_time_allowed() {
    let mut rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 1);
    let config = rig.config("billing").set("default.api.timeout.ms", 300);
    let mut reader = Reader::subscribed(&config, "orders").await;
    reader.until(|it| it.read.len() == 1).await;
    rig.kill_broker();
    let error = reader.consumer.commit().await.unwrap_err();
    assert!(
        matches!(&error, GroupError::Timeout { action, .. } if *action == "committing offsets"),
        "{error}"
    );
    assert!(error.is_retriable());
    let error = reader.consumer.close().await.unwrap_err();
    assert!(matches!(&error, GroupError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_and_created_again_is_read_from_its_start() {
    let rig = Rig::start();
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 5);
    let mut reader = rig.member("billing", "orders").await;
    reader.until(|it| it.read.len() == 5).await;
    reader.consumer.commit().await.unwrap();
    reader.read.clear();
    rig.connect().delete_topic("orders");
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 8);
    reader.until(|it| it.read.len() == 8).await;
    assert_eq!(reader.offsets("orders-0"), (0..8).collect::<Vec<i64>>());
    assert!(reader.errors.is_empty(), "{:?}", reader.errors);
}

#[tokio::test]
async fn a_second_static_member_of_one_name_waits_and_says_so() {
    let rig = Rig::start();
    rig.create("orders", 1);
    let config = rig
        .config("billing")
        .set("group.instance.id", "one")
        .set("default.api.timeout.ms", 200);
    let mut first = Reader::subscribed(&config, "orders").await;
    first.until(|it| it.assigned().len() == 1).await;
    let mut both = vec![first, Reader::subscribed(&config, "orders").await];
    until(&mut both, |it| !it[1].errors.is_empty()).await;
    let error = &both[1].errors[0];
    assert!(
        matches!(error, GroupError::Timeout { action, reason, .. }
            if *action == "joining" && reason.contains("UNRELEASED_INSTANCE_ID")),
        "{error}"
    );
    both.remove(0).consumer.close().await.unwrap();
    until(&mut both, |it| it[0].assigned().len() == 1).await;
}
