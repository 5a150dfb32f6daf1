//! The sticky assignors: keep, fill, even out.

use std::collections::{BTreeMap, BTreeSet};

use super::{PartitionCounts, Shares, Subscriber, partitions};
use crate::record::TopicPartition;

/// Gives everyone as equal a share as the subscriptions allow, and moves as little as that takes: a
/// member that has two partitions more than another holds none that the other could take.
pub fn sticky(topics: &PartitionCounts, members: &[Subscriber]) -> Shares {
    Dealing::new(topics, members).deal()
}

/// As [`sticky`], but a partition that another member says it owns is held back: its owner learns
/// from its share that it must give the partition up, and joins again; only then is it handed over.
/// Members keep reading what does not move.
pub fn cooperative_sticky(topics: &PartitionCounts, members: &[Subscriber]) -> Shares {
    let mut shares = sticky(topics, members);
    let mut owners: BTreeMap<&TopicPartition, BTreeSet<&str>> = BTreeMap::new();
    for member in members {
        for partition in &member.owned {
            owners
                .entry(partition)
                .or_default()
                .insert(&member.member_id);
        }
    }
    for (member_id, share) in &mut shares {
        share.retain(|partition| {
            let mut others = owners.get(partition).into_iter().flatten();
            others.all(|owner| owner == member_id)
        });
    }
    shares
}

/// An assignment in the making. Members are known by their place in `members`.
struct Dealing<'a> {
    members: Vec<&'a Subscriber>,
    /// Each topic that somebody subscribed to: its partitions, and who may have them.
    topics: BTreeMap<&'a str, (i32, Vec<usize>)>,
    shares: Vec<Vec<TopicPartition>>,
}

impl<'a> Dealing<'a> {
    fn new(topics: &'a PartitionCounts, members: &'a [Subscriber]) -> Self {
        let mut members: Vec<&Subscriber> = members.iter().collect();
        members.sort_by_key(|member| &member.member_id);
        let mut subscribed: BTreeMap<&str, (i32, Vec<usize>)> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            let wanted: BTreeSet<&String> = member.topics.iter().collect();
            for topic in wanted {
                if let Some((topic, &count)) = topics.get_key_value(topic) {
                    let entry = subscribed.entry(topic).or_insert((count, Vec::new()));
                    entry.1.push(index);
                }
            }
        }
        Self {
            shares: vec![Vec::new(); members.len()],
            members,
            topics: subscribed,
        }
    }

    fn deal(mut self) -> Shares {
        let kept = self.keep_owned();
        self.fill(&kept);
        while self.even_out() {}
        let ids = self.members.iter().map(|member| member.member_id.clone());
        ids.zip(self.shares).collect()
    }

    /// Leaves with each member what it owns and may still have. Of two claims the one of the later
    /// generation counts; of two from the same generation one is wrong, and nobody can say which.
    fn keep_owned(&mut self) -> BTreeSet<TopicPartition> {
        let mut claims: BTreeMap<&TopicPartition, (Option<i32>, BTreeSet<usize>)> = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            for partition in member.owned.iter().filter(|owned| self.exists(owned)) {
                let claim = claims.entry(partition).or_default();
                if claim.1.is_empty() || member.generation > claim.0 {
                    *claim = (member.generation, BTreeSet::from([index]));
                } else if member.generation == claim.0 {
                    claim.1.insert(index);
                }
            }
        }
        let mut kept = BTreeSet::new();
        for (partition, (_, owners)) in claims {
            let mut owners = owners.into_iter();
            if let (Some(owner), None) = (owners.next(), owners.next())
                && self.members[owner].subscribes(&partition.topic)
            {
                self.shares[owner].push(partition.clone());
                kept.insert(partition.clone());
            }
        }
        kept
    }

    fn exists(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&*partition.topic);
        topic.is_some_and(|(count, _)| partition.partition.get() < *count)
    }

    /// Gives what nobody has to whoever has least. Topics with few subscribers come first: those of
    /// the others have more of a choice.
    fn fill(&mut self, kept: &BTreeSet<TopicPartition>) {
        let mut topics: Vec<_> = self.topics.iter().collect();
        topics.sort_by_key(|(name, (_, subscribers))| (subscribers.len(), **name));
        for (name, (count, subscribers)) in topics {
            for partition in partitions(name, *count) {
                if kept.contains(&partition) {
                    continue;
                }
                let least = subscribers
                    .iter()
                    .min_by_key(|index| self.shares[**index].len());
                if let Some(&least) = least {
                    self.shares[least].push(partition);
                }
            }
        }
    }

    /// Moves partitions from members that have at least two more than one that could take them, the
    /// richest first. True if something moved: then another pass may find more. Every move brings
    /// the shares closer together, so that this ends.
    fn even_out(&mut self) -> bool {
        let mut moved = false;
        let mut givers: Vec<usize> = (0..self.members.len()).collect();
        givers.sort_by_key(|index| std::cmp::Reverse(self.shares[*index].len()));
        for giver in givers {
            while let Some((position, taker)) = self.find_move(giver) {
                let partition = self.shares[giver].remove(position);
                self.shares[taker].push(partition);
                moved = true;
            }
        }
        moved
    }

    /// The last partition of `giver` that the poorest member who may have it should have instead.
    fn find_move(&self, giver: usize) -> Option<(usize, usize)> {
        let share = &self.shares[giver];
        let mut best: Option<(usize, usize)> = None;
        let mut seen = BTreeSet::new();
        for (position, partition) in share.iter().enumerate().rev() {
            if !seen.insert(&partition.topic) {
                continue;
            }
            let Some((_, subscribers)) = self.topics.get(&*partition.topic) else {
                continue;
            };
            let length = |index: usize| self.shares[index].len();
            let poorest = subscribers
                .iter()
                .copied()
                .min_by_key(|index| length(*index));
            if let Some(taker) = poorest
                && length(taker) + 2 <= share.len()
                && best.is_none_or(|(_, other)| length(taker) < length(other))
            {
                best = Some((position, taker));
            }
        }
        best
    }
}
