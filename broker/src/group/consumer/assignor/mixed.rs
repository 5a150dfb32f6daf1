//! Equal numbers of partitions, as far as different subscriptions allow.
//!
//! What still fits stays; what is free goes to the subscriber with the fewest; then partitions move
//! from members to subscribers of the same topic that have at least two less. A move makes the
//! sum of the squares of the loads smaller, so the moves come to an end, and at the end members with
//! equal subscriptions differ by one at most.

use std::collections::BTreeMap;

use corelog_protocol::TopicId;

use super::{Partitions, Subscriber, TopicPartition, partitions_of, within};

pub(super) fn assign(
    subscribers: &[Subscriber],
    partitions: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    let mut shares = Shares {
        members_of: partitions
            .keys()
            .map(|&topic_id| (topic_id, members_of(topic_id, subscribers)))
            .filter(|(_, members)| !members.is_empty())
            .collect(),
        assigned: vec![Partitions::new(); subscribers.len()],
    };
    let mut free: Partitions = shares
        .members_of
        .keys()
        .flat_map(|topic_id| partitions_of(*topic_id, partitions[topic_id]))
        .collect();
    for (subscriber, assigned) in subscribers.iter().zip(&mut shares.assigned) {
        let fits = |partition: &&TopicPartition| subscriber.topics.contains(&partition.topic_id);
        for partition in subscriber.target.iter().filter(fits) {
            if free.remove(partition) {
                assigned.insert(*partition);
            }
        }
    }
    shares.hand_out(free);
    shares.balance();
    shares.assigned
}

fn members_of(topic_id: TopicId, subscribers: &[Subscriber]) -> Vec<usize> {
    let subscribes = |member: &usize| subscribers[*member].topics.contains(&topic_id);
    (0..subscribers.len()).filter(subscribes).collect()
}

struct Shares {
    /// Who subscribes to each topic; never nobody.
    members_of: BTreeMap<TopicId, Vec<usize>>,
    /// By member.
    assigned: Vec<Partitions>,
}

impl Shares {
    /// Topics with few subscribers first: they leave the least choice.
    fn hand_out(&mut self, free: Partitions) {
        let mut free: Vec<TopicPartition> = free.into_iter().collect();
        free.sort_by_key(|partition| self.members_of[&partition.topic_id].len());
        for partition in free {
            let member = self.least_loaded(partition.topic_id);
            self.assigned[member].insert(partition);
        }
    }

    fn balance(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            let mut members: Vec<usize> = (0..self.assigned.len()).collect();
            members.sort_by_key(|member| std::cmp::Reverse(self.load(*member)));
            for from in members {
                let held: Vec<TopicId> = self.topics_held(from);
                for topic_id in held {
                    moved |= self.relieve(from, topic_id);
                }
            }
        }
    }

    /// Moves partitions of the topic away while somebody has two less; false if nobody had.
    fn relieve(&mut self, from: usize, topic_id: TopicId) -> bool {
        let mut moved = false;
        loop {
            let to = self.least_loaded(topic_id);
            let last = within(&self.assigned[from], topic_id).last();
            let Some(partition) = last.filter(|_| self.load(from) >= self.load(to) + 2) else {
                return moved;
            };
            self.assigned[from].remove(&partition);
            self.assigned[to].insert(partition);
            moved = true;
        }
    }

    fn least_loaded(&self, topic_id: TopicId) -> usize {
        let members = self.members_of[&topic_id].iter();
        *members
            .min_by_key(|member| self.load(**member))
            .expect("the topic has a subscriber")
    }

    fn load(&self, member: usize) -> usize {
        self.assigned[member].len()
    }

    fn topics_held(&self, member: usize) -> Vec<TopicId> {
        let mut topics: Vec<TopicId> = self.assigned[member].iter().map(|p| p.topic_id).collect();
        topics.dedup();
        topics
    }
}
