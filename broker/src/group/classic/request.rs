//! What members ask, as both sides of the coordinator's edge name it: wire sentinels are `Option`s.

use std::time::Duration;

use bytes::Bytes;

use crate::group::MemberId;
use crate::runtime::Instant;

/// Names a request until its reply has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// When a request is decided: deadlines are counted on the monotonic clock, records carry the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Instant,
    pub unix_millis: i64,
}

/// An assignor that a member can run, and what the member tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    /// A subscription, when the group's type is `consumer`.
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// `None`: the member has yet to be given one.
    pub member_id: Option<MemberId>,
    /// `group.instance.id`: a static member (KIP-345).
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    /// How long the member may take to join again. Version 0 does not say; it means the session
    /// time-out.
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    /// Those that the member likes best first.
    pub protocols: Vec<Protocol>,
    /// The client takes its member id before it joins (KIP-394, version 4 and later).
    pub takes_member_id_first: bool,
    /// The client knows that a leader may have nothing to assign (version 9 and later).
    pub knows_skip_assignment: bool,
    /// Why it joins, for the log.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    pub member_id: MemberId,
    pub instance_id: Option<String>,
    pub generation: i32,
    /// Clients before version 5 say neither.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Empty, but for the leader.
    pub assignments: Vec<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub member_id: MemberId,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub member_id: MemberId,
    pub instance_id: Option<String>,
    pub generation: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    pub members: Vec<Leaving>,
}

/// Who leaves. A static member can be named by its instance id alone: an administrator does not
/// know the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub member_id: Option<MemberId>,
    pub instance_id: Option<String>,
    /// Why, for the log.
    pub reason: Option<String>,
}
