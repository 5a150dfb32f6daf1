//! Managing topics.

use std::time::Duration;

use corelog_client::{
    Admin, AdminError, ConfigChange, ConsumeError, DeleteUntil, ErrorCode, NewTopic, Offset,
    OffsetQuery, PartitionIndex, TopicPartition,
};

use crate::fake::FakeBroker;

fn new_topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(3),
        replication_factor: None,
        configs: vec![("retention.ms".to_owned(), "1000".to_owned())],
    }
}

#[tokio::test]
async fn topics_are_created_listed_altered_and_deleted_each_with_its_own_result() {
    let broker = FakeBroker::start(&[("there", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    let created = admin
        .create_topics(&[new_topic("fresh"), new_topic("there")])
        .await
        .unwrap();
    assert_eq!(created[0].as_ref().unwrap().partitions, 3);
    let error = created[1].as_ref().unwrap_err();
    assert!(
        matches!(error, AdminError::Topic { topic, code, .. }
            if topic == "there" && *code == ErrorCode::TopicAlreadyExists),
        "{error}"
    );

    let names: Vec<String> = admin
        .list_topics()
        .await
        .unwrap()
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(names, ["fresh", "there"]);

    let change = |value: Option<&str>| ConfigChange {
        name: "retention.ms".to_owned(),
        value: value.map(str::to_owned),
    };
    admin
        .alter_topic_configs("fresh", &[change(Some("5"))])
        .await
        .unwrap();
    assert_eq!(broker.state().topics["fresh"].configs["retention.ms"], "5");
    admin
        .alter_topic_configs("fresh", &[change(None)])
        .await
        .unwrap();
    assert!(broker.state().topics["fresh"].configs.is_empty());

    let deleted = admin.delete_topics(&["fresh", "absent"]).await.unwrap();
    deleted[0].as_ref().unwrap();
    let error = deleted[1].as_ref().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("absent: UNKNOWN_TOPIC_OR_PARTITION"),
        "{error}"
    );
    assert!(!broker.state().topics.contains_key("fresh"));
}

#[tokio::test]
async fn offsets_are_listed_by_the_partitions_leader() {
    let broker = FakeBroker::start(&[("there", 2)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    let it = TopicPartition::new("there", PartitionIndex::new(1));
    let listed = admin
        .list_offsets(&[(it.clone(), OffsetQuery::Latest)])
        .await
        .unwrap();
    assert_eq!(listed[&it].unwrap().offset, Offset::ZERO);
}

#[tokio::test]
async fn records_are_deleted_by_each_partitions_leader_with_a_result_of_its_own() {
    let broker = FakeBroker::start(&[("there", 3)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    let partition = |index| TopicPartition::new("there", PartitionIndex::new(index));
    let deleted = admin
        .delete_records(&[
            (partition(0), DeleteUntil::HighWatermark),
            (partition(1), DeleteUntil::Offset(Offset::new(1))),
            (partition(7), DeleteUntil::HighWatermark),
        ])
        .await;
    assert_eq!(deleted.len(), 3);
    assert_eq!(*deleted[&partition(0)].as_ref().unwrap(), Offset::ZERO);
    let refused = deleted[&partition(1)].as_ref().unwrap_err();
    assert!(
        matches!(refused, ConsumeError::Broker { code, message, .. }
            if *code == ErrorCode::OffsetOutOfRange && message.contains("lies beyond 0")),
        "{refused}"
    );
    let missing = deleted[&partition(7)].as_ref().unwrap_err();
    assert!(
        matches!(missing, ConsumeError::NoSuchPartition { .. }),
        "{missing}"
    );
}

#[tokio::test]
async fn a_call_outlives_a_broker_that_restarts() {
    let mut broker = FakeBroker::start(&[("there", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    broker.stop().await;
    let (topics, ()) = tokio::join!(admin.list_topics(), broker.listen());
    assert_eq!(topics.unwrap().len(), 1);
}

#[tokio::test]
async fn a_creation_or_deletion_whose_answer_is_lost_is_not_sent_again() {
    let broker = FakeBroker::start(&[("there", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    broker.change(|state| state.script.lose_after_change = 1);
    let error = admin
        .create_topics(&[new_topic("fresh")])
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            AdminError::OutcomeUnknown {
                action: "creating topics",
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_retriable());
    broker.change(|state| state.script.lose_after_change = 1);
    let error = admin.delete_topics(&["there"]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            AdminError::OutcomeUnknown {
                action: "deleting topics",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(broker.state().seen.changes, 2);
    let topics = admin.list_topics().await.unwrap();
    assert_eq!(topics[0].name, "fresh", "it was carried out once");
    assert_eq!(topics.len(), 1);
}

#[tokio::test]
async fn a_change_that_can_be_repeated_is_sent_again_when_its_answer_is_lost() {
    let broker = FakeBroker::start(&[("there", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    broker.change(|state| state.script.lose_after_change = 1);
    let change = ConfigChange {
        name: "retention.ms".to_owned(),
        value: Some("5".to_owned()),
    };
    admin.alter_topic_configs("there", &[change]).await.unwrap();
    assert_eq!(broker.state().seen.changes, 2);
}

#[tokio::test]
async fn a_creation_waits_for_a_broker_that_restarts() {
    let mut broker = FakeBroker::start(&[]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    broker.stop().await;
    // The first to call finds that the old connection is gone.
    let called = tokio::time::timeout(Duration::from_millis(200), admin.list_topics()).await;
    assert!(called.is_err(), "nobody answers");
    let topics = [new_topic("fresh")];
    let (created, ()) = tokio::join!(admin.create_topics(&topics), broker.listen());
    created.unwrap()[0].as_ref().unwrap();
}
