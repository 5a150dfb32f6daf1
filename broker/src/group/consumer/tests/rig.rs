//! A group, a clock and topics, for the scenarios.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::ErrorCode;

use super::cluster::Cluster;
use crate::group::consumer::{
    ConsumerGroup, ConsumerGroupConfig, CurrentAssignment, GroupError, Heartbeat, HeartbeatEpoch,
    HeartbeatReply, Partitions, Record,
};
use crate::group::{GroupId, MemberId};
use crate::runtime::Instant;

pub(super) const REBALANCE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Rig {
    pub(super) group: ConsumerGroup,
    pub(super) cluster: Cluster,
    pub(super) now: Instant,
    /// All that was ever written.
    pub(super) log: Vec<Record>,
}

impl Rig {
    pub(super) fn new(topics: &[(&str, i32)]) -> Self {
        Self::with_config(topics, ConsumerGroupConfig::default())
    }

    pub(super) fn with_config(topics: &[(&str, i32)], config: ConsumerGroupConfig) -> Self {
        Self {
            group: ConsumerGroup::new(GroupId::new("group"), Arc::new(config)),
            cluster: Cluster::new(topics),
            now: crate::runtime::now(),
            log: Vec::new(),
        }
    }

    /// The same group as a coordinator with other settings loads it from the log.
    pub(super) fn restart_with(&mut self, config: ConsumerGroupConfig) {
        let mut group = ConsumerGroup::new(self.group.id().clone(), Arc::new(config));
        for record in &self.log {
            group.apply(record);
        }
        group.loaded(self.now);
        self.group = group;
    }

    pub(super) fn send(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatReply, GroupError> {
        let topics = self.cluster.image();
        let outcome = self.group.heartbeat(heartbeat, self.now, 7, &topics)?;
        self.log.extend(outcome.records);
        Ok(outcome.reply)
    }

    #[track_caller]
    pub(super) fn join(&mut self, member: &str, topics: &[&str]) -> HeartbeatReply {
        self.send(&join(member, topics)).unwrap()
    }

    /// A heartbeat that says what the member owns.
    #[track_caller]
    pub(super) fn report(&mut self, member: &str, owned: &Partitions) -> HeartbeatReply {
        let mut heartbeat = going_on(member, self.current(member).member_epoch);
        heartbeat.owned = Some(owned.clone());
        self.send(&heartbeat).unwrap()
    }

    /// A heartbeat that says nothing new.
    #[track_caller]
    pub(super) fn beat(&mut self, member: &str) -> HeartbeatReply {
        let epoch = self.current(member).member_epoch;
        self.send(&going_on(member, epoch)).unwrap()
    }

    #[track_caller]
    pub(super) fn refusal(&mut self, heartbeat: &Heartbeat) -> ErrorCode {
        let before = self.group.describe();
        let refused = self.send(heartbeat).expect_err("refused");
        assert_eq!(self.group.describe(), before, "a refusal changes nothing");
        refused.code()
    }

    #[track_caller]
    pub(super) fn current(&self, member: &str) -> CurrentAssignment {
        let members = self.group.describe().members;
        let mut members = members.into_iter();
        let found = members.find(|found| found.member_id.as_str() == member);
        found.expect("a member").current
    }

    pub(super) fn is_member(&self, member: &str) -> bool {
        let members = self.group.describe().members;
        members
            .iter()
            .any(|found| found.member_id.as_str() == member)
    }

    /// Lets time pass up to the next deadline.
    pub(super) fn miss_deadline(&mut self) {
        self.now = self.group.next_deadline().expect("somebody is awaited");
        let records = self.group.tick(self.now);
        assert!(!records.is_empty(), "a missed deadline has consequences");
        self.log.extend(records);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        let records = self.group.tick(self.now);
        self.log.extend(records);
    }
}

/// A heartbeat that joins.
pub(super) fn join(member: &str, topics: &[&str]) -> Heartbeat {
    Heartbeat {
        rebalance_timeout_ms: Some(REBALANCE_TIMEOUT.as_millis() as i32),
        subscribed_topic_names: Some(names(topics)),
        owned: Some(Partitions::new()),
        ..saying(member, HeartbeatEpoch::Join)
    }
}

pub(super) fn going_on(member: &str, epoch: i32) -> Heartbeat {
    saying(member, HeartbeatEpoch::At(epoch))
}

pub(super) fn saying(member: &str, epoch: HeartbeatEpoch) -> Heartbeat {
    Heartbeat {
        member_id: MemberId::new(member),
        epoch,
        instance_id: None,
        rack_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: None,
        subscribed_topic_names: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: None,
    }
}

pub(super) fn as_instance(instance: &str, heartbeat: Heartbeat) -> Heartbeat {
    Heartbeat {
        instance_id: Some(instance.to_owned()),
        ..heartbeat
    }
}

pub(super) fn names(topics: &[&str]) -> BTreeSet<String> {
    topics.iter().map(ToString::to_string).collect()
}
