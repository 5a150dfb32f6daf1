//! What must hold, while the clients are troubled and when they are left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::{Doing, MAX_REBALANCE_TIMEOUT, MAX_SESSION_TIMEOUT};
use super::subscription::decode_partitions;
use super::world::{Waiting, World};
use crate::group::classic::*;
use crate::runtime::Instant;

#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// Two members were given one partition in one generation, or hold it at the end.
    TwoOwners(String),
    /// A process was told that it is a member after another took its place.
    NotFenced(String),
    /// The group is stable, and nobody reads a partition.
    LostPartition(String),
    /// A rebalance lasts longer than anything explains.
    StuckRebalance(String),
    /// A request waits longer than anything explains.
    Unanswered(String),
    AnsweredTwice(String),
}

/// The longest that a join or a sync waits: the others' rebalance time-out.
const PATIENCE: Duration = MAX_REBALANCE_TIMEOUT.saturating_add(Duration::from_secs(1));
/// How long the clients are left alone at the end: the busiest comes back, sessions end, and a few
/// rounds are made.
const PEACE: Duration = Duration::from_secs(400);

impl World {
    /// Who is told that a partition is its own, or still is.
    pub(super) fn check_reply(
        &mut self,
        waiting: &Waiting,
        reply: &Reply,
        released: Instant,
    ) -> Result<(), Fault> {
        let Some(generation) = waiting.generation else {
            return Ok(());
        };
        let process = &self.processes[waiting.process];
        match reply {
            Reply::Sync(Ok(synced)) => {
                for partition in decode_partitions(&synced.assignment) {
                    let given = (waiting.process, released);
                    let Some((other, _)) =
                        self.given.insert((generation, partition.clone()), given)
                    else {
                        continue;
                    };
                    let other = &self.processes[other];
                    let is_same = process.name == other.name
                        || (process.instance_id.is_some()
                            && process.instance_id == other.instance_id);
                    if !is_same {
                        return Err(Fault::TwoOwners(format!(
                            "{partition} in generation {generation}: {} and {}",
                            process.summary(),
                            other.summary()
                        )));
                    }
                }
            }
            Reply::Heartbeat(Ok(())) if process.doing == Doing::Running => {
                for partition in &process.owned {
                    let given = self.given.get(&(generation, partition.clone()));
                    if given.is_some_and(|(owner, _)| *owner != waiting.process) {
                        let fault = format!("{partition}: {}", process.summary());
                        return Err(Fault::NotFenced(fault));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn check_waits(&self) -> Result<(), Fault> {
        for (token, waiting) in &self.waiting {
            let waited = self.at.now - waiting.arrived;
            if waited > PATIENCE {
                let process = self.processes[waiting.process].summary();
                let fault = format!("{token:?} waits for {waited:?}: {process}");
                return Err(Fault::Unanswered(fault));
            }
        }
        match self.completing_since {
            Some((generation, since)) if self.at.now - since > PATIENCE => Err(
                Fault::StuckRebalance(format!("generation {generation} waits for its leader")),
            ),
            _ => Ok(()),
        }
    }

    /// Leaves the members alone, and judges what they come to.
    pub(super) fn settle(mut self) -> Result<(), Fault> {
        self.calm = true;
        for process in &mut self.processes {
            process.dawdles = false;
        }
        let end = self.at.now + PEACE;
        while self
            .events
            .first_key_value()
            .is_some_and(|((time, _), _)| *time <= end)
        {
            self.step()?;
        }
        self.pass_until(end)?;
        let live = self.live();
        let state = self.group.state();
        if live.is_empty() {
            return self.judge_deserted();
        }
        let is_settled = |index: &usize| {
            let process = &self.processes[*index];
            process.doing == Doing::Running && process.generation == Some(self.group.generation)
        };
        if state != GroupState::Stable || !live.iter().all(is_settled) {
            let processes = live.iter().map(|index| self.processes[*index].summary());
            let processes = processes.collect::<Vec<_>>().join(", ");
            let generation = self.group.generation;
            let fault = format!("{state} in generation {generation}: {processes}");
            return Err(Fault::StuckRebalance(fault));
        }
        let mut owned = BTreeSet::new();
        for process in live.iter().map(|index| &self.processes[*index]) {
            for partition in &process.owned {
                if !owned.insert(partition.to_string()) {
                    return Err(Fault::TwoOwners(format!("{partition} at the end")));
                }
            }
        }
        for (topic, count) in &self.topics {
            let reads = |index: &usize| self.processes[*index].topics.contains(topic);
            if !live.iter().any(reads) {
                continue;
            }
            for partition in (0..*count).map(|index| format!("{topic}-{index}")) {
                if !owned.contains(&partition) {
                    return Err(Fault::LostPartition(partition));
                }
            }
        }
        Ok(())
    }

    /// Nobody is left: neither is anybody in the group, whose sessions have all ended.
    fn judge_deserted(&self) -> Result<(), Fault> {
        const { assert!(PEACE.as_secs() > 2 * MAX_SESSION_TIMEOUT.as_secs()) }
        match self.group.state() {
            GroupState::Empty => Ok(()),
            state => Err(Fault::StuckRebalance(format!("{state} without members"))),
        }
    }
}
