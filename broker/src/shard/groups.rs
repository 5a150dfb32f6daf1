//! The coordinators of a shard, and the way from a group to its own: here, or one hop away.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::RouteHint;
use corelog_protocol::{BrokerId, ErrorCode, PartitionIndex, ShardId, TopicId};

use super::coordinator::GroupCoordinator;
use super::message::ShardMessage;
use super::partitions::Slot;
use super::router::Router;
use super::state::ShardState;
use crate::config::BrokerConfig;
use crate::controller::{self, NewTopic};
use crate::group::GroupId;
use crate::group::consumer::Topics;
use crate::group::coordinator::{Answer, Command, CoordinatorConfig, ListedGroup};
use crate::log::TopicPartition;
use crate::metadata::{OFFSETS_TOPIC, TopicImage, shard_of};
use crate::partition::Refusal;

/// How the topic of offsets is made, where nobody made it.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsTopicOptions {
    /// `offsets.topic.num.partitions`
    pub(crate) partitions: u32,
    /// `offsets.topic.segment.bytes`
    pub(crate) segment_bytes: u64,
}

impl From<&BrokerConfig> for OffsetsTopicOptions {
    fn from(config: &BrokerConfig) -> Self {
        Self {
            partitions: config.offsets_topic_num_partitions,
            segment_bytes: config.offsets_topic_segment_bytes.get(),
        }
    }
}

/// The coordinators of one shard.
pub(super) struct Groups {
    pub(super) config: CoordinatorConfig,
    pub(super) topic: OffsetsTopicOptions,
    /// The topic where the coordinators write, once it is there.
    offsets_topic: Cell<Option<TopicId>>,
    coordinators: RefCell<BTreeMap<TopicPartition, Rc<GroupCoordinator>>>,
    /// The topics of the image that was last asked for.
    topics: RefCell<Rc<Topics>>,
}

/// The answer about one group.
#[derive(Debug)]
pub struct GroupOutcome {
    pub result: Result<Answer, Refusal>,
    /// Where to send the next command for this group: set when this one reached the wrong shard.
    pub hint: Option<RouteHint>,
}

/// Where a group is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatorPlace {
    pub broker: BrokerId,
    pub shard: ShardId,
    partition: TopicPartition,
}

impl Groups {
    pub(super) fn new(config: CoordinatorConfig, topic: OffsetsTopicOptions) -> Self {
        Self {
            config,
            topic,
            offsets_topic: Cell::new(None),
            coordinators: RefCell::default(),
            topics: RefCell::default(),
        }
    }

    /// Only coordinators write to the topic.
    pub(super) fn keep(&self, topic: TopicId) -> bool {
        self.offsets_topic.get() == Some(topic)
    }

    fn get(&self, id: TopicPartition) -> Option<Rc<GroupCoordinator>> {
        self.coordinators.borrow().get(&id).cloned()
    }

    /// In the order of their partitions, so that a seed replays exactly.
    fn all(&self) -> Vec<Rc<GroupCoordinator>> {
        self.coordinators.borrow().values().cloned().collect()
    }

    /// How many groups there are, and how many heartbeats wait.
    pub(super) fn present(&self) -> (u64, u64) {
        let coordinators = self.coordinators.borrow();
        let present = coordinators.values().map(|it| it.present());
        present.fold((0, 0), |(groups, heartbeats), present| {
            (
                groups + present.groups.get() as u64,
                heartbeats + present.waiting_heartbeats.get() as u64,
            )
        })
    }

    /// Ends the coordinator of a partition that is not this shard's any more.
    pub(super) async fn end(&self, id: TopicPartition) {
        let coordinator = self.coordinators.borrow_mut().remove(&id);
        if let Some(coordinator) = coordinator {
            coordinator.close().await;
        }
    }

    /// Ends all of them: the partitions are about to close.
    pub(super) async fn close(&self) {
        for coordinator in self.all() {
            coordinator.close().await;
        }
    }
}

