use std::collections::BTreeMap;

use corelog_protocol::{BrokerId, PartitionIndex, ProducerId, TopicId};

use super::PartitionImage;

/// A broker as the cluster knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistration {
    pub id: BrokerId,
    /// What clients are told to connect to.
    pub host: String,
    pub port: u16,
    /// The shards that the broker runs; a partition's shard follows from it.
    pub shards: u16,
    /// The metadata offset of this registration: a later start of the broker has a higher one,
    /// which fences what an earlier start left behind.
    pub broker_epoch: i64,
}

/// One step from a metadata image to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataRecord {
    /// The first record of all.
    ClusterFormed { cluster_id: String },
    /// A controller took over: its epoch is above that of every controller before it.
    ControllerStarted { epoch: i32 },
    /// A broker started. Raises the leader epoch of every partition that it leads, in this one
    /// record: nothing is appended under an epoch that an earlier start used.
    BrokerRegistered(BrokerRegistration),
    TopicCreated {
        id: TopicId,
        name: String,
        internal: bool,
        /// Only what the topic sets itself.
        configs: BTreeMap<String, String>,
        partitions: Vec<PartitionImage>,
    },
    /// The topic's id stays behind as a tombstone, so that journal entries of its partitions are
    /// known as deleted and not taken for suspects.
    TopicDeleted { id: TopicId },
    /// Replaces everything the topic sets itself.
    TopicConfigChanged {
        id: TopicId,
        configs: BTreeMap<String, String>,
    },
    /// No journal holds entries of the topics deleted at or below this offset any more.
    DeletedTopicsForgotten { through_offset: i64 },
    /// A tombstone as a snapshot carries it; it stands in no log.
    TopicTombstone { id: TopicId, deleted_at: i64 },
    /// A block of producer ids was handed out: those below this one are never handed out again.
    ProducerIdsAllocated { next: ProducerId },
    /// The topic has more partitions, behind those it had.
    PartitionsAdded {
        id: TopicId,
        /// The index of the first new one.
        first: PartitionIndex,
        partitions: Vec<PartitionImage>,
    },
}
