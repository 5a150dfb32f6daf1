//! One group, a clock that the test turns, and every reply that came.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::ErrorCode;
use uuid::Uuid;

use crate::group::classic::*;
use crate::group::{GroupId, MemberId};
use crate::runtime::now;

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(60);
/// Ticks that may follow each other without any time in between. A time-out of zero is over as soon
/// as it begins, so that the steps of a round fall together; but they are few.
const TICKS_AT_ONCE: usize = 4;

pub(super) struct Rig {
    pub(super) group: ClassicGroup,
    pub(super) at: Moment,
    pub(super) records: Vec<GroupRecord>,
    replies: BTreeMap<Token, Reply>,
    tokens: u64,
    uuids: u128,
}

/// A member id, and its generation.
pub(super) type Seat = (MemberId, i32);

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(ClassicConfig::default())
    }

    pub(super) fn with(config: ClassicConfig) -> Self {
        Self {
            group: ClassicGroup::new(GroupId::new("g"), config),
            at: Moment {
                now: now(),
                unix_millis: 1_000_000,
            },
            records: Vec::new(),
            replies: BTreeMap::new(),
            tokens: 0,
            uuids: 0,
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn take(&mut self, outcome: Outcome) {
        self.records.extend(outcome.records);
        for (token, reply) in outcome.replies {
            let before = self.replies.insert(token, reply);
            assert_eq!(before, None, "{token:?} was answered twice");
        }
    }

    pub(super) fn send_join(&mut self, request: JoinRequest) -> Token {
        let token = self.token();
        let uuids = &mut self.uuids;
        let mut new_uuid = || {
            *uuids += 1;
            Uuid::from_u128(*uuids)
        };
        let outcome = self.group.join(self.at, token, request, &mut new_uuid);
        self.take(outcome);
        token
    }

    pub(super) fn send_sync(&mut self, seat: &Seat, assignments: &[(&MemberId, &str)]) -> Token {
        self.send_sync_as(SyncRequest {
            member_id: seat.0.clone(),
            instance_id: None,
            generation: seat.1,
            protocol_type: Some("consumer".to_owned()),
            protocol: None,
            assignments: assignments
                .iter()
                .map(|(member_id, assignment)| Assignment {
                    member_id: (*member_id).clone(),
                    assignment: bytes(assignment),
                })
                .collect(),
        })
    }

    pub(super) fn send_sync_as(&mut self, request: SyncRequest) -> Token {
        let token = self.token();
        let outcome = self.group.sync(self.at, token, request);
        self.take(outcome);
        token
    }

    pub(super) fn heartbeat(&mut self, seat: &Seat) -> ErrorCode {
        self.heartbeat_as(seat, None)
    }

    pub(super) fn heartbeat_as(&mut self, seat: &Seat, instance_id: Option<&str>) -> ErrorCode {
        let token = self.token();
        let request = HeartbeatRequest {
            member_id: seat.0.clone(),
            instance_id: instance_id.map(str::to_owned),
            generation: seat.1,
        };
        let outcome = self.group.heartbeat(self.at, token, &request);
        self.take(outcome);
        match self.reply(token) {
            Some(Reply::Heartbeat(answer)) => code(answer.as_ref().err()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: Vec<Leaving>) -> Vec<ErrorCode> {
        let token = self.token();
        let outcome = self.group.leave(self.at, token, LeaveRequest { members });
        self.take(outcome);
        match self.reply(token) {
            Some(Reply::Leave(Ok(left))) => {
                let results = left.iter().map(|left| code(left.result.as_ref().err()));
                results.collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn reply(&self, token: Token) -> Option<&Reply> {
        self.replies.get(&token)
    }

    pub(super) fn waits(&self, token: Token) -> bool {
        !self.replies.contains_key(&token)
    }

    pub(super) fn joined(&self, token: Token) -> Joined {
        match self.reply(token) {
            Some(Reply::Join(Ok(joined))) => joined.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn seat(&self, token: Token) -> Seat {
        let joined = self.joined(token);
        (joined.member_id, joined.generation)
    }

    pub(super) fn refused(&self, token: Token) -> ErrorCode {
        match self.reply(token) {
            Some(Reply::Join(Err(error)) | Reply::Sync(Err(error))) => error.code(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn assigned(&self, token: Token) -> Bytes {
        match self.reply(token) {
            Some(Reply::Sync(Ok(synced))) => synced.assignment.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The id that a new member is told to join with.
    pub(super) fn given_id(&mut self, client: &str) -> MemberId {
        let token = self.send_join(join(client));
        match self.reply(token) {
            Some(Reply::Join(Err(ClassicError::MemberIdRequired { member_id }))) => {
                member_id.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Joins as a new member does: once for an id, and again with it.
    pub(super) fn join_anew(&mut self, client: &str) -> Token {
        let member_id = self.given_id(client);
        self.send_join(rejoin(client, &member_id))
    }

    /// Lets time pass, and does everything that is due on the way at its time. Says how often
    /// something was.
    pub(super) fn pass(&mut self, time: Duration) -> usize {
        let end = self.at.now + time;
        let mut ticks = 0;
        let mut at_once = 0;
        while let Some(deadline) = self
            .group
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            let wait = deadline.duration_since(self.at.now);
            at_once = if wait.is_zero() { at_once + 1 } else { 0 };
            assert!(at_once <= TICKS_AT_ONCE, "time stands still at a deadline");
            ticks += 1;
            self.turn_clock(wait);
            let outcome = self.group.tick(self.at);
            self.take(outcome);
        }
        self.turn_clock(end.duration_since(self.at.now));
        ticks
    }

    fn turn_clock(&mut self, time: Duration) {
        self.at.now += time;
        self.at.unix_millis += time.as_millis() as i64;
    }

    /// A stable group of these clients, the first of which leads. Each is assigned its own name.
    pub(super) fn stable(&mut self, clients: &[&str]) -> Vec<Seat> {
        let joins: Vec<Token> = clients
            .iter()
            .map(|client| self.join_anew(client))
            .collect();
        self.settle(&joins, clients)
    }

    /// Ends the round that these joins wait for, and has everyone sync.
    pub(super) fn settle(&mut self, joins: &[Token], names: &[&str]) -> Vec<Seat> {
        if joins.iter().any(|join| self.waits(*join)) {
            self.pass(Duration::from_secs(6));
        }
        let seats: Vec<Seat> = joins.iter().map(|join| self.seat(*join)).collect();
        let assignments: Vec<(&MemberId, &str)> = seats
            .iter()
            .map(|seat| &seat.0)
            .zip(names.iter().copied())
            .collect();
        let syncs: Vec<Token> = seats
            .iter()
            .zip(joins)
            .map(|(seat, join)| match self.joined(*join).members.is_empty() {
                true => self.send_sync(seat, &[]),
                false => self.send_sync(seat, &assignments),
            })
            .collect();
        for (sync, name) in syncs.into_iter().zip(names) {
            assert_eq!(self.assigned(sync), bytes(name));
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        seats
    }

    /// The same group as another coordinator loads it from the log.
    pub(super) fn reload(&mut self) {
        let mut group = ClassicGroup::new(GroupId::new("g"), ClassicConfig::default());
        for record in &self.records {
            group.apply(record);
        }
        group.start(self.at.now);
        self.group = group;
    }
}

/// A join of a new member, with the protocols `range` and `sticky`.
pub(super) fn join(client: &str) -> JoinRequest {
    JoinRequest {
        member_id: None,
        instance_id: None,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", "topics"), protocol("sticky", "topics")],
        takes_member_id_first: true,
        knows_skip_assignment: true,
        reason: None,
    }
}

pub(super) fn rejoin(client: &str, member_id: &MemberId) -> JoinRequest {
    JoinRequest {
        member_id: Some(member_id.clone()),
        ..join(client)
    }
}

pub(super) fn join_static(client: &str, instance_id: &str) -> JoinRequest {
    JoinRequest {
        instance_id: Some(instance_id.to_owned()),
        ..join(client)
    }
}

pub(super) fn protocol(name: &str, metadata: &str) -> Protocol {
    Protocol {
        name: name.to_owned(),
        metadata: bytes(metadata),
    }
}

pub(super) fn leaving(member_id: &MemberId) -> Leaving {
    Leaving {
        member_id: Some(member_id.clone()),
        instance_id: None,
        reason: Some("the test says so".to_owned()),
    }
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn code(error: Option<&ClassicError>) -> ErrorCode {
    error.map_or(ErrorCode::None, ClassicError::code)
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
