use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use super::canary::{Canary, is_planted};
use super::config::ClassicConfig;
use super::error::ClassicError;
use super::member::Member;
use super::record::{GroupMetadata, GroupRecord};
use super::reply::{Outcome, Reply};
use super::request::{Moment, Token};
use crate::group::{GroupId, MemberId};
use crate::runtime::Instant;

/// One group of the classic protocol.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(super) id: GroupId,
    pub(super) config: ClassicConfig,
    pub(super) phase: Phase,
    /// Rises whenever a join phase ends.
    pub(super) generation: i32,
    /// Set by the first member; kept when the last one goes.
    pub(super) protocol_type: Option<String>,
    /// What the members of this generation chose.
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Which member an instance id stands for.
    pub(super) instances: BTreeMap<String, MemberId>,
    /// Ids given out that nobody has joined with yet, and when they are void.
    pub(super) unused_ids: BTreeMap<MemberId, Instant>,
    /// Of the last record.
    pub(super) state_timestamp: Option<i64>,
    /// The log has a record of the group.
    is_recorded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    Empty,
    /// Joins wait for each other, until the deadline.
    PreparingRebalance {
        deadline: Instant,
        /// The group was empty before: it waits for members that nobody has heard of yet.
        initial: Option<InitialDelay>,
    },
    /// Syncs wait for the leader's.
    CompletingRebalance {
        sync_deadline: Instant,
    },
    /// The assignments are known. Members that owe a sync are dropped at the deadline.
    Stable {
        sync_deadline: Option<Instant>,
    },
    /// The group was removed.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct InitialDelay {
    /// By how much the deadline may still be put off.
    pub(super) remaining: Duration,
    /// A member came since the deadline was set.
    pub(super) member_joined: bool,
}

impl ClassicGroup {
    /// A group that nobody has joined, and that no record tells of.
    pub fn new(id: GroupId, config: ClassicConfig) -> Self {
        Self {
            id,
            config,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            unused_ids: BTreeMap::new(),
            state_timestamp: None,
            is_recorded: false,
        }
    }

    /// Nothing would be lost with the group: it has no record, no member, and no id was given out
    /// that somebody may come back with. Strangers' attempts to join end here.
    pub fn is_forgettable(&self) -> bool {
        !self.is_recorded && self.members.is_empty() && self.unused_ids.is_empty()
    }

    /// Puts a record into the state: one that a decision just made, or one that is read while the
    /// group is loaded. After the last one of a load, call [`ClassicGroup::start`].
    ///
    /// # Panics
    /// If the record is another group's.
    pub fn apply(&mut self, record: &GroupRecord) {
        assert_eq!(record.group_id, self.id, "the record of another group");
        match &record.metadata {
            Some(metadata) => self.apply_metadata(metadata),
            None => {
                self.phase = Phase::Dead;
                self.members.clear();
                self.instances.clear();
                self.unused_ids.clear();
                self.is_recorded = false;
            }
        }
    }

    fn apply_metadata(&mut self, metadata: &GroupMetadata) {
        let protocol = metadata.protocol.as_deref().unwrap_or_default();
        let mut live = mem::take(&mut self.members);
        self.instances.clear();
        for recorded in &metadata.members {
            let id = recorded.member_id.clone();
            if let Some(instance_id) = &recorded.instance_id {
                self.instances.insert(instance_id.clone(), id.clone());
            }
            let member = match live.remove(&id) {
                Some(mut member) => {
                    member.take_record(recorded, protocol);
                    member
                }
                None => Member::recorded(recorded, protocol),
            };
            self.members.insert(id, member);
        }
        // Only a load drops members here, and nobody waits during a load.
        assert!(
            live.values().all(|member| !member.waits()),
            "a record left out a member that waits"
        );
        self.generation = metadata.generation;
        self.protocol_type.clone_from(&metadata.protocol_type);
        self.protocol.clone_from(&metadata.protocol);
        self.leader.clone_from(&metadata.leader);
        self.state_timestamp = metadata.state_timestamp;
        self.is_recorded = true;
        self.phase = match self.phase {
            _ if self.members.is_empty() => Phase::Empty,
            Phase::CompletingRebalance { sync_deadline } => Phase::Stable {
                sync_deadline: Some(sync_deadline),
            },
            Phase::Stable { sync_deadline } => Phase::Stable { sync_deadline },
            _ => Phase::Stable {
                sync_deadline: None,
            },
        };
        self.settle_sync_deadline();
    }

