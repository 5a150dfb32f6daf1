//! The partitions of a consumer and where it stands in each: plain state under one lock, changed by the caller, the
//! coordinator and the fetchers.
//!
//! A seek raises the partition's generation; whatever was fetched for an older one is dropped wherever it is met.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use corelog_protocol::native::OffsetQuery;
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use crate::cluster::{ClusterImage, Node};
use crate::record::TopicPartition;

/// Where to go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// At the log start offset.
    Beginning,
    /// At the end of what is readable.
    End,
    /// At an offset.
    Offset(Offset),
    /// At the first record of this time or a later one; at the end if there is none.
    Timestamp(Timestamp),
}

impl SeekTo {
    /// What a leader must be asked first.
    pub(super) fn query(self) -> Option<OffsetQuery> {
        match self {
            Self::Beginning => Some(OffsetQuery::Earliest),
            Self::End => Some(OffsetQuery::Latest),
            Self::Timestamp(time) => Some(OffsetQuery::Timestamp(time)),
            Self::Offset(_) => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Assignment {
    partitions: HashMap<TopicPartition, State>,
    next_generation: u64,
    /// The newest metadata that sent a fetcher to a wrong leader: leaders are looked up in newer metadata only.
    distrusted_version: u64,
}

struct State {
    generation: u64,
    target: Target,
    paused: bool,
    /// `poll` keeps portions of it from a pause: no more are fetched until these are returned.
    has_backlog: bool,
    /// The leader, once known.
    route: Option<Route>,
    last_fetched_epoch: Option<LeaderEpoch>,
    /// Who wrote the last record before the position.
    position_epoch: Option<LeaderEpoch>,
    /// The topic meant, where a group's coordinator named it: another one of its name is not read.
    topic_id: Option<TopicId>,
    /// About to be given up: nothing of it is returned any more.
    withheld: bool,
}

impl State {
    fn new(generation: u64, target: Target) -> Self {
        Self {
            generation,
            target,
            paused: false,
            has_backlog: false,
            route: None,
            last_fetched_epoch: None,
            position_epoch: None,
            topic_id: None,
            withheld: false,
        }
    }
}

/// Where a partition of a group begins.
pub(crate) struct Beginning {
    /// The topic, which may be replaced by another one of the same name.
    pub(crate) topic_id: TopicId,
    /// None: somebody has yet to say.
    pub(crate) at: Option<SeekTo>,
    /// Who wrote the last record before it.
    pub(crate) epoch: Option<LeaderEpoch>,
}

/// How far a partition was polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) partition: TopicPartition,
    pub(crate) position: Offset,
    pub(crate) epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A leader must be asked.
    Seeking(SeekTo),
    /// Reading: the next offset that `poll` returns, and the next one to fetch.
    At { position: Offset, fetch: Offset },
    /// Set aside at this position, if it had one, after an error, until the caller seeks.
    Stopped { position: Option<Offset> },
}

impl Target {
    const NOWHERE: Self = Self::Stopped { position: None };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) node: Node,
    pub(super) topic_id: TopicId,
    pub(super) leader_epoch: Option<LeaderEpoch>,
}

/// One partition for a fetcher.
#[derive(Clone, Debug)]
pub(super) struct FetchTarget {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
    pub(super) route: Route,
    pub(super) offset: Offset,
    pub(super) last_fetched_epoch: Option<LeaderEpoch>,
}

impl FetchTarget {
    /// What a running subscription depends on; the offset moves with it.
    pub(super) fn is_same_stream(&self, other: &Self) -> bool {
        self.partition == other.partition
            && self.generation == other.generation
            && self.route == other.route
    }

    pub(super) fn id(&self) -> (TopicId, PartitionIndex) {
        (self.route.topic_id, self.partition.partition)
    }
}

impl Assignment {
    /// Replaces the assignment. Partitions that stay keep their position; new ones begin at `start`, or nowhere. Returns
    /// the new ones with their generation.
    pub(super) fn assign(
        &mut self,
        partitions: &[TopicPartition],
        start: Option<SeekTo>,
    ) -> Vec<(TopicPartition, u64)> {
        let mut new = Vec::new();
        let mut old = std::mem::take(&mut self.partitions);
        for partition in partitions {
            let Entry::Vacant(entry) = self.partitions.entry(partition.clone()) else {
                continue;
            };
            if let Some(state) = old.remove(partition) {
                entry.insert(state);
                continue;
            }
            self.next_generation += 1;
            new.push((partition.clone(), self.next_generation));
            let target = start.map_or(Target::NOWHERE, Target::Seeking);
            entry.insert(State::new(self.next_generation, target));
        }
        new
    }

