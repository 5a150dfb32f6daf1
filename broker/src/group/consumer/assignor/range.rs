//! Ranges of every topic.
//!
//! Each topic is shared for itself, by the same rule: where the subscribers, the numbers of
//! partitions and the last targets of two topics are the same, a member gets the same indexes of
//! both, and can join them.

use std::collections::BTreeMap;

use corelog_protocol::TopicId;

use super::fair_share::{Deal, share};
use super::{Partitions, Subscriber, partitions_of, within};

pub(super) fn assign(
    subscribers: &[Subscriber],
    partitions: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); subscribers.len()];
    for (&topic_id, &count) in partitions {
        let (members, held): (Vec<usize>, Vec<Partitions>) = subscribers
            .iter()
            .enumerate()
            .filter(|(_, subscriber)| subscriber.topics.contains(&topic_id))
            .map(|(member, subscriber)| (member, within(&subscriber.target, topic_id).collect()))
            .unzip();
        let shares = share(
            partitions_of(topic_id, count).collect(),
            &held,
            Deal::InRanges,
        );
        for (member, share) in members.into_iter().zip(shares) {
            assigned[member].extend(share);
        }
    }
    assigned
}
