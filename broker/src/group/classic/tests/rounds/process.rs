//! A client as real ones are: it has one request of a rebalance under way at a time, heartbeats
//! beside it, and does what the replies tell it.

use std::collections::BTreeSet;
use std::time::Duration;

use corelog_client::TopicPartition;
use corelog_client::assignors::{PartitionCounts, Subscriber};
use corelog_protocol::ErrorCode;
use rand::Rng;
use rand::rngs::StdRng;

use super::subscription::{assignor, decode, decode_partitions, encode, encode_partitions};
use crate::group::MemberId;
use crate::group::classic::*;

/// A request, but for its token.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveRequest),
}

/// What comes back: a reply, or the end of the connection.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply(Reply),
    Disconnected,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Doing {
    /// About to join, when it wakes.
    Idle,
    Joining,
    /// About to sync with these assignments, when it wakes.
    Computing(Vec<Assignment>),
    Syncing,
    /// Reading what it owns.
    Running,
    /// Told to join again, and not polling. Its heartbeats go on.
    Busy,
    Stopped,
}

/// What the process wants next of the world.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    Nothing,
    /// Wake it after this time.
    Wake(Duration),
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) instance_id: Option<String>,
    pub(super) doing: Doing,
    pub(super) member_id: Option<MemberId>,
    /// Of its last join that was answered.
    pub(super) generation: Option<i32>,
    pub(super) owned: BTreeSet<TopicPartition>,
    /// What it last owned, for the sticky assignors.
    previous: Vec<TopicPartition>,
    previous_generation: Option<i32>,
    protocol: Option<String>,
    protocols: Vec<&'static str>,
    pub(super) topics: Vec<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    knows_skip_assignment: bool,
    takes_member_id_first: bool,
    /// It takes its time now and then, and more than the group grants.
    pub(super) dawdles: bool,
    /// The request of a rebalance that is under way.
    pub(super) pending: Option<Token>,
    pub(super) pending_heartbeat: Option<Token>,
}

pub(super) const MAX_REBALANCE_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const MAX_SESSION_TIMEOUT: Duration = Duration::from_secs(12);

impl Process {
    pub(super) fn new(
        name: String,
        instance_id: Option<String>,
        cooperative: bool,
        topics: Vec<String>,
        random: &mut StdRng,
    ) -> Self {
        let protocols: &[&str] = match (cooperative, random.random_range(0..3)) {
            (true, _) => &["cooperative-sticky"],
            (false, 0) => &["sticky", "range"],
            (false, 1) => &["range", "roundrobin"],
            (false, _) => &["range", "sticky", "roundrobin"],
        };
        Self {
            name,
            instance_id,
            doing: Doing::Idle,
            member_id: None,
            generation: None,
            owned: BTreeSet::new(),
            previous: Vec::new(),
            previous_generation: None,
            protocol: None,
            protocols: protocols.to_vec(),
            topics,
            session_timeout: Duration::from_secs(random.random_range(6..=12)),
            rebalance_timeout: Duration::from_secs(random.random_range(5..=20)),
            knows_skip_assignment: random.random(),
            takes_member_id_first: random.random_range(0..10) > 0,
            dawdles: true,
            pending: None,
            pending_heartbeat: None,
        }
    }

    /// For the report of a fault.
    pub(super) fn summary(&self) -> String {
        let owned: Vec<String> = self.owned.iter().map(TopicPartition::to_string).collect();
        format!(
            "{} ({:?}) {:?} in generation {:?} with {}",
            self.name,
            self.instance_id,
            self.doing,
            self.generation,
            owned.join(" ")
        )
    }

    pub(super) fn heartbeat_interval(&self) -> Duration {
        self.session_timeout / 3
    }

    pub(super) fn is_cooperative(&self) -> bool {
        self.protocols == ["cooperative-sticky"]
    }

