//! One group: its members' machine, if anybody ever joined, and its offsets.

use std::sync::Arc;

use corelog_protocol::PartitionIndex;
use corelog_protocol::kafka::{ConsumerSubscription, GroupRecord};

use super::command::{Answer, Claim, Command, Commit, Description, GroupKind, GroupState, Moment};
use super::offsets::{Committed, Offsets};
use super::records::{self, Loaded};
use super::{CoordinatorConfig, CoordinatorError, Released};
use crate::group::classic::{
    self, ClassicError, ClassicGroup, CommitClaim, Leaving, Left, Reply, Token,
};
use crate::group::consumer::{ConsumerGroup, GroupError, Heartbeat, HeartbeatEpoch, Topics};
use crate::group::{GroupId, MemberId};
use crate::metadata::TOPIC_NAME_BYTES_MAX;
use crate::runtime::Instant;

/// The epoch of those who are nobody's member.
const NO_EPOCH: i32 = -1;

/// What a decision is made with, and where its outcome goes.
pub(super) struct Turn<'a> {
    pub(super) group_id: &'a GroupId,
    pub(super) moment: &'a Moment<'a>,
    pub(super) config: &'a CoordinatorConfig,
    /// Of the command.
    pub(super) token: Token,
    pub(super) records: &'a mut Vec<GroupRecord>,
    pub(super) released: &'a mut Vec<Released>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Members,
    pub(super) offsets: Offsets,
    /// When the coordinator looks at the group, as it stands in its list.
    alarm: Option<Instant>,
}

