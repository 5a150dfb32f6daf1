//! Equal numbers of partitions.

use std::collections::BTreeMap;

use corelog_protocol::TopicId;

use super::fair_share::{Deal, share};
use super::{Partitions, Subscriber, mixed, partitions_of};

pub(super) fn assign(
    subscribers: &[Subscriber],
    partitions: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    let Some(first) = subscribers.first() else {
        return Vec::new();
    };
    if subscribers.iter().any(|other| other.topics != first.topics) {
        return mixed::assign(subscribers, partitions);
    }
    let all = partitions
        .iter()
        .filter(|(topic_id, _)| first.topics.contains(topic_id))
        .flat_map(|(&topic_id, &count)| partitions_of(topic_id, count))
        .collect();
    let held: Vec<Partitions> = subscribers
        .iter()
        .map(|subscriber| subscriber.target.clone())
        .collect();
    share(all, &held, Deal::InTurn)
}
