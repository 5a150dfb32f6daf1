//! What a member of a group knows and wants, and what it says when (KIP-848). Plain state: the time is passed in, the
//! heartbeats' task does the sending, `poll` does what the caller must see.
//!
//! Of its partitions it knows its [`Holdings`]. A heartbeat says what is owned or may be taken at any moment, which is less
//! only when `poll` has given something up or the coordinator has taken it back before. Put out of the group, a member has
//! lost what it owned, and joins again when `poll` has told the caller.

use std::collections::BTreeSet;
use std::time::Duration;

use corelog_protocol::ErrorCode;
use corelog_protocol::native::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, MemberEpoch,
};
use tokio::time::Instant;

use super::holdings::{Holdings, IdPartition, by_topic};
use crate::error::{GroupError, words};

/// Who the member is, for as long as it lives.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) group: String,
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) rack: Option<String>,
    pub(super) assignor: Option<String>,
    /// How long the caller may be away from `poll`, and so how long it may take to give up a partition.
    pub(super) max_poll_interval: Duration,
    /// How long a heartbeat may wait at the coordinator: its request must not time out.
    pub(super) longest_wait: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: BTreeSet<String>,
    pub(super) pattern: String,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Not in the group, and nothing wants it to be.
    Outside,
    /// The caller has stopped polling; it joins when that goes on.
    Idle,
    /// Wants in. It has tried since then.
    Joining {
        since: Instant,
    },
    Member {
        epoch: i32,
    },
    /// Says that it leaves, to be outside or idle.
    Leaving {
        idle: bool,
    },
    /// The coordinator refuses it for good, until the caller subscribes again.
    Failed(GroupError),
}

/// What a heartbeat said beside the member's name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    subscription: Subscription,
    claimed: BTreeSet<IdPartition>,
}

/// The heartbeat under way.
#[derive(Clone, Debug)]
struct Sent {
    epoch: i32,
    said: Said,
    at: Instant,
    /// It says nothing new, and waits for what the coordinator has to say.
    waits: bool,
}

/// What the heartbeats' task is to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Send(ConsumerGroupHeartbeatRequest),
    WaitUntil(Instant),
    /// Until something changes.
    Wait,
}

pub(super) struct Membership {
    identity: Identity,
    subscription: Subscription,
    phase: Phase,
    pub(super) holdings: Holdings,
    sent: Option<Sent>,
    /// What the coordinator knows; none: say everything.
    said: Option<Said>,
    interval: Duration,
    /// When the next heartbeat is due, unless there is news.
    due: Instant,
    /// Even news waits until then, after an error.
    not_before: Instant,
    /// Since when nobody polls.
    away_since: Option<Instant>,
    /// What the last attempt to get in met.
    trouble: Option<String>,
}

