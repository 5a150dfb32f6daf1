//! The coordinator, its log, the network between it and the clients, and the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_client::TopicPartition;
use corelog_client::assignors::PartitionCounts;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::judge::Fault;
use super::process::{Answer, Doing, Process, Request, Wish};
use crate::group::GroupId;
use crate::group::classic::*;
use crate::runtime::{Instant, now};

pub(super) const TOPICS: [&str; 3] = ["t0", "t1", "t2"];

/// Ticks that may follow each other without any time in between.
const TICKS_AT_ONCE: usize = 4;

#[derive(Debug)]
pub(super) enum Event {
    /// The process does what it was about to, unless it has changed its mind since.
    Wake { process: usize, wake: u64 },
    /// The process' heartbeat thread runs.
    Beat { process: usize },
    /// A request reaches the coordinator of the epoch in which it was sent.
    Arrive {
        epoch: usize,
        token: Token,
        process: usize,
        request: Request,
    },
    /// An answer reaches the process, if it was released before the coordinator went.
    Deliver {
        process: usize,
        token: Token,
        answer: Answer,
        epoch: usize,
        released: Instant,
    },
    /// Something happens to somebody.
    Trouble,
}

pub(super) struct Waiting {
    pub(super) process: usize,
    pub(super) arrived: Instant,
    /// The generation that a sync or a heartbeat claims.
    pub(super) generation: Option<i32>,
}

pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) at: Moment,
    pub(super) events: BTreeMap<(Instant, u64), Event>,
    /// Counts events, tokens, wakes and ids.
    pub(super) counter: u64,
    pub(super) group: ClassicGroup,
    pub(super) config: ClassicConfig,
    /// Records, and when each is durable.
    pub(super) log: Vec<(Instant, GroupRecord)>,
    pub(super) durable: Instant,
    pub(super) epoch: usize,
    /// When the coordinator of each epoch crashed, if it did not stop in good order.
    pub(super) crashes: BTreeMap<usize, Instant>,
    pub(super) waiting: BTreeMap<Token, Waiting>,
    pub(super) cooperative: bool,
    pub(super) processes: Vec<Process>,
    pub(super) wakes: Vec<u64>,
    /// What each process, as the leader, last computed with.
    pub(super) computed_with: BTreeMap<usize, PartitionCounts>,
    /// What the assignments in force were computed with.
    pub(super) assigned_with: PartitionCounts,
    pub(super) topics: PartitionCounts,
    /// Which process was given a partition in a generation, and when that was durable.
    pub(super) given: BTreeMap<(i32, TopicPartition), (usize, Instant)>,
    pub(super) completing_since: Option<(i32, Instant)>,
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = ClassicConfig {
            initial_rebalance_delay: Duration::from_millis(random.random_range(0..4_000)),
            max_members: 7,
            ..ClassicConfig::default()
        };
        let start = now();
        let mut world = Self {
            cooperative: random.random(),
            random,
            at: Moment {
                now: start,
                unix_millis: 0,
            },
            events: BTreeMap::new(),
            counter: 0,
            group: ClassicGroup::new(GroupId::new("g"), config.clone()),
            config,
            log: Vec::new(),
            durable: start,
            epoch: 0,
            crashes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            processes: Vec::new(),
            wakes: Vec::new(),
            computed_with: BTreeMap::new(),
            assigned_with: PartitionCounts::new(),
            topics: TOPICS
                .iter()
                .map(|topic| ((*topic).to_owned(), 2))
                .collect(),
            given: BTreeMap::new(),
            completing_since: None,
            calm: false,
        };
        world.schedule(Duration::ZERO, Event::Trouble);
        world
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        let key = (self.at.now + after, self.count());
        self.events.insert(key, event);
    }

    /// A millisecond or so, and now and then much more.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(match self.random.random_range(0..50) {
            0 => self.random.random_range(0..2_000_000),
            _ => self.random.random_range(0..5_000),
        })
    }

    /// One event, and whatever was due before it.
    pub(super) fn step(&mut self) -> Result<(), Fault> {
        let Some(((time, _), event)) = self.events.pop_first() else {
            return Ok(());
        };
        self.pass_until(time)?;
        self.happen(event)?;
        self.check_waits()
    }

    /// Does what falls due in the group on the way.
    pub(super) fn pass_until(&mut self, time: Instant) -> Result<(), Fault> {
        let mut at_once = 0;
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= time) {
            at_once = if due <= self.at.now { at_once + 1 } else { 0 };
            if at_once > TICKS_AT_ONCE {
                return Err(Fault::StuckRebalance(format!("always due at {due:?}")));
            }
            self.turn_clock(due.max(self.at.now));
            let outcome = self.group.tick(self.at);
            self.carry_out(outcome)?;
        }
        self.turn_clock(time);
        Ok(())
    }

    fn turn_clock(&mut self, to: Instant) {
        self.at.unix_millis += to.duration_since(self.at.now).as_millis() as i64;
        self.at.now = to;
    }

    fn happen(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Wake { process, wake } => {
                if self.wakes[process] == wake
                    && let Some(request) = self.processes[process].wake()
                {
                    self.send(process, request);
                }
            }
            Event::Beat { process } => self.beat(process),
            Event::Arrive {
                epoch,
                token,
                process,
                request,
            } => {
                if epoch != self.epoch {
                    let epoch = self.epoch;
                    self.deliver(process, token, Answer::Disconnected, epoch, self.at.now);
                } else {
                    self.decide(process, token, request)?;
                }
            }
            Event::Deliver {
                process,
                token,
                answer,
                epoch,
                released,
            } => {
                let crash = self.crashes.get(&epoch);
                let answer = match crash.is_some_and(|crash| *crash < released) {
                    true => Answer::Disconnected,
                    false => answer,
                };
                self.receive(process, token, answer);
            }
            Event::Trouble => {
                if !self.calm {
                    self.trouble()?;
                    let pause = Duration::from_millis(self.random.random_range(0..4_000));
                    self.schedule(pause, Event::Trouble);
                }
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, process: usize, request: Request) {
        let token = Token(self.count());
        match request {
            Request::Heartbeat(_) => self.processes[process].pending_heartbeat = Some(token),
            _ => self.processes[process].pending = Some(token),
        }
        let latency = self.latency();
        let epoch = self.epoch;
        let arrive = Event::Arrive {
            epoch,
            token,
            process,
            request,
        };
        self.schedule(latency, arrive);
    }

    fn decide(&mut self, process: usize, token: Token, request: Request) -> Result<(), Fault> {
        let generation = match &request {
            Request::Sync(sync) => Some(sync.generation),
            Request::Heartbeat(heartbeat) => Some(heartbeat.generation),
            Request::Join(_) | Request::Leave(_) => None,
        };
        let waiting = Waiting {
            process,
            arrived: self.at.now,
            generation,
        };
        self.waiting.insert(token, waiting);
        let at = self.at;
        let outcome = match request {
            Request::Join(join) => {
                let counter = &mut self.counter;
                let mut new_uuid = || {
                    *counter += 1;
                    Uuid::from_u128(u128::from(*counter))
                };
                self.group.join(at, token, join, &mut new_uuid)
            }
            Request::Sync(sync) => {
                let assigns = !sync.assignments.is_empty();
                let outcome = self.group.sync(at, token, sync);
                if assigns && !outcome.records.is_empty() {
                    self.assigned_with = self.computed_with[&process].clone();
                }
                outcome
            }
            Request::Heartbeat(heartbeat) => self.group.heartbeat(at, token, &heartbeat),
            Request::Leave(leave) => self.group.leave(at, token, leave),
        };
        self.carry_out(outcome)
    }

    /// Appends the records, and releases the replies once those and all before them are durable.
    pub(super) fn carry_out(&mut self, outcome: Outcome) -> Result<(), Fault> {
        for record in outcome.records {
            let flush = Duration::from_millis(self.random.random_range(0..20));
            self.durable = self.durable.max(self.at.now + flush);
            self.log.push((self.durable, record));
        }
        let released = self.durable.max(self.at.now);
        for (token, reply) in outcome.replies {
            let Some(waiting) = self.waiting.remove(&token) else {
                return Err(Fault::AnsweredTwice(format!("{token:?}: {reply:?}")));
            };
            self.check_reply(&waiting, &reply, released)?;
            let epoch = self.epoch;
            self.deliver(
                waiting.process,
                token,
                Answer::Reply(reply),
                epoch,
                released,
            );
        }
        let state = self.group.state();
        let generation = self.group.generation;
        self.completing_since = match (state, self.completing_since) {
            (GroupState::CompletingRebalance, Some(since)) if since.0 == generation => Some(since),
            (GroupState::CompletingRebalance, _) => Some((generation, self.at.now)),
            _ => None,
        };
        Ok(())
    }

    pub(super) fn deliver(
        &mut self,
        process: usize,
        token: Token,
        answer: Answer,
        epoch: usize,
        released: Instant,
    ) {
        let latency = self.latency();
        let deliver = Event::Deliver {
            process,
            token,
            answer,
            epoch,
            released,
        };
        self.schedule(released.duration_since(self.at.now) + latency, deliver);
    }

    pub(super) fn receive(&mut self, index: usize, token: Token, answer: Answer) {
        let process = &mut self.processes[index];
        let wish = if process.doing == Doing::Stopped {
            Wish::Nothing
        } else if process.pending_heartbeat == Some(token) {
            process.take_heartbeat(&answer, &mut self.random)
        } else if process.pending == Some(token) {
            if matches!(answer, Answer::Reply(Reply::Join(Ok(_)))) {
                self.computed_with.insert(index, self.topics.clone());
            }
            process.take(answer, &self.topics, &mut self.random)
        } else {
            // It has given up waiting for this.
            Wish::Nothing
        };
        if let Wish::Wake(after) = wish {
            self.wake(index, after);
        }
    }

    pub(super) fn wake(&mut self, process: usize, after: Duration) {
        let wake = self.count();
        self.wakes[process] = wake;
        self.schedule(after, Event::Wake { process, wake });
    }

    fn beat(&mut self, index: usize) {
        let process = &self.processes[index];
        if process.doing == Doing::Stopped {
            return;
        }
        if process.beats()
            && let Some(request) = process.heartbeat()
        {
            self.send(index, request);
        }
        // The leader watches the topics.
        let process = &mut self.processes[index];
        let leads = process.member_id.is_some() && process.member_id == self.group.leader;
        if process.doing == Doing::Running && leads && self.assigned_with != self.topics {
            process.doing = Doing::Idle;
            self.wake(index, Duration::ZERO);
        }
        let interval = self.processes[index].heartbeat_interval();
        self.schedule(interval, Event::Beat { process: index });
    }

    pub(super) fn live(&self) -> Vec<usize> {
        let live = |index: &usize| self.processes[*index].doing != Doing::Stopped;
        (0..self.processes.len()).filter(live).collect()
    }
}
