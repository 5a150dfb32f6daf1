use std::time::Duration;

use bytes::Bytes;

use crate::group::{GroupId, MemberId};

/// One write to `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRecord {
    pub group_id: GroupId,
    /// `None`: a tombstone, the group is gone.
    pub metadata: Option<GroupMetadata>,
}

/// Kafka's `GroupMetadataValue`: a group that is stable, or empty.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMetadata {
    /// `None`: nobody ever joined; Kafka writes an empty string.
    pub protocol_type: Option<String>,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<MemberId>,
    /// When the group became what the record says, in milliseconds since 1970. `None` in records
    /// older than Kafka 2.1.
    pub state_timestamp: Option<i64>,
    pub members: Vec<MemberMetadata>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberMetadata {
    pub member_id: MemberId,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Duration,
    pub session_timeout: Duration,
    /// What the member said for the protocol that was chosen; what it said for others is not kept.
    pub subscription: Bytes,
    pub assignment: Bytes,
}
