//! The APIs of groups: their members, their offsets, their administration.
//!
//! What a request names by topic id is looked up here, by the metadata of the shard that received it;
//! the coordinator is one command and perhaps one hop away.

mod admin;
mod heartbeat;
mod offsets;

pub(super) use admin::{delete, describe, find_coordinators, list};
pub(super) use heartbeat::{Sender, heartbeat};
pub(super) use offsets::{commit, delete_offsets, fetch};

use corelog_protocol::ErrorCode;
use corelog_protocol::native::messages::MemberEpoch;

use crate::group::coordinator::Claim;
use crate::listener::groups::member_id;
use crate::partition::Refusal;

fn claim(member: Option<&MemberEpoch>) -> Result<Claim, Refusal> {
    let Some(member) = member else {
        return Ok(Claim::default());
    };
    Ok(Claim {
        member_id: Some(member_id(&member.member_id)?),
        instance_id: None,
        epoch: Some(member.epoch),
    })
}

/// The code and the sentence of an answer's refusal.
fn error_parts(refusal: Refusal) -> (ErrorCode, Option<String>) {
    (refusal.code, Some(refusal.message.into_owned()))
}
