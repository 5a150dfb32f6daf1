#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use super::super::command::{ConfigChange, MorePartitions};
use super::*;
use crate::config::{ByteSize, ValueSource};
use crate::metadata::BrokerRegistration;

fn rules() -> Rules {
    Rules {
        num_partitions: 3,
        topic_partitions_max: 100,
        partitions_max: 150,
    }
}

fn image_of_brokers(ids: &[i32]) -> MetadataImage {
    let records: Vec<MetadataRecord> = ids
        .iter()
        .map(|&id| {
            MetadataRecord::BrokerRegistered(BrokerRegistration {
                id: BrokerId::new(id),
                host: "h".to_owned(),
                port: 1,
                shards: 2,
                broker_epoch: 0,
            })
        })
        .collect();
    MetadataImage::empty(Arc::new(TopicConfig::default()))
        .apply(&records)
        .unwrap()
}

/// Decides, checks that the records follow from the image, and returns the next image.
fn run(image: &MetadataImage, command: &Command) -> (MetadataImage, Outcome) {
    let mut drawn = image.offset as u8;
    let mut new_id = || {
        drawn += 1;
        TopicId::from_bytes([drawn; 16])
    };
    let decision = decide(&rules(), image, command, &mut new_id);
    let next = image.apply(&decision.records).unwrap();
    (next, decision.outcome)
}

fn create(
    image: &MetadataImage,
    topics: &[NewTopic],
) -> (MetadataImage, Vec<Result<CreatedTopic, TopicError>>) {
    let command = Command::CreateTopics {
        topics: topics.to_vec(),
        validate_only: false,
    };
    match run(image, &command) {
        (image, Outcome::CreateTopics(outcomes)) => (image, outcomes),
        (_, other) => panic!("{other:?}"),
    }
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        ..NewTopic::default()
    }
}

fn refusal<T: std::fmt::Debug>(outcome: &Result<T, TopicError>) -> (ErrorCode, &str) {
    let error = outcome.as_ref().unwrap_err();
    (error.code, &error.message)
}

#[test]
fn a_topic_takes_the_brokers_defaults() {
    let image = image_of_brokers(&[1]);
    let (image, outcomes) = create(&image, &[topic("orders")]);
    let created = outcomes[0].as_ref().unwrap();
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    assert_eq!(created.configs.len(), TopicConfig::KEYS.len());
    let topic = image.topic("orders").unwrap();
    assert_eq!(topic.id, created.id);
    assert_eq!(topic.partitions.len(), 3);
    for partition in &topic.partitions {
        assert_eq!(partition.leader, Some(BrokerId::new(1)));
        assert_eq!(partition.replicas, [BrokerId::new(1)]);
        assert_eq!(partition.in_sync_replicas, [BrokerId::new(1)]);
        assert_eq!(partition.leader_epoch, LeaderEpoch::ZERO);
    }
}

#[test]
fn a_topics_settings_are_checked_and_stored_in_kafkas_spelling() {
    let image = image_of_brokers(&[1]);
    let with = |pairs: &[(&str, &str)]| NewTopic {
        configs: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..topic("orders")
    };
    let (next, outcomes) = create(&image, &[with(&[("segment.bytes", "2 MiB")])]);
    let orders = next.topic("orders").unwrap();
    assert_eq!(orders.configs["segment.bytes"], "2097152");
    assert_eq!(orders.config.segment_bytes, ByteSize::mib(2));
    let described = &outcomes[0].as_ref().unwrap().configs;
    let described = described
        .iter()
        .find(|c| c.name == "segment.bytes")
        .unwrap();
    assert_eq!(described.source, ValueSource::Topic);

    let (_, outcomes) = create(&image, &[with(&[("segment.bytes", "1")])]);
    let (code, message) = refusal(&outcomes[0]);
    assert_eq!(code, ErrorCode::InvalidConfig);
    assert_eq!(
        message,
        "`segment.bytes` cannot be `1`: it must be a number of bytes from 16384 to 2147483647"
    );
    let (_, outcomes) = create(&image, &[with(&[("segment.size", "1")])]);
    assert_eq!(
        refusal(&outcomes[0]),
        (
            ErrorCode::InvalidConfig,
            "`segment.size` is not a topic setting"
        )
    );
    let twice = with(&[("segment.ms", "1"), ("segment.ms", "1")]);
    let (_, outcomes) = create(&image, &[twice]);
    assert_eq!(refusal(&outcomes[0]).0, ErrorCode::InvalidConfig);
}

