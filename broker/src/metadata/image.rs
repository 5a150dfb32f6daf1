use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId};

use super::{BrokerRegistration, MetadataRecord};
use crate::config::{TopicConfig, TopicConfigError};

/// The cluster at one metadata offset. Never changes; shared by `Arc` between the cores.
#[derive(Clone, PartialEq, Debug)]
pub struct MetadataImage {
    /// The offset of the last record applied; -1 before the first.
    pub offset: i64,
    /// The epoch of the controller that wrote it.
    pub epoch: i32,
    pub cluster_id: Arc<str>,
    pub brokers: BTreeMap<BrokerId, BrokerRegistration>,
    /// Producer ids below this one were handed out to brokers.
    pub next_producer_id: ProducerId,
    topics_by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    topics_by_id: BTreeMap<TopicId, Arc<TopicImage>>,
    /// Deleted topics that a journal may still name, and the offset at which each was deleted.
    deleted_topics: BTreeMap<TopicId, i64>,
    /// What this broker gives a topic for settings that it does not set itself.
    topic_defaults: Arc<TopicConfig>,
}

/// One topic.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: Arc<str>,
    /// True for topics that the cluster keeps for itself.
    pub internal: bool,
    /// What the topic sets itself.
    pub configs: BTreeMap<String, String>,
    /// All settings in force.
    pub config: Arc<TopicConfig>,
    /// By partition index.
    pub partitions: Vec<PartitionImage>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionImage {
    /// `None` while no in-sync replica lives.
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<BrokerId>,
    pub in_sync_replicas: Vec<BrokerId>,
    /// Raised by every change of this partition.
    pub partition_epoch: i32,
}

/// A record that does not follow from the image: the log is damaged, or was written by a version
/// that allowed what this one does not.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the cluster was formed twice: as `{first}` and as `{second}`")]
    FormedTwice { first: String, second: String },
    #[error("controller epoch {found} does not follow epoch {current}")]
    EpochNotRaised { current: i32, found: i32 },
    #[error("topic `{name}` ({id}) is created although its name or id is taken")]
    TopicExists { name: String, id: TopicId },
    #[error("a change names topic {id}, which does not exist")]
    UnknownTopic { id: TopicId },
    #[error("the settings of topic `{name}` are not valid here: {error}")]
    Config {
        name: String,
        #[source]
        error: TopicConfigError,
    },
    #[error("producer ids up to {found} are handed out although those up to {current} were")]
    ProducerIdsTwice {
        current: ProducerId,
        found: ProducerId,
    },
    #[error(
        "partitions from {first} on are added to topic `{name}`, which has {held}: they do not follow"
    )]
    PartitionsDoNotFollow {
        name: String,
        held: usize,
        first: PartitionIndex,
    },
    #[error("the leader epoch of {topic}-{partition} cannot be raised any further")]
    EpochExhausted { topic: String, partition: usize },
}

impl MetadataImage {
    /// The image before the first record.
    pub fn empty(topic_defaults: Arc<TopicConfig>) -> Self {
        Self {
            offset: -1,
            epoch: 0,
            cluster_id: Arc::from(""),
            brokers: BTreeMap::new(),
            next_producer_id: ProducerId::ZERO,
            topics_by_name: BTreeMap::new(),
            topics_by_id: BTreeMap::new(),
            deleted_topics: BTreeMap::new(),
            topic_defaults,
        }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics_by_name.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics_by_id.get(&id)
    }

