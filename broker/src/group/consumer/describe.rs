//! The group as an administrator sees it (Kafka's `ConsumerGroupDescribe`).

use std::fmt;

use super::{Assignor, ConsumerGroup, CurrentAssignment, MemberMetadata, MemberState, Partitions};
use crate::group::{GroupId, MemberId};

#[derive(Clone, PartialEq, Debug)]
pub struct GroupDescription {
    pub group_id: GroupId,
    pub state: GroupState,
    pub epoch: i32,
    /// The group epoch that the target was computed for.
    pub target_epoch: i32,
    pub assignor: Assignor,
    /// In order of their ids.
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct MemberDescription {
    pub member_id: MemberId,
    pub metadata: MemberMetadata,
    pub current: CurrentAssignment,
    pub target: Partitions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupState {
    Empty,
    /// The target is older than the group.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    Stable,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        })
    }
}

impl ConsumerGroup {
    pub fn group_state(&self) -> GroupState {
        let state = &self.state;
        let mut members = state.members.values();
        if state.members.is_empty() {
            GroupState::Empty
        } else if state.epoch > state.target_epoch {
            GroupState::Assigning
        } else if members.all(|member| {
            let current = &member.current;
            current.state == MemberState::Stable && current.member_epoch == state.target_epoch
        }) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    pub fn describe(&self) -> GroupDescription {
        let members = self.state.members.iter();
        GroupDescription {
            group_id: self.id.clone(),
            state: self.group_state(),
            epoch: self.state.epoch,
            target_epoch: self.state.target_epoch,
            assignor: self.assignor(),
            members: members
                .map(|(member_id, member)| MemberDescription {
                    member_id: member_id.clone(),
                    metadata: member.metadata.clone(),
                    current: member.current.clone(),
                    target: member.target.clone(),
                })
                .collect(),
        }
    }
}