    /// Begins to serve a group whose records were applied: every member has a session time-out to
    /// find this coordinator.
    pub fn start(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.renew_session(now);
        }
    }

    /// Stops serving: the partition moves to another coordinator. Whoever waits is sent there.
    pub fn stop(mut self) -> Vec<(Token, Reply)> {
        let mut outcome = Outcome::default();
        let error = ClassicError::Moved(self.id.clone());
        for member in self.members.values_mut() {
            member.refuse_waiting(&error, &mut outcome);
        }
        outcome.replies
    }

    /// Removes the group: an administrator asks for it, or it is empty and its offsets expired.
    pub fn remove(&mut self) -> Result<Outcome, ClassicError> {
        match self.phase {
            Phase::Dead => return Err(ClassicError::Removed(self.id.clone())),
            Phase::Empty => {}
            _ => return Err(ClassicError::NotEmpty(self.id.clone())),
        }
        let mut outcome = Outcome::default();
        self.write(None, &mut outcome);
        Ok(outcome)
    }

    /// Records the group as it stands, with the assignments that its members have.
    pub(super) fn record(&mut self, at: Moment, outcome: &mut Outcome) {
        let protocol = self.protocol.as_deref();
        let members = self.members.iter();
        let metadata = GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp: Some(at.unix_millis),
            members: members
                .map(|(id, member)| member.to_record(id.clone(), protocol))
                .collect(),
        };
        self.write(Some(metadata), outcome);
    }

    fn write(&mut self, metadata: Option<GroupMetadata>, outcome: &mut Outcome) {
        let record = GroupRecord {
            group_id: self.id.clone(),
            metadata,
        };
        self.apply(&record);
        outcome.records.push(record);
    }

    /// The sender is a member, and the process that its instance id stands for.
    pub(super) fn check_member(
        &self,
        member_id: &MemberId,
        instance_id: Option<&str>,
    ) -> Result<MemberId, ClassicError> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(ClassicError::UnknownMember(instance_id.to_owned())),
                Some(current) if is_planted(Canary::FenceForgotten) => return Ok(current.clone()),
                Some(current) if current != member_id => {
                    tracing::info!(
                        group = %self.id, member = %member_id, instance = instance_id, %current,
                        "a static member that was replaced is still running"
                    );
                    return Err(ClassicError::FencedInstance {
                        instance_id: instance_id.to_owned(),
                    });
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(member_id.clone())
        } else {
            Err(ClassicError::UnknownMember(member_id.to_string()))
        }
    }

    pub(super) fn check_generation(&self, given: i32) -> Result<(), ClassicError> {
        if given == self.generation {
            return Ok(());
        }
        Err(ClassicError::IllegalGeneration {
            given,
            current: self.generation,
        })
    }

    pub(super) fn is_leader(&self, member_id: &MemberId) -> bool {
        self.leader.as_ref() == Some(member_id)
    }

    /// The protocols of `offered` that every member supports. Without members that is each.
    fn shared<'a>(&self, offered: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
        offered.filter(|name| self.members.values().all(|member| member.supports(name)))
    }

    /// The members can work with one who offers these. As in Kafka, a member that joins again is
    /// measured against itself too: it cannot change its only protocol while it is the only member.
    pub(super) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut offered: impl Iterator<Item = &'a str>,
    ) -> bool {
        match self.phase {
            Phase::Empty => !protocol_type.is_empty() && offered.next().is_some(),
            _ => {
                self.protocol_type.as_deref() == Some(protocol_type)
                    && self.shared(offered).next().is_some()
            }
        }
    }

    /// The vote for the next generation: of the protocols that all support, each member names the
    /// one it likes best. Kafka leaves a tie to chance; here the first name wins.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let offered = first
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str());
        let mut votes: BTreeMap<&str, usize> = self.shared(offered).map(|name| (name, 0)).collect();
        for member in self.members.values() {
            let mut names = member
                .protocols
                .iter()
                .map(|protocol| protocol.name.as_str());
            let liked = names.find(|name| votes.contains_key(name));
            if let Some(liked) = liked {
                *votes.entry(liked).or_default() += 1;
            }
        }
        let most = votes.iter().rev().max_by_key(|(_, votes)| **votes);
        most.map(|(name, _)| (*name).to_owned())
    }

    /// The longest that a member may take to join again.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// Members that owe nothing any more need no deadline.
    pub(super) fn settle_sync_deadline(&mut self) {
        if let Phase::Stable { sync_deadline } = &mut self.phase
            && !self.members.values().any(|member| member.owes_sync)
        {
            *sync_deadline = None;
        }
    }

    /// Takes a member out, and answers what it waits for. The caller sees to what follows.
    pub(super) fn take_out(&mut self, member_id: &MemberId, outcome: &mut Outcome) -> bool {
        let Some(mut member) = self.members.remove(member_id) else {
            return false;
        };
        let error = ClassicError::UnknownMember(member_id.to_string());
        member.refuse_waiting(&error, outcome);
        if let Some(instance_id) = &member.instance_id
            && self.instances.get(instance_id) == Some(member_id)
        {
            self.instances.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        true
    }
}
