//! Groups of Kafka's clients: members of both protocols, and offsets that both dialects share.

use corelog_protocol::kafka::messages::join_group::JoinGroupRequestProtocol;
use corelog_protocol::kafka::messages::leave_group::MemberIdentity;
use corelog_protocol::kafka::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_protocol::kafka::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use corelog_protocol::kafka::messages::sync_group::SyncGroupRequestAssignment;
use corelog_protocol::kafka::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FetchRequest, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use corelog_protocol::{ErrorCode, TopicId};
use tempfile::TempDir;

use super::KafkaClient;
use super::client::fetch_of;
use crate::harness::{BrokerProcess, until};

const GROUP: &str = "billing";
/// Rounds begin at once; otherwise the first waits for others to come.
const SETTINGS: &str = "group.initial.rebalance.delay.ms = 0\n";

/// What a member learns of a round.
#[derive(Debug, PartialEq, Eq)]
struct Joined {
    error: ErrorCode,
    generation: i32,
    leader: String,
    member: String,
    members: Vec<String>,
}

fn join_of<'a>(member_id: &'a str, instance: Option<&'a str>) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: 20_000,
        rebalance_timeout_ms: 20_000,
        member_id,
        group_instance_id: instance,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol {
            name: "range",
            metadata: b"what it wants",
        }],
        ..Default::default()
    }
}

fn joined(body: &[u8]) -> Joined {
    let response = JoinGroupResponse::decode(body, 7).unwrap();
    Joined {
        error: ErrorCode::from_code(response.error_code).unwrap(),
        generation: response.generation_id,
        leader: response.leader.to_owned(),
        member: response.member_id.to_owned(),
        members: response
            .members
            .iter()
            .map(|it| it.member_id.to_owned())
            .collect(),
    }
}

fn join(client: &mut KafkaClient, member: &str, instance: Option<&str>) -> Joined {
    joined(&client.ask(KafkaApi::JoinGroup, 7, &join_of(member, instance)))
}

/// Joins as somebody new: the group draws an id first (KIP-394).
fn join_anew(client: &mut KafkaClient) -> Joined {
    let drawn = join(client, "", None);
    assert_eq!(drawn.error, ErrorCode::MemberIdRequired);
    join(client, &drawn.member, None)
}

fn sync_of<'a>(joined: &'a Joined, assignments: &[(&'a str, &'a [u8])]) -> SyncGroupRequest<'a> {
    let assignments = assignments.iter();
    SyncGroupRequest {
        group_id: GROUP,
        generation_id: joined.generation,
        member_id: &joined.member,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: assignments
            .map(|&(member_id, assignment)| SyncGroupRequestAssignment {
                member_id,
                assignment,
            })
            .collect(),
        ..Default::default()
    }
}

fn synced(body: &[u8]) -> (ErrorCode, Vec<u8>) {
    let response = SyncGroupResponse::decode(body, 5).unwrap();
    let error = ErrorCode::from_code(response.error_code).unwrap();
    (error, response.assignment.to_vec())
}

fn heartbeat(client: &mut KafkaClient, joined: &Joined) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP,
        generation_id: joined.generation,
        member_id: &joined.member,
        ..Default::default()
    };
    let body = client.ask(KafkaApi::Heartbeat, 4, &request);
    let response = HeartbeatResponse::decode(&body, 4).unwrap();
    ErrorCode::from_code(response.error_code).unwrap()
}

