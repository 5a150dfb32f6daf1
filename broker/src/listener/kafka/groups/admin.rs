//! ListGroups, DescribeGroups and DeleteGroups.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::delete_groups::DeletableGroupResult;
use corelog_protocol::kafka::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use corelog_protocol::kafka::messages::list_groups::ListedGroup;
use corelog_protocol::kafka::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use futures_util::{StreamExt, stream};

use crate::group::classic::{GroupDescription, GroupState};
use crate::group::coordinator::{self, Command, Description, GroupKind};
use crate::listener::close::Close;
use crate::listener::groups::{self, CONCURRENT_GROUPS};
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::operations;
use crate::partition::Refusal;

pub(in crate::listener::kafka) async fn list(call: &Call) -> Result<Answer, Close> {
    let request: ListGroupsRequest<'_> = call.decode()?;
    let listed = match call.server().router.list_groups().await {
        Ok(listed) => listed,
        Err(refusal) => {
            return Ok(call.reply(&ListGroupsResponse {
                error_code: call.code(refusal.code),
                ..Default::default()
            }));
        }
    };
    let states: Vec<String> = listed.iter().map(|it| it.state.to_string()).collect();
    let is_wanted = |filter: &[&str], name: &str| {
        filter.is_empty() || filter.iter().any(|it| it.eq_ignore_ascii_case(name))
    };
    let groups = listed.iter().zip(&states);
    let groups = groups
        .filter(|(group, state)| {
            is_wanted(&request.states_filter, state)
                && is_wanted(&request.types_filter, kind_name(group.kind))
        })
        .map(|(group, state)| ListedGroup {
            group_id: group.group_id.as_str(),
            protocol_type: &group.protocol_type,
            group_state: state,
            group_type: kind_name(group.kind),
        });
    Ok(call.reply(&ListGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    }))
}

fn kind_name(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Consumer => "Consumer",
        GroupKind::Classic => "Classic",
    }
}

/// Only groups of the classic protocol are described here, as in Kafka; the others by ConsumerGroupDescribe.
pub(in crate::listener::kafka) async fn describe(call: &Call) -> Result<Answer, Close> {
    let request: DescribeGroupsRequest<'_> = call.decode()?;
    let router = &call.server().router;
    let described: Vec<_> = stream::iter(&request.groups)
        .map(|group| groups::ask(router, group, Command::Describe))
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    let described: Vec<Result<GroupDescription, Refusal>> = request
        .groups
        .iter()
        .zip(described)
        .map(|(group, described)| classic(group, described?))
        .collect();
    let states: Vec<String> = described
        .iter()
        .map(|described| match described {
            Ok(described) => described.state.to_string(),
            Err(_) => GroupState::Dead.to_string(),
        })
        .collect();
    let groups = request.groups.iter().zip(&described).zip(&states);
    let groups = groups.map(|((group, described), state)| {
        let mut answer = answer_about(call, group, described);
        answer.group_state = state;
        answer.authorized_operations = operations::of_group(request.include_authorized_operations);
        answer
    });
    Ok(call.reply(&DescribeGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    }))
}

fn classic(group: &str, described: coordinator::Answer) -> Result<GroupDescription, Refusal> {
    match described {
        coordinator::Answer::Described(Description::Classic(described)) => Ok(described),
        coordinator::Answer::Described(Description::OffsetsOnly) => Ok(GroupDescription {
            group_id: groups::group_id(group)?,
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            members: Vec::new(),
        }),
        coordinator::Answer::Described(Description::Consumer(_)) => Err(Refusal::new(
            ErrorCode::GroupIdNotFound,
            format!("group {group} is not a classic group"),
        )),
        other => unreachable!("a group was described, and it says {other:?}"),
    }
}

fn answer_about<'a>(
    call: &Call,
    group: &'a str,
    described: &'a Result<GroupDescription, Refusal>,
) -> DescribedGroup<'a> {
    /// Before, a group that is not there is a dead one, and no error.
    const FIRST_WITH_NOT_FOUND: i16 = 6;
    let described = match described {
        Ok(described) => described,
        Err(refusal) => {
            let error = match refusal.code {
                ErrorCode::GroupIdNotFound if call.version < FIRST_WITH_NOT_FOUND => {
                    ErrorCode::None
                }
                code => code,
            };
            return DescribedGroup {
                group_id: group,
                error_code: call.code(error),
                error_message: Some(&refusal.message),
                ..Default::default()
            };
        }
    };
    let members = described.members.iter();
    DescribedGroup {
        group_id: group,
        protocol_type: described.protocol_type.as_deref().unwrap_or_default(),
        protocol_data: described.protocol.as_deref().unwrap_or_default(),
        members: members
            .map(|member| DescribedGroupMember {
                member_id: member.member_id.as_str(),
                group_instance_id: member.instance_id.as_deref(),
                client_id: &member.client_id,
                client_host: &member.client_host,
                member_metadata: &member.metadata,
                member_assignment: &member.assignment,
            })
            .collect(),
        ..Default::default()
    }
}

pub(in crate::listener::kafka) async fn delete(call: &Call) -> Result<Answer, Close> {
    let request: DeleteGroupsRequest<'_> = call.decode()?;
    let router = &call.server().router;
    let results: Vec<_> = stream::iter(&request.groups_names)
        .map(|group| groups::delete(router, group))
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    let results = request.groups_names.iter().zip(results);
    let results = results.map(|(group, result)| DeletableGroupResult {
        group_id: group,
        error_code: call.code(match result {
            Ok(()) => ErrorCode::None,
            Err(refusal) => refusal.code,
        }),
    });
    Ok(call.reply(&DeleteGroupsResponse {
        results: results.collect(),
        ..Default::default()
    }))
}