    /// A member whose heartbeat thread runs.
    pub(super) fn beats(&self) -> bool {
        let in_group = !matches!(self.doing, Doing::Idle | Doing::Joining | Doing::Stopped);
        in_group && self.member_id.is_some() && self.pending_heartbeat.is_none()
    }

    pub(super) fn heartbeat(&self) -> Option<Request> {
        Some(Request::Heartbeat(HeartbeatRequest {
            member_id: self.member_id.clone()?,
            instance_id: self.instance_id.clone(),
            generation: self.generation?,
        }))
    }

    pub(super) fn leave(&mut self) -> Option<Request> {
        self.stop();
        Some(Request::Leave(LeaveRequest {
            members: vec![Leaving {
                member_id: Some(self.member_id.clone()?),
                instance_id: self.instance_id.clone(),
                reason: None,
            }],
        }))
    }

    pub(super) fn stop(&mut self) {
        self.doing = Doing::Stopped;
        self.owned.clear();
        self.pending = None;
    }

    /// Sends what it was about to.
    pub(super) fn wake(&mut self) -> Option<Request> {
        match std::mem::replace(&mut self.doing, Doing::Syncing) {
            Doing::Idle | Doing::Busy => Some(self.join()),
            Doing::Computing(assignments) => Some(Request::Sync(SyncRequest {
                member_id: self.member_id.clone()?,
                instance_id: self.instance_id.clone(),
                generation: self.generation?,
                protocol_type: Some("consumer".to_owned()),
                protocol: self.protocol.clone(),
                assignments,
            })),
            other => {
                self.doing = other;
                None
            }
        }
    }

