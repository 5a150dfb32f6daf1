//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: the classic protocol.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::join_group::JoinGroupResponseMember;
use corelog_protocol::kafka::messages::leave_group::MemberResponse;
use corelog_protocol::kafka::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::{ask, client_host, new_uuid, optional_member};
use crate::group::classic::{self, Assignment, Leaving, Left, Protocol};
use crate::group::coordinator::{self, Command};
use crate::group::{GroupId, MemberId};
use crate::listener::close::Close;
use crate::listener::groups::{check_text, group_id, member_id};
use crate::listener::kafka::call::{Answer, Call};
use crate::partition::Refusal;

pub(in crate::listener::kafka) async fn join(mut call: Call) -> Result<Answer, Close> {
    /// The client takes its member id before it joins (KIP-394).
    const FIRST_WITH_ID_FIRST: i16 = 4;
    /// Without a name of a protocol there is null instead of nothing.
    const FIRST_WITH_NULL_PROTOCOL: i16 = 7;
    /// The leader may be told that it has nothing to assign (KIP-814).
    const FIRST_WITH_SKIP: i16 = 9;
    let request: JoinGroupRequest<'_> = call.decode()?;
    let asked_as = request.member_id.to_owned();
    let mut understood = understand_join(&call, &request);
    if let Ok((_, join)) = &mut understood {
        join.takes_member_id_first = call.version >= FIRST_WITH_ID_FIRST;
        join.knows_skip_assignment = call.version >= FIRST_WITH_SKIP;
    }
    drop(request);
    // Its members may take their time.
    call.release_body();
    let answered = match understood {
        Ok((group, join)) => {
            let _waits = call.read_under_way();
            ask(&call, group, Command::Join(join, new_uuid())).await
        }
        Err(refusal) => Err(refusal),
    };
    let nothing = match call.version {
        FIRST_WITH_NULL_PROTOCOL.. => None,
        _ => Some(""),
    };
    let refused = |error, member_id| {
        call.reply(&JoinGroupResponse {
            error_code: call.code(error),
            protocol_name: nothing,
            member_id,
            ..Default::default()
        })
    };
    let joined = match &answered {
        Ok(coordinator::Answer::Joined(joined)) => joined,
        Ok(coordinator::Answer::MemberIdRequired(id)) => {
            return Ok(refused(ErrorCode::MemberIdRequired, id.as_str()));
        }
        Ok(other) => unreachable!("a member joined, and it says {other:?}"),
        Err(refusal) => return Ok(refused(refusal.code, &asked_as)),
    };
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id.as_str(),
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    });
    Ok(call.reply(&JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: joined.protocol.as_deref().or(nothing),
        leader: joined.leader.as_ref().map_or("", MemberId::as_str),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.as_str(),
        members: members.collect(),
        ..Default::default()
    }))
}

fn understand_join(
    call: &Call,
    request: &JoinGroupRequest<'_>,
) -> Result<(GroupId, classic::JoinRequest), Refusal> {
    check_text("client id", &call.client_id)?;
    let session_timeout = millis(request.session_timeout_ms);
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.to_owned(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    });
    let join = classic::JoinRequest {
        member_id: optional_member(request.member_id)?,
        instance_id: request.group_instance_id.map(str::to_owned),
        client_id: call.client_id.clone(),
        client_host: client_host(call),
        session_timeout,
        rebalance_timeout: match request.rebalance_timeout_ms {
            // Version 0 has none.
            -1 => session_timeout,
            timeout => millis(timeout),
        },
        protocol_type: request.protocol_type.to_owned(),
        protocols: protocols.collect(),
        takes_member_id_first: false,
        knows_skip_assignment: false,
        reason: request.reason.map(str::to_owned),
    };
    Ok((group_id(request.group_id)?, join))
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

