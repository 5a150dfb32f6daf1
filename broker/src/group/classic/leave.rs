use super::error::ClassicError;
use super::group::{ClassicGroup, Phase};
use super::reply::{Left, Outcome, Reply};
use super::request::{LeaveRequest, Leaving, Moment, Token};

impl ClassicGroup {
    /// Decides about a LeaveGroup. Each member named has a result of its own, and all departures
    /// set off one rebalance.
    pub fn leave(&mut self, at: Moment, token: Token, request: LeaveRequest) -> Outcome {
        let mut outcome = Outcome::default();
        if self.phase == Phase::Dead {
            let error = ClassicError::Removed(self.id.clone());
            outcome.reply(token, Reply::Leave(Err(error)));
            return outcome;
        }
        let members = self.members.len();
        let ids = self.unused_ids.len();
        let mut left = Vec::with_capacity(request.members.len());
        for leaving in request.members {
            let result = self.take_leave(&leaving, &mut outcome);
            left.push(Left {
                member_id: leaving.member_id,
                instance_id: leaving.instance_id,
                result,
            });
        }
        outcome.reply(token, Reply::Leave(Ok(left)));
        let members_left = self.members.len() < members;
        if members_left || self.unused_ids.len() < ids {
            self.after_departures(at, "members left", members_left, &mut outcome);
        }
        outcome
    }

    fn take_leave(&mut self, leaving: &Leaving, outcome: &mut Outcome) -> Result<(), ClassicError> {
        let instance_id = leaving.instance_id.as_deref();
        let member_id = match &leaving.member_id {
            None => {
                let named = instance_id.and_then(|id| self.instances.get(id));
                let unknown = || ClassicError::UnknownMember(instance_id.unwrap_or("").to_owned());
                named.cloned().ok_or_else(unknown)?
            }
            Some(id) if self.unused_ids.remove(id).is_some() => return Ok(()),
            Some(id) => self.check_member(id, instance_id)?,
        };
        tracing::info!(
            group = %self.id, member = %member_id,
            reason = leaving.reason.as_deref().unwrap_or_default(),
            "a member left"
        );
        self.take_out(&member_id, outcome);
        Ok(())
    }
}
