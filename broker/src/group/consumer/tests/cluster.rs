//! The topics of a test, which change as a cluster's do.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_protocol::TopicId;

use crate::group::consumer::{Partitions, Topic, Topics};

#[derive(Default)]
pub(super) struct Cluster {
    topics: BTreeMap<Arc<str>, Topic>,
    changes: u32,
}

impl Cluster {
    pub(super) fn new(topics: &[(&str, i32)]) -> Self {
        let mut cluster = Self::default();
        for (name, partitions) in topics {
            cluster.create(name, *partitions);
        }
        cluster
    }

    /// Ids are drawn in order, so that a seed replays a run.
    pub(super) fn create(&mut self, name: &str, partitions: i32) {
        self.changes += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.changes.to_be_bytes());
        let topic = Topic {
            id: TopicId::from_bytes(id),
            partitions,
            internal: name.starts_with("__"),
        };
        self.topics.insert(Arc::from(name), topic);
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.changes += 1;
        self.topics.remove(name);
    }

    pub(super) fn add_partitions(&mut self, name: &str, more: i32) {
        self.changes += 1;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions += more;
        }
    }

    pub(super) fn image(&self) -> Topics {
        let topics = self.topics.iter();
        let topics = topics.map(|(name, topic)| (Arc::clone(name), *topic));
        Topics::new(i64::from(self.changes), topics)
    }

    /// All partitions of the topic; none if it does not exist.
    pub(super) fn partitions(&self, name: &str) -> Partitions {
        let topic = self.topics.get(name);
        topic.into_iter().flat_map(Topic::partitions).collect()
    }
}
