#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::runtime::sim::seeds;

const SEEDS: u64 = 1_000;

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn subscriber(topics: &[u8]) -> Subscriber {
    Subscriber {
        topics: topics.iter().copied().map(topic).collect(),
        target: Partitions::new(),
    }
}

/// The members again, with `assigned` as their last target.
fn after(subscribers: &[Subscriber], assigned: Vec<Partitions>) -> Vec<Subscriber> {
    let targets = subscribers.iter().zip(assigned);
    targets
        .map(|(subscriber, target)| Subscriber {
            topics: subscriber.topics.clone(),
            target,
        })
        .collect()
}

fn indexes(partitions: &Partitions, number: u8) -> Vec<i32> {
    within(partitions, topic(number))
        .map(|partition| partition.partition.get())
        .collect()
}

fn random_topics(random: &mut StdRng) -> BTreeMap<TopicId, i32> {
    let count = random.random_range(1..6);
    (1..=count)
        .map(|number| (topic(number), random.random_range(1..20)))
        .collect()
}

fn random_subscriber(random: &mut StdRng, topics: &BTreeMap<TopicId, i32>) -> Subscriber {
    let some: Vec<TopicId> = topics.keys().copied().collect();
    let count = random.random_range(0..=some.len());
    let topics = some.choose_multiple(random, count).copied().collect();
    Subscriber {
        topics,
        target: Partitions::new(),
    }
}

#[track_caller]
fn assert_each_once(
    context: &str,
    subscribers: &[Subscriber],
    topics: &BTreeMap<TopicId, i32>,
    assigned: &[Partitions],
) {
    assert_eq!(assigned.len(), subscribers.len(), "{context}");
    let mut all = Partitions::new();
    for (subscriber, share) in subscribers.iter().zip(assigned) {
        for partition in share {
            let wanted = subscriber.topics.contains(&partition.topic_id);
            assert!(wanted, "{context}: {partition:?} is not subscribed to");
            assert!(
                all.insert(*partition),
                "{context}: {partition:?} is given twice"
            );
        }
    }
    let wanted = |topic_id| subscribers.iter().any(|s| s.topics.contains(topic_id));
    let expected: Partitions = topics
        .iter()
        .filter(|(topic_id, _)| wanted(topic_id))
        .flat_map(|(topic_id, count)| partitions_of(*topic_id, *count))
        .collect();
    assert_eq!(all, expected, "{context}: partitions are left out");
}

fn spread(sizes: impl Iterator<Item = usize> + Clone) -> usize {
    sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0)
}

/// The partitions that changed hands between members who were there before and after.
fn taken_from(before: &[Partitions], now: &[Partitions]) -> usize {
    let lost = before.iter().zip(now);
    lost.map(|(before, now)| before.difference(now).count())
        .sum()
}

#[test]
fn every_partition_goes_to_one_subscriber_whatever_the_subscriptions() {
    for seed in seeds(SEEDS) {
        let mut random = StdRng::seed_from_u64(seed);
        let assignor = *[Assignor::Uniform, Assignor::Range]
            .choose(&mut random)
            .unwrap();
        let mut topics = random_topics(&mut random);
        let mut members: Vec<Subscriber> = Vec::new();
        for step in 0..30 {
            match random.random_range(0..5) {
                0 if members.len() > 1 => {
                    members.remove(random.random_range(0..members.len()));
                }
                1 => topics = random_topics(&mut random),
                2 if !members.is_empty() => {
                    let member = random.random_range(0..members.len());
                    members[member].topics = random_subscriber(&mut random, &topics).topics;
                }
                _ => members.push(random_subscriber(&mut random, &topics)),
            }
            for member in &mut members {
                member
                    .topics
                    .retain(|topic_id| topics.contains_key(topic_id));
            }
            let context = format!("seed {seed}, step {step}, {assignor:?}");
            let assigned = assignor.assign(&members, &topics);
            assert_each_once(&context, &members, &topics, &assigned);
            for (member, share) in members.iter().zip(&assigned) {
                for (other, other_share) in members.iter().zip(&assigned) {
                    let equal = member.topics == other.topics;
                    if assignor == Assignor::Uniform && equal {
                        let distance = share.len().abs_diff(other_share.len());
                        assert!(distance <= 1, "{context}: equals differ by {distance}");
                    }
                }
            }
            members = after(&members, assigned);
            let again = assignor.assign(&members, &topics);
            let targets = members.iter().map(|member| &member.target);
            assert!(
                again.iter().eq(targets),
                "{context}: a second look moves partitions"
            );
        }
    }
}