impl ShardState {
    /// Starts the coordinators of those partitions of the offsets' topic that are open here.
    pub(super) fn start_coordinators(self: &Rc<Self>) {
        let image = self.image();
        let topic = image.topic(OFFSETS_TOPIC);
        self.groups.offsets_topic.set(topic.map(|topic| topic.id));
        let Some(topic) = topic else {
            return;
        };
        for (partition, _) in topic.indexed_partitions() {
            let id = TopicPartition {
                topic_id: topic.id,
                partition,
            };
            let Some(Slot::Open(opened)) = self.partitions.get(id) else {
                continue;
            };
            let mut coordinators = self.groups.coordinators.borrow_mut();
            coordinators.entry(id).or_insert_with(|| {
                let config = self.groups.config.clone();
                Rc::new(GroupCoordinator::start(self, id, opened, config))
            });
        }
    }

    /// The topics as groups see them now.
    pub(super) fn topics(&self) -> Rc<Topics> {
        let image = self.image();
        let mut topics = self.groups.topics.borrow_mut();
        if topics.version() != image.offset {
            *topics = Rc::new(Topics::from(&*image));
        }
        Rc::clone(&topics)
    }

    /// Carries out a command of a group that is coordinated here.
    pub(super) async fn coordinate(
        &self,
        partition: TopicPartition,
        group_id: GroupId,
        command: Command,
        patience: Duration,
    ) -> Result<Answer, Refusal> {
        match self.groups.get(partition) {
            Some(coordinator) => coordinator.execute(group_id, command, patience).await,
            None => Err(self.no_coordinator(partition)),
        }
    }

    fn no_coordinator(&self, partition: TopicPartition) -> Refusal {
        match self.partitions.get(partition) {
            Some(Slot::Unusable(refusal)) => Refusal::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("the group's offsets cannot be read: {}", refusal.message),
            ),
            _ => Refusal::new(
                ErrorCode::NotCoordinator,
                "the group's coordinator is starting or has moved: try again",
            ),
        }
    }

    /// Every group that is coordinated on this shard.
    pub(super) async fn list_groups(&self) -> Result<Vec<ListedGroup>, Refusal> {
        let mut groups = Vec::new();
        for coordinator in self.groups.all() {
            groups.extend(coordinator.list().await?);
        }
        Ok(groups)
    }
}

impl Router {
    /// Has a group's command carried out. Answers when the outcome is durable; a heartbeat that finds its
    /// coordinator here may wait so long until there is something to answer.
    pub async fn group(
        &self,
        group_id: GroupId,
        command: Command,
        patience: Duration,
    ) -> GroupOutcome {
        let place = match self.coordinator(&group_id).await {
            Ok(place) => place,
            Err(refusal) => {
                return GroupOutcome {
                    result: Err(refusal),
                    hint: None,
                };
            }
        };
        let partition = place.partition;
        if place.shard == self.shard_id() {
            let answer = self
                .shard
                .coordinate(partition, group_id, command, patience);
            let result = answer.await;
            return GroupOutcome { result, hint: None };
        }
        let lane = match command.waits_for_others() {
            true => self.shard.waiting_lane(place.shard),
            false => self.shard.request_lane(place.shard),
        };
        lane.room().await;
        let answer = self.forward(lane, |reply| ShardMessage::Group {
            partition,
            group_id,
            command,
            reply,
        });
        GroupOutcome {
            result: answer.await.unwrap_or_else(|| Err(stopping())),
            hint: Some(self.hint(place.shard)),
        }
    }

