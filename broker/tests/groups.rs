//! Groups over the native protocol: members, offsets, administration, and what survives a death.

use corelog_protocol::native::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteGroupsRequest, DeleteGroupsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupKind, GroupState, ListGroupsRequest, ListGroupsResponse,
    MemberEpoch, NewTopic, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitResponse,
    OffsetCommitTopic, OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteTopic,
    OffsetFetchRequest, OffsetFetchResponse, TopicPartitions, TopicSelector,
};
use corelog_protocol::{ErrorCode, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of};

const OFFSETS_TOPIC: &str = "__consumer_offsets";

fn commit_of(group: &str, topic_id: TopicId, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition = |&(partition, offset): &(i32, i64)| OffsetCommitPartition {
        partition: PartitionIndex::new(partition),
        offset: Offset::new(offset),
        leader_epoch: None,
        metadata: format!("up to {offset}"),
    };
    OffsetCommitRequest {
        group: group.to_owned(),
        member: None,
        topics: vec![OffsetCommitTopic {
            topic_id,
            partitions: offsets.iter().map(partition).collect(),
        }],
    }
}

fn commit(connection: &mut Connection, request: &OffsetCommitRequest) -> Vec<ErrorCode> {
    let response: OffsetCommitResponse = connection.ask(request);
    if response.error != ErrorCode::None {
        return vec![response.error];
    }
    let topics = response.topics.iter();
    topics
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.error)
        .collect()
}

/// Partition, offset and metadata of everything that the group committed.
fn committed(connection: &mut Connection, group: &str) -> Vec<(i32, i64, String)> {
    let response: OffsetFetchResponse = connection.ask(&OffsetFetchRequest {
        group: group.to_owned(),
        member: None,
        topics: None,
    });
    assert_eq!(response.error, ErrorCode::None);
    let partitions = response
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions);
    partitions
        .map(|found| {
            let offset = found.offset.unwrap().get();
            (found.partition.get(), offset, found.metadata)
        })
        .collect()
}

fn join(group: &str, member: &str, topic: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: ConsumerGroupHeartbeatRequest::JOIN_EPOCH,
        rebalance_timeout_ms: Some(60_000),
        topic_names: Some(vec![topic.to_owned()]),
        owned: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn heartbeat(
    connection: &mut Connection,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    connection.ask(request)
}

fn states(connection: &mut Connection) -> Vec<(String, GroupKind, GroupState)> {
    let listed: ListGroupsResponse = connection.ask(&ListGroupsRequest {});
    assert_eq!(listed.error, ErrorCode::None);
    let groups = listed.groups.into_iter();
    groups
        .map(|group| (group.group, group.kind, group.state))
        .collect()
}

#[test]
fn committed_offsets_are_there_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 3));
    // So many groups that both shards coordinate some.
    let groups: Vec<String> = (0..10).map(|number| format!("group-{number}")).collect();
    for (number, group) in groups.iter().enumerate() {
        for offset in [1, 10 + number as i64] {
            let request = commit_of(group, topic, &[(0, offset), (2, offset + 1)]);
            assert_eq!(commit(&mut connection, &request), [ErrorCode::None; 2]);
        }
    }
    broker.kill();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    for (number, group) in groups.iter().enumerate() {
        let offset = 10 + number as i64;
        let expected = [
            (0, offset, format!("up to {offset}")),
            (2, offset + 1, format!("up to {}", offset + 1)),
        ];
        assert_eq!(committed(&mut connection, group), expected, "{group}");
    }
    let listed = states(&mut connection);
    let expected: Vec<_> = groups
        .into_iter()
        .map(|group| (group, GroupKind::Classic, GroupState::Empty))
        .collect();
    assert_eq!(listed, expected);
    assert!(broker.stop().success());
}

#[test]
fn every_core_answers_for_every_group_and_says_whose_it_is() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let topic = broker
        .connect()
        .create_topic(NewTopicBuilder::new("orders", 1));
    let mut hinted = 0;
    for number in 0..10 {
        let group = format!("group-{number}");
        let found: FindCoordinatorResponse = broker.connect().ask(&FindCoordinatorRequest {
            groups: vec![group.clone()],
        });
        assert_eq!(found.coordinators[0].error, ErrorCode::None);
        let owner = found.coordinators[0].shard.get();
        for shard in 0..2 {
            let mut connection = broker.connect_to_shard(shard);
            let request = commit_of(&group, topic, &[(0, i64::from(shard) + 1)]);
            let response: OffsetCommitResponse = connection.ask(&request);
            assert_eq!(response.error, ErrorCode::None);
            let hint = response.hint.map(|hint| hint.shard.get());
            assert_eq!(hint, (shard != owner).then_some(owner));
            hinted += u32::from(hint.is_some());
        }
    }
    assert_eq!(hinted, 10);
}

