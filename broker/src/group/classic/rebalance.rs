//! The course of a rebalance, and what time does to it.

use std::time::Duration;

use super::canary::{Canary, is_planted};
use super::error::ClassicError;
use super::group::{ClassicGroup, InitialDelay, Phase};
use super::member::Member;
use super::reply::{Joined, JoinedMember, Outcome};
use super::request::Moment;
use crate::group::MemberId;
use crate::runtime::Instant;

/// Between two looks at a round that only static members could join: the time that they ask for may be none.
const LEAST_WAIT: Duration = Duration::from_secs(5);

impl ClassicGroup {
    /// When [`ClassicGroup::tick`] next has something to do. It walks over the members: ask it when
    /// a timer fires, or an outcome came, not for every heartbeat.
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Empty | Phase::Dead => None,
            Phase::PreparingRebalance { deadline, .. } => Some(deadline),
            Phase::CompletingRebalance { sync_deadline } => Some(sync_deadline),
            Phase::Stable { sync_deadline } => sync_deadline,
        };
        let sessions = self
            .members
            .values()
            .filter_map(|member| member.session_deadline);
        let unused_ids = self.unused_ids.values().copied();
        phase.into_iter().chain(sessions).chain(unused_ids).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, at: Moment) -> Outcome {
        let mut outcome = Outcome::default();
        self.expire_members(at, &mut outcome);
        match self.phase {
            Phase::PreparingRebalance { deadline, initial } if deadline <= at.now => {
                self.end_join_wait(at, initial, &mut outcome);
            }
            Phase::CompletingRebalance { sync_deadline }
            | Phase::Stable {
                sync_deadline: Some(sync_deadline),
            } if sync_deadline <= at.now => self.drop_unsynced(at, &mut outcome),
            _ => {}
        }
        outcome
    }

    fn expire_members(&mut self, at: Moment, outcome: &mut Outcome) {
        let ids = self.unused_ids.len();
        self.unused_ids.retain(|_, deadline| *deadline > at.now);
        let mut silent = Vec::new();
        for (id, member) in &mut self.members {
            if member
                .session_deadline
                .is_none_or(|deadline| deadline > at.now)
            {
                continue;
            }
            // Who waits for a reply cannot send heartbeats; the reply renews the session.
            if member.waits() && !member.is_new {
                member.session_deadline = None;
            } else {
                silent.push(id.clone());
            }
        }
        for id in &silent {
            tracing::info!(group = %self.id, member = %id, "removed a member that fell silent");
            self.take_out(id, outcome);
        }
        if !silent.is_empty() || self.unused_ids.len() < ids {
            let is_noticed = !silent.is_empty() && !is_planted(Canary::DepartureUnnoticed);
            self.after_departures(at, "members fell silent", is_noticed, outcome);
        }
    }

    /// Shares anew what members had that have gone, or stops waiting for them. With `members` false
    /// only ids went that nobody had joined with: they had nothing.
    pub(super) fn after_departures(
        &mut self,
        at: Moment,
        reason: &str,
        members: bool,
        outcome: &mut Outcome,
    ) {
        match self.phase {
            Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                if members {
                    self.prepare_rebalance(at, reason, outcome);
                }
            }
            Phase::PreparingRebalance { .. } => self.complete_join_if_all_joined(at, outcome),
            Phase::Empty | Phase::Dead => {}
        }
    }

    /// Rebalances from where the group stands, or goes on with the rebalance that is under way.
    pub(super) fn rebalance(&mut self, at: Moment, reason: &str, outcome: &mut Outcome) {
        match self.phase {
            Phase::PreparingRebalance { .. } => self.complete_join_if_all_joined(at, outcome),
            _ => self.prepare_rebalance(at, reason, outcome),
        }
    }

    /// Has all members join again.
    pub(super) fn prepare_rebalance(&mut self, at: Moment, reason: &str, outcome: &mut Outcome) {
        let is_completing = matches!(self.phase, Phase::CompletingRebalance { .. });
        for member in self.members.values_mut() {
            member.owes_sync = false;
            if is_completing {
                member.assignment.clear();
            }
            let rebalancing = || Err(ClassicError::RebalanceInProgress);
            if member.answer_sync(rebalancing, outcome) {
                member.renew_session(at.now);
            }
        }
        let rebalance_timeout = self.rebalance_timeout();
        let (delay, initial) = match self.phase {
            Phase::Empty => {
                let delay = self.config.initial_rebalance_delay;
                let initial = InitialDelay {
                    remaining: rebalance_timeout.saturating_sub(delay),
                    member_joined: false,
                };
                (delay, Some(initial))
            }
            _ => (rebalance_timeout, None),
        };
        self.phase = Phase::PreparingRebalance {
            deadline: at.now + delay,
            initial,
        };
        tracing::info!(
            group = %self.id, generation = self.generation, reason, "the group rebalances"
        );
        self.complete_join_if_all_joined(at, outcome);
    }

    /// Ends the join phase when there is nobody left to wait for. A group that was empty waits on:
    /// nobody knows who else is about to start.
    pub(super) fn complete_join_if_all_joined(&mut self, at: Moment, outcome: &mut Outcome) {
        let waits_for_all = matches!(self.phase, Phase::PreparingRebalance { initial: None, .. });
        let all_joined = self.members.values().all(|member| member.waits_for_join());
        if waits_for_all && all_joined && self.unused_ids.is_empty() {
            self.complete_join(at, outcome);
        }
    }

    fn end_join_wait(&mut self, at: Moment, initial: Option<InitialDelay>, outcome: &mut Outcome) {
        if is_planted(Canary::JoinDeadlineForgotten) && initial.is_none() {
            self.phase = Phase::PreparingRebalance {
                deadline: at.now + Duration::from_secs(3_600),
                initial,
            };
            return;
        }
        match initial {
            Some(initial) if initial.member_joined && !initial.remaining.is_zero() => {
                let delay = self.config.initial_rebalance_delay.min(initial.remaining);
                self.phase = Phase::PreparingRebalance {
                    deadline: at.now + delay,
                    initial: Some(InitialDelay {
                        remaining: initial.remaining - delay,
                        member_joined: false,
                    }),
                };
            }
            _ => self.complete_join(at, outcome),
        }
    }

    /// Begins the next generation with those who joined. Static members may be restarting: they
    /// stay until their session ends.
    fn complete_join(&mut self, at: Moment, outcome: &mut Outcome) {
        let is_late = |member: &Member| !member.waits_for_join() && !member.is_static();
        let late = self.members.iter().filter(|(_, member)| is_late(member));
        let late: Vec<MemberId> = late.map(|(id, _)| id.clone()).collect();
        for id in &late {
            tracing::info!(group = %self.id, member = %id, "removed a member that did not join again");
            self.take_out(id, outcome);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members are left, and none has come: they come, or their sessions end.
            let deadline = at.now + self.rebalance_timeout().max(LEAST_WAIT);
            self.phase = Phase::PreparingRebalance {
                deadline,
                initial: None,
            };
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.choose_protocol();
        if self.members.is_empty() {
            self.leader = None;
            self.record(at, outcome);
            tracing::info!(group = %self.id, generation = self.generation, "the group is empty");
            return;
        }
        self.phase = Phase::CompletingRebalance {
            sync_deadline: at.now + self.rebalance_timeout(),
        };
        tracing::info!(
            group = %self.id, generation = self.generation, members = self.members.len(),
            "all members joined"
        );
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.answer_join(|| Ok(joined), outcome);
                member.renew_session(at.now);
                member.is_new = false;
                member.owes_sync = true;
            }
        }
    }

    /// Someone who joined leads, the old leader rather than others. False if nobody joined.
    fn elect_leader(&mut self) -> bool {
        let joined = |id: &MemberId| {
            let member = self.members.get(id);
            member.is_some_and(|member| member.waits_for_join())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let Some(leader) = self.members.keys().find(|id| joined(id)).cloned() else {
            return false;
        };
        tracing::info!(group = %self.id, %leader, "the leader did not join again; another leads");
        self.leader = Some(leader);
        true
    }

    /// What a member is told of the generation under way. The leader is told of everyone.
    pub(super) fn joined(&self, member_id: &MemberId) -> Joined {
        let protocol = self.protocol.as_deref();
        let leads = self.is_leader(member_id);
        let told = self.members.iter().filter(|_| leads);
        Joined {
            member_id: member_id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            members: told
                .map(|(id, member)| JoinedMember {
                    member_id: id.clone(),
                    instance_id: member.instance_id.clone(),
                    metadata: member.metadata(protocol),
                })
                .collect(),
        }
    }

    /// The rebalance time-out is over, and some have not sent SyncGroup: they are taken for gone.
    fn drop_unsynced(&mut self, at: Moment, outcome: &mut Outcome) {
        let unsynced = self.members.iter().filter(|(_, member)| member.owes_sync);
        let unsynced: Vec<MemberId> = unsynced.map(|(id, _)| id.clone()).collect();
        for id in &unsynced {
            tracing::info!(group = %self.id, member = %id, "removed a member that did not sync");
            self.take_out(id, outcome);
        }
        self.after_departures(at, "members did not sync in time", true, outcome);
    }
}
