//! The groups of one partition of `__consumer_offsets`: their members, their committed offsets.
//!
//! A [`Coordinator`] takes a command for a group and answers with a [`Decision`]: records for the
//! partition, and a result that may leave once those records, and all that were decided before them,
//! are durable. It hands members' matters to the group's own machine, of the consumer or of the classic
//! protocol, and keeps the offsets itself. Reads wait like writes: what they show may rest on a decision
//! that is not durable yet.
//!
//! After a failed append the coordinator is thrown away and built again from the partition, by
//! [`Coordinator::apply`] for each record and [`Coordinator::loaded`] at the end.
//!
//! | file | holds |
//! |---|---|
//! | `command` | what can be asked, and the answers |
//! | `group` | one group: who speaks for its members |
//! | `offsets` | the offsets that one group has committed |
//! | `expiry` | which of them expire |
//! | `records` | between the machines' records and Kafka's |

mod command;
mod config;
mod error;
mod expiry;
mod group;
mod offsets;
mod records;
#[cfg(test)]
mod tests;

pub use command::{
    Answer, Claim, Command, Commit, CommittedTopic, Description, GroupKind, GroupState,
    ListedGroup, Moment,
};
pub use config::CoordinatorConfig;
pub use error::CoordinatorError;
pub use offsets::Committed;
pub(crate) use records::group_of;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use corelog_protocol::kafka::GroupRecord;

use crate::group::classic::Token;
use crate::group::{GroupId, MemberId};
use crate::runtime::Instant;
use group::{Group, Turn};

/// What is to be appended, and the answer once it is durable. The records are in effect already.
#[derive(Debug)]
pub struct Decision {
    pub records: Vec<GroupRecord>,
    pub result: Result<Answer, CoordinatorError>,
}

/// An answer to a command of an earlier decision, which was to come later.
pub type Released = (Token, Result<Answer, CoordinatorError>);

/// The groups of one partition of `__consumer_offsets`. See the module's head.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    next_token: Token,
    /// Answers that the decisions since [`Coordinator::take_released`] brought, to earlier commands.
    released: Vec<Released>,
    /// In order, so that a seed replays exactly.
    groups: BTreeMap<GroupId, Group>,
    /// When which group is to be looked at, in order. No later than the group's own deadline.
    alarms: BTreeSet<(Instant, GroupId)>,
    /// When offsets are next looked through for those that expired.
    next_expiry: Option<Instant>,
    /// Since when there may be offsets of topics that are no more.
    gone_since: Option<Instant>,
    pass: Option<Pass>,
}

/// A look through all offsets, group by group.
#[derive(Debug)]
struct Pass {
    begun: Instant,
    /// The last group that was looked at.
    after: Option<GroupId>,
    /// Those that expired go too, beside those of topics that are no more.
    expires: bool,
}

/// Records that a tick makes, about; what is left to do is due at once.
const RECORDS_OF_A_TICK: usize = 4096;

impl Coordinator {
    /// A coordinator of no group, or about to be rebuilt by [`Coordinator::apply`].
    pub fn new(config: CoordinatorConfig) -> Self {
        Self {
            config,
            next_token: Token(0),
            released: Vec::new(),
            groups: BTreeMap::new(),
            alarms: BTreeSet::new(),
            next_expiry: None,
            gone_since: None,
            pass: None,
        }
    }

    /// Puts a record that was read from the partition into effect.
    pub fn apply(&mut self, record: &GroupRecord) {
        let Some(group_id) = group_of(record) else {
            return;
        };
        let group = match self.groups.remove(&group_id) {
            Some(group) => group,
            None => Group::new(),
        };
        let group = group.load(&group_id, record, &self.config);
        self.groups.insert(group_id, group);
    }

    /// Every record has been read: the groups' waits begin.
    pub fn loaded(&mut self, now: Instant) {
        self.groups.retain(|_, group| !group.is_gone());
        let mut alarms = Vec::new();
        for (group_id, group) in &mut self.groups {
            group.loaded(now);
            alarms.extend(group.next_alarm().map(|at| (at, group_id.clone())));
        }
        self.alarms.extend(alarms);
        self.next_expiry = Some(now + self.config.offsets_retention_check_interval);
        if !self.groups.is_empty() {
            self.topics_gone(now);
        }
    }

    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Decides about one command.
    pub fn handle(
        &mut self,
        group_id: &GroupId,
        command: Command,
        moment: &Moment<'_>,
    ) -> Decision {
        let mut records = Vec::new();
        let result = self.decide(group_id, command, moment, &mut records);
        self.settle(group_id);
        Decision { records, result }
    }