    /// Joins, or joins again. An eager member gives everything up before.
    pub(super) fn join(&mut self) -> Request {
        if !self.is_cooperative() {
            self.owned.clear();
        }
        self.doing = Doing::Joining;
        let protocols = self.protocols.iter().map(|name| Protocol {
            name: (*name).to_owned(),
            metadata: encode(&self.subscriber(name)),
        });
        Request::Join(JoinRequest {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.name.clone(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: self.session_timeout,
            rebalance_timeout: self.rebalance_timeout,
            protocol_type: "consumer".to_owned(),
            protocols: protocols.collect(),
            takes_member_id_first: self.takes_member_id_first,
            knows_skip_assignment: self.knows_skip_assignment,
            reason: None,
        })
    }

    fn subscriber(&self, protocol: &str) -> Subscriber {
        let (owned, generation) = match protocol {
            "sticky" => (self.previous.clone(), self.previous_generation),
            "cooperative-sticky" => {
                let owned = self.owned.iter().cloned().collect();
                (owned, self.previous_generation)
            }
            _ => (Vec::new(), None),
        };
        Subscriber {
            owned,
            generation,
            ..Subscriber::new("", self.topics.clone())
        }
    }

    /// It is out, and what it owned is lost.
    fn reset(&mut self, forgets_id: bool) {
        if forgets_id {
            self.member_id = None;
        }
        self.generation = None;
        self.previous_generation = None;
        self.owned.clear();
    }

    /// Takes the answer to its request of a rebalance.
    pub(super) fn take(
        &mut self,
        answer: Answer,
        topics: &PartitionCounts,
        random: &mut StdRng,
    ) -> Wish {
        self.pending = None;
        match answer {
            Answer::Reply(Reply::Join(Ok(joined))) => self.take_joined(joined, topics, random),
            Answer::Reply(Reply::Sync(Ok(synced))) => self.take_assignment(&synced),
            Answer::Reply(Reply::Join(Err(error)) | Reply::Sync(Err(error))) => {
                self.take_error(&error, random)
            }
            // Nobody tells what became of the request: it starts over.
            Answer::Disconnected => self.retry(random),
            Answer::Reply(Reply::Heartbeat(_) | Reply::Leave(_)) => Wish::Nothing,
        }
    }

    fn take_joined(
        &mut self,
        joined: Joined,
        topics: &PartitionCounts,
        random: &mut StdRng,
    ) -> Wish {
        let leads = joined.leader.as_ref() == Some(&joined.member_id) && !joined.skip_assignment;
        let mut assignments = Vec::new();
        if leads {
            let assign = assignor(joined.protocol.as_deref().unwrap());
            let members: Vec<Subscriber> = joined.members.iter().map(decode).collect();
            let shares = assign(topics, &members);
            assignments = shares
                .into_iter()
                .map(|(id, share)| Assignment {
                    member_id: MemberId::new(id),
                    assignment: encode_partitions(&share),
                })
                .collect();
        }
        self.member_id = Some(joined.member_id);
        self.generation = Some(joined.generation);
        self.protocol = joined.protocol;
        self.doing = Doing::Computing(assignments);
        Wish::Wake(match random.random_range(0..20) {
            0 if self.dawdles => Duration::from_millis(random.random_range(0..40_000)),
            1..4 if self.dawdles => Duration::from_millis(random.random_range(0..6_000)),
            _ => Duration::from_millis(random.random_range(0..50)),
        })
    }

    fn take_assignment(&mut self, synced: &Synced) -> Wish {
        let assigned: BTreeSet<TopicPartition> =
            decode_partitions(&synced.assignment).into_iter().collect();
        let gives_up = self.owned.difference(&assigned).next().is_some();
        self.previous = assigned.iter().cloned().collect();
        self.previous_generation = self.generation;
        self.owned = assigned;
        if gives_up {
            // A cooperative member has let go of something: another may have it now.
            self.doing = Doing::Idle;
            return Wish::Wake(Duration::ZERO);
        }
        self.doing = Doing::Running;
        Wish::Nothing
    }

    fn take_error(&mut self, error: &ClassicError, random: &mut StdRng) -> Wish {
        match (error.code(), error) {
            (_, ClassicError::MemberIdRequired { member_id }) => {
                self.member_id = Some(member_id.clone());
                self.doing = Doing::Idle;
                Wish::Wake(Duration::ZERO)
            }
            (ErrorCode::UnknownMemberId, _) => {
                self.reset(true);
                self.retry(random)
            }
            (ErrorCode::IllegalGeneration, _) => {
                self.reset(false);
                self.retry(random)
            }
            (
                ErrorCode::RebalanceInProgress
                | ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable,
                _,
            ) => self.retry(random),
            (
                ErrorCode::FencedInstanceId
                | ErrorCode::GroupMaxSizeReached
                | ErrorCode::InconsistentGroupProtocol,
                _,
            ) => {
                self.stop();
                Wish::Nothing
            }
            (code, _) => panic!("no client expects {code}: {error}"),
        }
    }

    fn retry(&mut self, random: &mut StdRng) -> Wish {
        self.doing = Doing::Idle;
        Wish::Wake(Duration::from_millis(random.random_range(0..200)))
    }

    /// Takes the answer to a heartbeat.
    pub(super) fn take_heartbeat(&mut self, answer: &Answer, random: &mut StdRng) -> Wish {
        self.pending_heartbeat = None;
        let Answer::Reply(Reply::Heartbeat(Err(error))) = answer else {
            return Wish::Nothing;
        };
        let is_running = self.doing == Doing::Running;
        match error.code() {
            ErrorCode::FencedInstanceId => {
                self.stop();
                Wish::Nothing
            }
            ErrorCode::UnknownMemberId if is_running => {
                self.reset(true);
                self.retry(random)
            }
            ErrorCode::IllegalGeneration if is_running => {
                self.reset(false);
                self.retry(random)
            }
            ErrorCode::RebalanceInProgress if is_running => match random.random_range(0..10) {
                0 if self.dawdles => {
                    self.doing = Doing::Busy;
                    Wish::Wake(Duration::from_millis(random.random_range(0..120_000)))
                }
                _ => self.retry(random),
            },
            // While it syncs, the reply to that says the same; while it is busy it does not look.
            _ => Wish::Nothing,
        }
    }
}