#[test]
fn uniform_moves_no_more_than_a_joining_or_leaving_member_makes_necessary() {
    for seed in seeds(SEEDS) {
        let mut random = StdRng::seed_from_u64(seed);
        let topics = random_topics(&mut random);
        let numbers: Vec<u8> = (1..=topics.len() as u8).collect();
        let total = topics.values().sum::<i32>() as usize;
        let mut members = vec![subscriber(&numbers); random.random_range(2..12)];
        let before = Assignor::Uniform.assign(&members, &topics);
        assert!(
            spread(before.iter().map(Partitions::len)) <= 1,
            "seed {seed}"
        );
        members = after(&members, before.clone());

        let mut joined = members.clone();
        joined.push(subscriber(&numbers));
        let now = Assignor::Uniform.assign(&joined, &topics);
        assert!(spread(now.iter().map(Partitions::len)) <= 1, "seed {seed}");
        let fewest = total / joined.len();
        let moved = taken_from(&before, &now);
        assert!(
            moved <= fewest + 1,
            "seed {seed}: joining moved {moved} of {total}"
        );
        assert_eq!(
            moved,
            now.last().unwrap().len(),
            "seed {seed}: others exchanged"
        );

        let leaver = random.random_range(0..members.len());
        members.remove(leaver);
        let mut left = before.clone();
        left.remove(leaver);
        let now = Assignor::Uniform.assign(&members, &topics);
        assert!(spread(now.iter().map(Partitions::len)) <= 1, "seed {seed}");
        assert_eq!(
            taken_from(&left, &now),
            0,
            "seed {seed}: leaving moved others' partitions"
        );
    }
}

#[test]
fn range_cuts_topics_of_equal_size_at_the_same_places() {
    for seed in seeds(SEEDS) {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..20);
        let topics = BTreeMap::from([(topic(1), count), (topic(2), count)]);
        let mut members = vec![subscriber(&[1, 2]); random.random_range(1..8)];
        for step in 0..10 {
            let context = format!("seed {seed}, step {step}");
            let assigned = Assignor::Range.assign(&members, &topics);
            assert_each_once(&context, &members, &topics, &assigned);
            for share in &assigned {
                assert_eq!(indexes(share, 1), indexes(share, 2), "{context}");
            }
            let sizes = assigned.iter().map(|share| indexes(share, 1).len());
            assert!(spread(sizes) <= 1, "{context}");
            members = after(&members, assigned);
            if members.len() > 1 && random.random_bool(0.5) {
                members.remove(random.random_range(0..members.len()));
            } else {
                members.push(subscriber(&[1, 2]));
            }
        }
    }
}

#[test]
fn range_gives_a_new_group_neighbouring_partitions() {
    let topics = BTreeMap::from([(topic(1), 7), (topic(2), 2)]);
    let assigned = Assignor::Range.assign(&vec![subscriber(&[1, 2]); 3], &topics);
    let ranges: Vec<_> = assigned.iter().map(|share| indexes(share, 1)).collect();
    assert_eq!(ranges, [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    let ranges: Vec<_> = assigned.iter().map(|share| indexes(share, 2)).collect();
    assert_eq!(ranges, [vec![0], vec![1], vec![]]);
}

#[test]
fn range_leaves_members_what_they_have_when_one_joins() {
    let topics = BTreeMap::from([(topic(1), 6)]);
    let mut members = vec![subscriber(&[1]); 2];
    members = after(&members, Assignor::Range.assign(&members, &topics));
    members.insert(0, subscriber(&[1]));
    let assigned = Assignor::Range.assign(&members, &topics);
    let ranges: Vec<_> = assigned.iter().map(|share| indexes(share, 1)).collect();
    assert_eq!(ranges, [vec![2, 5], vec![0, 1], vec![3, 4]]);
}

#[test]
fn uniform_spreads_every_topic_over_the_members() {
    let topics = BTreeMap::from([(topic(1), 4), (topic(2), 4)]);
    let assigned = Assignor::Uniform.assign(&vec![subscriber(&[1, 2]); 4], &topics);
    for share in assigned {
        assert_eq!((indexes(&share, 1).len(), indexes(&share, 2).len()), (1, 1));
    }
}

#[test]
fn uniform_gives_those_with_a_choice_what_others_cannot_read() {
    let topics = BTreeMap::from([(topic(1), 4), (topic(2), 4)]);
    let members = [subscriber(&[1]), subscriber(&[1, 2])];
    let assigned = Assignor::Uniform.assign(&members, &topics);
    assert_eq!(indexes(&assigned[0], 1).len(), 4);
    assert_eq!(indexes(&assigned[1], 2).len(), 4);
}

#[test]
fn an_extra_member_idles() {
    let topics = BTreeMap::from([(topic(1), 3)]);
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let assigned = assignor.assign(&vec![subscriber(&[1]); 4], &topics);
        let sizes: Vec<usize> = assigned.iter().map(Partitions::len).collect();
        assert_eq!(sizes, [1, 1, 1, 0]);
    }
}

#[test]
fn a_partition_that_two_members_claim_stays_with_one() {
    let topics = BTreeMap::from([(topic(1), 2), (topic(2), 1)]);
    let target: Partitions = partitions_of(topic(1), 2).collect();
    for numbers in [[&[1, 2][..], &[1, 2]], [&[1, 2][..], &[1]]] {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let members = numbers.map(|numbers| Subscriber {
                target: target.clone(),
                ..subscriber(numbers)
            });
            let assigned = assignor.assign(&members, &topics);
            assert_each_once(assignor.name(), &members, &topics, &assigned);
        }
    }
}
