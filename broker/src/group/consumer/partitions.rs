//! Partitions by topic id, so that a topic that was deleted and created again is another topic.

use std::collections::BTreeSet;

use corelog_protocol::{PartitionIndex, TopicId};

/// A partition of one incarnation of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
}

/// A set of partitions, in order of topic and index.
pub type Partitions = BTreeSet<TopicPartition>;
