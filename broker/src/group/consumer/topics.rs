use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_protocol::{PartitionIndex, TopicId};

use super::TopicPartition;
use crate::metadata::MetadataImage;

/// The topics that exist, as far as groups care. Never changes; shared by all groups of a core.
#[derive(Clone, PartialEq, Debug)]
pub struct Topics {
    version: i64,
    by_name: BTreeMap<Arc<str>, Topic>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topic {
    pub id: TopicId,
    pub partitions: i32,
    /// Internal topics are read by those who name them; no pattern means them.
    pub internal: bool,
}

impl Default for Topics {
    /// Those of the metadata before its first record.
    fn default() -> Self {
        Self::new(-1, [])
    }
}

impl Topics {
    /// `version` is the metadata offset: an equal version means equal topics.
    pub fn new(version: i64, topics: impl IntoIterator<Item = (Arc<str>, Topic)>) -> Self {
        Self {
            version,
            by_name: topics.into_iter().collect(),
        }
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// True if a topic of `before` is no more, or another one has its name.
    pub fn lack_some_of(&self, before: &Self) -> bool {
        let mut before = before.by_name.iter();
        before.any(|(name, topic)| self.get(name).is_none_or(|found| found.id != topic.id))
    }

    /// All topics in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Topic)> {
        self.by_name.iter()
    }
}

impl Topic {
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let topic_id = self.id;
        (0..self.partitions).map(move |index| TopicPartition {
            topic_id,
            partition: PartitionIndex::new(index),
        })
    }
}

impl From<&MetadataImage> for Topics {
    fn from(image: &MetadataImage) -> Self {
        let topics = image.topics().map(|topic| {
            let partitions = i32::try_from(topic.partitions.len())
                .expect("a topic has fewer than 2^31 partitions: creation bounds them");
            let seen = Topic {
                id: topic.id,
                partitions,
                internal: topic.internal,
            };
            (Arc::clone(&topic.name), seen)
        });
        Self::new(image.offset, topics)
    }
}