#[test]
fn two_members_share_the_partitions_and_one_that_leaves_gives_its_own_back() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    connection.create_topic(NewTopicBuilder::new("orders", 4));
    let count = |assignment: &Option<Vec<TopicPartitions>>| {
        let topics = assignment.iter().flatten();
        topics.map(|topic| topic.partitions.len()).sum::<usize>()
    };

    let first = heartbeat(&mut connection, &join("g", "a", "orders"));
    assert_eq!(
        (first.error, count(&first.assignment)),
        (ErrorCode::None, 4)
    );
    let mut second = heartbeat(&mut connection, &join("g", "b", "orders"));
    assert_eq!(
        (second.error, count(&second.assignment)),
        (ErrorCode::None, 0)
    );

    let mut going_on = ConsumerGroupHeartbeatRequest {
        group: "g".to_owned(),
        member_id: "a".to_owned(),
        member_epoch: first.member_epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let told = heartbeat(&mut connection, &going_on);
    assert_eq!(count(&told.assignment), 2);
    // It has given up two.
    going_on.owned = told.assignment.clone();
    let first = heartbeat(&mut connection, &going_on);
    assert!(first.member_epoch > told.member_epoch);
    going_on.member_id = "b".to_owned();
    going_on.member_epoch = second.member_epoch;
    going_on.owned = None;
    second = heartbeat(&mut connection, &going_on);
    assert_eq!(count(&second.assignment), 2);
    assert_eq!(
        states(&mut connection),
        [("g".to_owned(), GroupKind::Consumer, GroupState::Stable)]
    );

    going_on.member_id = "a".to_owned();
    going_on.member_epoch = ConsumerGroupHeartbeatRequest::LEAVE_EPOCH;
    let left = heartbeat(&mut connection, &going_on);
    assert_eq!(
        left.member_epoch,
        ConsumerGroupHeartbeatRequest::LEAVE_EPOCH
    );
    going_on.member_id = "b".to_owned();
    going_on.member_epoch = second.member_epoch;
    second = heartbeat(&mut connection, &going_on);
    assert_eq!(count(&second.assignment), 4);

    let described: DescribeGroupsResponse = connection.ask(&DescribeGroupsRequest {
        groups: vec!["g".to_owned(), "nobody".to_owned()],
    });
    assert_eq!(described.groups[1].error, ErrorCode::GroupIdNotFound);
    let group = &described.groups[0];
    assert_eq!(
        (group.error, group.state),
        (ErrorCode::None, GroupState::Stable)
    );
    let members: Vec<&str> = group.members.iter().map(|it| &*it.member_id).collect();
    assert_eq!(members, ["b"]);
    assert_eq!(group.members[0].client_host, "127.0.0.1");
}

#[test]
fn a_member_survives_a_kill_and_commits_at_its_epoch() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 1));
    let joined = heartbeat(&mut connection, &join("g", "a", "orders"));
    broker.kill();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let mut request = commit_of("g", topic, &[(0, 5)]);
    assert_eq!(
        commit(&mut connection, &request),
        [ErrorCode::UnknownMemberId]
    );
    let member = |epoch| {
        Some(MemberEpoch {
            member_id: "a".to_owned(),
            epoch,
        })
    };
    request.member = member(joined.member_epoch - 1);
    assert_eq!(
        commit(&mut connection, &request),
        [ErrorCode::StaleMemberEpoch]
    );
    request.member = member(joined.member_epoch);
    assert_eq!(commit(&mut connection, &request), [ErrorCode::None]);
    let going_on = ConsumerGroupHeartbeatRequest {
        group: "g".to_owned(),
        member_id: "a".to_owned(),
        member_epoch: joined.member_epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    assert_eq!(heartbeat(&mut connection, &going_on).error, ErrorCode::None);
}

#[test]
fn what_cannot_be_committed_is_refused_partition_by_partition() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 2));
    let mut request = commit_of("g", topic, &[(0, 1), (2, 1), (1, 1)]);
    request.topics[0].partitions[2].metadata = "x".repeat(4097);
    request
        .topics
        .extend(commit_of("g", TopicId::from_bytes([9; 16]), &[(0, 1)]).topics);
    assert_eq!(
        commit(&mut connection, &request),
        [
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::OffsetMetadataTooLarge,
            ErrorCode::UnknownTopicId
        ]
    );
    assert_eq!(
        committed(&mut connection, "g"),
        [(0, 1, "up to 1".to_owned())]
    );
    let nameless = commit_of("", topic, &[(0, 1)]);
    assert_eq!(
        commit(&mut connection, &nameless),
        [ErrorCode::InvalidGroupId]
    );
}

