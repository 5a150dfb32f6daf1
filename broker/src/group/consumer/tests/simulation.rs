//! Random consumers against a group, and what must hold after every step and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::ErrorCode;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use regex::Regex;

use super::client::{Client, Subscription};
use super::cluster::Cluster;
use super::rig::{REBALANCE_TIMEOUT, names};
use crate::group::consumer::{
    Assignor, Assignors, Change, ConsumerGroup, ConsumerGroupConfig, GroupState, HeartbeatEpoch,
    MemberState, Partitions, Record,
};
use crate::group::{GroupId, MemberId};
use crate::runtime::Instant;

/// Heartbeats of everybody until a group left alone must have settled. A silent member takes 9 of
/// them to be missed, and so may, one after the other, take 6 each those that give nothing up.
const ROUNDS_MAX: usize = 120;
const MEMBERS_MAX: usize = 8;
const TOPICS: [&str; 4] = ["t0", "t1", "t2", "u0"];
const PATTERNS: [&str; 3] = ["t.*", "t[01]|u.*", "none"];

/// What a cheating coordinator is convicted of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    TwoOwners(String),
    LostPartition(String),
    Unsettled(String),
    NotFenced(String),
    FencedWithoutCause(String),
    Unbalanced(String),
    WrongOwner(String),
    NotReplayed(String),
    Refused(String),
}

