//! Keeps the replies about one partition in the order of their requests.
//!
//! Requests are carried out at the same time and finish in any order. Replies may overtake each
//! other across partitions, never within one: a reply is held back while an earlier request for
//! one of its partitions is unanswered. Produces and fetches have an order each; a produce never
//! waits for a fetch. Pure bookkeeping, one per connection and kind of request.
//!
//! In the usual case requests finish in order and this costs a push and a pop.

use std::collections::VecDeque;

use crate::log::TopicPartition;

/// The partitions that a request touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    One(TopicPartition),
    Many(Box<[TopicPartition]>),
}

impl Lanes {
    pub(super) fn new(partitions: impl ExactSizeIterator<Item = TopicPartition>) -> Self {
        let mut partitions = partitions;
        if partitions.len() == 1
            && let Some(only) = partitions.next()
        {
            return Self::One(only);
        }
        let mut all: Box<[_]> = partitions.collect();
        all.sort_unstable();
        Self::Many(all)
    }

    /// Sorted.
    fn as_slice(&self) -> &[TopicPartition] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.as_slice(), other.as_slice());
        while let ([first, rest @ ..], [second, others @ ..]) = (left, right) {
            match first.cmp(second) {
                std::cmp::Ordering::Less => left = rest,
                std::cmp::Ordering::Greater => right = others,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }
}

/// The place of a request in its connection's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Slot<R> {
    lanes: Lanes,
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    /// The request is being carried out.
    Pending,
    /// Finished, but an earlier request for the same partition is not.
    Held(R),
    Released,
}

#[derive(Debug)]
pub(super) struct ReplyOrder<R> {
    /// In order of tickets, without gaps. The front is never released.
    slots: VecDeque<Slot<R>>,
    /// The ticket of the front slot.
    front: u64,
    held: usize,
}

impl<R> Default for ReplyOrder<R> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            front: 0,
            held: 0,
        }
    }
}

impl<R> ReplyOrder<R> {
    /// Notes a request at the moment it is handed to its partitions.
    pub(super) fn admit(&mut self, lanes: Lanes) -> Ticket {
        let ticket = Ticket(self.front + self.slots.len() as u64);
        self.slots.push_back(Slot {
            lanes,
            state: State::Pending,
        });
        ticket
    }

    /// Takes a finished request's reply and gives `release` every reply that may be sent now.
    pub(super) fn complete(&mut self, ticket: Ticket, reply: R, mut release: impl FnMut(R)) {
        let index = usize::try_from(ticket.0 - self.front).expect("slots are in memory");
        assert!(
            matches!(self.slots[index].state, State::Pending),
            "a request completes once"
        );
        if self.is_blocked(index) {
            self.slots[index].state = State::Held(reply);
            self.held += 1;
            return;
        }
        self.slots[index].state = State::Released;
        release(reply);
        self.release_held_after(index, &mut release);
        while let Some(Slot {
            state: State::Released,
            ..
        }) = self.slots.front()
        {
            self.slots.pop_front();
            self.front += 1;
        }
    }

    /// Whether an earlier, unreleased request shares a partition with the one at `index`.
    fn is_blocked(&self, index: usize) -> bool {
        let lanes = &self.slots[index].lanes;
        self.slots.range(..index).any(|earlier| {
            !matches!(earlier.state, State::Released) && earlier.lanes.overlaps(lanes)
        })
    }

    /// One pass suffices: a reply is only ever held back by earlier ones.
    fn release_held_after(&mut self, index: usize, release: &mut impl FnMut(R)) {
        for later in index + 1..self.slots.len() {
            if self.held == 0 {
                return;
            }
            if !matches!(self.slots[later].state, State::Held(_)) || self.is_blocked(later) {
                continue;
            }
            let state = std::mem::replace(&mut self.slots[later].state, State::Released);
            if let State::Held(reply) = state {
                self.held -= 1;
                release(reply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use corelog_protocol::{PartitionIndex, TopicId};
    use proptest::prelude::*;

    use super::*;

    fn lanes(partitions: &[i32]) -> Lanes {
        Lanes::new(partitions.iter().map(|&partition| TopicPartition {
            topic_id: TopicId::ZERO,
            partition: PartitionIndex::new(partition),
        }))
    }

    /// Admits requests with these partitions, completes them in `finish` order and returns the
    /// order of their replies.
    fn replies(requests: &[&[i32]], finish: &[usize]) -> Vec<usize> {
        let mut order = ReplyOrder::default();
        let tickets: Vec<_> = requests
            .iter()
            .map(|partitions| order.admit(lanes(partitions)))
            .collect();
        let mut sent = Vec::new();
        for &request in finish {
            order.complete(tickets[request], request, |reply| sent.push(reply));
        }
        assert!(
            sent.len() < requests.len() || order.slots.is_empty(),
            "an answered connection keeps nothing"
        );
        sent
    }

    #[test]
    fn replies_of_different_partitions_overtake() {
        assert_eq!(replies(&[&[0], &[1], &[2]], &[2, 0, 1]), [2, 0, 1]);
    }

    #[test]
    fn replies_of_one_partition_keep_the_order_of_their_requests() {
        assert_eq!(replies(&[&[0], &[0], &[0]], &[2, 1, 0]), [0, 1, 2]);
    }

    #[test]
    fn a_request_of_several_partitions_holds_back_later_ones_of_each() {
        // 1 waits for 0 through partition 2, and 2 waits for 1 through partition 3.
        assert_eq!(
            replies(&[&[1, 2], &[3, 2], &[3], &[4]], &[2, 1, 3, 0]),
            [3, 0, 1, 2]
        );
    }

    #[test]
    fn nothing_is_released_behind_an_unfinished_request() {
        assert_eq!(replies(&[&[0], &[0], &[0]], &[1, 2]), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn every_reply_comes_once_and_in_order_per_partition(
            requests in prop::collection::vec(prop::collection::btree_set(0..5_i32, 1..4), 1..20),
            seed in any::<u64>(),
        ) {
            let requests: Vec<Vec<i32>> =
                requests.into_iter().map(|set| set.into_iter().collect()).collect();
            let views: Vec<&[i32]> = requests.iter().map(Vec::as_slice).collect();
            let mut finish: Vec<usize> = (0..requests.len()).collect();
            finish.sort_by_key(|&request| {
                (request as u64 + 1).wrapping_mul(seed | 1).rotate_left(17)
            });
            let sent = replies(&views, &finish);
            let mut sorted = sent.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..requests.len()).collect::<Vec<_>>());
            for partition in 0..5 {
                let of_partition: Vec<_> = sent
                    .iter()
                    .filter(|&&request| requests[request].contains(&partition))
                    .collect();
                prop_assert!(of_partition.is_sorted());
            }
        }
    }
}
