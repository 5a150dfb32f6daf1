//! What the handles and the tasks of one producer share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use corelog_protocol::{PartitionIndex, TopicId};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::clock::Lingering;
use super::identity::IdentitySource;
use super::lane::{Lane, Route};
use super::latency::Latencies;
use super::memory::Memory;
use super::node::{self, NodeQueue};
use super::partitioner::CustomPartitioner;
use super::settle::fail_gone;
use crate::cluster::{Cluster, ClusterImage, Node, Topic};
use crate::config::ProducerSettings;
use crate::record::TopicPartition;

pub(super) struct Shared {
    pub(super) settings: ProducerSettings,
    /// Takes the place of `partitioner`.
    pub(super) partitioner: Option<CustomPartitioner>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) memory: Memory,
    pub(super) metrics: Counters,
    pub(super) identity: IdentitySource,
    pub(super) lingering: Lingering,
    pub(super) closed: AtomicBool,
    /// A batch was filled: whoever sends next lets the other tasks of its thread run first, so that the batch leaves
    /// while the next one fills.
    pub(super) yield_due: AtomicBool,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicLanes>>>,
    nodes: Mutex<HashMap<Node, Arc<NodeQueue>>>,
    /// Lanes with something to send and no leader to send it to.
    leaderless: Mutex<Vec<Arc<Lane>>>,
    pub(super) metadata_wanted: Notify,
    /// The runtime of `Producer::new`: a task started during a caller's `send` must not end with that caller's runtime.
    runtime: Handle,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// One topic's lanes, one per partition. Replaced when the topic gets more partitions, or is made
/// again with fewer; the lanes of the others stay.
pub(super) struct TopicLanes {
    id: TopicId,
    /// The metadata that they were made by. Older ones tell nothing new.
    version: u64,
    pub(super) lanes: Vec<Arc<Lane>>,
    /// The partition that records without a key go to at the moment.
    pub(super) sticky: AtomicU32,
    pub(super) next_round: AtomicU32,
}

impl TopicLanes {
    /// True if these are the lanes for this topic. Metadata of before partitions were added has fewer.
    fn fits(&self, topic: &Topic) -> bool {
        self.id == topic.id && self.lanes.len() >= topic.partitions.len()
    }

    /// The lane of a partition, if the topic is known to have it.
    pub(super) fn lane(&self, partition: PartitionIndex) -> Option<&Arc<Lane>> {
        self.lanes.get(usize::try_from(partition.get()).ok()?)
    }
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) records: Counter,
    pub(super) batches: Counter,
    pub(super) bytes: Counter,
    pub(super) requests: Counter,
    pub(super) retries: Counter,
    pub(super) errors: Counter,
    pub(super) latencies: Latencies,
}

impl Shared {
    /// Its tasks run on the runtime of this call.
    pub(super) fn new(
        settings: ProducerSettings,
        partitioner: Option<CustomPartitioner>,
        cluster: Arc<Cluster>,
    ) -> Self {
        Self {
            partitioner,
            memory: Memory::new(settings.buffer_bytes),
            lingering: Lingering::new(settings.linger),
            settings,
            cluster,
            metrics: Counters::default(),
            identity: IdentitySource::default(),
            closed: AtomicBool::new(false),
            yield_due: AtomicBool::new(false),
            topics: RwLock::new(HashMap::new()),
            nodes: Mutex::new(HashMap::new()),
            leaderless: Mutex::new(Vec::new()),
            metadata_wanted: Notify::new(),
            runtime: Handle::current(),
            tasks: Mutex::new(Vec::new()),
        }
    }

