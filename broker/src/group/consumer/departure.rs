//! Leaving: for good, or for now with a static instance id.

use super::group::Records;
use super::{
    Change, ConsumerGroup, CurrentAssignment, GroupError, Heartbeat, HeartbeatReply, Outcome,
    Partitions, STATIC_MEMBER_AWAY,
};
use crate::runtime::Instant;

const LEFT: i32 = -1;

impl ConsumerGroup {
    pub(super) fn leave(&mut self, heartbeat: &Heartbeat) -> Result<Outcome, GroupError> {
        self.check_known(&heartbeat.member_id, heartbeat.instance_id.as_deref())?;
        let mut records = Records::new();
        self.remove_member(&mut records, &heartbeat.member_id);
        self.members_departed(&mut records);
        Ok(self.farewell(heartbeat, LEFT, records))
    }

    /// The member gives everything up, but nobody gets it until its session times out: when it is
    /// back by then, under whatever member id, it goes on and the others notice nothing.
    pub(super) fn leave_for_now(
        &mut self,
        heartbeat: &Heartbeat,
        now: Instant,
    ) -> Result<Outcome, GroupError> {
        self.check_known(&heartbeat.member_id, heartbeat.instance_id.as_deref())?;
        let mut records = Records::new();
        let member = &self.state.members[&heartbeat.member_id];
        if !member.is_away() {
            let away = CurrentAssignment {
                member_epoch: STATIC_MEMBER_AWAY,
                pending_revocation: Partitions::new(),
                ..member.current.clone()
            };
            let member_id = heartbeat.member_id.clone();
            let value = Some(away);
            self.decide(&mut records, Change::CurrentOfMember { member_id, value });
            self.await_heartbeat(&heartbeat.member_id, now);
            self.await_revocation(&heartbeat.member_id, now);
        }
        Ok(self.farewell(heartbeat, STATIC_MEMBER_AWAY, records))
    }

    fn farewell(&self, heartbeat: &Heartbeat, member_epoch: i32, records: Records) -> Outcome {
        Outcome {
            records,
            reply: HeartbeatReply {
                member_id: heartbeat.member_id.clone(),
                member_epoch,
                heartbeat_interval: self.config.heartbeat_interval,
                session_timeout: self.config.session_timeout,
                assignment: None,
            },
        }
    }
}