    fn decide(
        &mut self,
        group_id: &GroupId,
        command: Command,
        moment: &Moment<'_>,
        records: &mut Vec<GroupRecord>,
    ) -> Result<Answer, CoordinatorError> {
        let is_known = self.groups.contains_key(group_id);
        if !is_known && command.begins_a_group() && self.groups.len() >= self.config.groups_max {
            return Err(CoordinatorError::TooManyGroups {
                max: self.config.groups_max,
            });
        }
        if !is_known && !command.begins_a_group() {
            return Group::answer_unknown(group_id, command, moment.topics);
        }
        let group = self
            .groups
            .entry(group_id.clone())
            .or_insert_with(Group::new);
        let token = self.next_token;
        self.next_token = Token(token.0 + 1);
        let mut turn = Turn {
            group_id,
            moment,
            config: &self.config,
            token,
            records,
            released: &mut self.released,
        };
        group.handle(command, &mut turn)
    }

    /// Answers to earlier commands that have come since this was asked last. They may leave once the records of the
    /// decisions that brought them are durable.
    pub fn take_released(&mut self) -> Vec<Released> {
        std::mem::take(&mut self.released)
    }

    /// After a decision: forgets a group of which nothing is left, and minds when the group is next to
    /// be looked at.
    fn settle(&mut self, group_id: &GroupId) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        if group.is_gone() {
            if let Some(alarm) = group.take_alarm() {
                self.alarms.remove(&(alarm, group_id.clone()));
            }
            self.groups.remove(group_id);
            return;
        }
        let before = group.alarm();
        let Some(at) = group.next_alarm() else {
            return;
        };
        if let Some(before) = before {
            self.alarms.remove(&(before, group_id.clone()));
        }
        self.alarms.insert((at, group_id.clone()));
    }

    /// True if a heartbeat of this member, of a consumer group, may be told something that the last one
    /// was not.
    pub fn has_news(&self, group_id: &GroupId, member_id: &MemberId) -> bool {
        let group = self.groups.get(group_id);
        group.is_none_or(|group| group.has_news(member_id))
    }

    /// When [`Coordinator::tick`] has something to do, unless a command comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let pass = self.pass.as_ref().map(|pass| pass.begun);
        let times = [alarm, self.next_expiry, self.gone_since, pass];
        times.into_iter().flatten().min()
    }

    /// Does what time asks for: fences members that fell silent, drops offsets that expired, or whose topic
    /// is no more. Nobody waits for the records. They are of a bounded number: the rest is due at once.
    pub fn tick(&mut self, moment: &Moment<'_>) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        self.ring_alarms(moment, &mut records);
        self.look_through_offsets(moment, &mut records);
        records
    }

    fn ring_alarms(&mut self, moment: &Moment<'_>, records: &mut Vec<GroupRecord>) {
        let due = self.alarms.iter().take_while(|(at, _)| *at <= moment.now);
        let due: Vec<(Instant, GroupId)> = due.cloned().collect();
        for alarm in due {
            if records.len() >= RECORDS_OF_A_TICK {
                return;
            }
            self.alarms.remove(&alarm);
            let (_, group_id) = alarm;
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.take_alarm();
                group.tick(moment, records, &mut self.released);
            }
            self.settle(&group_id);
        }
    }

    fn look_through_offsets(&mut self, moment: &Moment<'_>, records: &mut Vec<GroupRecord>) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= moment.now);
        let expires = is_due(self.next_expiry);
        if self.pass.is_none() && (expires || is_due(self.gone_since)) {
            self.gone_since = None;
            if expires {
                self.next_expiry = Some(moment.now + self.config.offsets_retention_check_interval);
            }
            self.pass = Some(Pass {
                begun: moment.now,
                after: None,
                expires,
            });
        }
        while let Some(pass) = &mut self.pass {
            let room = RECORDS_OF_A_TICK.saturating_sub(records.len());
            if room == 0 {
                return;
            }
            let from = pass
                .after
                .as_ref()
                .map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.groups.range_mut((from, Bound::Unbounded)).next();
            let Some((group_id, group)) = next else {
                self.pass = None;
                return;
            };
            let group_id = group_id.clone();
            let offsets = &mut group.offsets;
            let mut is_complete = offsets.forget_gone(&group_id, moment.topics, room, records);
            if pass.expires {
                let room = RECORDS_OF_A_TICK.saturating_sub(records.len());
                is_complete &= group.expire(&group_id, moment, &self.config, room, records);
            }
            if is_complete {
                pass.after = Some(group_id.clone());
            }
            self.settle(&group_id);
        }
    }

    /// Topics were deleted: a topic of the same name is another one. Their offsets count no more, and the
    /// next ticks drop them.
    pub fn topics_gone(&mut self, now: Instant) {
        self.gone_since = Some(now);
    }

    /// Every group, in order of its name.
    pub fn list(&self) -> Vec<ListedGroup> {
        let listed = self.groups.iter().map(|(group_id, group)| {
            let (kind, state) = group.kind_and_state();
            ListedGroup {
                group_id: group_id.clone(),
                kind,
                state,
                protocol_type: group.protocol_type().to_owned(),
            }
        });
        listed.collect()
    }
}