    /// The lanes of a topic, if its metadata is known.
    pub(super) fn topic(&self, name: &str) -> Option<Arc<TopicLanes>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned()
    }

    /// Every lane of every topic.
    pub(super) fn lanes(&self) -> Vec<Arc<Lane>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .values()
            .flat_map(|topic| topic.lanes.iter().cloned())
            .collect()
    }

    /// Puts a lane on its node's list if it has something to send, or asks for its leader.
    pub(super) fn list(&self, lane: &Arc<Lane>) {
        match lane.claim_listing() {
            None => {}
            Some(Some(queue)) => queue.push(Arc::clone(lane)),
            Some(None) => {
                self.leaderless().push(Arc::clone(lane));
                self.want_metadata();
            }
        }
    }

    pub(super) fn want_metadata(&self) {
        self.metadata_wanted.notify_one();
    }

    pub(super) fn has_leaderless_lanes(&self) -> bool {
        !self.leaderless().is_empty()
    }

    /// Makes lanes for a topic that is now known, or for partitions that it has gained. One that was made again with fewer
    /// partitions loses the lanes of the others.
    pub(super) fn learn_topic(self: &Arc<Self>, topic: &Topic, version: u64) -> Arc<TopicLanes> {
        let known = self.topic(&topic.name);
        if let Some(known) = known.clone().filter(|known| known.version > version) {
            return known;
        }
        let lanes = known
            .filter(|known| known.fits(topic))
            .unwrap_or_else(|| self.replace_topic(topic, version));
        self.route_topic(&lanes, topic);
        lanes
    }

    fn replace_topic(self: &Arc<Self>, topic: &Topic, version: u64) -> Arc<TopicLanes> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let known = topics.get(&topic.name);
        // Another caller may have been faster.
        if let Some(known) = known.filter(|it| it.version > version || it.fits(topic)) {
            return Arc::clone(known);
        }
        let mut lanes = known.map_or_else(Vec::new, |known| known.lanes.clone());
        let gone = lanes.split_off(lanes.len().min(topic.partitions.len()));
        for index in lanes.len()..topic.partitions.len() {
            let index = i32::try_from(index).expect("partition counts are i32 on the wire");
            let partition =
                TopicPartition::new(Arc::clone(&topic.name), PartitionIndex::new(index));
            lanes.push(Arc::new(Lane::new(partition, self.identity.current())));
        }
        let lanes = Arc::new(TopicLanes {
            id: topic.id,
            version,
            lanes,
            sticky: AtomicU32::new(0),
            next_round: AtomicU32::new(0),
        });
        topics.insert(Arc::clone(&topic.name), Arc::clone(&lanes));
        drop(topics);
        for lane in gone {
            fail_gone(lane.go(topic.partitions.len()), self);
        }
        lanes
    }

    /// Points every lane at its leader of today.
    pub(super) fn route_all(self: &Arc<Self>, image: &ClusterImage) {
        for topic in image.topics.values() {
            if self.topic(&topic.name).is_some() && !topic.partitions.is_empty() {
                self.learn_topic(topic, image.version);
            }
        }
        // Not within the loop's head, where the lock would be held to the loop's end.
        let leaderless = std::mem::take(&mut *self.leaderless());
        for lane in leaderless {
            lane.unlist();
            self.list(&lane);
        }
    }

    fn route_topic(self: &Arc<Self>, lanes: &TopicLanes, topic: &Topic) {
        for (lane, partition) in lanes.lanes.iter().zip(&topic.partitions) {
            lane.set_route(partition.leader.map(|node| Route {
                queue: self.node_queue(node),
                topic_id: topic.id,
                leader_epoch: partition.leader_epoch,
            }));
            self.list(lane);
        }
    }

    /// Follows a broker's hint that another shard owns the partition.
    pub(super) fn reroute(self: &Arc<Self>, lane: &Arc<Lane>, node: Node, old: &Route) {
        lane.set_route(Some(Route {
            queue: self.node_queue(node),
            topic_id: old.topic_id,
            leader_epoch: old.leader_epoch,
        }));
        self.want_metadata();
        self.list(lane);
    }

    /// The queue of a node; its task starts with it.
    fn node_queue(self: &Arc<Self>, node: Node) -> Arc<NodeQueue> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(node).or_insert_with(|| {
            let queue = Arc::new(NodeQueue::new(node));
            self.keep_task(self.spawn(node::run(Arc::clone(&queue), Arc::clone(self))));
            queue
        }))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.spawn(task).abort_handle()
    }

    pub(super) fn keep_task(&self, task: AbortHandle) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Ends every task and fails what is not acknowledged.
    pub(super) fn shut_down(&self) {
        self.closed.store(true, Ordering::Release);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
        }
        for lane in self.lanes() {
            lane.close();
        }
    }

    fn leaderless(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.leaderless
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