    /// Adds a partition of a group, or begins anew with it. Returns its generation.
    pub(super) fn add(&mut self, partition: &TopicPartition, beginning: &Beginning) -> u64 {
        self.next_generation += 1;
        let target = match beginning.at {
            None => Target::NOWHERE,
            Some(SeekTo::Offset(offset)) => Target::At {
                position: offset,
                fetch: offset,
            },
            Some(other) => Target::Seeking(other),
        };
        let mut state = State::new(self.next_generation, target);
        state.topic_id = Some(beginning.topic_id);
        state.last_fetched_epoch = beginning.epoch;
        state.position_epoch = beginning.epoch;
        self.partitions.insert(partition.clone(), state);
        self.next_generation
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    /// Returns nothing of a partition any more, without forgetting its position.
    pub(super) fn withhold(&mut self, partition: &TopicPartition) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.withheld = true;
        }
    }

    /// True if a group's coordinator named the partition: then it also tells when that is gone.
    pub(super) fn is_of_a_group(&self, partition: &TopicPartition) -> bool {
        let state = self.partitions.get(partition);
        state.is_some_and(|state| state.topic_id.is_some())
    }

    /// How far every partition that has a position was polled, in order.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let positions = self.partitions.iter().filter_map(|(partition, state)| {
            Some(Progress {
                partition: partition.clone(),
                position: self.position(partition)?,
                epoch: state.position_epoch,
            })
        });
        let mut progress: Vec<Progress> = positions.collect();
        progress.sort_unstable_by(|one, other| one.partition.cmp(&other.partition));
        progress
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        let mut partitions: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        partitions.sort();
        partitions
    }

    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Moves a partition; false if it is not assigned.
    pub(super) fn seek(&mut self, partition: &TopicPartition, to: SeekTo) -> bool {
        let Some(state) = self.partitions.get_mut(partition) else {
            return false;
        };
        self.next_generation += 1;
        state.generation = self.next_generation;
        state.last_fetched_epoch = None;
        state.position_epoch = None;
        state.has_backlog = false;
        state.target = match to {
            SeekTo::Offset(offset) => Target::At {
                position: offset,
                fetch: offset,
            },
            other => Target::Seeking(other),
        };
        true
    }

    pub(super) fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> bool {
        match self.partitions.get_mut(partition) {
            Some(state) => {
                state.paused = paused;
                true
            }
            None => false,
        }
    }

    pub(super) fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(|state| state.paused || state.withheld)
    }

    /// Notes whether `poll` keeps portions of a partition that was paused.
    pub(super) fn set_backlog(&mut self, partition: &TopicPartition, has_backlog: bool) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.has_backlog = has_backlog;
        }
    }

    /// True if a portion of this generation is still wanted.
    pub(super) fn is_current(&self, partition: &TopicPartition, generation: u64) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(|state| state.generation == generation)
    }

    /// The next offset that `poll` returns; none while it is being looked up.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        match self.partitions.get(partition)?.target {
            Target::At { position, .. } => Some(position),
            Target::Stopped { position } => position,
            Target::Seeking(_) => None,
        }
    }

    /// Notes how far `poll` has come.
    pub(super) fn advance(
        &mut self,
        partition: &TopicPartition,
        generation: u64,
        to: Offset,
        epoch: Option<LeaderEpoch>,
    ) {
        if let Some(state) = self.current(partition, generation) {
            match &mut state.target {
                Target::At { position, .. } => *position = to,
                Target::Stopped { position } => *position = Some(to),
                Target::Seeking(_) => {}
            }
            state.position_epoch = epoch.or(state.position_epoch);
        }
    }

    /// Notes how far a fetcher has come.
    pub(super) fn fetched(
        &mut self,
        partition: &TopicPartition,
        generation: u64,
        next: Offset,
        epoch: Option<LeaderEpoch>,
    ) {
        if let Some(state) = self.current(partition, generation) {
            if let Target::At { fetch, .. } = &mut state.target {
                *fetch = next;
            }
            state.last_fetched_epoch = epoch.or(state.last_fetched_epoch);
        }
    }

    /// Sets a partition aside; what was fetched before can still be polled.
    pub(super) fn stop(&mut self, partition: &TopicPartition, generation: u64) {
        if let Some(state) = self.current(partition, generation) {
            let position = match state.target {
                Target::At { position, .. } => Some(position),
                Target::Stopped { position } => position,
                Target::Seeking(_) => None,
            };
            state.target = Target::Stopped { position };
        }
    }

    /// The partitions whose position must be asked for.
    pub(super) fn seeking(&self) -> Vec<(TopicPartition, u64, OffsetQuery)> {
        self.partitions
            .iter()
            .filter_map(|(partition, state)| match state.target {
                Target::Seeking(to) => Some((partition.clone(), state.generation, to.query()?)),
                _ => None,
            })
            .collect()
    }

    /// The partitions that are read.
    pub(super) fn reading(&self) -> Vec<(TopicPartition, u64)> {
        self.partitions
            .iter()
            .filter(|(_, state)| matches!(state.target, Target::At { .. }))
            .map(|(partition, state)| (partition.clone(), state.generation))
            .collect()
    }

    /// Goes to the end instead: the time asked for is later than every record.
    pub(super) fn seek_end(&mut self, partition: &TopicPartition, generation: u64) {
        if let Some(state) = self.current(partition, generation) {
            state.target = Target::Seeking(SeekTo::End);
        }
    }

    /// Sets a position that was asked for.
    pub(super) fn found(&mut self, partition: &TopicPartition, generation: u64, offset: Offset) {
        if let Some(state) = self.current(partition, generation) {
            state.target = Target::At {
                position: offset,
                fetch: offset,
            };
        }
    }

    /// Points every partition at its leader of today; true if all that are read have one.
    pub(super) fn route(&mut self, image: &ClusterImage) -> bool {
        let mut complete = true;
        for (partition, state) in &mut self.partitions {
            let topic = image.topics.get(&partition.topic);
            let topic = topic.filter(|topic| state.topic_id.is_none_or(|id| id == topic.id));
            let route = topic.and_then(|topic| {
                let known = topic.partition(partition.partition)?;
                Some(Route {
                    node: known.leader?,
                    topic_id: topic.id,
                    leader_epoch: known.leader_epoch,
                })
            });
            state.route = route;
            complete &= route.is_some() || !matches!(state.target, Target::At { .. });
        }
        complete
    }

    /// Forgets a leader that turned out not to be one by the metadata of `version`.
    pub(super) fn forget_route(&mut self, partition: &TopicPartition, route: &Route, version: u64) {
        if let Some(state) = self.partitions.get_mut(partition)
            && state.route.as_ref() == Some(route)
        {
            state.route = None;
            self.distrusted_version = self.distrusted_version.max(version);
        }
    }

    /// True if leaders may be looked up in metadata of this version.
    pub(super) fn trusts(&self, version: u64) -> bool {
        version > self.distrusted_version
    }

    /// Follows a broker's hint that another shard owns the partition.
    pub(super) fn reroute(&mut self, partition: &TopicPartition, from: &Route, node: Node) {
        if let Some(state) = self.partitions.get_mut(partition)
            && state.route.as_ref() == Some(from)
        {
            state.route = Some(Route { node, ..*from });
        }
    }

    /// True if a partition that is read has no known leader.
    pub(super) fn lacks_routes(&self) -> bool {
        self.partitions
            .values()
            .any(|state| state.route.is_none() && matches!(state.target, Target::At { .. }))
    }

    /// Every node that leads a partition which can be fetched.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self
            .partitions
            .values()
            .filter(|state| state.is_fetchable())
            .filter_map(|state| state.route.map(|route| route.node))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// What a node's fetcher is to fetch, in a stable order.
    pub(super) fn targets(&self, node: Node) -> Vec<FetchTarget> {
        let mut targets: Vec<FetchTarget> = self
            .partitions
            .iter()
            .filter(|(_, state)| state.is_fetchable())
            .filter_map(|(partition, state)| {
                let route = state.route.filter(|route| route.node == node)?;
                let Target::At { fetch, .. } = state.target else {
                    return None;
                };
                Some(FetchTarget {
                    partition: TopicPartition {
                        topic: Arc::clone(&partition.topic),
                        partition: partition.partition,
                    },
                    generation: state.generation,
                    route,
                    offset: fetch,
                    last_fetched_epoch: state.last_fetched_epoch,
                })
            })
            .collect();
        targets.sort_unstable_by(|one, other| one.partition.cmp(&other.partition));
        targets
    }

    fn current(&mut self, partition: &TopicPartition, generation: u64) -> Option<&mut State> {
        self.partitions
            .get_mut(partition)
            .filter(|state| state.generation == generation)
    }
}

impl State {
    fn is_fetchable(&self) -> bool {
        !self.paused
            && !self.withheld
            && !self.has_backlog
            && matches!(self.target, Target::At { .. })
    }
}
