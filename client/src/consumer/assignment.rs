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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A leader must be asked.
    Seeking(SeekTo),
    /// Reading: the next offset that `poll` returns, and the next one to fetch.
    At { position: Offset, fetch: Offset },
    /// Set aside at this position after an error, until the caller seeks.
    Stopped { position: Offset },
}

impl Target {
    const NOWHERE: Self = Self::Stopped {
        position: Offset::ZERO,
    };
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
            entry.insert(State {
                generation: self.next_generation,
                target: start.map_or(Target::NOWHERE, Target::Seeking),
                paused: false,
                has_backlog: false,
                route: None,
                last_fetched_epoch: None,
            });
        }
        new
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
            .is_some_and(|state| state.paused)
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
            Target::At { position, .. } | Target::Stopped { position } => Some(position),
            Target::Seeking(_) => None,
        }
    }

    /// Notes how far `poll` has come.
    pub(super) fn advance(&mut self, partition: &TopicPartition, generation: u64, to: Offset) {
        if let Some(state) = self.current(partition, generation) {
            match &mut state.target {
                Target::At { position, .. } | Target::Stopped { position } => *position = to,
                Target::Seeking(_) => {}
            }
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
                Target::At { position, .. } | Target::Stopped { position } => position,
                Target::Seeking(_) => Offset::ZERO,
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
            let route = image.topics.get(&partition.topic).and_then(|topic| {
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
        !self.paused && !self.has_backlog && matches!(self.target, Target::At { .. })
    }
}
