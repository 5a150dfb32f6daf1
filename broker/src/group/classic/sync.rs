//! SyncGroup: members wait for the leader's, which brings the assignments.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::canary::{Canary, is_planted};
use super::error::ClassicError;
use super::group::{ClassicGroup, Phase};
use super::reply::{Outcome, Reply, Synced};
use super::request::{Assignment, Moment, SyncRequest, Token};
use crate::group::MemberId;

impl ClassicGroup {
    /// Decides about a SyncGroup.
    pub fn sync(&mut self, at: Moment, token: Token, request: SyncRequest) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.try_sync(at, token, request, &mut outcome) {
            outcome.reply(token, Reply::Sync(Err(error)));
        }
        outcome
    }

    /// `Ok` when the request is parked or answered.
    fn try_sync(
        &mut self,
        at: Moment,
        token: Token,
        request: SyncRequest,
        outcome: &mut Outcome,
    ) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Removed(self.id.clone()));
        }
        let member_id = self.check_member(&request.member_id, request.instance_id.as_deref())?;
        let any_leader = is_planted(Canary::AnyLeaderAssigns) && !request.assignments.is_empty();
        if !any_leader {
            self.check_generation(request.generation)?;
        }
        self.check_protocol(&request)?;
        let leads = self.is_leader(&member_id) || any_leader;
        let Some(member) = self.members.get_mut(&member_id) else {
            return Err(ClassicError::UnknownMember(member_id.to_string()));
        };
        match self.phase {
            Phase::Empty | Phase::Dead => {
                return Err(ClassicError::UnknownMember(member_id.to_string()));
            }
            Phase::PreparingRebalance { .. } => return Err(ClassicError::RebalanceInProgress),
            Phase::CompletingRebalance { .. } => {
                member.wait_for_sync(token, outcome);
                if leads {
                    self.take_assignments(at, &member_id, request.assignments, outcome);
                }
            }
            Phase::Stable { .. } if any_leader => {
                member.wait_for_sync(token, outcome);
                self.take_assignments(at, &member_id, request.assignments, outcome);
            }
            Phase::Stable { .. } => {
                member.owes_sync = false;
                member.renew_session(at.now);
                let assignment = member.assignment.clone();
                let synced = self.synced(assignment);
                outcome.reply(token, Reply::Sync(Ok(synced)));
                self.settle_sync_deadline();
            }
        }
        Ok(())
    }

    /// What the client believes the group runs is what the group runs, where it says so.
    fn check_protocol(&self, request: &SyncRequest) -> Result<(), ClassicError> {
        let differs = |said: &Option<String>, is: &Option<String>| {
            said.is_some() && is.is_some() && said != is
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(ClassicError::InconsistentProtocol {
                protocol_type: request.protocol_type.clone().unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// The leader's assignments: recorded, and given to all who wait. Who was left out gets nothing;
    /// who is no member is left out.
    fn take_assignments(
        &mut self,
        at: Moment,
        leader: &MemberId,
        assignments: Vec<Assignment>,
        outcome: &mut Outcome,
    ) {
        let mut assigned: BTreeMap<MemberId, Bytes> = assignments
            .into_iter()
            .filter(|assignment| self.members.contains_key(&assignment.member_id))
            .map(|assignment| {
                // A slice would keep the whole frame it came in.
                let bytes = Bytes::copy_from_slice(&assignment.assignment);
                (assignment.member_id, bytes)
            })
            .collect();
        let max = self.config.max_metadata;
        if assigned.values().map(Bytes::len).sum::<usize>() > max.as_usize() {
            if let Some(member) = self.members.get_mut(leader) {
                let error = ClassicError::AssignmentsTooLarge { max };
                member.answer_sync(|| Err(error), outcome);
            }
            self.prepare_rebalance(at, "the assignments are too large", outcome);
            return;
        }
        for (id, member) in &mut self.members {
            member.assignment = assigned.remove(id).unwrap_or_default();
            if member.assignment.is_empty() {
                tracing::debug!(group = %self.id, member = %id, "the leader assigned nothing");
            }
        }
        self.record(at, outcome);
        let synced = self.synced(Bytes::new());
        for member in self.members.values_mut() {
            let assignment = member.assignment.clone();
            let synced = || {
                Ok(Synced {
                    assignment,
                    ..synced.clone()
                })
            };
            if member.answer_sync(synced, outcome) {
                member.renew_session(at.now);
            }
        }
        tracing::info!(group = %self.id, generation = self.generation, %leader, "the group is stable");
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }
}