/// Who speaks for the members.
#[derive(Debug)]
pub(super) enum Members {
    /// Nobody ever joined.
    None,
    Consumer(Box<ConsumerGroup>),
    Classic(Box<ClassicGroup>),
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            members: Members::None,
            offsets: Offsets::default(),
            alarm: None,
        }
    }

    /// The group with a record of it that was read from the log.
    pub(super) fn load(
        mut self,
        group_id: &GroupId,
        record: &GroupRecord,
        config: &CoordinatorConfig,
    ) -> Self {
        match records::loaded(group_id, record) {
            Loaded::Offset {
                topic,
                partition,
                value,
            } => self.offsets.apply(topic, partition, value),
            Loaded::Classic(record) => match (&mut self.members, &record.metadata) {
                (Members::Classic(_), None) => self.members = Members::None,
                (Members::Classic(group), Some(_)) => group.apply(&record),
                // The end of a classic group that has become a consumer group since.
                (Members::None | Members::Consumer(_), None) => {}
                (Members::None | Members::Consumer(_), Some(_)) => {
                    let mut group = ClassicGroup::new(group_id.clone(), config.classic.clone());
                    group.apply(&record);
                    self.members = Members::Classic(Box::new(group));
                }
            },
            Loaded::Consumer(record) => {
                if let Members::Consumer(group) = &mut self.members {
                    group.apply(&record);
                    if group.is_gone() {
                        self.members = Members::None;
                    }
                } else if !record.change.is_tombstone() {
                    let mut group =
                        ConsumerGroup::new(group_id.clone(), Arc::clone(&config.consumer));
                    group.apply(&record);
                    self.members = Members::Consumer(Box::new(group));
                }
            }
        }
        self
    }

    /// Every record has been read.
    pub(super) fn loaded(&mut self, now: Instant) {
        match &mut self.members {
            Members::None => {}
            Members::Consumer(group) => group.loaded(now),
            Members::Classic(group) => group.start(now),
        }
    }

    /// Nothing of the group is left.
    pub(super) fn is_gone(&self) -> bool {
        let nobody = match &self.members {
            Members::None => true,
            Members::Consumer(group) => group.is_gone(),
            Members::Classic(group) => group.is_forgettable(),
        };
        nobody && self.offsets.is_empty()
    }

    pub(super) fn has_news(&self, member_id: &MemberId) -> bool {
        match &self.members {
            Members::Consumer(group) => group.has_news(member_id),
            Members::None | Members::Classic(_) => true,
        }
    }

    pub(super) fn alarm(&self) -> Option<Instant> {
        self.alarm
    }

    pub(super) fn take_alarm(&mut self) -> Option<Instant> {
        self.alarm.take()
    }

    /// When the group is to be looked at, where that is earlier than the alarm set; sets it.
    pub(super) fn next_alarm(&mut self) -> Option<Instant> {
        let next = match &self.members {
            Members::None => None,
            Members::Consumer(group) => group.next_deadline(),
            Members::Classic(group) => group.next_deadline(),
        };
        let next = next?;
        if self.alarm.is_some_and(|alarm| alarm <= next) {
            return None;
        }
        self.alarm = Some(next);
        Some(next)
    }

    pub(super) fn tick(
        &mut self,
        moment: &Moment<'_>,
        records: &mut Vec<GroupRecord>,
        released: &mut Vec<Released>,
    ) {
        match &mut self.members {
            Members::None => {}
            Members::Consumer(group) => {
                let fenced = group.tick(moment.now);
                records.extend(fenced.iter().map(records::of_consumer));
            }
            Members::Classic(group) => {
                let outcome = group.tick(moment.into());
                records.extend(outcome.records.iter().map(records::of_classic));
                let replies = outcome.replies.into_iter();
                released.extend(replies.map(|(token, reply)| (token, answer_of(reply))));
            }
        }
    }

    pub(super) fn handle(
        &mut self,
        command: Command,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, CoordinatorError> {
        let (group_id, moment) = (turn.group_id, turn.moment);
        match command {
            Command::Heartbeat(heartbeat) => {
                self.heartbeat(group_id, &heartbeat, moment, turn.config, turn.records)
            }
            Command::Join(..)
            | Command::Sync(_)
            | Command::ClassicHeartbeat(_)
            | Command::Leave(_) => self.classic(command, turn),
            Command::CommitOffsets { by, commits } => {
                self.check_commit(group_id, &by, moment.now)?;
                check_topics(&commits, moment.topics)?;
                for commit in commits {
                    let offsets = &mut self.offsets;
                    offsets.commit(group_id, commit, moment.unix_millis, turn.records);
                }
                Ok(Answer::OffsetsCommitted)
            }
            Command::FetchOffsets { by, topics } => {
                self.check_fetch(&by)?;
                Ok(Answer::Offsets(self.offsets.fetch(topics, moment.topics)))
            }
            Command::DeleteOffsets { topics } => Ok(Answer::OffsetsDeleted(self.delete_offsets(
                group_id,
                topics,
                turn.records,
            ))),
            Command::Describe => Ok(Answer::Described(self.describe())),
            Command::Delete => {
                self.delete(group_id, turn.records)?;
                Ok(Answer::Deleted {
                    is_complete: self.offsets.is_empty(),
                })
            }
        }
    }

    /// A matter of the classic protocol's members.
    fn classic(
        &mut self,
        command: Command,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, CoordinatorError> {
        let at = turn.moment.into();
        let token = turn.token;
        let group = self.classic_group(&command, turn)?;
        let outcome = match command {
            Command::Join(request, uuid) => group.join(at, token, request, &mut || uuid),
            Command::Sync(request) => group.sync(at, token, request),
            Command::ClassicHeartbeat(request) => group.heartbeat(at, token, &request),
            Command::Leave(request) => group.leave(at, token, request),
            other => unreachable!("no matter of the classic protocol's members: {other:?}"),
        };
        let records = outcome.records.iter().map(records::of_classic);
        turn.records.extend(records);
        let mut answer = Ok(Answer::Later(token));
        for (of, reply) in outcome.replies {
            match of == token {
                true => answer = answer_of(reply),
                false => turn.released.push((of, answer_of(reply))),
            }
        }
        answer
    }

    /// The group as one of the classic protocol. It becomes one by the first who joins it so, if nobody is in it.
    fn classic_group(
        &mut self,
        command: &Command,
        turn: &mut Turn<'_>,
    ) -> Result<&mut ClassicGroup, CoordinatorError> {
        if !matches!(self.members, Members::Classic(_)) {
            let begins = command.begins_a_group();
            match &mut self.members {
                Members::Consumer(group) if begins && group.is_empty() => {
                    let ended = group.delete()?;
                    turn.records.extend(ended.iter().map(records::of_consumer));
                }
                Members::Consumer(_) if matches!(command, Command::Join(..)) => {
                    return Err(CoordinatorError::IsConsumer(turn.group_id.clone()));
                }
                Members::None if begins => {}
                _ => return Err(unknown_classic_member(command)),
            }
            let config = turn.config.classic.clone();
            let group = ClassicGroup::new(turn.group_id.clone(), config);
            self.members = Members::Classic(Box::new(group));
        }
        match &mut self.members {
            Members::Classic(group) => Ok(group),
            _ => unreachable!("it was made one above"),
        }
    }

    /// The answer about a group that does not exist, to a command that does not begin one.
    pub(super) fn answer_unknown(
        group_id: &GroupId,
        command: Command,
        topics: &Topics,
    ) -> Result<Answer, CoordinatorError> {
        match command {
            // Whoever looks at what was committed finds nothing.
            Command::FetchOffsets { by, topics: asked } if by.epoch.is_none() => {
                Ok(Answer::Offsets(Offsets::default().fetch(asked, topics)))
            }
            Command::Heartbeat(Heartbeat { member_id, .. })
            | Command::CommitOffsets {
                by:
                    Claim {
                        member_id: Some(member_id),
                        ..
                    },
                ..
            }
            | Command::FetchOffsets {
                by:
                    Claim {
                        member_id: Some(member_id),
                        ..
                    },
                ..
            } => Err(unknown_member(group_id, &member_id)),
            // Each of those who leave has an answer of its own.
            Command::Leave(request) => Ok(Answer::Left(
                request.members.into_iter().map(unknown_leaver).collect(),
            )),
            command @ (Command::Join(..) | Command::Sync(_) | Command::ClassicHeartbeat(_)) => {
                Err(unknown_classic_member(&command))
            }
            _ => Err(CoordinatorError::NotFound(group_id.clone())),
        }
    }

    fn heartbeat(
        &mut self,
        group_id: &GroupId,
        heartbeat: &Heartbeat,
        moment: &Moment<'_>,
        config: &CoordinatorConfig,
        records: &mut Vec<GroupRecord>,
    ) -> Result<Answer, CoordinatorError> {
        if let Members::Classic(group) = &mut self.members {
            if heartbeat.epoch != HeartbeatEpoch::Join {
                return Err(unknown_member(group_id, &heartbeat.member_id));
            }
            if group.state() != classic::GroupState::Empty {
                return Err(CoordinatorError::IsClassic(group_id.clone()));
            }
        }
        if let Members::Consumer(group) = &mut self.members {
            let outcome = group.heartbeat(heartbeat, moment.now, moment.unix_millis, moment.topics);
            if group.is_gone() {
                self.members = Members::None;
            }
            let outcome = outcome?;
            records.extend(outcome.records.iter().map(records::of_consumer));
            return Ok(Answer::Heartbeat(outcome.reply));
        }
        // The first member makes it a consumer group, unless it is refused.
        let mut first = ConsumerGroup::new(group_id.clone(), Arc::clone(&config.consumer));
        let outcome = first.heartbeat(heartbeat, moment.now, moment.unix_millis, moment.topics)?;
        if let Members::Classic(group) = &mut self.members {
            // The last member of the classic protocol has gone.
            let ended = group.remove()?;
            records.extend(ended.records.iter().map(records::of_classic));
        }
        self.members = Members::Consumer(Box::new(first));
        records.extend(outcome.records.iter().map(records::of_consumer));
        Ok(Answer::Heartbeat(outcome.reply))
    }

    fn check_commit(
        &mut self,
        group_id: &GroupId,
        by: &Claim,
        now: Instant,
    ) -> Result<(), CoordinatorError> {
        let by_nobody = by.member_id.is_none() && by.instance_id.is_none() && by.epoch.is_none();
        if by_nobody && self.has_members() {
            return Err(CoordinatorError::Inhabited(group_id.clone()));
        }
        match &mut self.members {
            Members::None => match (&by.epoch, &by.member_id) {
                (None, _) => Ok(()),
                (Some(_), Some(member_id)) => Err(unknown_member(group_id, member_id)),
                (Some(_), None) => Err(GroupError::InvalidRequest {
                    what: "a commit names an epoch and no member".to_owned(),
                }
                .into()),
            },
            Members::Consumer(group) => {
                let nobody = MemberId::new("");
                let member_id = by.member_id.as_ref().unwrap_or(&nobody);
                Ok(group.check_commit(member_id, by.epoch.unwrap_or(NO_EPOCH))?)
            }
            Members::Classic(group) => {
                let claim = CommitClaim {
                    member_id: by.member_id.clone(),
                    instance_id: by.instance_id.clone(),
                    generation: by.epoch,
                    is_transactional: false,
                };
                Ok(group.check_commit(now, &claim)?)
            }
        }
    }

    fn has_members(&self) -> bool {
        match &self.members {
            Members::None => false,
            Members::Consumer(group) => !group.is_empty(),
            Members::Classic(group) => !matches!(
                group.state(),
                classic::GroupState::Empty | classic::GroupState::Dead
            ),
        }
    }

    fn check_fetch(&self, by: &Claim) -> Result<(), CoordinatorError> {
        match &self.members {
            Members::Consumer(group) => {
                let epoch = by.epoch.unwrap_or(NO_EPOCH);
                Ok(group.check_fetch(by.member_id.as_ref(), epoch)?)
            }
            Members::None | Members::Classic(_) => Ok(()),
        }
    }

    fn delete_offsets(
        &mut self,
        group_id: &GroupId,
        topics: Vec<(String, Vec<PartitionIndex>)>,
        records: &mut Vec<GroupRecord>,
    ) -> Vec<Result<(), CoordinatorError>> {
        let deleted = topics.into_iter().map(|(topic, partitions)| {
            if self.reads(&topic) {
                return Err(CoordinatorError::Subscribed { topic });
            }
            for partition in partitions {
                self.offsets.delete(group_id, &topic, partition, records);
            }
            Ok(())
        });
        deleted.collect()
    }

    /// A member reads the topic, or may: what classic members of other kinds do, nobody knows.
    pub(super) fn reads(&self, topic: &str) -> bool {
        match &self.members {
            Members::None => false,
            Members::Consumer(group) => group.is_subscribed_to(topic),
            Members::Classic(group) => match group.subscribed_topics(subscription) {
                Some(topics) => topics.contains(topic),
                None => !matches!(
                    group.state(),
                    classic::GroupState::Empty | classic::GroupState::Dead
                ),
            },
        }
    }

    fn describe(&self) -> Description {
        match &self.members {
            Members::None => Description::OffsetsOnly,
            Members::Consumer(group) => Description::Consumer(group.describe()),
            Members::Classic(group) => Description::Classic(group.describe()),
        }
    }

    pub(super) fn kind_and_state(&self) -> (GroupKind, GroupState) {
        match &self.members {
            Members::None => (
                GroupKind::Classic,
                GroupState::Classic(classic::GroupState::Empty),
            ),
            Members::Consumer(group) => (
                GroupKind::Consumer,
                GroupState::Consumer(group.group_state()),
            ),
            Members::Classic(group) => (GroupKind::Classic, GroupState::Classic(group.state())),
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        match &self.members {
            Members::None => "",
            Members::Consumer(_) => "consumer",
            Members::Classic(group) => group.protocol_type().unwrap_or_default(),
        }
    }

    /// Ends a group without members, and deletes its offsets: as many as one batch takes.
    pub(super) fn delete(
        &mut self,
        group_id: &GroupId,
        records: &mut Vec<GroupRecord>,
    ) -> Result<(), CoordinatorError> {
        match &mut self.members {
            Members::None => {}
            Members::Consumer(group) => {
                let ended = group.delete()?;
                records.extend(ended.iter().map(records::of_consumer));
            }
            Members::Classic(group) => {
                let ended = group.remove()?;
                records.extend(ended.records.iter().map(records::of_classic));
            }
        }
        self.members = Members::None;
        let every = |_: &str, _: &Committed| true;
        self.offsets
            .delete_where(group_id, every, deleted_at_once(group_id), records);
        Ok(())
    }
}

/// Half of what one batch takes, by Kafka's longest names of topics.
pub(super) fn deleted_at_once(group_id: &GroupId) -> usize {
    const BYTES: usize = 8 << 20;
    const BESIDE_THE_NAMES: usize = 64;
    BYTES / (group_id.as_str().len() + TOPIC_NAME_BYTES_MAX + BESIDE_THE_NAMES)
}

/// Refuses offsets of topics that are not there, or not any more: whoever sent them had looked at other
/// metadata.
fn check_topics(commits: &[Commit], topics: &Topics) -> Result<(), CoordinatorError> {
    let is_there = |commit: &Commit| {
        let topic = topics.get(&commit.topic);
        topic.is_some_and(|topic| topic.id == commit.topic_id)
    };
    match commits.iter().find(|commit| !is_there(commit)) {
        Some(commit) => Err(CoordinatorError::TopicChanged {
            topic: commit.topic.clone(),
        }),
        None => Ok(()),
    }
}

fn unknown_member(group_id: &GroupId, member_id: &MemberId) -> CoordinatorError {
    CoordinatorError::Consumer(GroupError::UnknownMember {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
    })
}

impl From<&Moment<'_>> for classic::Moment {
    fn from(moment: &Moment<'_>) -> Self {
        Self {
            now: moment.now,
            unix_millis: moment.unix_millis,
        }
    }
}

fn answer_of(reply: Reply) -> Result<Answer, CoordinatorError> {
    Ok(match reply {
        // A refusal that says how to go on.
        Reply::Join(Err(ClassicError::MemberIdRequired { member_id })) => {
            Answer::MemberIdRequired(member_id)
        }
        Reply::Join(joined) => Answer::Joined(joined?),
        Reply::Sync(synced) => Answer::Synced(synced?),
        Reply::Heartbeat(taken) => {
            taken?;
            Answer::ClassicHeartbeatTaken
        }
        Reply::Leave(left) => Answer::Left(left?),
    })
}

fn unknown_leaver(leaving: Leaving) -> Left {
    let member_id = leaving.member_id.as_ref().map(ToString::to_string);
    let name = member_id.or_else(|| leaving.instance_id.clone());
    Left {
        member_id: leaving.member_id,
        instance_id: leaving.instance_id,
        result: Err(ClassicError::UnknownMember(name.unwrap_or_default())),
    }
}

/// The answer to who speaks the classic protocol to a group that has no such members.
fn unknown_classic_member(command: &Command) -> CoordinatorError {
    let member_id = match command {
        Command::Join(request, _) => request.member_id.as_ref(),
        Command::Sync(request) => Some(&request.member_id),
        Command::ClassicHeartbeat(request) => Some(&request.member_id),
        _ => None,
    };
    let name = member_id.map(ToString::to_string).unwrap_or_default();
    ClassicError::UnknownMember(name).into()
}

/// The topics in what a classic consumer says about itself.
pub(super) fn subscription(metadata: &[u8]) -> Option<Vec<String>> {
    let subscription = ConsumerSubscription::decode(metadata).ok()?;
    Some(subscription.topics)
}