impl Membership {
    pub(super) fn new(identity: Identity, now: Instant) -> Self {
        Self {
            identity,
            subscription: Subscription::default(),
            phase: Phase::Outside,
            holdings: Holdings::default(),
            sent: None,
            said: None,
            interval: Duration::from_secs(5),
            due: now,
            not_before: now,
            away_since: Some(now),
            trouble: None,
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.identity.group
    }

    /// Subscribes to something else, or for the first time.
    pub(super) fn subscribe(&mut self, subscription: Subscription, now: Instant) {
        self.subscription = subscription;
        if !matches!(self.phase, Phase::Member { .. } | Phase::Joining { .. }) {
            self.away_since = self.away_since.map(|_| now);
            self.join(now);
        }
    }

    fn join(&mut self, now: Instant) {
        self.phase = Phase::Joining { since: now };
        self.said = None;
        self.due = now;
        self.not_before = now;
        self.trouble = None;
    }

    /// Leaves the group for good, or for now as a static member. What it had was given up before.
    pub(super) fn leave(&mut self, now: Instant) {
        self.holdings.forget("this consumer has left the group");
        self.depart(false, now);
    }

    fn depart(&mut self, idle: bool, now: Instant) {
        let may_be_known = match self.phase {
            Phase::Member { .. } | Phase::Leaving { .. } => true,
            Phase::Joining { .. } => self.sent.is_some() || self.trouble.is_some(),
            Phase::Outside | Phase::Idle | Phase::Failed(_) => false,
        };
        self.phase = match (may_be_known, idle) {
            (true, idle) => Phase::Leaving { idle },
            (false, true) => Phase::Idle,
            (false, false) => Phase::Outside,
        };
        self.due = now;
        self.not_before = now;
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. })
    }

    /// The caller polls; until that ends it is not away. True if that makes a difference to the heartbeats.
    pub(super) fn poll_began(&mut self, now: Instant) -> bool {
        self.away_since = None;
        let was_away = matches!(self.phase, Phase::Idle | Phase::Leaving { idle: true });
        if was_away {
            self.join(now);
        }
        was_away
    }

    pub(super) fn poll_ended(&mut self, now: Instant) {
        self.away_since = Some(now);
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        self.give_up_polling_when_away(now);
        let away_until = self.away_until(now);
        let epoch = match self.phase {
            // The caller must hear what it lost before it can be given anything.
            Phase::Joining { .. } if self.holdings.is_loss_untold() => {
                return Step::WaitUntil(away_until);
            }
            Phase::Outside | Phase::Idle | Phase::Failed(_) => return Step::Wait,
            Phase::Joining { .. } => ConsumerGroupHeartbeatRequest::JOIN_EPOCH,
            Phase::Member { epoch } => epoch,
            Phase::Leaving { .. } => match self.identity.instance_id {
                Some(_) => ConsumerGroupHeartbeatRequest::LEAVE_FOR_NOW_EPOCH,
                None => ConsumerGroupHeartbeatRequest::LEAVE_EPOCH,
            },
        };
        let due = if self.has_news() {
            self.not_before
        } else {
            self.due
        };
        if now < due {
            let until = match self.phase {
                Phase::Leaving { .. } => due,
                _ => due.min(away_until),
            };
            return Step::WaitUntil(until);
        }
        Step::Send(self.heartbeat(epoch, now))
    }

    /// Until when the caller may stay away from `poll`. A poll under way may end at once, and the next one stay away from
    /// then on.
    pub(super) fn away_until(&self, now: Instant) -> Instant {
        self.away_since.unwrap_or(now) + self.identity.max_poll_interval
    }

    /// True if the heartbeat under way only waits, and there is something to say meanwhile. It is given up then: whatever
    /// its answer would have told, the next heartbeat asks for again.
    pub(super) fn breaks_off(&mut self, now: Instant) -> bool {
        self.give_up_polling_when_away(now);
        let speaks = self.has_news() || !matches!(self.phase, Phase::Member { .. });
        if !speaks || !self.sent.as_ref().is_some_and(|sent| sent.waits) {
            return false;
        }
        self.sent = None;
        self.said = None;
        self.due = self.due.min(now);
        true
    }

    /// Where the caller is away for too long, another member shall have the partitions.
    fn give_up_polling_when_away(&mut self, now: Instant) {
        let is_in = matches!(self.phase, Phase::Joining { .. } | Phase::Member { .. });
        if is_in && now >= self.away_until(now) {
            self.give_up_polling(now);
        }
    }

    fn give_up_polling(&mut self, now: Instant) {
        self.holdings.lose(format!(
            "it was given up because poll was not called for max.poll.interval.ms = {}",
            self.identity.max_poll_interval.as_millis()
        ));
        tracing::warn!(
            group = self.identity.group,
            member = self.identity.member_id,
            "the member leaves its group: poll was not called for max.poll.interval.ms = {}. Poll more often, or raise \
             it, or lower max.poll.records",
            self.identity.max_poll_interval.as_millis()
        );
        self.depart(true, now);
    }

    /// True if the coordinator should hear something now. After an error everything is said again, in due time.
    fn has_news(&self) -> bool {
        match (&self.phase, &self.said) {
            (Phase::Member { .. }, Some(said)) => {
                said.subscription != self.subscription || self.holdings.claimed() != said.claimed
            }
            _ => false,
        }
    }

    fn heartbeat(&mut self, epoch: i32, now: Instant) -> ConsumerGroupHeartbeatRequest {
        let now_said = Said {
            subscription: self.subscription.clone(),
            claimed: self.holdings.claimed(),
        };
        let mut request = ConsumerGroupHeartbeatRequest {
            group: self.identity.group.clone(),
            member_id: self.identity.member_id.clone(),
            member_epoch: epoch,
            instance_id: self.identity.instance_id.clone(),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let waits = self.said.as_ref() == Some(&now_said);
        if waits {
            let wait = self.interval.min(self.identity.longest_wait).as_millis();
            request.wait_ms = u32::try_from(wait).unwrap_or(u32::MAX);
        }
        let is_departure = epoch < ConsumerGroupHeartbeatRequest::JOIN_EPOCH;
        if !is_departure {
            let said = self.said.as_ref();
            let says_all = said.is_none();
            if says_all {
                request.rack_id.clone_from(&self.identity.rack);
                request.assignor.clone_from(&self.identity.assignor);
                let timeout = self.identity.max_poll_interval.as_millis();
                request.rebalance_timeout_ms = Some(u32::try_from(timeout).unwrap_or(u32::MAX));
            }
            if said.is_none_or(|said| said.subscription != self.subscription) {
                let topics = self.subscription.topics.iter().cloned().collect();
                request.topic_names = Some(topics);
                request.topic_pattern = Some(self.subscription.pattern.clone());
            }
            if said.is_none_or(|said| said.claimed != now_said.claimed) {
                request.owned = Some(by_topic(&now_said.claimed));
            }
        }
        self.sent = Some(Sent {
            epoch,
            said: now_said,
            at: now,
            waits,
        });
        request
    }

    /// Takes the coordinator's answer to the heartbeat under way. False if the next attempt must wait: see
    /// [`retry_at`](Self::retry_at).
    pub(super) fn answered(
        &mut self,
        response: &ConsumerGroupHeartbeatResponse,
        now: Instant,
    ) -> bool {
        let Some(sent) = self.sent.take() else {
            return true;
        };
        if !self.still_means(&sent) {
            // The caller has changed its mind meanwhile. Whatever the answer, the next heartbeat says everything.
            self.said = None;
            return true;
        }
        let code = response.error;
        let message = words(code, response.error_message.as_ref());
        match code {
            ErrorCode::None => self.accepted(sent, response, now),
            // Out it is, by whose decision does not matter.
            _ if self.is_leaving() && !code.is_retriable() => self.departed(),
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.holdings.lose(format!(
                    "the coordinator put the member out: {code}: {message}"
                ));
                self.join(now);
            }
            // The last incarnation of a static member has yet to leave, or to be taken for dead.
            _ if code.is_retriable() || code == ErrorCode::UnreleasedInstanceId => {
                self.trouble = Some(format!("{code}: {message}"));
                return false;
            }
            _ => {
                let group = self.identity.group.clone();
                self.fail(GroupError::Refused {
                    group,
                    action: "staying in the group",
                    code,
                    message,
                });
            }
        }
        true
    }

    fn still_means(&self, sent: &Sent) -> bool {
        match self.phase {
            Phase::Joining { .. } => sent.epoch == ConsumerGroupHeartbeatRequest::JOIN_EPOCH,
            Phase::Member { epoch } => sent.epoch == epoch,
            Phase::Leaving { .. } => sent.epoch < ConsumerGroupHeartbeatRequest::JOIN_EPOCH,
            Phase::Outside | Phase::Idle | Phase::Failed(_) => false,
        }
    }

    fn accepted(&mut self, sent: Sent, response: &ConsumerGroupHeartbeatResponse, now: Instant) {
        if self.is_leaving() {
            self.departed();
            return;
        }
        self.phase = Phase::Member {
            epoch: response.member_epoch,
        };
        self.said = Some(sent.said);
        self.trouble = None;
        // A coordinator that says 0 must not be stormed.
        let interval_ms = response.heartbeat_interval_ms.max(1);
        self.interval = Duration::from_millis(u64::from(interval_ms));
        // The next one waits at the coordinator. Where this one should have waited and did not, the coordinator keeps
        // none waiting, and is to be asked again when it says.
        let is_told = response.assignment.is_some() || response.member_epoch != sent.epoch;
        self.due = match sent.waits && !is_told {
            true => now.max(sent.at + self.interval),
            false => now,
        };
        self.not_before = now;
        if let Some(assignment) = &response.assignment {
            self.holdings.set_target(assignment);
        }
    }

    fn departed(&mut self) {
        let idle = matches!(self.phase, Phase::Leaving { idle: true });
        self.phase = if idle { Phase::Idle } else { Phase::Outside };
    }

    /// The heartbeat under way came to nothing, or may have: nobody knows what the coordinator heard and said.
    pub(super) fn unanswered(&mut self, reason: String) {
        self.sent = None;
        self.trouble = Some(reason);
        self.holdings.forget_starts();
    }

    /// Says everything again, not before then.
    pub(super) fn retry_at(&mut self, at: Instant) {
        self.said = None;
        self.due = at;
        self.not_before = at;
    }

    /// Ends the membership, until the caller subscribes again.
    pub(super) fn fail(&mut self, error: GroupError) {
        self.sent = None;
        self.holdings.lose(error.to_string());
        self.phase = Phase::Failed(error);
    }

    /// Has the next heartbeat sent at once: somebody has seen that the coordinator thinks otherwise.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now).max(self.not_before);
    }

    /// The member as it names itself to the coordinator; none while it is not in the group.
    pub(super) fn member(&self) -> Option<MemberEpoch> {
        match self.phase {
            Phase::Member { epoch } => Some(MemberEpoch {
                member_id: self.identity.member_id.clone(),
                epoch,
            }),
            _ => None,
        }
    }

    pub(super) fn member_id(&self) -> &str {
        &self.identity.member_id
    }

    /// What keeps this consumer from being a member, if the caller should hear of it: a refusal for good, or trouble that
    /// has lasted for `within`.
    pub(super) fn error(&mut self, now: Instant, within: Duration) -> Option<GroupError> {
        match &mut self.phase {
            Phase::Failed(error) => Some(error.clone()),
            Phase::Outside => Some(GroupError::NotSubscribed {
                group: self.identity.group.clone(),
            }),
            Phase::Joining { since } if now.duration_since(*since) >= within => {
                let waited = now.duration_since(*since);
                // Once in such a time is often enough.
                *since = now;
                Some(GroupError::Timeout {
                    group: self.identity.group.clone(),
                    action: "joining",
                    waited,
                    reason: self
                        .trouble
                        .clone()
                        .unwrap_or_else(|| "the coordinator has not answered".to_owned()),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
