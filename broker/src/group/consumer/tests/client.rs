//! A consumer as the coordinator meets it: slow, forgetful, gone without a word.

use std::collections::BTreeSet;

use super::rig::saying;
use crate::group::MemberId;
use crate::group::consumer::{Heartbeat, HeartbeatEpoch, HeartbeatReply, Partitions};
use crate::runtime::Instant;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    pub(super) names: BTreeSet<String>,
    pub(super) pattern: String,
    pub(super) assignor: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) member_id: MemberId,
    pub(super) instance_id: Option<String>,
    pub(super) subscription: Subscription,
    /// 0 while it is to join.
    pub(super) epoch: i32,
    pub(super) past_epochs: Vec<i32>,
    /// What it reads.
    pub(super) owned: Partitions,
    /// What it was told not to read any more, and still does.
    pub(super) revoking: Partitions,
    /// What it was told that it owns and has not reported as revoked: never two members' at once.
    pub(super) told: Partitions,
    /// It keeps what it must revoke, and goes on with heartbeats.
    pub(super) is_stubborn: bool,
    /// It sends nothing; the coordinator has yet to find out.
    pub(super) is_silent: bool,
    /// The coordinator has let it in and not thrown it out.
    pub(super) is_member: bool,
    /// Its last request or the reply was lost, or the coordinator has yet to hear everything.
    pub(super) says_all: bool,
    /// What it last said that it owns.
    reported: Partitions,
    /// When the coordinator last heard of it.
    pub(super) last_heard: Instant,
}

impl Client {
    pub(super) fn new(
        member_id: MemberId,
        instance_id: Option<String>,
        subscription: Subscription,
        now: Instant,
    ) -> Self {
        Self {
            member_id,
            instance_id,
            subscription,
            epoch: 0,
            past_epochs: Vec::new(),
            owned: Partitions::new(),
            revoking: Partitions::new(),
            told: Partitions::new(),
            is_stubborn: false,
            is_silent: false,
            is_member: false,
            says_all: true,
            reported: Partitions::new(),
            last_heard: now,
        }
    }

    pub(super) fn heartbeat(&self, rebalance_timeout_ms: i32) -> Heartbeat {
        let epoch = match self.epoch {
            0 => HeartbeatEpoch::Join,
            epoch => HeartbeatEpoch::At(epoch),
        };
        let mut heartbeat = self.saying(epoch);
        if self.says_all {
            heartbeat.rebalance_timeout_ms = Some(rebalance_timeout_ms);
            heartbeat.subscribed_topic_names = Some(self.subscription.names.clone());
            heartbeat.subscribed_topic_regex = Some(self.subscription.pattern.clone());
            heartbeat.server_assignor = Some(self.subscription.assignor.to_owned());
        }
        if self.says_all || self.reported != self.owned {
            heartbeat.owned = Some(self.owned.clone());
        }
        heartbeat
    }

    pub(super) fn saying(&self, epoch: HeartbeatEpoch) -> Heartbeat {
        Heartbeat {
            instance_id: self.instance_id.clone(),
            ..saying(self.member_id.as_str(), epoch)
        }
    }

    /// The coordinator has taken the heartbeat; whether the reply arrives is another question.
    pub(super) fn heard(&mut self, heartbeat: &Heartbeat, now: Instant) {
        self.is_member = true;
        self.last_heard = now;
        if let Some(owned) = &heartbeat.owned {
            self.told.clone_from(owned);
        }
    }

    pub(super) fn take(&mut self, heartbeat: &Heartbeat, reply: &HeartbeatReply) {
        if let Some(owned) = &heartbeat.owned {
            self.reported.clone_from(owned);
        }
        self.says_all = false;
        if self.epoch != reply.member_epoch {
            self.past_epochs.push(self.epoch);
            self.epoch = reply.member_epoch;
        }
        if let Some(assignment) = &reply.assignment {
            self.revoking = &self.owned - assignment;
            self.owned.extend(assignment);
            self.told.extend(assignment);
        }
    }

    /// Gives up what it was told to.
    pub(super) fn revoke(&mut self) {
        if !self.is_stubborn {
            self.owned = &self.owned - &self.revoking;
            self.revoking.clear();
        }
    }

    /// It learned that it is no member any more: it stops reading and starts again.
    pub(super) fn lose_all(&mut self) {
        self.is_member = false;
        self.is_stubborn = false;
        self.epoch = 0;
        self.past_epochs.clear();
        self.owned.clear();
        self.revoking.clear();
        self.told.clear();
        self.reported.clear();
        self.says_all = true;
    }
}