#[test]
fn one_refused_topic_does_not_stop_the_others() {
    let image = image_of_brokers(&[1]);
    let (image, _) = create(&image, &[topic("taken"), topic("a.b")]);
    let many = |partitions| NewTopic {
        partitions: Some(partitions),
        ..topic("many")
    };
    let (next, outcomes) = create(
        &image,
        &[
            topic("taken"),
            topic("a/b"),
            topic("a_b"),
            topic("fine"),
            topic("twice"),
            topic("twice"),
        ],
    );
    assert_eq!(
        refusal(&outcomes[0]),
        (ErrorCode::TopicAlreadyExists, "topic `taken` exists")
    );
    assert_eq!(refusal(&outcomes[1]).0, ErrorCode::InvalidTopicException);
    assert_eq!(
        refusal(&outcomes[2]),
        (
            ErrorCode::InvalidTopicException,
            "topic `a_b` collides with topic `a.b`: metrics do not tell `.` from `_`"
        )
    );
    assert!(outcomes[3].is_ok());
    assert_eq!(refusal(&outcomes[4]).0, ErrorCode::InvalidRequest);
    assert_eq!(refusal(&outcomes[5]).0, ErrorCode::InvalidRequest);
    assert_eq!(next.topics().len(), 3);

    for partitions in [0, -1, 101, i32::MAX] {
        let (_, outcomes) = create(&image, &[many(partitions)]);
        let (code, message) = refusal(&outcomes[0]);
        assert_eq!(code, ErrorCode::InvalidPartitions);
        assert!(message.contains("1 to 100"), "{message}");
    }
    let (_, outcomes) = create(&image, &[topic("x.y"), topic("x_y")]);
    assert!(outcomes[0].is_ok());
    assert_eq!(refusal(&outcomes[1]).0, ErrorCode::InvalidTopicException);
}

