//! Target assignments: which member gets which partition.
//!
//! Plain functions of subscriptions and of the last target. The last target and not what members
//! hold at the moment: a target that is still being approached is kept, not bent.

mod fair_share;
mod mixed;
mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use corelog_protocol::{PartitionIndex, TopicId};

use super::{Assignor, Partitions, TopicPartition};

/// What an assignor knows about a member.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Subscriber {
    /// Topics that exist; others are left out before.
    pub topics: BTreeSet<TopicId>,
    /// Its part of the last target.
    pub target: Partitions,
}

impl Assignor {
    /// Gives every partition of every topic that somebody subscribes to to one of its subscribers.
    /// The answer is in the order of `subscribers`. `partitions` counts those of each topic.
    pub fn assign(
        self,
        subscribers: &[Subscriber],
        partitions: &BTreeMap<TopicId, i32>,
    ) -> Vec<Partitions> {
        match self {
            Self::Uniform => uniform::assign(subscribers, partitions),
            Self::Range => range::assign(subscribers, partitions),
        }
    }
}

/// The partitions of a topic of which there are `count`.
fn partitions_of(topic_id: TopicId, count: i32) -> impl Iterator<Item = TopicPartition> {
    (0..count).map(move |index| TopicPartition {
        topic_id,
        partition: PartitionIndex::new(index),
    })
}

/// The part of `partitions` that belongs to one topic.
fn within(partitions: &Partitions, topic_id: TopicId) -> impl Iterator<Item = TopicPartition> {
    let at = |partition| TopicPartition {
        topic_id,
        partition,
    };
    partitions
        .range(at(PartitionIndex::ZERO)..=at(PartitionIndex::MAX))
        .copied()
}
