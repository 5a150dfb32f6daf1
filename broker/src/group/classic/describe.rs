use std::fmt;

use bytes::Bytes;

use super::group::{ClassicGroup, Phase};
use crate::group::{GroupId, MemberId};

/// A group as administrators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDescription {
    pub group_id: GroupId,
    pub state: GroupState,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub members: Vec<MemberDescription>,
}

/// Kafka's states of a classic group; they print as Kafka spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberDescription {
    pub member_id: MemberId,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Empty unless the group is stable: only then all members mean the same protocol.
    pub metadata: Bytes,
    /// The last one; empty while a generation waits for its own.
    pub assignment: Bytes,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ClassicGroup {
    pub fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::PreparingRebalance { .. } => GroupState::PreparingRebalance,
            Phase::CompletingRebalance { .. } => GroupState::CompletingRebalance,
            Phase::Stable { .. } => GroupState::Stable,
            Phase::Dead => GroupState::Dead,
        }
    }

    /// What the members said that they are: `consumer`, or `connect`.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn describe(&self) -> GroupDescription {
        let state = self.state();
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: match state {
                GroupState::Stable => member.metadata(self.protocol.as_deref()),
                _ => Bytes::new(),
            },
            assignment: match state {
                GroupState::CompletingRebalance => Bytes::new(),
                _ => member.assignment.clone(),
            },
        });
        GroupDescription {
            group_id: self.id.clone(),
            state,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: match state {
                GroupState::Stable => self.protocol.clone(),
                _ => None,
            },
            members: members.collect(),
        }
    }
}