#[test]
fn the_cluster_holds_a_bounded_number_of_partitions() {
    let image = image_of_brokers(&[1]);
    let of = |name: &str, partitions| NewTopic {
        partitions: Some(partitions),
        ..topic(name)
    };
    let (next, outcomes) = create(&image, &[of("a", 100), of("b", 51), of("c", 50)]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let (code, message) = refusal(&outcomes[1]);
    assert_eq!(code, ErrorCode::PolicyViolation);
    assert!(message.contains("`partitions.max` (150)"), "{message}");
    let (_, outcomes) = create(&next, &[of("d", 1)]);
    assert_eq!(refusal(&outcomes[0]).0, ErrorCode::PolicyViolation);
}

#[test]
fn the_replication_factor_is_at_most_the_number_of_brokers() {
    let replicated = |factor| NewTopic {
        replication_factor: Some(factor),
        ..topic("orders")
    };
    let (_, outcomes) = create(&image_of_brokers(&[7]), &[replicated(3)]);
    assert_eq!(
        refusal(&outcomes[0]),
        (
            ErrorCode::InvalidReplicationFactor,
            "replication factor 3 needs as many brokers; live is 1: 7"
        )
    );
    let (_, outcomes) = create(&image_of_brokers(&[7]), &[replicated(0)]);
    assert_eq!(refusal(&outcomes[0]).0, ErrorCode::InvalidReplicationFactor);

    let (image, outcomes) = create(&image_of_brokers(&[1, 2, 3]), &[replicated(2)]);
    assert!(outcomes[0].is_ok());
    let replicas: Vec<Vec<i32>> = image
        .topic("orders")
        .unwrap()
        .partitions
        .iter()
        .map(|partition| partition.replicas.iter().map(|id| id.get()).collect())
        .collect();
    assert_eq!(replicas, [[1, 2], [2, 3], [3, 1]]);
}

#[test]
fn validating_changes_nothing() {
    let image = image_of_brokers(&[1]);
    let command = Command::CreateTopics {
        topics: vec![topic("orders")],
        validate_only: true,
    };
    let (next, outcome) = run(&image, &command);
    assert_eq!(next, image);
    let Outcome::CreateTopics(outcomes) = outcome else {
        panic!("{outcome:?}");
    };
    let created = outcomes[0].as_ref().unwrap();
    assert_eq!((created.id, created.partitions), (TopicId::ZERO, 3));
}

#[test]
fn topics_are_deleted_by_name_or_id() {
    let (image, _) = create(&image_of_brokers(&[1]), &[topic("a"), topic("b")]);
    let (a, b) = (image.topic("a").unwrap().id, image.topic("b").unwrap().id);
    let unknown = TopicId::from_bytes([200; 16]);
    let command = Command::DeleteTopics {
        topics: vec![
            TopicSelector::Name("a".to_owned()),
            TopicSelector::Id(b),
            TopicSelector::Id(a),
            TopicSelector::Name("c".to_owned()),
            TopicSelector::Id(unknown),
        ],
    };
    let (next, outcome) = run(&image, &command);
    let Outcome::DeleteTopics(outcomes) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(outcomes[0].as_ref().unwrap().id, a);
    assert_eq!(outcomes[1].as_ref().unwrap().name, "b");
    assert_eq!(refusal(&outcomes[2]).0, ErrorCode::InvalidRequest);
    assert_eq!(
        refusal(&outcomes[3]),
        (ErrorCode::UnknownTopicOrPartition, "there is no topic `c`")
    );
    assert_eq!(refusal(&outcomes[4]).0, ErrorCode::UnknownTopicId);
    assert_eq!(next.topics().len(), 0);
    assert!(next.is_deleted(a) && next.is_deleted(b));

    let forget = Command::ForgetDeletedTopics {
        through_offset: next.offset,
    };
    let (forgotten, _) = run(&next, &forget);
    assert!(!forgotten.is_deleted(a));
    let (same, _) = run(&forgotten, &forget);
    assert_eq!(
        same.offset, forgotten.offset,
        "nothing to forget, nothing written"
    );
}

#[test]
fn settings_are_altered_one_by_one() {
    let orders = NewTopic {
        configs: vec![("segment.ms".to_owned(), "1000".to_owned())],
        ..topic("orders")
    };
    let (image, _) = create(&image_of_brokers(&[1]), &[orders]);
    let alter = |changes: &[(&str, Option<&str>)], validate_only| Command::AlterTopicConfigs {
        topics: vec![AlterTopic {
            name: "orders".to_owned(),
            changes: changes
                .iter()
                .map(|(name, value)| ConfigChange {
                    name: (*name).to_owned(),
                    value: value.map(str::to_owned),
                })
                .collect(),
        }],
        validate_only,
    };
    let result = |outcome| match outcome {
        Outcome::AlterTopicConfigs(mut outcomes) => outcomes.remove(0),
        other => panic!("{other:?}"),
    };

    let (next, outcome) = run(
        &image,
        &alter(&[("retention.ms", Some("1h")), ("segment.ms", None)], false),
    );
    assert!(result(outcome).is_ok());
    let configs = &next.topic("orders").unwrap().configs;
    assert_eq!(configs.len(), 1);
    assert_eq!(configs["retention.ms"], "3600000");

    let (same, outcome) = run(&next, &alter(&[("retention.ms", Some("3600000"))], false));
    assert!(result(outcome).is_ok());
    assert_eq!(same.offset, next.offset, "no change, no record");

    let (same, outcome) = run(&next, &alter(&[("retention.ms", Some("5"))], true));
    assert!(result(outcome).is_ok());
    assert_eq!(same, next, "only validated");

    for changes in [
        &[("retention.ms", Some("-2"))][..],
        &[("segment.size", None)],
        &[("segment.ms", None), ("segment.ms", None)],
    ] {
        let (same, outcome) = run(&next, &alter(changes, false));
        assert_eq!(refusal(&result(outcome)).0, ErrorCode::InvalidConfig);
        assert_eq!(same, next);
    }
    let elsewhere = Command::AlterTopicConfigs {
        topics: vec![AlterTopic {
            name: "none".to_owned(),
            changes: Vec::new(),
        }],
        validate_only: false,
    };
    let (_, outcome) = run(&next, &elsewhere);
    assert_eq!(
        refusal(&result(outcome)).0,
        ErrorCode::UnknownTopicOrPartition
    );
}

fn more(
    image: &MetadataImage,
    topics: &[(&str, i32)],
) -> (MetadataImage, Vec<Result<String, TopicError>>) {
    let command = Command::CreatePartitions {
        topics: more_partitions(topics),
        validate_only: false,
    };
    match run(image, &command) {
        (image, Outcome::CreatePartitions(outcomes)) => (image, outcomes),
        (_, other) => panic!("{other:?}"),
    }
}

fn more_partitions(topics: &[(&str, i32)]) -> Vec<MorePartitions> {
    let topics = topics.iter().map(|&(name, count)| MorePartitions {
        name: name.to_owned(),
        count,
    });
    topics.collect()
}

#[test]
fn a_topic_gets_the_partitions_that_it_lacks() {
    let replicated = NewTopic {
        partitions: Some(4),
        replication_factor: Some(2),
        ..topic("orders")
    };
    let (image, _) = create(&image_of_brokers(&[1, 2, 3]), &[replicated]);
    let (next, outcomes) = more(&image, &[("orders", 6)]);
    assert_eq!(outcomes, [Ok("orders".to_owned())]);
    let (before, after) = (
        image.topic("orders").unwrap(),
        next.topic("orders").unwrap(),
    );
    assert_eq!(after.partitions[..4], before.partitions[..]);
    let placed: Vec<(Vec<i32>, LeaderEpoch)> = after.partitions[4..]
        .iter()
        .map(|partition| {
            assert_eq!(partition.leader, partition.replicas.first().copied());
            assert_eq!(partition.in_sync_replicas, partition.replicas);
            let replicas = partition.replicas.iter().map(|id| id.get()).collect();
            (replicas, partition.leader_epoch)
        })
        .collect();
    // The circle goes on where the fourth partition left it.
    let zero = LeaderEpoch::ZERO;
    assert_eq!(placed, [(vec![2, 3], zero), (vec![3, 1], zero)]);
    assert_eq!(after.id, before.id);
}

#[test]
fn partitions_are_added_topic_by_topic_or_refused_with_kafkas_errors() {
    let (image, _) = create(
        &image_of_brokers(&[1]),
        &[topic("a"), topic("b"), topic("c"), topic("d")],
    );
    let (next, outcomes) = more(
        &image,
        &[("a", 3), ("b", 2), ("c", 4), ("d", 5), ("d", 6), ("e", 1)],
    );
    assert_eq!(
        refusal(&outcomes[0]),
        (
            ErrorCode::InvalidPartitions,
            "topic `a` has 3 partitions, 3 would not be more: partitions are added and never taken \
             away"
        )
    );
    let (code, message) = refusal(&outcomes[1]);
    assert_eq!(code, ErrorCode::InvalidPartitions);
    assert!(message.contains("has 3 partitions, 2 would"), "{message}");
    assert!(outcomes[2].is_ok());
    assert_eq!(
        refusal(&outcomes[3]),
        (
            ErrorCode::InvalidRequest,
            "the request names topic `d` twice"
        )
    );
    assert_eq!(refusal(&outcomes[4]).0, ErrorCode::InvalidRequest);
    assert_eq!(
        refusal(&outcomes[5]),
        (ErrorCode::UnknownTopicOrPartition, "there is no topic `e`")
    );
    let counts: Vec<usize> = next.topics().map(|topic| topic.partitions.len()).collect();
    assert_eq!(counts, [3, 3, 4, 3]);

    for count in [0, -1, i32::MIN] {
        let (same, outcomes) = more(&image, &[("a", count)]);
        assert_eq!(refusal(&outcomes[0]).0, ErrorCode::InvalidPartitions);
        assert_eq!(same, image);
    }
}

#[test]
fn added_partitions_are_bounded_as_created_ones_are() {
    let (image, _) = create(&image_of_brokers(&[1]), &[topic("a"), topic("b")]);
    for count in [101, i32::MAX] {
        let (_, outcomes) = more(&image, &[("a", count)]);
        let (code, message) = refusal(&outcomes[0]);
        assert_eq!(code, ErrorCode::InvalidPartitions);
        assert!(message.contains("1 to 100"), "{message}");
    }
    // What one topic of the request gets is taken from the others.
    let (next, outcomes) = more(&image, &[("a", 100), ("b", 51)]);
    assert!(outcomes[0].is_ok());
    assert_eq!(
        refusal(&outcomes[1]),
        (
            ErrorCode::PolicyViolation,
            "48 partitions more would exceed `partitions.max` (150): the cluster holds 103"
        )
    );
    let (full, outcomes) = more(&next, &[("b", 50)]);
    assert!(outcomes[0].is_ok());
    let held: usize = full.topics().map(|topic| topic.partitions.len()).sum();
    assert_eq!(held, 150);
}

/// What they hold is found by a hash of its name modulo the number of partitions.
#[test]
fn the_clusters_own_topics_keep_their_number_of_partitions() {
    let (image, _) = create(&image_of_brokers(&[1]), &[topic("orders")]);
    let own = MetadataRecord::TopicCreated {
        id: TopicId::from_bytes([99; 16]),
        name: "__consumer_offsets".to_owned(),
        internal: true,
        configs: BTreeMap::new(),
        partitions: image.topic("orders").unwrap().partitions.clone(),
    };
    let image = image.apply(&[own]).unwrap();
    let (same, outcomes) = more(&image, &[("__consumer_offsets", 50)]);
    let (code, message) = refusal(&outcomes[0]);
    assert_eq!(code, ErrorCode::InvalidPartitions);
    assert!(message.contains("`__consumer_offsets`"), "{message}");
    assert_eq!(same, image);
}

#[test]
fn validating_more_partitions_checks_all_and_adds_none() {
    let (image, _) = create(&image_of_brokers(&[1]), &[topic("a"), topic("b")]);
    let command = Command::CreatePartitions {
        topics: more_partitions(&[("a", 100), ("b", 51)]),
        validate_only: true,
    };
    let (next, outcome) = run(&image, &command);
    assert_eq!(next, image);
    let Outcome::CreatePartitions(outcomes) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(outcomes[0], Ok("a".to_owned()));
    assert_eq!(refusal(&outcomes[1]).0, ErrorCode::PolicyViolation);
}

/// Whatever an older version let pass stays, and stands in the way of nothing but itself.
#[test]
fn settings_that_exclude_each_other_are_refused_when_one_of_them_is_set() {
    let image = image_of_brokers(&[1]);
    let orders = |configs: &[(&str, &str)]| NewTopic {
        configs: configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..topic("orders")
    };
    let (_, outcomes) = create(&image, &[orders(&[("segment.bytes", "64 KiB")])]);
    let (code, message) = refusal(&outcomes[0]);
    assert_eq!(code, ErrorCode::InvalidConfig);
    assert!(message.contains("`max.message.bytes`"), "{message}");

    let alter = |image: &MetadataImage, changes: &[(&str, Option<&str>)]| {
        let command = Command::AlterTopicConfigs {
            topics: vec![AlterTopic {
                name: "orders".to_owned(),
                changes: changes
                    .iter()
                    .map(|(name, value)| ConfigChange {
                        name: (*name).to_owned(),
                        value: value.map(str::to_owned),
                    })
                    .collect(),
            }],
            validate_only: false,
        };
        match run(image, &command) {
            (next, Outcome::AlterTopicConfigs(mut outcomes)) => (next, outcomes.remove(0)),
            (_, other) => panic!("{other:?}"),
        }
    };
    let (image, _) = create(&image, &[orders(&[("retention.ms", "1000")])]);
    let (same, outcome) = alter(&image, &[("cleanup.policy", Some("compact"))]);
    assert_eq!(refusal(&outcome).0, ErrorCode::InvalidConfig);
    assert_eq!(same, image);
    let both = [("cleanup.policy", Some("compact")), ("retention.ms", None)];
    let (_, outcome) = alter(&image, &both);
    assert!(outcome.is_ok(), "{outcome:?}");

    let old = MetadataRecord::TopicConfigChanged {
        id: image.topic("orders").unwrap().id,
        configs: BTreeMap::from([("segment.bytes".to_owned(), "65536".to_owned())]),
    };
    let old = image.apply(&[old]).unwrap();
    let (_, outcome) = alter(&old, &[("flush.ms", Some("5"))]);
    assert!(outcome.is_ok(), "{outcome:?}");
    let (_, outcome) = alter(&old, &[("segment.bytes", Some("65537"))]);
    assert!(outcome.is_err());
    let (_, outcome) = alter(&old, &[("segment.bytes", None)]);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn producer_ids_come_in_blocks_and_none_comes_twice() {
    let mut image = image_of_brokers(&[1]);
    let mut given = Vec::new();
    for _ in 0..3 {
        let (next, outcome) = run(&image, &Command::AllocateProducerIds);
        let Outcome::AllocateProducerIds(Some(mut block)) = outcome else {
            panic!("{outcome:?}");
        };
        // A controller that starts anew knows no more than the image.
        let records = next.to_records();
        let defaults = Arc::new(TopicConfig::default());
        image = MetadataImage::from_records(next.offset, next.epoch, &records, defaults).unwrap();
        assert_eq!(image, next);
        given.extend(std::iter::from_fn(|| block.take()).map(ProducerId::get));
    }
    assert_eq!(given, (0..3000).collect::<Vec<_>>());
}

#[test]
fn when_no_producer_id_is_left_there_is_no_block() {
    let mut image = image_of_brokers(&[1]);
    let last = ProducerId::new(i64::MAX - 999);
    let used = MetadataRecord::ProducerIdsAllocated { next: last };
    image = image.apply(&[used]).unwrap();
    let (after, outcome) = run(&image, &Command::AllocateProducerIds);
    assert_eq!(outcome, Outcome::AllocateProducerIds(None));
    assert_eq!(after, image);
}
