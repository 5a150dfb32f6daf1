//! Memory that one shard lends to the frames its connections are receiving.
//!
//! Lives on one shard and is shared by all its connections. A frame is charged from its header
//! until its request has been carried out, for what has arrived of it and for what its connection
//! can be trusted to deliver. When the budget is spent,
//! connections stop reading and their peers feel it as back-pressure; nothing is refused.
//!
//! Frames may begin only in the lower three quarters, frames already begun may grow into all of
//! it: so new frames cannot keep half-received ones from completing. If half-received frames
//! hold everything, the frame time-out closes those that make no progress.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::metrics::ShardMetrics;

/// What a charge is for, which decides how much of the budget it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Begin,
    Grow,
}

#[derive(Debug)]
pub struct ReceiveBudget {
    limit: usize,
    in_use: Cell<usize>,
    metrics: Rc<ShardMetrics>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl ReceiveBudget {
    pub fn new(limit: usize, metrics: Rc<ShardMetrics>) -> Rc<Self> {
        Rc::new(Self {
            limit,
            in_use: Cell::new(0),
            metrics,
            waiting: RefCell::new(VecDeque::new()),
        })
    }

    fn set_in_use(&self, bytes: usize) {
        self.in_use.set(bytes);
        self.metrics.receive_bytes.set(bytes as u64);
    }

    /// Charges the first `bytes` of a frame, or waits for room.
    pub(super) async fn begin(self: &Rc<Self>, bytes: usize) -> ReceiveCharge {
        let mut charge = ReceiveCharge {
            budget: Rc::clone(self),
            bytes: 0,
        };
        poll_fn(|context| charge.poll_add(bytes, Purpose::Begin, context)).await;
        charge
    }

    /// A charge larger than the whole budget is granted when nothing else is lent: the limits of
    /// a frame stand above those of the budget, and its request must not wait for ever.
    fn has_room(&self, held: usize, more: usize, purpose: Purpose) -> bool {
        let ceiling = match purpose {
            Purpose::Begin => self.limit / 4 * 3,
            Purpose::Grow => self.limit,
        };
        self.in_use.get() + more <= ceiling || self.in_use.get() == held
    }

    /// Everybody looks again: the first in line may need more than was freed, and a frame that
    /// grows has more room than one that begins.
    fn wake_all(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// A frame's share of the budget, given back on drop.
#[derive(Debug)]
pub(super) struct ReceiveCharge {
    budget: Rc<ReceiveBudget>,
    bytes: usize,
}

impl ReceiveCharge {
    /// Raises the charge to `bytes`, or waits for room. Does nothing if it is that high already.
    pub(super) async fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            poll_fn(|context| self.poll_add(more, Purpose::Grow, context)).await;
        }
    }

    fn poll_add(&mut self, more: usize, purpose: Purpose, context: &Context<'_>) -> Poll<()> {
        let budget = &self.budget;
        if budget.has_room(self.bytes, more, purpose) {
            budget.set_in_use(budget.in_use.get() + more);
            self.bytes += more;
            return Poll::Ready(());
        }
        budget
            .waiting
            .borrow_mut()
            .push_back(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ReceiveCharge {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.set_in_use(budget.in_use.get() - self.bytes);
        budget.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn budget(limit: usize) -> Rc<ReceiveBudget> {
        ReceiveBudget::new(limit, Rc::default())
    }

    fn begin_now(budget: &Rc<ReceiveBudget>, bytes: usize) -> Option<ReceiveCharge> {
        budget.begin(bytes).now_or_never()
    }

    #[test]
    fn a_frame_waits_when_the_budget_is_spent_and_goes_on_when_one_completes() {
        let budget = budget(400);
        let first = begin_now(&budget, 200).expect("there is room");
        let mut second = pin!(budget.begin(101));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "300 is the mark for beginning"
        );
        drop(first);
        assert!(second.now_or_never().is_some());
        assert_eq!(
            budget.in_use.get(),
            0,
            "the second charge was dropped again"
        );
    }

    #[test]
    fn a_frame_already_begun_may_use_what_a_new_one_may_not() {
        let budget = budget(400);
        let mut begun = begin_now(&budget, 300).expect("there is room");
        assert!(begin_now(&budget, 1).is_none());
        assert!(begun.grow_to(400).now_or_never().is_some());
        assert_eq!(budget.in_use.get(), 400);
        assert!(
            begun.grow_to(350).now_or_never().is_some(),
            "it never shrinks"
        );
        assert_eq!(budget.in_use.get(), 400);
    }

    #[test]
    fn a_frame_larger_than_the_budget_passes_alone() {
        let budget = budget(400);
        let other = begin_now(&budget, 10).expect("there is room");
        assert!(begin_now(&budget, 1000).is_none());
        drop(other);
        let mut large = begin_now(&budget, 500).expect("nothing else is lent");
        assert!(large.grow_to(1000).now_or_never().is_some());
        assert!(begin_now(&budget, 1).is_none());
        drop(large);
        assert_eq!(budget.in_use.get(), 0);
    }
}
