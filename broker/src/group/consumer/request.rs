//! What a member says in a heartbeat (Kafka's `ConsumerGroupHeartbeat`, version 1), and the answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Assignor, Assignors, ConsumerGroupConfig, GroupError, MemberMetadata, Partitions, Record,
};
use crate::group::MemberId;

/// One heartbeat. `None` in a field of the member's own means "as I said before".
#[derive(Clone, PartialEq, Debug)]
pub struct Heartbeat {
    /// Drawn by the client.
    pub member_id: MemberId,
    pub epoch: HeartbeatEpoch,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: Option<i32>,
    pub subscribed_topic_names: Option<BTreeSet<String>>,
    /// An empty pattern ends the subscription by pattern.
    pub subscribed_topic_regex: Option<String>,
    pub server_assignor: Option<String>,
    /// What the member owns now.
    pub owned: Option<Partitions>,
}

/// What the member epoch of a heartbeat asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeartbeatEpoch {
    /// 0: let me in, with nothing in my hands.
    Join,
    /// I go on at this epoch.
    At(i32),
    /// -1: I leave for good.
    Leave,
    /// -2: I am a static member and shall be back.
    LeaveForNow,
}

impl HeartbeatEpoch {
    pub fn from_wire(epoch: i32) -> Result<Self, GroupError> {
        match epoch {
            0 => Ok(Self::Join),
            1.. => Ok(Self::At(epoch)),
            -1 => Ok(Self::Leave),
            -2 => Ok(Self::LeaveForNow),
            _ => Err(invalid(format!(
                "a member epoch is -2 or more, not {epoch}"
            ))),
        }
    }
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Debug)]
pub struct HeartbeatReply {
    pub member_id: MemberId,
    /// What the next heartbeat must say; -1 and -2 confirm a departure.
    pub member_epoch: i32,
    pub heartbeat_interval: Duration,
    /// Longer silence means that the member was fenced.
    pub session_timeout: Duration,
    /// All that the member may own from now on. `None`: as before.
    pub assignment: Option<Partitions>,
}

/// What is to be appended, and the answer once that is durable.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub records: Vec<Record>,
    pub reply: HeartbeatReply,
}

impl Heartbeat {
    /// Refuses what contradicts itself, whatever the group's state.
    pub(super) fn validate(&self, assignors: &Assignors) -> Result<(), GroupError> {
        if self.member_id.as_str().is_empty() {
            return Err(invalid("the member id is empty"));
        }
        if self.instance_id.as_deref() == Some("") {
            return Err(invalid("the instance id is empty"));
        }
        if self.rack_id.as_deref() == Some("") {
            return Err(invalid("the rack id is empty"));
        }
        // Of a member that leaves only the ids count, as in Kafka: some clients send zeros with them.
        let is_leaving = matches!(
            self.epoch,
            HeartbeatEpoch::Leave | HeartbeatEpoch::LeaveForNow
        );
        let timeout = self.rebalance_timeout_ms.filter(|_| !is_leaving);
        if timeout.is_some_and(|timeout| timeout <= 0) {
            return Err(invalid("the rebalance time-out is not positive"));
        }
        match self.epoch {
            HeartbeatEpoch::Join => self.validate_join()?,
            HeartbeatEpoch::LeaveForNow if self.instance_id.is_none() => {
                return Err(invalid("only a member with an instance id leaves for now"));
            }
            _ => {}
        }
        let is_offered = |name| Assignor::from_name(name).is_some_and(|it| assignors.contains(it));
        match &self.server_assignor {
            Some(name) if !is_offered(name) => Err(GroupError::UnsupportedAssignor {
                name: name.clone(),
                offered: assignors.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn validate_join(&self) -> Result<(), GroupError> {
        if self.rebalance_timeout_ms.is_none() {
            return Err(invalid("a member that joins says its rebalance time-out"));
        }
        if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return Err(invalid("a member that joins says that it owns nothing"));
        }
        let names = self.subscribed_topic_names.as_ref();
        let pattern = self.subscribed_topic_regex.as_deref();
        if names.is_none_or(BTreeSet::is_empty) && pattern.is_none_or(str::is_empty) {
            return Err(invalid(
                "a member that joins subscribes to topics, by names or by a pattern",
            ));
        }
        Ok(())
    }

    /// A member that says everything wants to hear everything: a reply to it may have been lost.
    pub(super) fn is_full(&self) -> bool {
        self.rebalance_timeout_ms.is_some()
            && (self.subscribed_topic_names.is_some() || self.subscribed_topic_regex.is_some())
            && self.owned.is_some()
    }

    /// What the member is known as after this heartbeat, unless that is too much.
    pub(super) fn update(
        &self,
        known: &MemberMetadata,
        config: &ConsumerGroupConfig,
    ) -> Result<MemberMetadata, GroupError> {
        let pattern = match self.subscribed_topic_regex.as_deref() {
            None => known.subscribed_topic_regex.clone(),
            Some("") => None,
            Some(pattern) => Some(pattern.to_owned()),
        };
        let metadata = MemberMetadata {
            instance_id: self.instance_id.clone().or(known.instance_id.clone()),
            rack_id: self.rack_id.clone().or(known.rack_id.clone()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: match &self.subscribed_topic_names {
                Some(names) => names.clone(),
                None => known.subscribed_topic_names.clone(),
            },
            subscribed_topic_regex: pattern,
            rebalance_timeout_ms: self
                .rebalance_timeout_ms
                .unwrap_or(known.rebalance_timeout_ms),
            server_assignor: self
                .server_assignor
                .clone()
                .or(known.server_assignor.clone()),
        };
        let (bytes, most) = (bytes_of(&metadata), config.member_metadata_bytes_max);
        if bytes > most {
            return Err(invalid(format!(
                "a member says at most {most} bytes about itself, not {bytes}"
            )));
        }
        Ok(metadata)
    }
}

fn bytes_of(metadata: &MemberMetadata) -> usize {
    let texts = [
        &metadata.instance_id,
        &metadata.rack_id,
        &metadata.subscribed_topic_regex,
        &metadata.server_assignor,
    ];
    // A name also costs its length's bytes, so that many short names are not free.
    let names = metadata.subscribed_topic_names.iter();
    let names: usize = names.map(|name| name.len() + size_of::<u16>()).sum();
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    names + texts + metadata.client_id.len() + metadata.client_host.len()
}

fn invalid(what: impl Into<String>) -> GroupError {
    GroupError::InvalidRequest { what: what.into() }
}
