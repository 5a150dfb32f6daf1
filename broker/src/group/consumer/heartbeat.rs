//! Heartbeats of those who join and of those who go on.

use std::collections::BTreeSet;

use super::canary::{Canary, is_planted};
use super::group::Records;
use super::reconcile::Circumstances;
use super::state::Member;
use super::{
    Change, ConsumerGroup, CurrentAssignment, GroupError, Heartbeat, HeartbeatEpoch,
    HeartbeatReply, MemberMetadata, Outcome, Partitions, ResolvedPattern, Topics, pattern,
};
use crate::group::MemberId;
use crate::runtime::Instant;

/// No group gets near its last epoch in good faith. The rest is for those who still leave.
const EPOCHS_END: i32 = i32::MAX - 1_000_000;

/// How a heartbeat finds its member.
enum Admission {
    Known,
    New,
    /// A static member that left for now is back under another member id.
    Replaces(MemberId),
}

/// What a decision is made of beside the heartbeat.
struct Moment<'a> {
    now: Instant,
    /// For records.
    unix_millis: i64,
    topics: &'a Topics,
}

impl ConsumerGroup {
    /// Decides about one heartbeat. After an error nothing has changed.
    pub fn heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        now: Instant,
        unix_millis: i64,
        topics: &Topics,
    ) -> Result<Outcome, GroupError> {
        heartbeat.validate(&self.config.assignors)?;
        let moment = Moment {
            now,
            unix_millis,
            topics,
        };
        match heartbeat.epoch {
            HeartbeatEpoch::Join => {
                let admission = self.admit(heartbeat)?;
                self.go_on(heartbeat, admission, &moment)
            }
            HeartbeatEpoch::At(epoch) => {
                self.check_member(heartbeat, epoch)?;
                self.go_on(heartbeat, Admission::Known, &moment)
            }
            HeartbeatEpoch::Leave => self.leave(heartbeat),
            HeartbeatEpoch::LeaveForNow => self.leave_for_now(heartbeat, now),
        }
    }

    fn admit(&self, heartbeat: &Heartbeat) -> Result<Admission, GroupError> {
        let is_known = self.state.members.contains_key(&heartbeat.member_id);
        let instance = heartbeat.instance_id.as_ref();
        if let Some(instance_id) = instance
            && let Some((holder, member)) = self.state.holder(instance_id)
            && *holder != heartbeat.member_id
        {
            if member.is_away() && !is_known {
                return Ok(Admission::Replaces(holder.clone()));
            }
            return Err(GroupError::UnreleasedInstance {
                instance_id: instance_id.clone(),
                holder: holder.clone(),
            });
        }
        if is_known {
            return Ok(Admission::Known);
        }
        if self.state.members.len() >= self.config.max_size {
            return Err(GroupError::Full {
                group_id: self.id.clone(),
                max_size: self.config.max_size,
            });
        }
        Ok(Admission::New)
    }

    /// Refuses members that are not there, and static ones that another one has replaced.
    pub(super) fn check_known(
        &self,
        member_id: &MemberId,
        instance_id: Option<&str>,
    ) -> Result<&Member, GroupError> {
        if let Some(instance_id) = instance_id {
            let Some((holder, member)) = self.state.holder(instance_id) else {
                return Err(GroupError::UnknownInstance {
                    group_id: self.id.clone(),
                    instance_id: instance_id.to_owned(),
                });
            };
            if holder != member_id {
                return Err(GroupError::FencedInstance {
                    instance_id: instance_id.to_owned(),
                    holder: holder.clone(),
                });
            }
            return Ok(member);
        }
        let known = self.state.members.get(member_id);
        known.ok_or_else(|| GroupError::UnknownMember {
            group_id: self.id.clone(),
            member_id: member_id.clone(),
        })
    }

    fn check_member(&self, heartbeat: &Heartbeat, received: i32) -> Result<(), GroupError> {
        let member = self.check_known(&heartbeat.member_id, heartbeat.instance_id.as_deref())?;
        let current = &member.current;
        // The reply that raised the epoch may have been lost; then the member owns nothing that
        // the coordinator has taken back since.
        let missed_a_reply = received == current.previous_member_epoch
            && heartbeat
                .owned
                .as_ref()
                .is_some_and(|owned| owned.is_subset(&current.assigned));
        let is_let_in = received == current.member_epoch || missed_a_reply;
        if (is_let_in && !member.is_away()) || is_planted(Canary::ForgottenFence) {
            return Ok(());
        }
        Err(GroupError::FencedEpoch {
            member_id: heartbeat.member_id.clone(),
            received,
            expected: current.member_epoch,
        })
    }

    fn go_on(
        &mut self,
        heartbeat: &Heartbeat,
        admission: Admission,
        moment: &Moment<'_>,
    ) -> Result<Outcome, GroupError> {
        let id = &heartbeat.member_id;
        if self.state.epoch >= EPOCHS_END {
            return Err(GroupError::EpochsExhausted {
                group_id: self.id.clone(),
            });
        }
        self.check_pattern(heartbeat)?;
        let known = match &admission {
            Admission::New => None,
            Admission::Known => self.state.members.get(id),
            Admission::Replaces(away) => self.state.members.get(away),
        };
        let before = known.map_or_else(MemberMetadata::default, |m| m.metadata.clone());
        let metadata = heartbeat.update(&before, &self.config)?;

        // Nothing below refuses.
        let mut records = Records::new();
        if let Admission::Replaces(away) = &admission {
            self.replace(away, id, &mut records);
        }
        let mut is_changed = matches!(admission, Admission::New);
        is_changed |= self.update_member(id, &before, metadata, &mut records);
        is_changed |= self.resolve_patterns(heartbeat, moment, &mut records);
        let version = moment.topics.version();
        let is_behind = self.state.epoch > self.state.target_epoch;
        if is_changed || is_behind || self.compared_with != Some(version) {
            let hash = self.state.hash_of_subscribed(moment.topics);
            is_changed |= hash != self.state.metadata_hash;
            if is_changed {
                self.raise_epoch(&mut records, hash);
            }
            self.compared_with = Some(version);
        }
        if self.state.epoch > self.state.target_epoch {
            self.assign(moment.topics, &mut records);
        }

        self.await_heartbeat(id, moment.now);
        let is_reassigned = self.reconcile(heartbeat, moment.now, &mut records);
        let current = &self.state.members[id].current;
        // One that says an older epoch may have missed the reply that held its assignment.
        let is_told_all = heartbeat.epoch != HeartbeatEpoch::At(current.member_epoch)
            || heartbeat.is_full()
            || is_reassigned;
        Ok(Outcome {
            records,
            reply: HeartbeatReply {
                member_id: id.clone(),
                member_epoch: current.member_epoch,
                heartbeat_interval: self.config.heartbeat_interval,
                session_timeout: self.config.session_timeout,
                assignment: is_told_all.then(|| current.assigned.clone()),
            },
        })
    }

    fn check_pattern(&self, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        match heartbeat.subscribed_topic_regex.as_deref() {
            None | Some("") => Ok(()),
            Some(pattern) if self.state.patterns.contains_key(pattern) => Ok(()),
            Some(pattern) => pattern::compile(pattern).map(drop),
        }
    }

    /// True if the member wants something else than before.
    fn update_member(
        &mut self,
        member_id: &MemberId,
        before: &MemberMetadata,
        metadata: MemberMetadata,
        records: &mut Records,
    ) -> bool {
        let names_differ = metadata.subscribed_topic_names != before.subscribed_topic_names;
        let pattern_differs = metadata.subscribed_topic_regex != before.subscribed_topic_regex;
        let assignor_differs = metadata.server_assignor != before.server_assignor;
        if metadata != *before {
            let member_id = member_id.clone();
            let value = Some(metadata);
            self.decide(records, Change::Member { member_id, value });
        }
        if pattern_differs {
            self.drop_unused_patterns(records);
        }
        names_differ || pattern_differs || assignor_differs
    }

    /// The member that came back takes over all that the one that left was and had.
    fn replace(&mut self, away: &MemberId, member_id: &MemberId, records: &mut Records) {
        let member = self.state.members[away].clone();
        self.remove_member(records, away);
        let id = || member_id.clone();
        let current = CurrentAssignment {
            member_epoch: 0,
            previous_member_epoch: 0,
            ..member.current
        };
        let successor = [
            Change::Member {
                member_id: id(),
                value: Some(member.metadata),
            },
            Change::TargetOfMember {
                member_id: id(),
                value: Some(member.target),
            },
            Change::CurrentOfMember {
                member_id: id(),
                value: Some(current),
            },
        ];
        for change in successor {
            self.decide(records, change);
        }
    }

    /// Resolves every pattern where the topics are new, and the member's own where that is new.
    /// True if one means other topics than before.
    fn resolve_patterns(
        &mut self,
        heartbeat: &Heartbeat,
        moment: &Moment<'_>,
        records: &mut Records,
    ) -> bool {
        let version = moment.topics.version();
        let pattern_of = |member: &Member| member.metadata.subscribed_topic_regex.clone();
        let patterns: BTreeSet<String> = if self.compared_with == Some(version) {
            let own = pattern_of(&self.state.members[&heartbeat.member_id]);
            let is_new = |pattern: &String| !self.state.patterns.contains_key(pattern);
            own.into_iter().filter(is_new).collect()
        } else {
            let members = self.state.members.values();
            members.filter_map(pattern_of).collect()
        };
        let mut is_changed = false;
        for pattern in patterns {
            // One that another version accepted and this one does not keeps what it meant.
            let Ok(compiled) = pattern::compile(&pattern) else {
                continue;
            };
            let topics = pattern::resolve(&compiled, moment.topics);
            let known = self.state.patterns.get(&pattern);
            if known.is_some_and(|known| known.topics == topics) {
                continue;
            }
            let value = Some(ResolvedPattern {
                topics,
                version,
                timestamp_ms: moment.unix_millis,
            });
            self.decide(records, Change::Pattern { pattern, value });
            is_changed = true;
        }
        is_changed
    }

    /// Takes the member a step further. True if that gave it partitions or took some away.
    fn reconcile(&mut self, heartbeat: &Heartbeat, now: Instant, records: &mut Records) -> bool {
        let member_id = &heartbeat.member_id;
        let nothing = Partitions::new();
        let circumstances = Circumstances {
            target_epoch: self.state.target_epoch,
            owned: match heartbeat.epoch {
                HeartbeatEpoch::Join => Some(&nothing),
                _ => heartbeat.owned.as_ref(),
            },
            held_by_other: |partition| {
                let owner = self.state.owner(partition);
                owner.is_some_and(|owner| owner != member_id)
            },
        };
        let member = &self.state.members[member_id];
        let Some(next) = circumstances.next(member) else {
            return false;
        };
        let is_reassigned = next.assigned != member.current.assigned;
        let member_id = member_id.clone();
        let value = Some(next);
        self.decide(records, Change::CurrentOfMember { member_id, value });
        self.await_revocation(&heartbeat.member_id, now);
        is_reassigned
    }
}
