//! The partitions that one shard owns.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::log::TopicPartition;
use crate::partition::{Partition, Refusal};

#[derive(Clone)]
pub(super) enum Slot {
    Open(Rc<Partition>),
    /// The partition is this shard's, but its files cannot be trusted or opened. It is neither
    /// led nor read; everyone who asks is told why.
    Unusable(Refusal),
}

#[derive(Default)]
pub(super) struct Partitions {
    slots: RefCell<HashMap<TopicPartition, Slot>>,
}

impl Partitions {
    pub(super) fn get(&self, id: TopicPartition) -> Option<Slot> {
        self.slots.borrow().get(&id).cloned()
    }

    pub(super) fn insert(&self, id: TopicPartition, slot: Slot) {
        self.slots.borrow_mut().insert(id, slot);
    }

    pub(super) fn remove(&self, id: TopicPartition) -> Option<Slot> {
        self.slots.borrow_mut().remove(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Partitions that are not served.
    pub(super) fn unusable(&self) -> usize {
        let slots = self.slots.borrow();
        let unusable = slots
            .values()
            .filter(|slot| matches!(slot, Slot::Unusable(_)));
        unusable.count()
    }

    /// In order, so that a seed replays exactly.
    pub(super) fn ids(&self) -> Vec<TopicPartition> {
        let mut ids: Vec<TopicPartition> = self.slots.borrow().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// In the order of their ids, so that a seed replays exactly.
    pub(super) fn open(&self) -> Vec<Rc<Partition>> {
        let slots = self.slots.borrow();
        let mut open: Vec<_> = slots
            .iter()
            .filter_map(|(id, slot)| match slot {
                Slot::Open(partition) => Some((*id, Rc::clone(partition))),
                Slot::Unusable(_) => None,
            })
            .collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        open.into_iter().map(|(_, partition)| partition).collect()
    }
}
