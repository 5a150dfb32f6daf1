//! What members subscribe to, and what they are told of subscriptions that cannot be.

use corelog_client::{ErrorCode, GroupConsumer, GroupError};

use super::rig::{Reader, Rig};

#[tokio::test]
async fn a_pattern_takes_in_topics_that_come_later() {
    let rig = Rig::start();
    rig.create("audit-1", 1);
    rig.create("orders", 1);
    let mut reader = Reader::new(&rig.config("billing")).await;
    reader.consumer.subscribe_pattern("audit-.*").unwrap();
    reader.until(|it| it.assigned() == ["audit-1-0"]).await;
    let later = rig.create("audit-2", 1);
    rig.fill(later, 0..1, 3);
    reader.until(|it| it.read.len() == 3).await;
    assert_eq!(reader.assigned(), ["audit-1-0", "audit-2-0"]);
    assert_eq!(reader.offsets("audit-2-0"), [0, 1, 2]);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_comes_in_when_it_does() {
    let rig = Rig::start();
    let mut reader = rig.member("billing", "orders").await;
    for _ in 0..20 {
        reader.turn().await;
    }
    assert!(reader.errors.is_empty(), "{:?}", reader.errors);
    let topic = rig.create("orders", 1);
    rig.fill(topic, 0..1, 1);
    reader.until(|it| it.read.len() == 1).await;
}

#[tokio::test]
async fn another_subscription_replaces_the_first() {
    let rig = Rig::start();
    rig.create("orders", 1);
    let invoices = rig.create("invoices", 1);
    let mut reader = rig.member("billing", "orders").await;
    reader.until(|it| it.assigned() == ["orders-0"]).await;
    reader.consumer.subscribe(["invoices"]).unwrap();
    reader.until(|it| it.assigned() == ["invoices-0"]).await;
    rig.fill(invoices, 0..1, 1);
    reader.until(|it| it.read.len() == 1).await;
    reader.consumer.unsubscribe().await.unwrap();
    assert_eq!(reader.assigned(), [] as [String; 0]);
    reader.turn().await;
    assert!(
        matches!(reader.errors.last(), Some(GroupError::NotSubscribed { .. })),
        "{:?}",
        reader.errors
    );
    reader.consumer.subscribe(["invoices"]).unwrap();
    reader.until(|it| it.assigned() == ["invoices-0"]).await;
}

#[tokio::test]
async fn a_subscription_to_nothing_is_refused() {
    let rig = Rig::start();
    let mut consumer = GroupConsumer::new(&rig.config("billing")).await.unwrap();
    let nothing: [String; 0] = [];
    for refused in [consumer.subscribe(nothing), consumer.subscribe_pattern("")] {
        assert!(matches!(refused, Err(GroupError::EmptySubscription)));
    }
}

#[tokio::test]
async fn a_pattern_that_does_not_compile_is_an_error_of_poll_and_can_be_mended() {
    let rig = Rig::start();
    rig.create("orders", 1);
    let mut reader = Reader::new(&rig.config("billing")).await;
    reader.consumer.subscribe_pattern("orders-[").unwrap();
    reader.until(|it| !it.errors.is_empty()).await;
    let refused = &reader.errors[0];
    assert!(
        matches!(refused, GroupError::Refused { code, .. } if *code == ErrorCode::InvalidRegularExpression),
        "{refused}"
    );
    assert!(refused.to_string().contains("orders-["), "{refused}");
    reader.consumer.subscribe_pattern("order.").unwrap();
    reader.until(|it| it.assigned() == ["orders-0"]).await;
}

#[tokio::test]
async fn an_assignor_that_there_is_not_is_an_error_of_poll() {
    let rig = Rig::start();
    rig.create("orders", 1);
    let config = rig.config("billing").set("group.remote.assignor", "fair");
    let mut reader = Reader::subscribed(&config, "orders").await;
    reader.until(|it| !it.errors.is_empty()).await;
    let refused = &reader.errors[0];
    assert!(
        matches!(refused, GroupError::Refused { code, .. } if *code == ErrorCode::UnsupportedAssignor),
        "{refused}"
    );
    assert!(refused.to_string().contains("`fair`"), "{refused}");
}

#[tokio::test]
async fn members_choose_among_the_assignors_that_the_broker_is_told() {
    let rig = Rig::start_with("group.consumer.assignors = [\"range\"]");
    rig.create("orders", 1);
    let config = rig
        .config("billing")
        .set("group.remote.assignor", "uniform");
    let mut refused = Reader::subscribed(&config, "orders").await;
    refused.until(|it| !it.errors.is_empty()).await;
    let error = refused.errors[0].to_string();
    assert!(error.contains("use one of `range`"), "{error}");
    for config in [
        rig.config("shipping"),
        rig.config("returns").set("group.remote.assignor", "range"),
    ] {
        let mut reader = Reader::subscribed(&config, "orders").await;
        reader.until(|it| it.assigned() == ["orders-0"]).await;
    }
}
