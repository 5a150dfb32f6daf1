//! Heartbeats of members that have nothing to say, and wait for something to be told: a rebalance then
//! reaches its members as soon as it is decided, not when their next heartbeat is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::group::consumer::{Heartbeat, HeartbeatReply};
use crate::group::coordinator::Answer;
use crate::group::{GroupId, MemberId};
use crate::partition::Refusal;
use crate::runtime::{Instant, oneshot};

/// At most one heartbeat of each member.
#[derive(Default)]
pub(super) struct Parked {
    groups: BTreeMap<GroupId, BTreeMap<MemberId, ParkedHeartbeat>>,
    ends: BTreeSet<(Instant, GroupId, MemberId)>,
    /// Groups in which something has changed since their members were last looked at.
    disturbed: BTreeSet<GroupId>,
    /// Members to be looked at.
    queue: VecDeque<(GroupId, MemberId)>,
}

pub(super) struct ParkedHeartbeat {
    pub(super) heartbeat: Heartbeat,
    /// The answer if nothing happens until the end of the wait.
    pub(super) answer: HeartbeatReply,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, Refusal>>,
}

impl Parked {
    pub(super) fn park(&mut self, group_id: &GroupId, parked: ParkedHeartbeat) {
        let member_id = parked.heartbeat.member_id.clone();
        let end = (parked.until, group_id.clone(), member_id.clone());
        self.ends.insert(end);
        let members = self.groups.entry(group_id.clone()).or_default();
        members.insert(member_id, parked);
    }

    /// The member's heartbeat, which waits no more.
    pub(super) fn take(
        &mut self,
        group_id: &GroupId,
        member_id: &MemberId,
    ) -> Option<ParkedHeartbeat> {
        let members = self.groups.get_mut(group_id)?;
        let parked = members.remove(member_id)?;
        if members.is_empty() {
            self.groups.remove(group_id);
        }
        let end = (parked.until, group_id.clone(), member_id.clone());
        self.ends.remove(&end);
        Some(parked)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// When the first of them has waited long enough.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, ..)| *until)
    }

    /// One that has waited long enough.
    pub(super) fn take_ended(&mut self, now: Instant) -> Option<ParkedHeartbeat> {
        let (until, group_id, member_id) = self.ends.first()?;
        if *until > now {
            return None;
        }
        let (group_id, member_id) = (group_id.clone(), member_id.clone());
        self.take(&group_id, &member_id)
    }

    /// Something has changed in the group that its members may have to hear.
    pub(super) fn disturb(&mut self, group_id: &GroupId) {
        if self.groups.contains_key(group_id) {
            self.disturbed.insert(group_id.clone());
        }
    }

    /// True while members are to be looked at.
    pub(super) fn has_disturbed(&self) -> bool {
        !self.disturbed.is_empty() || !self.queue.is_empty()
    }

    /// The heartbeat of a member of a disturbed group for whom there are news, to be decided about anew.
    pub(super) fn take_with_news(
        &mut self,
        has_news: impl Fn(&GroupId, &MemberId) -> bool,
    ) -> Option<(GroupId, ParkedHeartbeat)> {
        loop {
            while let Some((group_id, member_id)) = self.queue.pop_front() {
                if has_news(&group_id, &member_id)
                    && let Some(parked) = self.take(&group_id, &member_id)
                {
                    return Some((group_id, parked));
                }
            }
            let group_id = self.disturbed.pop_first()?;
            let members = self.groups.get(&group_id).into_iter().flatten();
            let members = members.map(|(member_id, _)| (group_id.clone(), member_id.clone()));
            self.queue.extend(members);
        }
    }
}