    /// All topics in order of their names.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.topics_by_name.values()
    }

    pub fn partition(
        &self,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Option<(&Arc<TopicImage>, &PartitionImage)> {
        let topic = self.topic_by_id(topic_id)?;
        Some((topic, topic.partition(partition)?))
    }

    /// Topics deleted that a journal may still name.
    pub fn deleted_topic_ids(&self) -> impl Iterator<Item = TopicId> {
        self.deleted_topics.keys().copied()
    }

    /// True when the topic is known to have been deleted.
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted_topics.contains_key(&id)
    }

    /// What this broker gives a topic for settings that it does not set itself.
    pub fn topic_defaults(&self) -> &TopicConfig {
        &self.topic_defaults
    }

    /// The image after `records`, of which the first has the offset after this image's.
    pub fn apply<'a>(
        &self,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
    ) -> Result<Self, ApplyError> {
        let mut image = self.clone();
        for record in records {
            image.apply_in_place(record)?;
        }
        Ok(image)
    }

    /// As [`MetadataImage::apply`], without a copy; for an image that nobody shares yet. After an
    /// error the image is of no use.
    pub(crate) fn apply_in_place(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        let offset = self.offset + 1;
        self.change(offset, record)?;
        self.offset = offset;
        Ok(())
    }

    /// The records that lead from the empty image to this one, apart from its offset and epoch.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let formed = MetadataRecord::ClusterFormed {
            cluster_id: self.cluster_id.to_string(),
        };
        // Brokers before topics: a registration raises the epochs of the topics before it.
        let brokers = self
            .brokers
            .values()
            .cloned()
            .map(MetadataRecord::BrokerRegistered);
        let topics = self.topics().map(|topic| MetadataRecord::TopicCreated {
            id: topic.id,
            name: topic.name.to_string(),
            internal: topic.internal,
            configs: topic.configs.clone(),
            partitions: topic.partitions.clone(),
        });
        let tombstones = self
            .deleted_topics
            .iter()
            .map(|(&id, &deleted_at)| MetadataRecord::TopicTombstone { id, deleted_at });
        let allocated = (self.next_producer_id > ProducerId::ZERO).then_some(
            MetadataRecord::ProducerIdsAllocated {
                next: self.next_producer_id,
            },
        );
        std::iter::once(formed)
            .chain(allocated)
            .chain(brokers)
            .chain(topics)
            .chain(tombstones)
            .collect()
    }

    /// Rebuilds an image from [`MetadataImage::to_records`].
    pub fn from_records<'a>(
        offset: i64,
        epoch: i32,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
        topic_defaults: Arc<TopicConfig>,
    ) -> Result<Self, ApplyError> {
        let mut image = Self::empty(topic_defaults);
        for record in records {
            image.change(offset, record)?;
        }
        image.offset = offset;
        image.epoch = epoch;
        Ok(image)
    }

    fn change(&mut self, offset: i64, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::ClusterFormed { cluster_id } => {
                if !self.cluster_id.is_empty() {
                    return Err(ApplyError::FormedTwice {
                        first: self.cluster_id.to_string(),
                        second: cluster_id.clone(),
                    });
                }
                self.cluster_id = Arc::from(cluster_id.as_str());
            }
            MetadataRecord::ControllerStarted { epoch } => {
                if *epoch <= self.epoch {
                    return Err(ApplyError::EpochNotRaised {
                        current: self.epoch,
                        found: *epoch,
                    });
                }
                self.epoch = *epoch;
            }
            MetadataRecord::BrokerRegistered(registration) => {
                self.brokers.insert(registration.id, registration.clone());
                self.raise_leader_epochs(registration.id)?;
            }
            MetadataRecord::TopicCreated {
                id,
                name,
                internal,
                configs,
                partitions,
            } => {
                let taken = self.topics_by_name.contains_key(name.as_str())
                    || self.topics_by_id.contains_key(id)
                    || self.deleted_topics.contains_key(id);
                if taken {
                    return Err(ApplyError::TopicExists {
                        name: name.clone(),
                        id: *id,
                    });
                }
                self.put_topic(TopicImage {
                    id: *id,
                    name: Arc::from(name.as_str()),
                    internal: *internal,
                    config: self.resolve(name, configs)?,
                    configs: configs.clone(),
                    partitions: partitions.clone(),
                });
            }
            MetadataRecord::TopicDeleted { id } => {
                let topic = self
                    .topics_by_id
                    .remove(id)
                    .ok_or(ApplyError::UnknownTopic { id: *id })?;
                self.topics_by_name.remove(&topic.name);
                self.deleted_topics.insert(*id, offset);
            }
            MetadataRecord::TopicConfigChanged { id, configs } => {
                let topic = self
                    .topics_by_id
                    .get(id)
                    .ok_or(ApplyError::UnknownTopic { id: *id })?;
                let config = self.resolve(&topic.name, configs)?;
                let mut topic = TopicImage::clone(topic);
                topic.config = config;
                topic.configs = configs.clone();
                self.put_topic(topic);
            }
            MetadataRecord::PartitionsAdded {
                id,
                first,
                partitions,
            } => {
                let topic = self
                    .topics_by_id
                    .get(id)
                    .ok_or(ApplyError::UnknownTopic { id: *id })?;
                let held = topic.partitions.len();
                if usize::try_from(first.get()) != Ok(held) {
                    return Err(ApplyError::PartitionsDoNotFollow {
                        name: topic.name.to_string(),
                        held,
                        first: *first,
                    });
                }
                let mut topic = TopicImage::clone(topic);
                topic.partitions.extend_from_slice(partitions);
                self.put_topic(topic);
            }
            MetadataRecord::DeletedTopicsForgotten { through_offset } => {
                self.deleted_topics
                    .retain(|_, deleted_at| *deleted_at > *through_offset);
            }
            MetadataRecord::TopicTombstone { id, deleted_at } => {
                self.deleted_topics.insert(*id, *deleted_at);
            }
            MetadataRecord::ProducerIdsAllocated { next } => {
                if *next <= self.next_producer_id {
                    return Err(ApplyError::ProducerIdsTwice {
                        current: self.next_producer_id,
                        found: *next,
                    });
                }
                self.next_producer_id = *next;
            }
        }
        Ok(())
    }

    fn resolve(
        &self,
        name: &str,
        configs: &BTreeMap<String, String>,
    ) -> Result<Arc<TopicConfig>, ApplyError> {
        if configs.is_empty() {
            return Ok(Arc::clone(&self.topic_defaults));
        }
        match self.topic_defaults.with_explicit(configs) {
            Ok(config) => Ok(Arc::new(config)),
            Err(error) => Err(ApplyError::Config {
                name: name.to_owned(),
                error,
            }),
        }
    }

    fn raise_leader_epochs(&mut self, leader: BrokerId) -> Result<(), ApplyError> {
        let led: Vec<Arc<TopicImage>> = self
            .topics()
            .filter(|topic| topic.partitions.iter().any(|p| p.leader == Some(leader)))
            .cloned()
            .collect();
        for topic in led {
            let mut topic = TopicImage::clone(&topic);
            let name = Arc::clone(&topic.name);
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                if partition.leader != Some(leader) {
                    continue;
                }
                let exhausted = || ApplyError::EpochExhausted {
                    topic: name.to_string(),
                    partition: index,
                };
                let raised = partition.leader_epoch.get().checked_add(1);
                partition.leader_epoch = LeaderEpoch::new(raised.ok_or_else(exhausted)?);
                let raised = partition.partition_epoch.checked_add(1);
                partition.partition_epoch = raised.ok_or_else(exhausted)?;
            }
            self.put_topic(topic);
        }
        Ok(())
    }

    fn put_topic(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.topics_by_name
            .insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.topics_by_id.insert(topic.id, topic);
    }
}

impl TopicImage {
    pub fn partition(&self, partition: PartitionIndex) -> Option<&PartitionImage> {
        self.partitions.get(partition.get() as usize)
    }

    /// Every partition with its index.
    pub fn indexed_partitions(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        let index = |index| PartitionIndex::new(i32::try_from(index).expect("counted in i32"));
        self.partitions
            .iter()
            .enumerate()
            .map(move |(position, partition)| (index(position), partition))
    }

    /// The name of a partition's folder: `orders-3`, as Kafka names it.
    pub fn partition_folder(&self, partition: PartitionIndex) -> String {
        format!("{}-{partition}", self.name)
    }
}
