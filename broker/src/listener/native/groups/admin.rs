//! FindCoordinator, ListGroups, DescribeGroups and DeleteGroups.

use std::collections::HashSet;
use std::rc::Rc;

use corelog_protocol::native::messages::{
    Coordinator, DeleteGroupsRequest, DeleteGroupsResponse, DeletedGroup, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupDescription,
    GroupKind, GroupMember, GroupState, ListGroupsResponse, ListedGroup,
};
use corelog_protocol::{BrokerId, ErrorCode, ShardId};
use futures_util::{StreamExt, stream};

use super::super::server::Server;
use super::error_parts;
use super::heartbeat::by_topic;
use crate::group::coordinator::{self, Answer, Command, Description};
use crate::group::{classic, consumer};
use crate::listener::groups::{self, CONCURRENT_GROUPS, group_id};
use crate::partition::Refusal;

pub(in crate::listener::native) async fn find_coordinators(
    server: Rc<Server>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let mut coordinators = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let place = match group_id(&group) {
            Ok(group_id) => server.router.coordinator(&group_id).await,
            Err(refusal) => Err(refusal),
        };
        coordinators.push(match place {
            Ok(place) => Coordinator {
                group,
                error: ErrorCode::None,
                error_message: None,
                broker: place.broker,
                shard: place.shard,
            },
            Err(refusal) => {
                server.note_error(refusal.code);
                let (error, error_message) = error_parts(refusal);
                Coordinator {
                    group,
                    error,
                    error_message,
                    broker: BrokerId::ZERO,
                    shard: ShardId::default(),
                }
            }
        });
    }
    FindCoordinatorResponse { coordinators }
}

pub(in crate::listener::native) async fn list(server: Rc<Server>) -> ListGroupsResponse {
    match server.router.list_groups().await {
        Ok(groups) => ListGroupsResponse {
            error: ErrorCode::None,
            error_message: None,
            groups: groups.into_iter().map(listed).collect(),
        },
        Err(refusal) => {
            server.note_error(refusal.code);
            let (error, error_message) = error_parts(refusal);
            ListGroupsResponse {
                error,
                error_message,
                groups: Vec::new(),
            }
        }
    }
}

fn listed(group: coordinator::ListedGroup) -> ListedGroup {
    ListedGroup {
        group: group.group_id.to_string(),
        kind: match group.kind {
            coordinator::GroupKind::Consumer => GroupKind::Consumer,
            coordinator::GroupKind::Classic => GroupKind::Classic,
        },
        state: match group.state {
            coordinator::GroupState::Consumer(state) => consumer_state(state),
            coordinator::GroupState::Classic(state) => classic_state(state),
        },
    }
}

fn consumer_state(state: consumer::GroupState) -> GroupState {
    match state {
        consumer::GroupState::Empty => GroupState::Empty,
        consumer::GroupState::Assigning => GroupState::Assigning,
        consumer::GroupState::Reconciling => GroupState::Reconciling,
        consumer::GroupState::Stable => GroupState::Stable,
    }
}

fn classic_state(state: classic::GroupState) -> GroupState {
    match state {
        classic::GroupState::Empty => GroupState::Empty,
        classic::GroupState::PreparingRebalance => GroupState::PreparingRebalance,
        classic::GroupState::CompletingRebalance => GroupState::CompletingRebalance,
        classic::GroupState::Stable => GroupState::Stable,
        classic::GroupState::Dead => GroupState::Dead,
    }
}

pub(in crate::listener::native) async fn describe(
    server: Rc<Server>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let server = &*server;
    // Groups may be large, and each is answered as often as it is named.
    let mut named = HashSet::new();
    let groups = request.groups.into_iter();
    let groups: Vec<String> = groups.filter(|group| named.insert(group.clone())).collect();
    let groups = stream::iter(groups)
        .map(|group| async move {
            match ask(server, &group, Command::Describe).await {
                Ok(Answer::Described(description)) => described(group, description),
                Ok(other) => unreachable!("a group was described, and it says {other:?}"),
                Err(refusal) => {
                    let (error, message) = error_parts(refusal);
                    GroupDescription::refused(group, error, message)
                }
            }
        })
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    DescribeGroupsResponse { groups }
}

async fn ask(server: &Server, group: &str, command: Command) -> Result<Answer, Refusal> {
    let answered = groups::ask(&server.router, group, command).await;
    if let Err(refusal) = &answered {
        server.note_error(refusal.code);
    }
    answered
}

fn described(group: String, description: Description) -> GroupDescription {
    let nothing = GroupDescription::refused(group, ErrorCode::None, None);
    match description {
        Description::OffsetsOnly => GroupDescription {
            kind: GroupKind::Classic,
            ..nothing
        },
        Description::Consumer(group) => GroupDescription {
            kind: GroupKind::Consumer,
            state: consumer_state(group.state),
            epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor: group.assignor.name().to_owned(),
            members: group.members.into_iter().map(consumer_member).collect(),
            ..nothing
        },
        Description::Classic(group) => GroupDescription {
            kind: GroupKind::Classic,
            state: classic_state(group.state),
            epoch: group.generation,
            assignment_epoch: group.generation,
            assignor: group.protocol.unwrap_or_default(),
            members: group.members.into_iter().map(classic_member).collect(),
            ..nothing
        },
    }
}

fn consumer_member(member: consumer::MemberDescription) -> GroupMember {
    let metadata = member.metadata;
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: metadata.instance_id,
        rack_id: metadata.rack_id,
        client_id: metadata.client_id,
        client_host: metadata.client_host,
        epoch: member.current.member_epoch,
        topic_names: metadata.subscribed_topic_names.into_iter().collect(),
        topic_pattern: metadata.subscribed_topic_regex,
        assigned: by_topic(&member.current.assigned),
        target: by_topic(&member.target),
    }
}

/// What a classic member reads is between it and its leader; see the Kafka dialect.
fn classic_member(member: classic::MemberDescription) -> GroupMember {
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id,
        rack_id: None,
        client_id: member.client_id,
        client_host: member.client_host,
        epoch: 0,
        topic_names: Vec::new(),
        topic_pattern: None,
        assigned: Vec::new(),
        target: Vec::new(),
    }
}

pub(in crate::listener::native) async fn delete(
    server: Rc<Server>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let server = &*server;
    let groups = stream::iter(request.groups)
        .map(|group| async move {
            let (error, error_message) = match groups::delete(&server.router, &group).await {
                Ok(()) => (ErrorCode::None, None),
                Err(refusal) => {
                    server.note_error(refusal.code);
                    error_parts(refusal)
                }
            };
            DeletedGroup {
                group,
                error,
                error_message,
            }
        })
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    DeleteGroupsResponse { groups }
}
