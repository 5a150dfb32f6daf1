//! One member's next step towards its target.
//!
//! First it gives up what the target does not give it; then it goes to the target's epoch and gets
//! what nobody holds; what somebody else still holds it gets in a later step.

use super::canary::{Canary, is_planted};
use super::state::Member;
use super::{CurrentAssignment, MemberState, Partitions, TopicPartition};

/// What the step depends on beside the member.
pub(super) struct Circumstances<'a, F> {
    pub(super) target_epoch: i32,
    /// What the member's heartbeat says that it owns, if it says so.
    pub(super) owned: Option<&'a Partitions>,
    /// True while a member other than this one may read the partition.
    pub(super) held_by_other: F,
}

impl<F: Fn(TopicPartition) -> bool> Circumstances<'_, F> {
    /// The member's current assignment after the step; `None` where it has arrived or must wait.
    pub(super) fn next(&self, member: &Member) -> Option<CurrentAssignment> {
        let current = &member.current;
        match current.state {
            MemberState::Stable if current.member_epoch == self.target_epoch => None,
            MemberState::UnrevokedPartitions if self.may_own(&current.pending_revocation) => None,
            _ => Some(self.step(member)).filter(|next| next != current),
        }
    }

    fn step(&self, member: &Member) -> CurrentAssignment {
        let current = &member.current;
        let kept: Partitions = &current.assigned & &member.target;
        let leaving: Partitions = &current.assigned - &member.target;
        if self.may_own(&leaving) {
            return CurrentAssignment {
                state: MemberState::UnrevokedPartitions,
                assigned: kept,
                pending_revocation: leaving,
                ..current.clone()
            };
        }
        let (unreleased, free): (Partitions, Partitions) = (&member.target - &kept)
            .into_iter()
            .partition(|partition| (self.held_by_other)(*partition));
        let mut assigned = kept;
        assigned.extend(free);
        if is_planted(Canary::TwoOwners) {
            assigned.extend(&unreleased);
        }
        CurrentAssignment {
            member_epoch: self.target_epoch,
            previous_member_epoch: match current.member_epoch {
                epoch if epoch == self.target_epoch => current.previous_member_epoch,
                // A static member that comes back says 0.
                epoch => epoch.max(0),
            },
            state: match unreleased.is_empty() {
                true => MemberState::Stable,
                false => MemberState::UnreleasedPartitions,
            },
            assigned,
            pending_revocation: Partitions::new(),
        }
    }

    /// True if the member may still own one of these. One that does not say may own all.
    fn may_own(&self, partitions: &Partitions) -> bool {
        match self.owned {
            Some(owned) => !owned.is_disjoint(partitions),
            None => !partitions.is_empty(),
        }
    }
}