/// What a request names so often would be kept and answered so often.
#[test]
fn what_is_named_twice_in_one_request_is_refused() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 2));
    let twice = commit_of("g", topic, &[(0, 1), (1, 1), (0, 2)]);
    assert_eq!(commit(&mut connection, &twice), [ErrorCode::InvalidRequest]);
    assert_eq!(committed(&mut connection, "g"), []);
    let partitions = vec![PartitionIndex::ZERO; 2];
    let fetched: OffsetFetchResponse = connection.ask(&OffsetFetchRequest {
        group: "g".to_owned(),
        member: None,
        topics: Some(vec![TopicPartitions {
            topic_id: topic,
            partitions: partitions.clone(),
        }]),
    });
    assert_eq!(fetched.error, ErrorCode::InvalidRequest);
    let message = fetched.error_message.unwrap();
    assert!(message.contains("partition 0 is named twice"), "{message}");
    let deleted: OffsetDeleteResponse = connection.ask(&OffsetDeleteRequest {
        group: "g".to_owned(),
        topics: vec![OffsetDeleteTopic {
            name: "orders".to_owned(),
            partitions,
        }],
    });
    assert_eq!(deleted.error, ErrorCode::InvalidRequest);
    let named = vec!["g".to_owned(); 3];
    let described: DescribeGroupsResponse =
        connection.ask(&DescribeGroupsRequest { groups: named });
    assert_eq!(described.groups.len(), 1);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along_also_when_its_name_comes_back() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 1));
    assert_eq!(
        commit(&mut connection, &commit_of("g", topic, &[(0, 7)])),
        [ErrorCode::None]
    );
    connection.delete_topic("orders");
    connection.create_topic(NewTopicBuilder::new("orders", 1));
    assert_eq!(committed(&mut connection, "g"), []);
}

#[test]
fn groups_and_offsets_are_deleted() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 2));
    commit(&mut connection, &commit_of("g", topic, &[(0, 7), (1, 8)]));
    let deleted: OffsetDeleteResponse = connection.ask(&OffsetDeleteRequest {
        group: "g".to_owned(),
        topics: vec![OffsetDeleteTopic {
            name: "orders".to_owned(),
            partitions: vec![PartitionIndex::new(1)],
        }],
    });
    assert_eq!(deleted.topics[0].partitions[0].error, ErrorCode::None);
    assert_eq!(committed(&mut connection, "g").len(), 1);
    let deleted: DeleteGroupsResponse = connection.ask(&DeleteGroupsRequest {
        groups: vec!["g".to_owned(), "nobody".to_owned()],
    });
    let errors: Vec<ErrorCode> = deleted.groups.iter().map(|group| group.error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert!(states(&mut connection).is_empty());
}

#[test]
fn nobody_but_the_coordinators_makes_the_topic_of_offsets_writes_to_it_or_deletes_it() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let new_topic = |name: &str| NewTopic {
        name: name.to_owned(),
        partitions: Some(1),
        replication_factor: None,
        configs: vec![("cleanup.policy".to_owned(), "delete".to_owned())],
    };
    let created: CreateTopicsResponse = connection.ask(&CreateTopicsRequest {
        timeout_ms: 10_000,
        validate_only: false,
        topics: ["before", OFFSETS_TOPIC, "after"].map(new_topic).to_vec(),
    });
    let errors = created
        .topics
        .iter()
        .map(|topic| (&*topic.name, topic.error));
    let expected = [
        ("before", ErrorCode::None),
        (OFFSETS_TOPIC, ErrorCode::InvalidTopicException),
        ("after", ErrorCode::None),
    ];
    assert!(errors.eq(expected), "{created:?}");
    let topic = connection.create_topic(NewTopicBuilder::new("orders", 1));
    commit(&mut connection, &commit_of("g", topic, &[(0, 7)]));
    let offsets = connection.topic(OFFSETS_TOPIC);
    assert!(offsets.internal);
    let refused = connection.produce(offsets.id, 0, &batch_of(["not a group's"]));
    assert_eq!(refused.error, ErrorCode::InvalidTopicException);
    let kept: DeleteTopicsResponse = connection.ask(&DeleteTopicsRequest {
        timeout_ms: 10_000,
        topics: vec![TopicSelector::Name(OFFSETS_TOPIC.to_owned())],
    });
    assert_eq!(kept.topics[0].error, ErrorCode::InvalidTopicException);
    assert_eq!(committed(&mut connection, "g").len(), 1);
}
