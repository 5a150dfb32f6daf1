use super::error::ClassicError;
use super::group::{ClassicGroup, Phase};
use super::reply::{Outcome, Reply};
use super::request::{HeartbeatRequest, Moment, Token};

impl ClassicGroup {
    /// Decides about a Heartbeat: it renews the session, and tells the member when to join again.
    pub fn heartbeat(&mut self, at: Moment, token: Token, request: &HeartbeatRequest) -> Outcome {
        let mut outcome = Outcome::default();
        let answer = self.try_heartbeat(at, request);
        outcome.reply(token, Reply::Heartbeat(answer));
        outcome
    }

    fn try_heartbeat(
        &mut self,
        at: Moment,
        request: &HeartbeatRequest,
    ) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Removed(self.id.clone()));
        }
        let member_id = self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        if let Some(member) = self.members.get_mut(&member_id) {
            member.renew_session(at.now);
        }
        match self.phase {
            Phase::PreparingRebalance { .. } => Err(ClassicError::RebalanceInProgress),
            // While the assignments are on their way a member has nothing better to do than sync.
            _ => Ok(()),
        }
    }
}
