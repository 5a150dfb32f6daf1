//! Managing topics.

use std::time::Duration;

use corelog_client::{
    Admin, AdminError, BrokerId, ConfigChange, ConfigResource, ConsumeError, DeleteUntil,
    ErrorCode, MorePartitions, NewTopic, Offset, OffsetQuery, PartitionIndex, TopicPartition,
};
use corelog_protocol::native::DescribeConfigsRequest;

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

fn more(name: &str, count: i32) -> MorePartitions {
    MorePartitions {
        name: name.to_owned(),
        count,
    }
}

#[tokio::test]
async fn topics_get_more_partitions_each_with_its_own_result() {
    let broker = FakeBroker::start(&[("grows", 1), ("stays", 3)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    let wanted = [more("stays", 3), more("absent", 2), more("grows", 4)];
    let codes = |results: Vec<Result<(), AdminError>>| -> Vec<Option<ErrorCode>> {
        let results = results.into_iter().zip(&wanted);
        results
            .map(|(result, more)| match result {
                Ok(()) => None,
                Err(AdminError::Topic { topic, code, .. }) if topic == more.name => Some(code),
                Err(other) => panic!("{other}"),
            })
            .collect()
    };
    let expected = [
        Some(ErrorCode::InvalidPartitions),
        Some(ErrorCode::UnknownTopicOrPartition),
        None,
    ];
    let validated = admin.validate_create_partitions(&wanted).await.unwrap();
    assert_eq!(codes(validated), expected);
    assert_eq!(broker.state().topics["grows"].partitions.len(), 1);
    let done = admin.create_partitions(&wanted).await.unwrap();
    assert_eq!(codes(done), expected);
    assert_eq!(broker.state().topics["grows"].partitions.len(), 4);
}

/// A second time would be refused, for the topic has the partitions by then.
#[tokio::test]
async fn an_addition_of_partitions_whose_answer_is_lost_is_not_sent_again() {
    let broker = FakeBroker::start(&[("grows", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    broker.change(|state| state.script.lose_after_change = 1);
    let error = admin.create_partitions(&[more("grows", 2)]).await;
    assert!(
        matches!(error, Err(AdminError::OutcomeUnknown { .. })),
        "{error:?}"
    );
    assert_eq!(broker.state().seen.changes, 1);
    assert_eq!(broker.state().topics["grows"].partitions.len(), 2);

    broker.change(|state| state.script.lose_after_change = 1);
    let validated = admin.validate_create_partitions(&[more("grows", 3)]).await;
    validated.unwrap()[0].as_ref().unwrap();
    assert_eq!(
        broker.state().seen.changes,
        3,
        "asking again changes nothing"
    );
}

#[tokio::test]
async fn settings_are_described_in_the_order_of_the_question() {
    let broker = FakeBroker::start(&[("there", 1)]).await;
    broker.change(|state| {
        let topic = state.topics.get_mut("there").unwrap();
        for name in ["a", "b", "c"] {
            topic.configs.insert(name.to_owned(), "1".to_owned());
        }
    });
    let admin = Admin::new(&broker.config()).await.unwrap();
    let key = |key: &str| ConfigResource {
        keys: Some(vec![key.to_owned()]),
        ..ConfigResource::topic("there")
    };
    let resources = [
        key("a"),
        key("b"),
        ConfigResource::topic("absent"),
        key("c"),
        ConfigResource::broker(BrokerId::new(3)),
    ];
    let described = admin.describe_configs(&resources).await.unwrap();
    let names: Vec<String> = described
        .iter()
        .map(|result| match result {
            Ok(settings) => settings.iter().map(|it| it.name.as_str()).collect(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(names[..2], ["a", "b"]);
    assert!(names[2].starts_with("absent: UNKNOWN_TOPIC_OR_PARTITION"));
    assert_eq!(names[3], "c");
    assert!(
        names[4].starts_with("broker 3: INVALID_REQUEST"),
        "{names:?}"
    );
}

#[tokio::test]
async fn more_resources_than_one_request_may_name_are_asked_for_in_several() {
    let broker = FakeBroker::start(&[("there", 1)]).await;
    let admin = Admin::new(&broker.config()).await.unwrap();
    let most = DescribeConfigsRequest::MAX_RESOURCES;
    let resources = vec![ConfigResource::topic("there"); 2 * most + 1];
    let described = admin.describe_configs(&resources).await.unwrap();
    assert_eq!(described.len(), resources.len());
    assert!(described.iter().all(Result::is_ok));
    assert_eq!(broker.state().seen.describe_configs, 3);
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