pub(in crate::listener::kafka) async fn sync(mut call: Call) -> Result<Answer, Close> {
    let request: SyncGroupRequest<'_> = call.decode()?;
    let understood = understand_sync(&request);
    drop(request);
    call.release_body();
    let answered = match understood {
        Ok((group, sync)) => {
            let _waits = call.read_under_way();
            ask(&call, group, Command::Sync(sync)).await
        }
        Err(refusal) => Err(refusal),
    };
    Ok(match &answered {
        Ok(coordinator::Answer::Synced(synced)) => call.reply(&SyncGroupResponse {
            protocol_type: synced.protocol_type.as_deref(),
            protocol_name: synced.protocol.as_deref(),
            assignment: &synced.assignment,
            ..Default::default()
        }),
        Ok(other) => unreachable!("a member synced, and it says {other:?}"),
        Err(refusal) => call.reply(&SyncGroupResponse {
            error_code: call.code(refusal.code),
            ..Default::default()
        }),
    })
}

fn understand_sync(
    request: &SyncGroupRequest<'_>,
) -> Result<(GroupId, classic::SyncRequest), Refusal> {
    let assignments = request.assignments.iter().map(|assigned| {
        Ok(Assignment {
            member_id: member_id(assigned.member_id)?,
            assignment: Bytes::copy_from_slice(assigned.assignment),
        })
    });
    let sync = classic::SyncRequest {
        member_id: member_id(request.member_id)?,
        instance_id: request.group_instance_id.map(str::to_owned),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(str::to_owned),
        protocol: request.protocol_name.map(str::to_owned),
        assignments: assignments.collect::<Result<_, Refusal>>()?,
    };
    Ok((group_id(request.group_id)?, sync))
}

pub(in crate::listener::kafka) async fn heartbeat(call: &Call) -> Result<Answer, Close> {
    let request: HeartbeatRequest<'_> = call.decode()?;
    let understood = group_id(request.group_id).and_then(|group| {
        let heartbeat = classic::HeartbeatRequest {
            member_id: member_id(request.member_id)?,
            instance_id: request.group_instance_id.map(str::to_owned),
            generation: request.generation_id,
        };
        Ok((group, Command::ClassicHeartbeat(heartbeat)))
    });
    let answered = match understood {
        Ok((group, command)) => ask(call, group, command).await,
        Err(refusal) => Err(refusal),
    };
    let error = match answered {
        Ok(_) => ErrorCode::None,
        Err(refusal) => refusal.code,
    };
    Ok(call.reply(&HeartbeatResponse {
        error_code: call.code(error),
        ..Default::default()
    }))
}

pub(in crate::listener::kafka) async fn leave(call: &Call) -> Result<Answer, Close> {
    /// From this version on one request names several members, each with an answer of its own.
    const FIRST_WITH_MANY: i16 = 3;
    let request: LeaveGroupRequest<'_> = call.decode()?;
    let understood = group_id(request.group_id).and_then(|group| {
        let members = match call.version {
            FIRST_WITH_MANY.. => request
                .members
                .iter()
                .map(|member| {
                    Ok(Leaving {
                        member_id: optional_member(member.member_id)?,
                        instance_id: member.group_instance_id.map(str::to_owned),
                        reason: member.reason.map(str::to_owned),
                    })
                })
                .collect::<Result<_, Refusal>>()?,
            _ => vec![Leaving {
                member_id: Some(member_id(request.member_id)?),
                instance_id: None,
                reason: None,
            }],
        };
        Ok((group, Command::Leave(classic::LeaveRequest { members })))
    });
    let answered = match understood {
        Ok((group, command)) => ask(call, group, command).await,
        Err(refusal) => Err(refusal),
    };
    let left = match &answered {
        Ok(coordinator::Answer::Left(left)) => left,
        Ok(other) => unreachable!("members left, and it says {other:?}"),
        Err(refusal) => {
            return Ok(call.reply(&LeaveGroupResponse {
                error_code: call.code(refusal.code),
                ..Default::default()
            }));
        }
    };
    let code = |left: &Left| match &left.result {
        Ok(()) => ErrorCode::None,
        Err(error) => error.code(),
    };
    if call.version < FIRST_WITH_MANY {
        let error = left.first().map_or(ErrorCode::None, code);
        return Ok(call.reply(&LeaveGroupResponse {
            error_code: call.code(error),
            ..Default::default()
        }));
    }
    let members = left.iter().map(|left| MemberResponse {
        member_id: left.member_id.as_ref().map_or("", MemberId::as_str),
        group_instance_id: left.instance_id.as_deref(),
        error_code: call.code(code(left)),
    });
    Ok(call.reply(&LeaveGroupResponse {
        members: members.collect(),
        ..Default::default()
    }))
}