fn leave(client: &mut KafkaClient, member_id: &str) -> (i16, i16) {
    let request = LeaveGroupRequest {
        group_id: GROUP,
        members: vec![MemberIdentity {
            member_id,
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = client.ask(KafkaApi::LeaveGroup, 4, &request);
    let response = LeaveGroupResponse::decode(&body, 4).unwrap();
    (response.error_code, response.members[0].error_code)
}

fn commit(client: &mut KafkaClient, member: Option<&Joined>, offset: i64) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: GROUP,
        generation_id_or_member_epoch: member.map_or(-1, |it| it.generation),
        member_id: member.map_or("", |it| &it.member),
        topics: vec![OffsetCommitRequestTopic {
            name: "orders",
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some("by a test"),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let body = client.ask(KafkaApi::OffsetCommit, 8, &request);
    let response = OffsetCommitResponse::decode(&body, 8).unwrap();
    ErrorCode::from_code(response.topics[0].partitions[0].error_code).unwrap()
}

fn committed(client: &mut KafkaClient) -> (i64, Option<String>) {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: GROUP,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "orders",
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = client.ask(KafkaApi::OffsetFetch, 8, &request);
    let response = OffsetFetchResponse::decode(&body, 8).unwrap();
    let partition = &response.groups[0].topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    (
        partition.committed_offset,
        partition.metadata.map(str::to_owned),
    )
}

fn start(folder: &TempDir) -> BrokerProcess {
    BrokerProcess::start_with(folder.path(), 2, SETTINGS)
}

#[test]
fn members_meet_and_get_what_their_leader_decides() {
    let folder = TempDir::new().unwrap();
    let broker = start(&folder);
    let [mut first, mut second] = [(); 2].map(|()| KafkaClient::connect(broker.kafka()));
    let alone = join_anew(&mut first);
    assert_eq!((alone.error, alone.generation), (ErrorCode::None, 1));
    assert_eq!(alone.leader, alone.member);
    let body = first.ask(
        KafkaApi::SyncGroup,
        5,
        &sync_of(&alone, &[(&alone.member, b"all")]),
    );
    assert_eq!(synced(&body), (ErrorCode::None, b"all".to_vec()));
    assert_eq!(heartbeat(&mut first, &alone), ErrorCode::None);

    // Somebody comes: a round begins, and ends when all have joined again.
    let drawn = join(&mut second, "", None);
    let asked = second.send(KafkaApi::JoinGroup, 7, &join_of(&drawn.member, None));
    until(|| heartbeat(&mut first, &alone) == ErrorCode::RebalanceInProgress);
    let leader = join(&mut first, &alone.member, None);
    let follower = joined(&second.answer_to(asked, KafkaApi::JoinGroup, 7));
    assert_eq!([leader.generation, follower.generation], [2, 2]);
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, leader.member);

    // The follower's sync waits for the leader's.
    let asked = second.send(KafkaApi::SyncGroup, 5, &sync_of(&follower, &[]));
    let shares: [(&str, &[u8]); 2] = [(&leader.member, b"left"), (&follower.member, b"right")];
    let body = first.ask(KafkaApi::SyncGroup, 5, &sync_of(&leader, &shares));
    assert_eq!(synced(&body).1, b"left");
    let body = second.answer_to(asked, KafkaApi::SyncGroup, 5);
    assert_eq!(synced(&body), (ErrorCode::None, b"right".to_vec()));

    // A generation that is over, and a member that nobody knows.
    assert_eq!(heartbeat(&mut first, &alone), ErrorCode::IllegalGeneration);
    let stranger = Joined {
        member: "nobody".to_owned(),
        ..leader
    };
    assert_eq!(heartbeat(&mut first, &stranger), ErrorCode::UnknownMemberId);
    assert_eq!(leave(&mut second, &follower.member), (0, 0));
    until(|| {
        let here = Joined {
            member: alone.member.clone(),
            generation: 2,
            ..joined_nothing()
        };
        heartbeat(&mut first, &here) == ErrorCode::RebalanceInProgress
    });
    assert!(broker.stop().success());
}

fn joined_nothing() -> Joined {
    Joined {
        error: ErrorCode::None,
        generation: -1,
        leader: String::new(),
        member: String::new(),
        members: Vec::new(),
    }
}

#[test]
fn a_static_member_that_comes_back_fences_who_it_was() {
    let folder = TempDir::new().unwrap();
    let broker = start(&folder);
    let mut client = KafkaClient::connect(broker.kafka());
    let first = join(&mut client, "", Some("one"));
    assert_eq!(first.error, ErrorCode::None);
    client.ask(
        KafkaApi::SyncGroup,
        5,
        &sync_of(&first, &[(&first.member, b"all")]),
    );
    let again = join(&mut client, "", Some("one"));
    assert_eq!(again.error, ErrorCode::None);
    assert_ne!(again.member, first.member);
    let refused = join(&mut client, &first.member, Some("one"));
    assert_eq!(refused.error, ErrorCode::FencedInstanceId);
}

#[test]
fn a_group_has_one_protocol_at_a_time() {
    let folder = TempDir::new().unwrap();
    let broker = start(&folder);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    let classic = join_anew(&mut client);
    let other = JoinGroupRequest {
        protocol_type: "connect",
        ..join_of("", None)
    };
    let refused = joined(&client.ask(KafkaApi::JoinGroup, 7, &other));
    assert_eq!(refused.error, ErrorCode::InconsistentGroupProtocol);
    let heartbeat = ConsumerGroupHeartbeatRequest {
        group_id: GROUP,
        member_id: "a member of the new protocol",
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["orders"]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let beat = |client: &mut KafkaClient, epoch| {
        let request = ConsumerGroupHeartbeatRequest {
            member_epoch: epoch,
            ..heartbeat.clone()
        };
        let body = client.ask(KafkaApi::ConsumerGroupHeartbeat, 1, &request);
        let response = ConsumerGroupHeartbeatResponse::decode(&body, 1).unwrap();
        (
            ErrorCode::from_code(response.error_code).unwrap(),
            response.member_epoch,
        )
    };
    assert_ne!(beat(&mut client, 0).0, ErrorCode::None);
    // When all have gone, it may have another.
    assert_eq!(leave(&mut client, &classic.member), (0, 0));
    let (error, epoch) = beat(&mut client, 0);
    assert_eq!(error, ErrorCode::None);
    assert!(epoch > 0);
    let drawn = join(&mut client, "", None);
    assert_eq!(drawn.error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(beat(&mut client, -1), (ErrorCode::None, -1));
}

#[test]
fn a_broker_that_stops_waits_for_nobody_who_waits_for_others() {
    let folder = TempDir::new().unwrap();
    let settings = format!("{SETTINGS}shutdown.drain.ms = 300000\n");
    let broker = BrokerProcess::start_with(folder.path(), 2, &settings);
    let [mut first, mut second, mut reader] =
        [(); 3].map(|()| KafkaClient::connect(broker.kafka()));
    let alone = join_anew(&mut first);
    let drawn = join(&mut second, "", None);
    second.send(KafkaApi::JoinGroup, 7, &join_of(&drawn.member, None));
    until(|| heartbeat(&mut first, &alone) == ErrorCode::RebalanceInProgress);
    let id = reader.topic("orders");
    let fetch = FetchRequest {
        max_wait_ms: 300_000,
        min_bytes: 1,
        ..fetch_of("orders", id, 0)
    };
    reader.send(KafkaApi::Fetch, 12, &fetch);
    assert!(broker.stop().success());

    // The round was not over: nobody is a member of it. All join anew.
    let broker = BrokerProcess::start(&folder.path().join("data"), 2);
    let mut client = KafkaClient::connect(broker.kafka());
    until(|| join(&mut client, &drawn.member, None).error == ErrorCode::UnknownMemberId);
    assert_eq!(join_anew(&mut client).error, ErrorCode::None);
}

#[test]
fn committed_offsets_outlive_members_and_the_broker() {
    let folder = TempDir::new().unwrap();
    let broker = start(&folder);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("orders");
    assert_eq!(committed(&mut client), (-1, Some(String::new())));
    assert_eq!(commit(&mut client, None, 5), ErrorCode::None);
    let member = join_anew(&mut client);
    client.ask(
        KafkaApi::SyncGroup,
        5,
        &sync_of(&member, &[(&member.member, b"all")]),
    );
    assert_eq!(commit(&mut client, None, 6), ErrorCode::UnknownMemberId);
    assert_eq!(commit(&mut client, Some(&member), 7), ErrorCode::None);
    let over = Joined {
        generation: member.generation - 1,
        ..joined_nothing()
    };
    let over = Joined {
        member: member.member.clone(),
        ..over
    };
    assert_eq!(
        commit(&mut client, Some(&over), 8),
        ErrorCode::IllegalGeneration
    );
    assert!(broker.stop().success());
    let broker = start(&folder);
    let mut client = KafkaClient::connect(broker.kafka());
    assert_eq!(committed(&mut client), (7, Some("by a test".to_owned())));
    // The member is remembered too, and goes on.
    assert_eq!(heartbeat(&mut client, &member), ErrorCode::None);
    let id: TopicId = client.topic("orders");
    assert_eq!(broker.connect().topic("orders").id, id);
}
