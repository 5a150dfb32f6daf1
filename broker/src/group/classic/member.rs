use std::time::Duration;

use bytes::Bytes;

use super::canary::{Canary, is_planted};
use super::error::ClassicError;
use super::record::MemberMetadata;
use super::reply::{Joined, Outcome, Reply, Synced};
use super::request::{JoinRequest, Protocol, Token};
use crate::group::MemberId;
use crate::runtime::Instant;

/// What a member costs beside its texts and bytes, and a protocol: so that empty ones count too.
const FIXED_BYTES: usize = 64;

/// A member of the group, and which of its requests wait.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// Those that it likes best first. A member that was loaded has the chosen one only.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// It has not been answered since it joined: it cannot send heartbeats, so that its wait to
    /// join is no sign of life.
    pub(super) is_new: bool,
    /// It was answered its join of this generation and has not sent SyncGroup since.
    pub(super) owes_sync: bool,
    /// When it is taken for dead. `None`: it waits, and the reply will set it.
    pub(super) session_deadline: Option<Instant>,
    join: Option<Token>,
    sync: Option<Token>,
}

impl Member {
    pub(super) fn new(request: JoinRequest, session_deadline: Instant) -> Self {
        Self {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: copied(request.protocols),
            assignment: Bytes::new(),
            is_new: true,
            owes_sync: false,
            session_deadline: Some(session_deadline),
            join: None,
            sync: None,
        }
    }

    /// A member that another coordinator had. Its session begins when the group is loaded.
    pub(super) fn recorded(metadata: &MemberMetadata, protocol: &str) -> Self {
        Self {
            instance_id: metadata.instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            session_timeout: metadata.session_timeout,
            rebalance_timeout: metadata.rebalance_timeout,
            protocols: vec![Protocol {
                name: protocol.to_owned(),
                metadata: metadata.subscription.clone(),
            }],
            assignment: metadata.assignment.clone(),
            is_new: false,
            owes_sync: false,
            session_deadline: None,
            join: None,
            sync: None,
        }
    }

    /// Takes what a record says. A live member already is what its record says, but for the
    /// assignment, and keeps what no record holds.
    pub(super) fn take_record(&mut self, metadata: &MemberMetadata, protocol: &str) {
        self.assignment = metadata.assignment.clone();
        if self.metadata(Some(protocol)) != metadata.subscription {
            self.protocols = vec![Protocol {
                name: protocol.to_owned(),
                metadata: metadata.subscription.clone(),
            }];
        }
        self.instance_id.clone_from(&metadata.instance_id);
        self.client_id.clone_from(&metadata.client_id);
        self.client_host.clone_from(&metadata.client_host);
        self.session_timeout = metadata.session_timeout;
        self.rebalance_timeout = metadata.rebalance_timeout;
    }

    pub(super) fn to_record(&self, member_id: MemberId, protocol: Option<&str>) -> MemberMetadata {
        MemberMetadata {
            member_id,
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout,
            session_timeout: self.session_timeout,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// Takes what a member that joins again says of itself.
    pub(super) fn update(&mut self, request: JoinRequest) {
        self.session_timeout = request.session_timeout;
        self.rebalance_timeout = request.rebalance_timeout;
        self.protocols = copied(request.protocols);
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    /// What it said for `protocol`; nothing, if it does not offer it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let chosen = |known: &&Protocol| Some(known.name.as_str()) == protocol;
        let found = self.protocols.iter().find(chosen);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(super) fn waits_for_join(&self) -> bool {
        self.join.is_some()
    }

    pub(super) fn waits(&self) -> bool {
        self.join.is_some() || self.sync.is_some()
    }

    /// Begins its session anew: it gave a sign of life, or is told something it has to react to.
    pub(super) fn renew_session(&mut self, now: Instant) {
        self.session_deadline = Some(now + self.session_timeout);
    }

    /// Parks a join. One that was parked before came from a connection the member has given up;
    /// it is told to ask again.
    pub(super) fn wait_for_join(&mut self, token: Token, outcome: &mut Outcome) {
        if let Some(superseded) = self.join.replace(token) {
            let error = Err(ClassicError::RebalanceInProgress);
            outcome.reply(superseded, Reply::Join(error));
        }
    }

    /// Parks a sync, as [`Member::wait_for_join`] a join.
    pub(super) fn wait_for_sync(&mut self, token: Token, outcome: &mut Outcome) {
        self.owes_sync = false;
        if let Some(superseded) = self.sync.replace(token) {
            let error = Err(ClassicError::RebalanceInProgress);
            outcome.reply(superseded, Reply::Sync(error));
        }
    }

    /// Answers the join that waits, if one does.
    pub(super) fn answer_join(
        &mut self,
        answer: impl FnOnce() -> Result<Joined, ClassicError>,
        outcome: &mut Outcome,
    ) {
        let waiting = match is_planted(Canary::AnsweredTwice) {
            true => self.join,
            false => self.join.take(),
        };
        if let Some(token) = waiting {
            outcome.reply(token, Reply::Join(answer()));
        }
    }

    /// Answers the sync that waits, and says whether one did.
    pub(super) fn answer_sync(
        &mut self,
        answer: impl FnOnce() -> Result<Synced, ClassicError>,
        outcome: &mut Outcome,
    ) -> bool {
        let Some(token) = self.sync.take() else {
            return false;
        };
        outcome.reply(token, Reply::Sync(answer()));
        true
    }

    /// Refuses whatever waits: the member is no longer what the sender was.
    pub(super) fn refuse_waiting(&mut self, error: &ClassicError, outcome: &mut Outcome) {
        self.answer_join(|| Err(error.clone()), outcome);
        self.answer_sync(|| Err(error.clone()), outcome);
    }

    /// What the member counts against `group.metadata.max.bytes`.
    pub(super) fn metadata_bytes(&self) -> usize {
        let instance_id = self.instance_id.as_deref();
        let texts = [&self.client_id, &self.client_host];
        metadata_bytes(instance_id, texts, &self.protocols)
    }
}

impl JoinRequest {
    /// What the member would count, as [`Member::metadata_bytes`] says.
    pub(super) fn metadata_bytes(&self) -> usize {
        let instance_id = self.instance_id.as_deref();
        let texts = [&self.client_id, &self.client_host];
        metadata_bytes(instance_id, texts, &self.protocols)
    }
}

/// A slice would keep the whole frame it came in for as long as the member stays.
fn copied(mut protocols: Vec<Protocol>) -> Vec<Protocol> {
    for protocol in &mut protocols {
        protocol.metadata = Bytes::copy_from_slice(&protocol.metadata);
    }
    protocols
}

fn metadata_bytes(instance_id: Option<&str>, texts: [&String; 2], protocols: &[Protocol]) -> usize {
    let bytes = |protocol: &Protocol| FIXED_BYTES + protocol.name.len() + protocol.metadata.len();
    FIXED_BYTES
        + instance_id.map_or(0, str::len)
        + texts.map(String::len).iter().sum::<usize>()
        + protocols.iter().map(bytes).sum::<usize>()
}
