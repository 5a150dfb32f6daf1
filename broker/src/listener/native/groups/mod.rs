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
use crate::group::{GroupId, MemberId};
use crate::partition::Refusal;

fn group_id(group: &str) -> Result<GroupId, Refusal> {
    GroupId::try_from(group)
        .map_err(|error| Refusal::new(ErrorCode::InvalidGroupId, format!("group id: {error}")))
}

fn member_id(member: &str) -> Result<MemberId, Refusal> {
    MemberId::try_from(member)
        .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, format!("member id: {error}")))
}

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

/// The longest text of a record: Kafka's formats count a string in 16 bits.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Refuses a text that no record of `__consumer_offsets` could hold.
fn check_text(what: &str, text: &str) -> Result<(), Refusal> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!(
            "{what} has {} bytes, at most {TEXT_BYTES_MAX} are allowed",
            text.len()
        ),
    ))
}

/// The code and the sentence of an answer's refusal.
fn error_parts(refusal: Refusal) -> (ErrorCode, Option<String>) {
    (refusal.code, Some(refusal.message.into_owned()))
}
