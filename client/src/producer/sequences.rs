//! The sequence numbers of one partition's batches, by which the broker tells a retry from a new record (KIP-98, KIP-360).
//!
//! A batch gets its numbers when it is sealed and keeps them over every attempt. The broker takes a batch only right behind
//! the one before it. Where a batch was given up, those behind it can never be taken under this epoch: the lane waits until
//! all that is under way has come back, and numbers what is left anew, from 0, under an epoch that is higher.
//!
//! A batch whose attempt brought no clear answer may be in the log. Under new numbers it would be written twice, if a
//! straggler of the batch that was given up let its own straggler in: then it is given up as well.

use corelog_protocol::record::ProducerStamp;
use corelog_protocol::{ProducerEpoch, ProducerId, Sequence};

/// What a producer calls itself before the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// The numbers of one lane.
#[derive(Debug)]
pub(super) struct Sequences {
    identity: Identity,
    next: Sequence,
    /// The broker has taken a batch of this identity, and there is no reason to believe that it has forgotten it.
    is_known: bool,
    gap: Option<Gap>,
}

/// Batches of one partition that may be under way: so many the broker remembers.
const MOST_UNDER_WAY: usize = 5;

/// Numbers that no batch will have any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing with these numbers is in the log, or will be.
    Certain,
    /// A batch with these numbers may yet be written.
    Uncertain,
}

impl Sequences {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            next: Sequence::ZERO,
            is_known: false,
            gap: None,
        }
    }

    /// The identity that batches are stamped with.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The next batch's stamp.
    pub(super) fn stamp(&mut self, records: u32) -> ProducerStamp {
        let stamp = ProducerStamp {
            id: self.identity.id,
            epoch: self.identity.epoch,
            base_sequence: self.next,
            transactional: false,
        };
        self.next = after(self.next, records);
        stamp
    }

    /// How many batches may be under way. A broker takes any numbers from a producer that it does not know yet: behind a
    /// first batch that it refused for now, the second would become the first.
    pub(super) fn most_under_way(&self) -> usize {
        if self.is_known { MOST_UNDER_WAY } else { 1 }
    }

    /// The broker has taken a batch.
    pub(super) fn acknowledge(&mut self, stamp: ProducerStamp) {
        self.is_known |= self.is_current(stamp);
    }

    /// The broker may have forgotten this producer, or be another one.
    pub(super) fn may_be_forgotten(&mut self) {
        self.is_known = false;
    }

    /// A batch was given up. The last one's numbers go to the next batch if nobody can have seen them.
    pub(super) fn give_up(&mut self, stamp: ProducerStamp, records: u32, is_unknown: bool) {
        if !self.is_current(stamp) {
            return;
        }
        let is_last = after(stamp.base_sequence, records) == self.next;
        if is_unknown {
            self.gap = Some(Gap::Uncertain);
        } else if is_last && self.gap.is_none() {
            self.next = stamp.base_sequence;
        } else {
            self.gap = self.gap.or(Some(Gap::Certain));
        }
    }

    /// The broker does not know what came before this batch, and nothing that does is on its way.
    pub(super) fn disown(&mut self, stamp: ProducerStamp) {
        if self.is_current(stamp) {
            self.gap = self.gap.or(Some(Gap::Certain));
        }
    }

    /// Set while batches cannot leave under the present epoch.
    pub(super) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Begins anew under a higher epoch, or as another producer.
    pub(super) fn renew(&mut self, identity: Identity) {
        *self = Self::new(identity);
    }

    fn is_current(&self, stamp: ProducerStamp) -> bool {
        (stamp.id, stamp.epoch) == (self.identity.id, self.identity.epoch)
    }
}

/// The number behind so many records.
pub(super) fn after(sequence: Sequence, records: u32) -> Sequence {
    sequence.advance(i32::try_from(records).expect("a batch counts its records in an i32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences() -> Sequences {
        Sequences::new(Identity {
            id: ProducerId::new(7),
            epoch: ProducerEpoch::ZERO,
        })
    }

    #[test]
    fn numbers_go_on_where_the_last_batch_ended() {
        let mut sequences = sequences();
        let numbers = [3, 1, 5].map(|records| sequences.stamp(records).base_sequence.get());
        assert_eq!(numbers, [0, 3, 4]);
    }

    #[test]
    fn the_last_batch_can_be_given_up_without_a_gap_if_its_fate_is_known() {
        let mut sequences = sequences();
        sequences.stamp(3);
        let last = sequences.stamp(2);
        sequences.give_up(last, 2, false);
        assert_eq!(sequences.gap(), None);
        assert_eq!(sequences.stamp(1).base_sequence.get(), 3);
    }

    #[test]
    fn a_batch_given_up_before_others_or_with_an_unknown_fate_leaves_a_gap() {
        let mut one = sequences();
        let first = one.stamp(3);
        one.stamp(1);
        one.give_up(first, 3, false);
        assert_eq!(one.gap(), Some(Gap::Certain));
        let mut other = sequences();
        let last = other.stamp(3);
        other.give_up(last, 3, true);
        assert_eq!(other.gap(), Some(Gap::Uncertain));
        // What was uncertain stays it.
        let next = other.stamp(1);
        other.give_up(next, 1, false);
        assert_eq!(other.gap(), Some(Gap::Uncertain));
    }

    #[test]
    fn nothing_follows_the_first_batch_of_an_epoch_before_the_broker_has_it() {
        let mut sequences = sequences();
        let first = sequences.stamp(3);
        assert_eq!(sequences.most_under_way(), 1);
        sequences.acknowledge(first);
        assert_eq!(sequences.most_under_way(), 5);
        let raised = Identity {
            epoch: ProducerEpoch::new(1),
            ..sequences.identity()
        };
        sequences.renew(raised);
        sequences.acknowledge(first);
        assert_eq!(sequences.most_under_way(), 1);
    }

    #[test]
    fn a_new_epoch_begins_at_0_and_what_the_old_one_left_behind_does_not_count() {
        let mut sequences = sequences();
        let old = sequences.stamp(3);
        sequences.disown(old);
        let identity = Identity {
            id: ProducerId::new(7),
            epoch: ProducerEpoch::new(1),
        };
        sequences.renew(identity);
        let stamp = sequences.stamp(1);
        assert_eq!((stamp.epoch.get(), stamp.base_sequence.get()), (1, 0));
        sequences.give_up(old, 3, true);
        assert_eq!(sequences.gap(), None);
    }
}
