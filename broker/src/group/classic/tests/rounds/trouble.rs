//! What happens to clients, topics and the coordinator while nobody leaves them alone.

use std::time::Duration;

use rand::Rng;

use super::judge::Fault;
use super::process::{Answer, Doing, Process};
use super::world::{Event, TOPICS, World};
use crate::group::GroupId;
use crate::group::classic::*;

impl World {
    pub(super) fn trouble(&mut self) -> Result<(), Fault> {
        match self.random.random_range(0..20) {
            0..5 if self.live().len() < 8 => self.start(None),
            5..8 => self.restart_static(),
            8..10 => {
                if let Some(process) = self.any_live() {
                    self.processes[process].stop();
                }
            }
            10 => {
                if let Some(process) = self.any_live()
                    && let Some(request) = self.processes[process].leave()
                {
                    self.send(process, request);
                }
            }
            11..13 => {
                let topics = self.some_topics();
                if let Some(process) = self.any_live()
                    && self.processes[process].doing == Doing::Running
                {
                    self.processes[process].topics = topics;
                    self.processes[process].doing = Doing::Idle;
                    self.wake(process, Duration::ZERO);
                }
            }
            13 => {
                let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
                let count = self.topics.entry(topic.to_owned()).or_default();
                *count = (*count + 1).min(6);
            }
            14..16 => {
                // A connection breaks; what was on its way is on its way.
                if let Some(process) = self.any_live()
                    && let Some(token) = self.processes[process].pending
                {
                    self.receive(process, token, Answer::Disconnected);
                }
            }
            16 => self.crash(),
            17 => self.move_in_good_order()?,
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, instance_id: Option<String>) {
        let index = self.processes.len();
        let topics = self.some_topics();
        let name = format!("p{index}");
        let cooperative = self.cooperative;
        let process = Process::new(name, instance_id, cooperative, topics, &mut self.random);
        let interval = process.heartbeat_interval();
        self.processes.push(process);
        self.wakes.push(0);
        self.wake(index, Duration::ZERO);
        self.schedule(interval, Event::Beat { process: index });
    }

    fn some_topics(&mut self) -> Vec<String> {
        let count = self.random.random_range(1..=TOPICS.len());
        TOPICS[..count]
            .iter()
            .map(|topic| (*topic).to_owned())
            .collect()
    }

    fn any_live(&mut self) -> Option<usize> {
        let live = self.live();
        match live.len() {
            0 => None,
            count => Some(live[self.random.random_range(0..count)]),
        }
    }

    /// Starts a static member. Its former process was stopped, or nobody noticed that it still runs.
    fn restart_static(&mut self) {
        let instance_id = format!("i{}", self.random.random_range(0..3));
        let is_former = |process: &&mut Process| {
            process.instance_id.as_ref() == Some(&instance_id) && process.doing != Doing::Stopped
        };
        if self.random.random() {
            self.processes
                .iter_mut()
                .filter(is_former)
                .for_each(Process::stop);
        }
        self.start(Some(instance_id));
    }

    /// The coordinator dies. What was not durable is gone, and replies that waited for it.
    fn crash(&mut self) {
        let now = self.at.now;
        self.crashes.insert(self.epoch, now);
        self.log.retain(|(durable, _)| *durable <= now);
        self.given.retain(|_, (_, released)| *released <= now);
        // Whoever leads next computes anew.
        self.assigned_with.clear();
        self.take_over();
    }

    /// The partition moves: everything is durable, and whoever waits is told.
    fn move_in_good_order(&mut self) -> Result<(), Fault> {
        let fresh = ClassicGroup::new(GroupId::new("g"), self.config.clone());
        let group = std::mem::replace(&mut self.group, fresh);
        let replies = group.stop();
        self.carry_out(Outcome {
            records: Vec::new(),
            replies,
        })?;
        if let Some((token, _)) = self.waiting.first_key_value() {
            return Err(Fault::Unanswered(format!("{token:?} at the end")));
        }
        self.take_over();
        Ok(())
    }

    fn take_over(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (token, waiting) in waiting {
            let (epoch, now) = (self.epoch + 1, self.at.now);
            self.deliver(waiting.process, token, Answer::Disconnected, epoch, now);
        }
        self.epoch += 1;
        self.completing_since = None;
        self.group = ClassicGroup::new(GroupId::new("g"), self.config.clone());
        for (_, record) in &self.log {
            self.group.apply(record);
        }
        self.group.start(self.at.now);
    }
}
