//! The APIs of groups: members of both protocols, offsets, administration.
//!
//! Here topics have names; what is asked about one that does not exist is answered partition by partition. The coordinator
//! is one command and perhaps one hop away.

mod admin;
mod consumer;
mod find_coordinator;
mod membership;
mod offsets;

pub(super) use admin::{delete, describe, list};
pub(super) use consumer::{describe as describe_consumer, heartbeat as consumer_heartbeat};
pub(super) use find_coordinator::answer as find_coordinator;
pub(super) use membership::{heartbeat, join, leave, sync};
pub(super) use offsets::{commit, delete as delete_offsets, fetch};

use std::time::Duration;

use uuid::Uuid;

use super::call::Call;
use crate::group::coordinator::{Answer, Command};
use crate::group::{GroupId, MemberId};
use crate::partition::Refusal;
use crate::runtime::random_u64;

/// Has a command carried out by the coordinator of a group.
async fn ask(call: &Call, group: GroupId, command: Command) -> Result<Answer, Refusal> {
    let router = &call.server().router;
    router.group(group, command, Duration::ZERO).await.result
}

/// Where a member's client is, as Kafka writes it.
fn client_host(call: &Call) -> String {
    format!("/{}", call.connection.peer.ip())
}

/// The id of a member, or none where the client leaves it empty.
fn optional_member(id: &str) -> Result<Option<MemberId>, Refusal> {
    match id {
        "" => Ok(None),
        id => crate::listener::groups::member_id(id).map(Some),
    }
}

fn new_uuid() -> Uuid {
    let random = [random_u64().to_ne_bytes(), random_u64().to_ne_bytes()].concat();
    let bytes = random.try_into().expect("twice eight are sixteen");
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