    /// Finds the coordinator of a group. The first who asks has the topic of offsets made.
    pub async fn coordinator(&self, group_id: &GroupId) -> Result<CoordinatorPlace, Refusal> {
        if group_id.as_str().is_empty() {
            return Err(Refusal::new(
                ErrorCode::InvalidGroupId,
                "the group id is empty: set group.id",
            ));
        }
        if self.image().topic(OFFSETS_TOPIC).is_none() {
            self.make_offsets_topic().await?;
        }
        let image = self.image();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return Err(Refusal::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("topic {OFFSETS_TOPIC} is not there yet: try again"),
            ));
        };
        self.place(topic, group_id)
    }

    fn place(&self, topic: &TopicImage, group_id: &GroupId) -> Result<CoordinatorPlace, Refusal> {
        let partition = partition_of(group_id, topic.partitions.len());
        let leader = topic.partition(partition).and_then(|found| found.leader);
        let Some(broker) = leader else {
            return Err(Refusal::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("{OFFSETS_TOPIC}-{partition} has no leader: try again"),
            ));
        };
        Ok(CoordinatorPlace {
            broker,
            shard: shard_of(topic.id, partition, self.shards()),
            partition: TopicPartition {
                topic_id: topic.id,
                partition,
            },
        })
    }

    async fn make_offsets_topic(&self) -> Result<(), Refusal> {
        let options = &self.shard.groups.topic;
        let topic = NewTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: i32::try_from(options.partitions).ok(),
            replication_factor: None,
            configs: vec![
                ("cleanup.policy".to_owned(), "compact".to_owned()),
                (
                    "segment.bytes".to_owned(),
                    options.segment_bytes.to_string(),
                ),
                (
                    "max.message.bytes".to_owned(),
                    MAX_DECISION_BYTES.to_string(),
                ),
            ],
        };
        let command = controller::Command::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        let refuse = |reason: String| {
            Refusal::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("topic {OFFSETS_TOPIC} cannot be made: {reason}"),
            )
        };
        match self.control(command).await {
            Ok(controller::Outcome::CreateTopics(created)) => {
                let created = created.into_iter().next();
                match created {
                    // Another shard was faster.
                    Some(Err(error)) if error.code == ErrorCode::TopicAlreadyExists => Ok(()),
                    Some(Err(error)) => Err(refuse(error.message)),
                    _ => Ok(()),
                }
            }
            Ok(outcome) => unreachable!("topics were created, and it says {outcome:?}"),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Every group of this broker, in order of its name.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, Refusal> {
        let mut groups = Vec::new();
        for shard in (0..self.shards()).map(ShardId::new) {
            if shard == self.shard_id() {
                groups.extend(self.shard.list_groups().await?);
                continue;
            }
            let lane = self.shard.request_lane(shard);
            lane.room().await;
            let answer = lane.send(|reply| ShardMessage::ListGroups { reply });
            groups.extend(answer.await.unwrap_or_else(|| Err(stopping()))?);
        }
        let mut seen = HashSet::new();
        groups.retain(|group: &ListedGroup| seen.insert(group.group_id.clone()));
        groups.sort_unstable_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }
}

/// The largest batch of the topic of offsets: what a change of one large group may take.
const MAX_DECISION_BYTES: usize = 16 << 20;

/// The partition of a group's offsets, as Kafka computes it: by Java's hash of the group's name.
fn partition_of(group_id: &GroupId, partitions: usize) -> PartitionIndex {
    let units = group_id.as_str().encode_utf16();
    let hash = units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka clears the sign instead of taking the absolute value.
    let position = (hash & i32::MAX) as usize % partitions.max(1);
    PartitionIndex::new(i32::try_from(position).expect("a topic has fewer than 2^31 partitions"))
}

fn stopping() -> Refusal {
    Refusal::new(ErrorCode::CoordinatorNotAvailable, "the broker is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Java: `Utils.abs(name.hashCode()) % 50`, worked out by hand for the short ones.
    #[test]
    fn a_group_lies_where_kafka_would_put_it() {
        let partition = |name: &str| partition_of(&GroupId::new(name), 50).get();
        assert_eq!(partition(""), 0);
        assert_eq!(partition("a"), 97 % 50);
        assert_eq!(partition("ab"), (97 * 31 + 98) % 50);
        // "polygenelubricants".hashCode() is i32::MIN, whose absolute value does not exist.
        assert_eq!(partition("polygenelubricants"), 0);
    }
}
