//! The partitions of a member.
//!
//! The coordinator tells the *target*: all that this member may have. What it has it *owns*: `poll` gives up what the
//! target lacks, and takes what the target adds, once it is known where to begin. What it owned when it was put out of the
//! group is *lost*, until the caller was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corelog_protocol::native::TopicPartitions;
use corelog_protocol::{Offset, PartitionIndex, TopicId};

use super::CommittedOffset;
use crate::record::TopicPartition;

/// A partition as the coordinator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct IdPartition {
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
}

/// A partition that this member has or had, with its topic's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) id: IdPartition,
    pub(super) name: TopicPartition,
    /// Tells it from the same partition owned before, or later.
    pub(super) round: u64,
}

/// What is known of a partition that is owned.
#[derive(Clone, Debug)]
struct Held {
    topic: Arc<str>,
    round: u64,
}

/// Where to begin with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) topic: Arc<str>,
    pub(super) committed: Option<CommittedOffset>,
}

/// A partition of the target that is not owned yet.
#[derive(Debug)]
struct Incoming {
    /// Tells it from the same partition given before, and taken away in between.
    round: u64,
    start: Option<Start>,
}

/// What `poll` is to do before it returns records.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Tell the caller that these are gone.
    Lost(Vec<Owned>),
    /// Give these up.
    Revoke(Vec<Owned>),
    /// Take what is ready to be taken.
    Take,
    Nothing,
}

#[derive(Default)]
pub(super) struct Holdings {
    target: BTreeSet<IdPartition>,
    owned: BTreeMap<IdPartition, Held>,
    incoming: BTreeMap<IdPartition, Incoming>,
    lost: BTreeMap<IdPartition, Held>,
    /// The offsets that the coordinator is known to hold of what is owned.
    committed: BTreeMap<IdPartition, Offset>,
    /// Why partitions went last, for whoever still wants to commit them; empty while none went.
    loss: String,
    next_round: u64,
}

