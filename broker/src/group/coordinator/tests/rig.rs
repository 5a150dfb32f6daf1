//! One coordinator, a clock that the test turns, and every record it decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::kafka::{DecodedGroupRecord, GroupRecord};
use corelog_protocol::{Offset, PartitionIndex, TopicId};

use crate::group::consumer::{
    Heartbeat, HeartbeatEpoch, HeartbeatReply, Partitions, Topic, Topics,
};
use crate::group::coordinator::*;
use crate::group::{GroupId, MemberId};
use crate::runtime::{Instant, now};

pub(super) const SESSION: Duration = Duration::from_secs(45);

pub(super) struct Rig {
    pub(super) coordinator: Coordinator,
    pub(super) config: CoordinatorConfig,
    pub(super) topics: Topics,
    pub(super) now: Instant,
    pub(super) unix_millis: i64,
    /// What a reader of the partition sees, in order: keys and values.
    pub(super) log: Vec<(Bytes, Option<Bytes>)>,
}

pub(super) fn partition(index: i32) -> PartitionIndex {
    PartitionIndex::new(index)
}

/// Of the topics of every rig.
const NAMES: [&str; 2] = ["orders", "payments"];

fn topic_id(name: &str) -> TopicId {
    let number = NAMES.iter().position(|known| *known == name);
    let number = number.map_or(9, |number| number as u8 + 1);
    TopicId::from_bytes([number; 16])
}

pub(super) fn commit(topic: &str, index: i32, offset: i64) -> Commit {
    Commit {
        topic_id: topic_id(topic),
        topic: topic.to_owned(),
        partition: partition(index),
        offset: Offset::new(offset),
        leader_epoch: None,
        metadata: String::new(),
    }
}

pub(super) fn member(id: &str, epoch: i32) -> Claim {
    Claim {
        member_id: Some(MemberId::new(id)),
        instance_id: None,
        epoch: Some(epoch),
    }
}

pub(super) fn join(member: &str, topics: &[&str]) -> Heartbeat {
    Heartbeat {
        member_id: MemberId::new(member),
        epoch: HeartbeatEpoch::Join,
        instance_id: None,
        rack_id: None,
        client_id: "test".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        rebalance_timeout_ms: Some(60_000),
        subscribed_topic_names: Some(topics.iter().map(|&name| name.to_owned()).collect()),
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: Some(Partitions::new()),
    }
}

pub(super) fn go_on(member: &str, epoch: HeartbeatEpoch, owned: Option<Partitions>) -> Heartbeat {
    Heartbeat {
        epoch,
        rebalance_timeout_ms: None,
        subscribed_topic_names: None,
        owned,
        ..join(member, &[])
    }
}

impl Rig {
    /// Topics `orders` and `payments`, of three partitions each.
    pub(super) fn new() -> Self {
        Self::with(CoordinatorConfig::default())
    }

    pub(super) fn with(config: CoordinatorConfig) -> Self {
        let topics = NAMES.map(|name| {
            let topic = Topic {
                id: topic_id(name),
                partitions: 3,
                internal: false,
            };
            (Arc::from(name), topic)
        });
        let mut coordinator = Coordinator::new(config.clone());
        coordinator.loaded(now());
        Self {
            coordinator,
            config,
            topics: Topics::new(1, topics),
            now: now(),
            unix_millis: 1_000_000_000,
            log: Vec::new(),
        }
    }

    pub(super) fn ask(
        &mut self,
        group: &str,
        command: Command,
    ) -> Result<Answer, CoordinatorError> {
        let moment = Moment {
            now: self.now,
            unix_millis: self.unix_millis,
            topics: &self.topics,
        };
        let decision = self
            .coordinator
            .handle(&GroupId::new(group), command, &moment);
        self.write(&decision.records);
        decision.result
    }

    pub(super) fn heartbeat(
        &mut self,
        group: &str,
        heartbeat: Heartbeat,
    ) -> Result<HeartbeatReply, CoordinatorError> {
        match self.ask(group, Command::Heartbeat(heartbeat))? {
            Answer::Heartbeat(reply) => Ok(reply),
            other => panic!("a heartbeat was answered with {other:?}"),
        }
    }

    pub(super) fn commit(
        &mut self,
        group: &str,
        by: Claim,
        commits: &[Commit],
    ) -> Result<(), CoordinatorError> {
        let commits = commits.to_vec();
        match self.ask(group, Command::CommitOffsets { by, commits })? {
            Answer::OffsetsCommitted => Ok(()),
            other => panic!("a commit was answered with {other:?}"),
        }
    }

    /// All offsets of the group, by topic and partition.
    pub(super) fn committed(&mut self, group: &str) -> BTreeMap<(String, i32), i64> {
        let by = Claim::default();
        let command = Command::FetchOffsets { by, topics: None };
        let Answer::Offsets(topics) = self.ask(group, command).unwrap() else {
            panic!("not offsets");
        };
        let mut offsets = BTreeMap::new();
        for topic in topics {
            for (partition, committed) in topic.partitions {
                let offset = committed.unwrap().offset.get();
                offsets.insert((topic.topic.clone(), partition.get()), offset);
            }
        }
        offsets
    }

    pub(super) fn turn_clock(&mut self, by: Duration) {
        self.now += by;
        self.unix_millis += i64::try_from(by.as_millis()).unwrap();
        let moment = Moment {
            now: self.now,
            unix_millis: self.unix_millis,
            topics: &self.topics,
        };
        let records = self.coordinator.tick(&moment);
        self.write(&records);
    }

    /// Deletes a topic, and makes another of its name if `again`.
    pub(super) fn delete_topic(&mut self, name: &str, again: bool) {
        let kept = self.topics.iter().filter(|(known, _)| ***known != *name);
        let mut topics: Vec<(Arc<str>, Topic)> = kept.map(|(k, t)| (Arc::clone(k), *t)).collect();
        if again {
            let another = Topic {
                id: TopicId::from_bytes([77; 16]),
                partitions: 3,
                internal: false,
            };
            topics.push((Arc::from(name), another));
        }
        self.topics = Topics::new(self.topics.version() + 1, topics);
        self.coordinator.topics_gone(self.now);
    }

    pub(super) fn write(&mut self, records: &[GroupRecord]) {
        let encoded = records.iter().map(|record| record.encode().unwrap());
        self.log.extend(encoded);
    }

    /// Another coordinator takes over, with what the log says.
    pub(super) fn move_coordinator(&mut self) {
        self.coordinator = load(&self.config, &self.log);
        self.coordinator.loaded(self.now);
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        let listed = self.coordinator.list().into_iter();
        listed.map(|group| group.group_id.to_string()).collect()
    }
}

/// A coordinator out of keys and values. Its waits have not begun.
pub(super) fn load(config: &CoordinatorConfig, log: &[(Bytes, Option<Bytes>)]) -> Coordinator {
    let mut coordinator = Coordinator::new(config.clone());
    for (key, value) in log {
        match GroupRecord::decode(key, value.as_deref()).unwrap() {
            DecodedGroupRecord::Record(record) => coordinator.apply(&record),
            other => panic!("a coordinator wrote {other:?}"),
        }
    }
    coordinator
}