pub(super) struct Simulation {
    random: StdRng,
    cluster: Cluster,
    config: Arc<ConsumerGroupConfig>,
    group: ConsumerGroup,
    log: Vec<Record>,
    clients: BTreeMap<MemberId, Client>,
    /// Static members that left for now.
    away: Vec<(MemberId, String)>,
    clients_made: usize,
    now: Instant,
    /// When the coordinator last moved here.
    moved_at: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Nothing,
    Request,
    Reply,
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut assignors = vec![Assignor::Uniform, Assignor::Range];
        assignors.shuffle(&mut random);
        let config = Arc::new(ConsumerGroupConfig {
            max_size: MEMBERS_MAX,
            assignors: Assignors::new(assignors).unwrap(),
            ..ConsumerGroupConfig::default()
        });
        let now = crate::runtime::now();
        Self {
            random,
            cluster: Cluster::new(&[("t0", 3), ("t1", 4), ("__consumer_offsets", 1)]),
            group: ConsumerGroup::new(GroupId::new("group"), Arc::clone(&config)),
            config,
            log: Vec::new(),
            clients: BTreeMap::new(),
            away: Vec::new(),
            clients_made: 0,
            now,
            moved_at: now,
        }
    }

    pub(super) fn step(&mut self) -> Result<(), Fault> {
        match self.random.random_range(0..100) {
            0..9 => self.start_client(),
            9..12 => self.leave()?,
            12..15 => self.leave_for_now()?,
            15..19 => self.change_client(|client| client.is_silent = true),
            19..23 => self.change_client(|client| client.is_silent = false),
            23..25 => self.change_client(|client| client.is_stubborn = client.is_member),
            25..28 => self.resubscribe(),
            28..31 => self.change_topics(),
            31..33 => self.move_coordinator()?,
            33..36 => self.return_static_member(),
            36..40 => self.send_stale_heartbeat()?,
            40..48 => self.let_time_pass()?,
            48..62 => self.change_client(Client::revoke),
            _ => self.beat_of_somebody()?,
        }
        self.check_owners()
    }

    /// Leaves the group alone: everybody who lives goes on, and nothing else happens.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        for _ in 0..ROUNDS_MAX {
            self.round()?;
            if self.is_settled() {
                self.check_settled()?;
                let written = self.log.len();
                self.round()?;
                return match self.log.len() == written {
                    true => Ok(()),
                    false => Err(Fault::Unsettled("a settled group goes on writing".into())),
                };
            }
        }
        let description = self.group.describe();
        Err(Fault::Unsettled(format!("{description:#?}")))
    }

    fn round(&mut self) -> Result<(), Fault> {
        self.pass(self.config.heartbeat_interval)?;
        let mut ids = self.living();
        ids.shuffle(&mut self.random);
        for id in ids {
            if self.clients.contains_key(&id) {
                self.beat(&id, Loss::Nothing)?;
                self.check_owners()?;
            }
            if let Some(client) = self.clients.get_mut(&id) {
                client.revoke();
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let description = self.group.describe();
        let living = self.living();
        let members: BTreeMap<_, _> = description
            .members
            .iter()
            .map(|member| (&member.member_id, &member.current))
            .collect();
        let is_at_rest = |id: &MemberId| {
            let client = &self.clients[id];
            members.get(id).is_some_and(|current| {
                client.revoking.is_empty()
                    && client.epoch == description.epoch
                    && current.assigned == client.owned
            })
        };
        let state = match living.is_empty() {
            true => GroupState::Empty,
            false => GroupState::Stable,
        };
        description.state == state && members.len() == living.len() && living.iter().all(is_at_rest)
    }

    fn check_settled(&self) -> Result<(), Fault> {
        let living = self.living();
        let mut wanted = Partitions::new();
        let mut read = Partitions::new();
        for id in &living {
            let client = &self.clients[id];
            let subscribed = self.subscribed(client);
            if !client.owned.is_subset(&subscribed) {
                return Err(Fault::WrongOwner(format!("{client:?}")));
            }
            wanted.extend(subscribed);
            read.extend(&client.owned);
        }
        if read != wanted {
            let lost = &wanted - &read;
            return Err(Fault::LostPartition(format!("{lost:?} of {wanted:?}")));
        }
        if self.group.assignor() == Assignor::Uniform {
            for (id, other) in living.iter().zip(living.iter().skip(1)) {
                let (client, other) = (&self.clients[id], &self.clients[other]);
                let distance = client.owned.len().abs_diff(other.owned.len());
                if self.subscribed(client) == self.subscribed(other) && distance > 1 {
                    return Err(Fault::Unbalanced(format!("{client:?} {other:?}")));
                }
            }
        }
        Ok(())
    }

    /// What the client's subscription means, found without the group.
    fn subscribed(&self, client: &Client) -> Partitions {
        let subscription = &client.subscription;
        let pattern = Regex::new(&format!("^({})$", subscription.pattern)).unwrap();
        let topics = TOPICS.into_iter().filter(|name| {
            subscription.names.contains(*name)
                || (!subscription.pattern.is_empty() && pattern.is_match(name))
        });
        topics
            .flat_map(|name| self.cluster.partitions(name))
            .collect()
    }

    /// No partition has two owners: neither by what members were told and have not reported as
    /// revoked, nor by what the coordinator believes.
    fn check_owners(&self) -> Result<(), Fault> {
        let mut told = Partitions::new();
        for client in self.clients.values() {
            for partition in &client.told {
                if !told.insert(*partition) {
                    let clients = &self.clients;
                    return Err(Fault::TwoOwners(format!("{partition:?}: {clients:#?}")));
                }
            }
        }
        let mut held = Partitions::new();
        for member in self.group.describe().members {
            for partition in member.current.held() {
                if !held.insert(partition) {
                    return Err(Fault::TwoOwners(format!("{partition:?} is held twice")));
                }
            }
        }
        Ok(())
    }

    fn living(&self) -> Vec<MemberId> {
        let clients = self.clients.values();
        clients
            .filter(|client| !client.is_silent)
            .map(|client| client.member_id.clone())
            .collect()
    }

    fn somebody(&mut self) -> Option<MemberId> {
        let ids: Vec<MemberId> = self.clients.keys().cloned().collect();
        ids.choose(&mut self.random).cloned()
    }

    fn change_client(&mut self, change: impl FnOnce(&mut Client)) {
        if let Some(id) = self.somebody() {
            change(self.clients.get_mut(&id).unwrap());
        }
    }

    fn let_time_pass(&mut self) -> Result<(), Fault> {
        let millis = match self.random.random_bool(0.1) {
            true => self.random.random_range(0..60_000),
            false => self.random.random_range(0..5_000),
        };
        self.pass(Duration::from_millis(millis))
    }

    fn random_subscription(&mut self) -> Subscription {
        let count = self.random.random_range(0..3);
        let some: Vec<&str> = TOPICS
            .choose_multiple(&mut self.random, count)
            .copied()
            .collect();
        let by_pattern = some.is_empty() || self.random.random_bool(0.2);
        let pattern = match by_pattern {
            true => PATTERNS.choose(&mut self.random).unwrap(),
            false => "",
        };
        // Mostly the same for all, as in practice.
        let alike = self.random.random_bool(0.6);
        Subscription {
            names: names(if alike { &["t0", "t1"] } else { &some }),
            pattern: String::from(if alike { "" } else { pattern }),
            assignor: ["uniform", "range"]
                .choose(&mut self.random)
                .copied()
                .unwrap(),
        }
    }

    fn start_client(&mut self) {
        let instance = format!("i{}", self.random.random_range(0..4));
        let used: BTreeSet<&String> = self
            .clients
            .values()
            .filter_map(|client| client.instance_id.as_ref())
            .chain(self.away.iter().map(|(_, instance)| instance))
            .collect();
        let is_static = !used.contains(&instance) && self.random.random_bool(0.5);
        if self.clients.len() < MEMBERS_MAX + 2 {
            self.add_client(is_static.then_some(instance));
        }
    }

    fn add_client(&mut self, instance_id: Option<String>) {
        self.clients_made += 1;
        let member_id = MemberId::new(format!("m{}", self.clients_made));
        let subscription = self.random_subscription();
        let client = Client::new(member_id.clone(), instance_id, subscription, self.now);
        self.clients.insert(member_id, client);
    }

    /// A static member that left for now is back, or a silent one is started again elsewhere.
    fn return_static_member(&mut self) {
        if let Some((member_id, instance)) = self.away.pop() {
            if self.random.random_bool(0.3) {
                let subscription = self.random_subscription();
                let client = Client::new(member_id.clone(), Some(instance), subscription, self.now);
                self.clients.insert(member_id, client);
            } else {
                self.add_client(Some(instance));
            }
            return;
        }
        let mut silent = self.clients.values().filter(|client| client.is_silent);
        if let Some(instance) = silent.find_map(|client| client.instance_id.clone()) {
            self.add_client(Some(instance));
        }
    }

    fn resubscribe(&mut self) {
        let subscription = self.random_subscription();
        self.change_client(|client| {
            client.subscription = subscription;
            client.says_all = true;
        });
    }

    fn change_topics(&mut self) {
        let name = *TOPICS.choose(&mut self.random).unwrap();
        let exists = !self.cluster.partitions(name).is_empty();
        let partitions = self.random.random_range(1..5);
        match self.random.random_range(0..4) {
            0 if exists => self.cluster.delete(name),
            1 if exists => {
                self.cluster.delete(name);
                self.cluster.create(name, partitions);
            }
            _ if exists => self.cluster.add_partitions(name, partitions / 2),
            _ => self.cluster.create(name, partitions),
        }
    }

    fn leave(&mut self) -> Result<(), Fault> {
        self.send_farewell(HeartbeatEpoch::Leave).map(drop)
    }

    fn leave_for_now(&mut self) -> Result<(), Fault> {
        if let Some(client) = self.send_farewell(HeartbeatEpoch::LeaveForNow)?
            && let Some(instance) = client.instance_id
        {
            self.away.push((client.member_id, instance));
        }
        Ok(())
    }

    /// Somebody stops; the answer does not matter to it any more.
    fn send_farewell(&mut self, epoch: HeartbeatEpoch) -> Result<Option<Client>, Fault> {
        let Some(id) = self.somebody() else {
            return Ok(None);
        };
        let client = &self.clients[&id];
        let is_static = client.instance_id.is_some();
        let suits = is_static || epoch == HeartbeatEpoch::Leave;
        if client.is_silent || !client.is_member || !suits {
            return Ok(None);
        }
        let heartbeat = client.saying(epoch);
        let topics = self.cluster.image();
        match self.group.heartbeat(&heartbeat, self.now, 0, &topics) {
            Ok(outcome) => {
                let client = self.clients.remove(&id);
                self.append(outcome.records);
                Ok(client)
            }
            Err(error) => Err(Fault::Refused(format!("{id} may not leave: {error}"))),
        }
    }

    fn beat_of_somebody(&mut self) -> Result<(), Fault> {
        let loss = match self.random.random_range(0..20) {
            0 => Loss::Request,
            1 => Loss::Reply,
            _ => Loss::Nothing,
        };
        match self.living().choose(&mut self.random).cloned() {
            Some(id) => self.beat(&id, loss),
            None => Ok(()),
        }
    }

    fn beat(&mut self, id: &MemberId, loss: Loss) -> Result<(), Fault> {
        let now = self.now;
        let client = self.clients.get_mut(id).unwrap();
        let heartbeat = client.heartbeat(REBALANCE_TIMEOUT.as_millis() as i32);
        if loss == Loss::Request {
            client.says_all = true;
            return Ok(());
        }
        let was_thrown_out = !client.is_member && client.epoch != 0;
        let topics = self.cluster.image();
        match self.group.heartbeat(&heartbeat, now, 0, &topics) {
            Ok(_) if was_thrown_out => {
                Err(Fault::NotFenced(format!("{id} is back with {heartbeat:?}")))
            }
            Ok(outcome) => {
                client.heard(&heartbeat, now);
                match loss {
                    Loss::Nothing => client.take(&heartbeat, &outcome.reply),
                    _ => client.says_all = true,
                }
                self.append(outcome.records);
                Ok(())
            }
            Err(error) => match error.code() {
                ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                    client.lose_all();
                    Ok(())
                }
                ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => {
                    self.clients.remove(id);
                    Ok(())
                }
                ErrorCode::UnreleasedInstanceId => {
                    self.give_way(id);
                    Ok(())
                }
                _ => Err(Fault::Refused(format!("{id}: {error}"))),
            },
        }
    }

    /// A second instance under the same instance id stops if the first one lives.
    fn give_way(&mut self, id: &MemberId) {
        let instance = self.clients[id].instance_id.clone();
        let mut others = self.clients.values();
        let is_taken = others.any(|other| {
            other.member_id != *id && other.instance_id == instance && !other.is_silent
        });
        if is_taken {
            self.clients.remove(id);
        }
    }

    /// A heartbeat that was long under way, and a commit beside it.
    fn send_stale_heartbeat(&mut self) -> Result<(), Fault> {
        let members = self.group.describe().members;
        let Some(member) = members.choose(&mut self.random) else {
            return Ok(());
        };
        let Some(client) = self.clients.get(&member.member_id) else {
            return Ok(());
        };
        let current = &member.current;
        let stale = |epoch: &i32| *epoch > 0 && *epoch < current.previous_member_epoch;
        let past = client.past_epochs.iter().copied().filter(stale);
        for epoch in past.chain([current.member_epoch + 1]) {
            let mut heartbeat = client.saying(HeartbeatEpoch::At(epoch));
            heartbeat.owned = Some(Partitions::new());
            let topics = self.cluster.image();
            let answer = self.group.heartbeat(&heartbeat, self.now, 0, &topics);
            let code = answer.as_ref().err().map(|error| error.code());
            if code != Some(ErrorCode::FencedMemberEpoch) {
                let found = format!("{heartbeat:?} at {current:?}: {answer:?}");
                return Err(Fault::NotFenced(found));
            }
            let commit = self.group.check_commit(&client.member_id, epoch);
            if commit.map_err(|error| error.code()) != Err(ErrorCode::StaleMemberEpoch) {
                return Err(Fault::NotFenced(format!(
                    "a commit at {epoch}: {current:?}"
                )));
            }
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<(), Fault> {
        let until = self.now + time;
        while let Some(deadline) = self.group.next_deadline()
            && deadline <= until
        {
            self.now = deadline.max(self.now);
            self.tick()?;
        }
        self.now = until;
        self.tick()
    }

    fn tick(&mut self) -> Result<(), Fault> {
        let before = self.group.describe();
        let records = self.group.tick(self.now);
        let session = self.config.session_timeout;
        for record in &records {
            let Change::Member { member_id, .. } = &record.change else {
                continue;
            };
            let mut members = before.members.iter();
            let member = members.find(|member| member.member_id == *member_id);
            let client = self.clients.get(member_id).filter(|c| c.is_member);
            if let (Some(member), Some(client)) = (member, client) {
                let may_wait = member.current.state != MemberState::UnrevokedPartitions;
                if may_wait && self.now < client.last_heard + session {
                    return Err(Fault::FencedWithoutCause(format!("{client:?}")));
                }
            }
        }
        self.append(records);
        for client in self.clients.values().filter(|client| client.is_member) {
            if client.last_heard.max(self.moved_at) + session <= self.now {
                return Err(Fault::NotFenced(format!("{client:?} is silent for long")));
            }
        }
        Ok(())
    }

    fn append(&mut self, records: Vec<Record>) {
        for record in &records {
            if let Change::Member {
                member_id,
                value: None,
            } = &record.change
                && let Some(client) = self.clients.get_mut(member_id)
            {
                client.is_member = false;
                client.told.clear();
            }
        }
        self.log.extend(records);
    }

    /// The group is rebuilt from its records, of which compaction may have taken some away.
    fn move_coordinator(&mut self) -> Result<(), Fault> {
        if self.random.random_bool(0.5) {
            self.log = compacted(&self.log);
        }
        let mut moved = ConsumerGroup::new(self.group.id().clone(), Arc::clone(&self.config));
        for record in &self.log {
            moved.apply(record);
        }
        if moved.state != self.group.state {
            let (moved, group) = (&moved.state, &self.group.state);
            return Err(Fault::NotReplayed(format!(
                "{moved:#?}\nis not\n{group:#?}"
            )));
        }
        moved.loaded(self.now);
        self.group = moved;
        self.moved_at = self.now;
        Ok(())
    }
}

/// The last record of every key, in order; no tombstones.
fn compacted(log: &[Record]) -> Vec<Record> {
    let key = |record: &Record| match &record.change {
        Change::Group(_) => (0, String::new()),
        Change::Target(_) => (1, String::new()),
        Change::Member { member_id, .. } => (2, member_id.to_string()),
        Change::TargetOfMember { member_id, .. } => (3, member_id.to_string()),
        Change::CurrentOfMember { member_id, .. } => (4, member_id.to_string()),
        Change::Pattern { pattern, .. } => (5, pattern.clone()),
    };
    let is_tombstone = |record: &Record| {
        matches!(
            &record.change,
            Change::Group(None)
                | Change::Target(None)
                | Change::Member { value: None, .. }
                | Change::TargetOfMember { value: None, .. }
                | Change::CurrentOfMember { value: None, .. }
                | Change::Pattern { value: None, .. }
        )
    };
    let mut keys = BTreeSet::new();
    let mut kept: Vec<Record> = log
        .iter()
        .rev()
        .filter(|record| keys.insert(key(record)) && !is_tombstone(record))
        .cloned()
        .collect();
    kept.reverse();
    kept
}