impl Holdings {
    /// Takes what the coordinator wants the member to have. What it takes back before the member has taken it is free.
    pub(super) fn set_target(&mut self, assignment: &[TopicPartitions]) {
        self.target = assignment
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|partition| IdPartition {
                    topic_id: topic.topic_id,
                    partition: *partition,
                })
            })
            .collect();
        let target = &self.target;
        self.incoming.retain(|id, _| target.contains(id));
        for id in self.target.clone() {
            if !self.owned.contains_key(&id) && !self.incoming.contains_key(&id) {
                self.await_start(id);
            }
        }
    }

    fn await_start(&mut self, id: IdPartition) {
        self.next_round += 1;
        let incoming = Incoming {
            round: self.next_round,
            start: None,
        };
        self.incoming.insert(id, incoming);
    }

    /// The member is put out: the caller has to hear of it.
    pub(super) fn lose(&mut self, why: String) {
        self.loss = why;
        self.forget_target();
        self.lost.append(&mut self.owned);
    }

    /// Everything was given up.
    pub(super) fn forget(&mut self, why: &str) {
        why.clone_into(&mut self.loss);
        self.forget_target();
        self.owned.clear();
        self.lost.clear();
    }

    fn forget_target(&mut self) {
        self.target.clear();
        self.incoming.clear();
        self.committed.clear();
    }

    /// Partitions may have gone to another member and come back with other offsets, unheard of.
    pub(super) fn forget_starts(&mut self) {
        let incoming: Vec<IdPartition> = self.incoming.keys().copied().collect();
        for id in incoming {
            self.await_start(id);
        }
    }

    pub(super) fn is_loss_untold(&self) -> bool {
        !self.lost.is_empty()
    }

    /// What `poll` is to do first.
    pub(super) fn pending(&self) -> Pending {
        if !self.lost.is_empty() {
            return Pending::Lost(named(&self.lost));
        }
        let leaving: Vec<Owned> = self
            .owned
            .iter()
            .filter(|(id, _)| !self.target.contains(id))
            .map(named_one)
            .collect();
        if !leaving.is_empty() {
            return Pending::Revoke(leaving);
        }
        if self.incoming.values().any(|it| it.start.is_some()) {
            return Pending::Take;
        }
        Pending::Nothing
    }

    /// The caller knows what it lost.
    pub(super) fn loss_was_told(&mut self) {
        self.lost.clear();
    }

    /// Nothing of these is read any more.
    pub(super) fn revoked(&mut self, partitions: &[Owned]) {
        for partition in partitions {
            self.committed.remove(&partition.id);
            let was_owned = self.owned.remove(&partition.id).is_some();
            if was_owned && self.target.contains(&partition.id) {
                // It was given again meanwhile.
                self.await_start(partition.id);
            }
        }
        "it was revoked, for another member".clone_into(&mut self.loss);
    }

    /// Takes what the target adds and has a start.
    pub(super) fn take(&mut self) -> Vec<(Owned, Start)> {
        let ready: Vec<IdPartition> = self
            .incoming
            .iter()
            .filter(|(_, incoming)| incoming.start.is_some())
            .map(|(id, _)| *id)
            .collect();
        let mut taken = Vec::with_capacity(ready.len());
        for id in ready {
            if let Some(Incoming {
                round,
                start: Some(start),
            }) = self.incoming.remove(&id)
            {
                let held = Held {
                    topic: Arc::clone(&start.topic),
                    round,
                };
                if let Some(committed) = &start.committed {
                    self.committed.insert(id, committed.offset);
                }
                taken.push((named_one((&id, &held)), start));
                self.owned.insert(id, held);
            }
        }
        taken
    }

    /// The partitions of the target for which it is not known where to begin, each with its round.
    pub(super) fn without_start(&self) -> Vec<(IdPartition, u64)> {
        self.incoming
            .iter()
            .filter(|(_, incoming)| incoming.start.is_none())
            .map(|(id, incoming)| (*id, incoming.round))
            .collect()
    }

    /// Where to begin with a partition, asked for in that round.
    pub(super) fn found_start(&mut self, id: IdPartition, round: u64, start: Start) {
        if let Some(incoming) = self.incoming.get_mut(&id)
            && incoming.round == round
        {
            incoming.start = Some(start);
        }
    }

    /// True if it has been owned ever since.
    pub(super) fn still_owns(&self, partition: &Owned) -> bool {
        let held = self.owned.get(&partition.id);
        held.is_some_and(|held| held.round == partition.round)
    }

    pub(super) fn note_committed(&mut self, partition: &Owned, offset: Offset) {
        if self.still_owns(partition) {
            self.committed.insert(partition.id, offset);
        }
    }

    /// True if a commit of this offset would change nothing.
    pub(super) fn is_committed(&self, id: IdPartition, offset: Offset) -> bool {
        self.committed.get(&id) == Some(&offset)
    }

    pub(super) fn owned(&self) -> Vec<Owned> {
        named(&self.owned)
    }

    /// What the coordinator must give to nobody else: what is owned, and what `poll` may take at any moment, also while
    /// the coordinator is being told.
    pub(super) fn claimed(&self) -> BTreeSet<IdPartition> {
        self.owned
            .keys()
            .chain(self.incoming.keys())
            .copied()
            .collect()
    }

    /// Why a partition is not owned.
    pub(super) fn why_not_owned(&self) -> &str {
        match &*self.loss {
            "" => "it was never assigned",
            loss => loss,
        }
    }
}

fn named(partitions: &BTreeMap<IdPartition, Held>) -> Vec<Owned> {
    partitions.iter().map(named_one).collect()
}

fn named_one((id, held): (&IdPartition, &Held)) -> Owned {
    Owned {
        id: *id,
        name: TopicPartition::new(Arc::clone(&held.topic), id.partition),
        round: held.round,
    }
}

/// Partitions as messages list them.
pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a IdPartition>,
) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
    for id in partitions {
        topics.entry(id.topic_id).or_default().push(id.partition);
    }
    topics
        .into_iter()
        .map(|(topic_id, partitions)| TopicPartitions {
            topic_id,
            partitions,
        })
        .collect()
}
