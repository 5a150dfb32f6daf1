//! JoinGroup: who may join, under which id, and what it sets off.

use std::time::Duration;

use uuid::Uuid;

use super::error::ClassicError;
use super::group::{ClassicGroup, Phase};
use super::member::Member;
use super::reply::{Joined, Outcome, Reply};
use super::request::{JoinRequest, Moment, Token};
use crate::group::MemberId;

/// How long a member that joins for the first time may wait for its reply. It cannot send
/// heartbeats yet, so that this is all that ends a client which is gone, and has perhaps come back
/// as another member. Kafka's constant; it has no key.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How much of a client's or an instance's name goes into its member's id, in bytes. The name is
/// there for people; a longer one would make an id that no record can hold.
const ID_NAME_BYTES_MAX: usize = 256;

impl ClassicGroup {
    /// Decides about a JoinGroup. `new_uuid` draws what makes a member's id its own; it must not
    /// repeat itself.
    pub fn join(
        &mut self,
        at: Moment,
        token: Token,
        request: JoinRequest,
        new_uuid: &mut dyn FnMut() -> Uuid,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        match self.try_join(at, token, request, new_uuid, &mut outcome) {
            Ok(()) => {}
            Err(error) => outcome.reply(token, Reply::Join(Err(error))),
        }
        outcome
    }

