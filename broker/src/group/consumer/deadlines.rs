//! Who must say something, and until when. Soft: a move of the coordinator starts every wait anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::canary::{Canary, is_planted};
use super::group::Records;
use super::{ConsumerGroup, MemberState, Record};
use crate::group::MemberId;
use crate::runtime::Instant;

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_member: BTreeMap<MemberId, Deadline>,
}

#[derive(Debug)]
struct Deadline {
    /// The next heartbeat.
    session: Instant,
    /// The report that all partitions to be revoked are.
    revocation: Option<Instant>,
}

impl Deadlines {
    pub(super) fn expect_heartbeat(&mut self, member_id: &MemberId, until: Instant) {
        let deadline = Deadline {
            session: until,
            revocation: None,
        };
        let known = self.by_member.entry(member_id.clone()).or_insert(deadline);
        known.session = until;
    }

    pub(super) fn expect_revocation(&mut self, member_id: &MemberId, until: Option<Instant>) {
        if let Some(deadline) = self.by_member.get_mut(member_id) {
            deadline.revocation = until;
        }
    }

    pub(super) fn forget(&mut self, member_id: &MemberId) {
        self.by_member.remove(member_id);
    }

    fn next(&self) -> Option<Instant> {
        self.by_member.values().map(Deadline::first).min()
    }

    fn missed(&self, now: Instant) -> Vec<MemberId> {
        let missed = |deadline: &Deadline| deadline.first() <= now;
        self.by_member
            .iter()
            .filter(|(_, deadline)| missed(deadline))
            .map(|(member_id, _)| member_id.clone())
            .collect()
    }
}

impl Deadline {
    fn first(&self) -> Instant {
        self.revocation
            .map_or(self.session, |revocation| revocation.min(self.session))
    }
}

impl ConsumerGroup {
    /// When [`ConsumerGroup::tick`] has something to do, unless a heartbeat comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Fences the members that were silent for too long or kept what they were to give up. The
    /// records take effect without anybody waiting for them.
    pub fn tick(&mut self, now: Instant) -> Vec<Record> {
        let mut records = Records::new();
        let missed = self.deadlines.missed(now);
        for member_id in &missed {
            self.remove_member(&mut records, member_id);
        }
        if !missed.is_empty() {
            self.members_departed(&mut records);
        }
        records
    }

    /// Every record has been read: the members get their whole time again.
    pub fn loaded(&mut self, now: Instant) {
        let members: Vec<MemberId> = self.state.members.keys().cloned().collect();
        for member_id in members {
            self.await_heartbeat(&member_id, now);
            self.await_revocation(&member_id, now);
        }
    }

    pub(super) fn await_heartbeat(&mut self, member_id: &MemberId, now: Instant) {
        let until = now + self.config.session_timeout;
        self.deadlines.expect_heartbeat(member_id, until);
    }

    /// Starts the member's rebalance time-out if it has something to give up, and ends it if not.
    pub(super) fn await_revocation(&mut self, member_id: &MemberId, now: Instant) {
        let member = &self.state.members[member_id];
        let revokes = member.current.state == MemberState::UnrevokedPartitions && !member.is_away();
        let timeout_ms = member.metadata.rebalance_timeout_ms.max(0).unsigned_abs();
        let until = now + Duration::from_millis(u64::from(timeout_ms));
        let waits = revokes && !is_planted(Canary::StuckRebalance);
        self.deadlines
            .expect_revocation(member_id, waits.then_some(until));
    }
}
