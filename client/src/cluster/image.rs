//! An immutable picture of the cluster.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use corelog_protocol::native::{BrokerInfo, MetadataResponse, PartitionMetadata, TopicMetadata};
use corelog_protocol::{BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, ShardId, TopicId};

use crate::record::TopicPartition;

/// A core of a broker: what a client keeps a connection to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) broker: BrokerId,
    pub(crate) shard: ShardId,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {} shard {}", self.broker, self.shard)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterImage {
    /// Counts the refreshes of this client; 0 before the first.
    pub(crate) version: u64,
    pub(crate) cluster_id: String,
    pub(crate) brokers: HashMap<BrokerId, BrokerInfo>,
    pub(crate) topics: HashMap<Arc<str>, Arc<Topic>>,
    /// Topics that were asked for and are not to be had, and why.
    pub(crate) missing: HashMap<Arc<str>, ErrorCode>,
    /// Where in the cluster's metadata log this picture was taken.
    taken_at: (i32, i64),
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    /// Ordered by index, without gaps.
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) leader: Option<Node>,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) in_sync_replicas: Vec<BrokerId>,
}

impl ClusterImage {
    /// The cluster's id, once a broker told it.
    pub(crate) fn known_cluster_id(&self) -> Option<String> {
        (self.version > 0).then(|| self.cluster_id.clone())
    }

    /// True if the cluster is known to have this partition.
    pub(crate) fn has(&self, partition: &TopicPartition) -> bool {
        self.topics
            .get(&partition.topic)
            .is_some_and(|topic| topic.partition(partition.partition).is_some())
    }

    /// The picture after a broker's answer. An answer older than this picture only counts as a look: a broker that lags
    /// must not turn clients back to a leader that has gone.
    pub(crate) fn updated(&self, response: MetadataResponse) -> Self {
        let taken_at = (response.metadata_epoch, response.metadata_offset);
        let version = self.version + 1;
        if self.version > 0 && response.cluster_id == self.cluster_id && taken_at < self.taken_at {
            return Self {
                version,
                ..self.clone()
            };
        }
        let mut topics = HashMap::with_capacity(response.topics.len());
        let mut missing = HashMap::new();
        for topic in response.topics {
            let name: Arc<str> = topic.name.as_str().into();
            if topic.error == ErrorCode::None {
                let known = self.topics.get(&name);
                topics.insert(Arc::clone(&name), Arc::new(Topic::read(name, topic, known)));
            } else {
                missing.insert(name, topic.error);
            }
        }
        Self {
            version,
            cluster_id: response.cluster_id,
            brokers: response
                .brokers
                .into_iter()
                .map(|broker| (broker.id, broker))
                .collect(),
            topics,
            missing,
            taken_at,
        }
    }
}

impl Topic {
    pub(crate) fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }

    fn read(name: Arc<str>, topic: TopicMetadata, known: Option<&Arc<Self>>) -> Self {
        let known = known.filter(|known| known.id == topic.id);
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.index);
        let partitions = partitions
            .into_iter()
            .enumerate()
            // A gap would move every later partition: what cannot be numbered is left out.
            .take_while(|(position, partition)| {
                i32::try_from(*position).is_ok_and(|index| index == partition.index.get())
            })
            .map(|(position, partition)| {
                let newer = known
                    .and_then(|known| known.partitions.get(position))
                    .filter(|known| known.leader_epoch > Some(partition.leader_epoch));
                newer.cloned().unwrap_or_else(|| Partition::read(partition))
            })
            .collect();
        Self {
            name,
            id: topic.id,
            partitions,
        }
    }
}

impl Partition {
    fn read(partition: PartitionMetadata) -> Self {
        Self {
            leader: partition.leader.map(|broker| Node {
                broker,
                shard: partition.leader_shard,
            }),
            leader_epoch: Some(partition.leader_epoch),
            replicas: partition.replicas,
            in_sync_replicas: partition.in_sync_replicas,
        }
    }
}
