use bytes::Bytes;

use super::error::ClassicError;
use super::record::GroupRecord;
use super::request::Token;
use crate::group::MemberId;

/// What follows from one decision.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Already applied to the group that returned them.
    pub records: Vec<GroupRecord>,
    /// To be released once the records, and everything written before them, are durable.
    pub replies: Vec<(Token, Reply)>,
}

impl Outcome {
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Join(Result<Joined, ClassicError>),
    Sync(Result<Synced, ClassicError>),
    Heartbeat(Result<(), ClassicError>),
    Leave(Result<Vec<Left>, ClassicError>),
}

/// A member is part of a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub member_id: MemberId,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<MemberId>,
    /// The leader has nothing to assign: the group keeps the assignments it has.
    pub skip_assignment: bool,
    /// Everyone, when the reply goes to the leader; else nobody.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    pub member_id: MemberId,
    pub instance_id: Option<String>,
    /// What the member said for the protocol that was chosen.
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Empty when the leader assigned nothing to the member.
    pub assignment: Bytes,
}

/// What became of one member that was to leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    pub member_id: Option<MemberId>,
    pub instance_id: Option<String>,
    pub result: Result<(), ClassicError>,
}