    /// `Ok` when the request is parked or answered.
    fn try_join(
        &mut self,
        at: Moment,
        token: Token,
        request: JoinRequest,
        new_uuid: &mut dyn FnMut() -> Uuid,
        outcome: &mut Outcome,
    ) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Removed(self.id.clone()));
        }
        self.check_session_timeout(request.session_timeout)?;
        if !self.has_place_for(request.member_id.as_ref()) {
            if let Some(member_id) = &request.member_id {
                self.turn_away(at, member_id, outcome);
            }
            return Err(self.full());
        }
        let offered = request
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str());
        if !self.supports(&request.protocol_type, offered) {
            return Err(ClassicError::InconsistentProtocol {
                protocol_type: request.protocol_type,
            });
        }
        self.check_metadata_bytes(&request)?;
        match request.member_id.clone() {
            None => self.join_without_id(at, token, request, new_uuid, outcome),
            // Only dynamic members are given an id first.
            Some(id) if request.instance_id.is_none() && self.unused_ids.contains_key(&id) => {
                self.unused_ids.remove(&id);
                self.add_member(at, token, id, request, outcome);
                Ok(())
            }
            Some(id) => self.join_again(at, token, id, request, outcome),
        }
    }

    fn check_session_timeout(&self, given: Duration) -> Result<(), ClassicError> {
        let (min, max) = (
            self.config.min_session_timeout,
            self.config.max_session_timeout,
        );
        match (min..=max).contains(&given) {
            true => Ok(()),
            false => Err(ClassicError::SessionTimeout { given, min, max }),
        }
    }

    /// While members join again, those who have come count: so the last ones of a group that is too
    /// large, because the limit was lowered, are the ones to go.
    fn has_place_for(&self, member_id: Option<&MemberId>) -> bool {
        let known = member_id.and_then(|id| self.members.get(id));
        match self.phase {
            Phase::Empty | Phase::Dead => true,
            Phase::PreparingRebalance { .. } => {
                let waiting = self
                    .members
                    .values()
                    .filter(|member| member.waits_for_join());
                known.is_some_and(Member::waits_for_join)
                    || waiting.count() < self.config.max_members
            }
            Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                known.is_some() || self.members.len() < self.config.max_members
            }
        }
    }

    fn full(&self) -> ClassicError {
        ClassicError::GroupFull {
            max: self.config.max_members,
        }
    }

    /// Forgets a member that found no place, so that nobody waits for it.
    fn turn_away(&mut self, at: Moment, member_id: &MemberId, outcome: &mut Outcome) {
        let was_unused = self.unused_ids.remove(member_id).is_some();
        let was_member = self.take_out(member_id, outcome);
        if was_unused || was_member {
            self.after_departures(at, "the group is full", was_member, outcome);
        }
    }

    fn check_metadata_bytes(&self, request: &JoinRequest) -> Result<(), ClassicError> {
        let replaced = request.member_id.as_ref().or_else(|| {
            let instance_id = request.instance_id.as_ref()?;
            self.instances.get(instance_id)
        });
        let others = self.members.iter().filter(|(id, _)| Some(*id) != replaced);
        let others: usize = others.map(|(_, member)| member.metadata_bytes()).sum();
        let unused: usize = self.unused_ids.keys().map(|id| id.as_str().len()).sum();
        let max = self.config.max_metadata;
        match others + unused + request.metadata_bytes() > max.as_usize() {
            true => Err(ClassicError::MetadataTooLarge { max }),
            false => Ok(()),
        }
    }

    fn join_without_id(
        &mut self,
        at: Moment,
        token: Token,
        request: JoinRequest,
        new_uuid: &mut dyn FnMut() -> Uuid,
        outcome: &mut Outcome,
    ) -> Result<(), ClassicError> {
        let name = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let member_id = MemberId::new(format!("{}-{}", shortened(name), new_uuid()));
        assert!(
            !self.members.contains_key(&member_id) && !self.unused_ids.contains_key(&member_id),
            "a member id was drawn twice"
        );
        let instance_id = request.instance_id.as_ref();
        if let Some(old_id) = instance_id.and_then(|id| self.instances.get(id)).cloned() {
            self.replace_static(at, token, &old_id, member_id, request, outcome);
        } else if instance_id.is_none() && request.takes_member_id_first {
            if self.unused_ids.len() >= self.config.max_members {
                return Err(self.full());
            }
            let deadline = at.now + request.session_timeout;
            self.unused_ids.insert(member_id.clone(), deadline);
            return Err(ClassicError::MemberIdRequired { member_id });
        } else {
            self.add_member(at, token, member_id, request, outcome);
        }
        Ok(())
    }

    fn add_member(
        &mut self,
        at: Moment,
        token: Token,
        member_id: MemberId,
        request: JoinRequest,
        outcome: &mut Outcome,
    ) {
        let reason = request.reason.clone().unwrap_or_default();
        tracing::info!(
            group = %self.id, member = %member_id, instance = request.instance_id, reason,
            "a member joins"
        );
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if let Some(instance_id) = &request.instance_id {
            self.instances
                .insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        if let Phase::PreparingRebalance {
            initial: Some(initial),
            ..
        } = &mut self.phase
        {
            initial.member_joined = true;
        }
        let mut member = Member::new(request, at.now + NEW_MEMBER_JOIN_TIMEOUT);
        member.wait_for_join(token, outcome);
        self.members.insert(member_id, member);
        self.rebalance(at, "a member joined", outcome);
    }

    fn join_again(
        &mut self,
        at: Moment,
        token: Token,
        member_id: MemberId,
        request: JoinRequest,
        outcome: &mut Outcome,
    ) -> Result<(), ClassicError> {
        let member_id = self.check_member(&member_id, request.instance_id.as_deref())?;
        let leads = self.is_leader(&member_id);
        let Some(member) = self.members.get_mut(&member_id) else {
            return Err(ClassicError::UnknownMember(member_id.to_string()));
        };
        let is_unchanged = member.protocols == request.protocols;
        let asks_to_rebalance = match self.phase {
            Phase::PreparingRebalance { .. } => true,
            // Its reply may have been lost: it is told again.
            Phase::CompletingRebalance { .. } => !is_unchanged,
            // The leader has seen something that changes the assignment, such as new partitions.
            Phase::Stable { .. } => leads || !is_unchanged,
            Phase::Empty | Phase::Dead => {
                return Err(ClassicError::UnknownMember(member_id.to_string()));
            }
        };
        if !member.is_new {
            member.renew_session(at.now);
        }
        if !asks_to_rebalance {
            let joined = self.joined(&member_id);
            outcome.reply(token, Reply::Join(Ok(joined)));
            return Ok(());
        }
        let reason = request.reason.clone().unwrap_or_default();
        member.update(request);
        member.wait_for_join(token, outcome);
        tracing::info!(group = %self.id, member = %member_id, reason, "a member joins again");
        self.rebalance(at, "a member joined again", outcome);
        Ok(())
    }

    /// A static member was restarted: it takes its old place under a new id. Where that changes
    /// nothing for the others they are not bothered.
    fn replace_static(
        &mut self,
        at: Moment,
        token: Token,
        old_id: &MemberId,
        new_id: MemberId,
        request: JoinRequest,
        outcome: &mut Outcome,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            unreachable!("an instance id stands for a member that is not there");
        };
        let instance_id = request.instance_id.clone().unwrap_or_default();
        tracing::info!(
            group = %self.id, instance = instance_id, old = %old_id, new = %new_id,
            reason = request.reason.as_deref().unwrap_or_default(),
            "a static member joins in place of its former self"
        );
        let fenced = ClassicError::FencedInstance {
            instance_id: instance_id.clone(),
        };
        member.refuse_waiting(&fenced, outcome);
        let knows_skip_assignment = request.knows_skip_assignment;
        member.update(request);
        member.is_new = false;
        member.owes_sync = false;
        member.renew_session(at.now);
        member.wait_for_join(token, outcome);
        self.members.insert(new_id.clone(), member);
        self.instances.insert(instance_id, new_id.clone());
        let leads = self.is_leader(old_id);
        if leads {
            self.leader = Some(new_id.clone());
        }
        match self.phase {
            Phase::Stable { .. } if self.choose_protocol() == self.protocol => {
                self.record(at, outcome);
                let joined = self.rejoined(old_id, &new_id, leads, knows_skip_assignment);
                if let Some(member) = self.members.get_mut(&new_id) {
                    member.answer_join(|| Ok(joined), outcome);
                }
            }
            // The leader may have been told of the old id, and would assign to that.
            _ => self.rebalance(at, "a static member was replaced", outcome),
        }
    }

    /// The reply to a static member that is back in a stable group. A leader must not assign: the
    /// others do not wait for it. A client that does not know `skip_assignment` is made to believe
    /// that its old id leads, so that it follows.
    fn rejoined(
        &self,
        old_id: &MemberId,
        new_id: &MemberId,
        leads: bool,
        knows_skip_assignment: bool,
    ) -> Joined {
        let mut joined = self.joined(new_id);
        if knows_skip_assignment {
            joined.skip_assignment = leads;
        } else if leads {
            joined.leader = Some(old_id.clone());
            joined.members.clear();
        }
        joined
    }
}

/// The beginning of a name that is too long for an id.
fn shortened(name: &str) -> &str {
    let mut end = name.len().min(ID_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
