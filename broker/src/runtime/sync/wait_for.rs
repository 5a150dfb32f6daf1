//! Waiting until a counter that only grows has reached a value.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Closed;

/// A counter that only grows, and the tasks that wait for it. Advancing wakes just the waiters it
/// satisfies, lowest first. Used for the journal's durable sequence, where one advance answers a whole
/// group and must not wake the groups behind it.
#[derive(Debug)]
pub struct WaitFor<T: Copy + Ord> {
    current: Cell<T>,
    closed: Cell<bool>,
    next_ticket: Cell<u64>,
    waiters: RefCell<BTreeMap<(T, u64), Waker>>,
}

impl<T: Copy + Ord> WaitFor<T> {
    pub fn new(start: T) -> Self {
        Self {
            current: Cell::new(start),
            closed: Cell::new(false),
            next_ticket: Cell::new(0),
            waiters: RefCell::new(BTreeMap::new()),
        }
    }

    pub fn current(&self) -> T {
        self.current.get()
    }

    /// Moves the counter up to `to`; a value at or below the current one changes nothing.
    pub fn advance(&self, to: T) {
        if to <= self.current.get() {
            return;
        }
        self.current.set(to);
        let satisfied = {
            let mut waiters = self.waiters.borrow_mut();
            let waiting = waiters.split_off(&(to, u64::MAX));
            std::mem::replace(&mut *waiters, waiting)
        };
        for waker in satisfied.into_values() {
            waker.wake();
        }
    }

    /// The counter will move no more: every waiter, present and future, that it has not satisfied gets
    /// [`Closed`].
    pub fn close(&self) {
        self.closed.set(true);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waker in waiters.into_values() {
            waker.wake();
        }
    }

    /// Completes once the counter is at or above `target`.
    pub fn reached(&self, target: T) -> Reached<'_, T> {
        Reached {
            counter: self,
            target,
            ticket: None,
        }
    }
}

/// Future of [`WaitFor::reached`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Reached<'a, T: Copy + Ord> {
    counter: &'a WaitFor<T>,
    target: T,
    ticket: Option<u64>,
}

impl<T: Copy + Ord> Unpin for Reached<'_, T> {}

impl<T: Copy + Ord> Future for Reached<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let counter = self.counter;
        if counter.current.get() >= self.target {
            return Poll::Ready(Ok(()));
        }
        if counter.closed.get() {
            return Poll::Ready(Err(Closed));
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            let ticket = counter.next_ticket.get();
            counter.next_ticket.set(ticket + 1);
            ticket
        });
        counter
            .waiters
            .borrow_mut()
            .insert((self.target, ticket), context.waker().clone());
        Poll::Pending
    }
}

impl<T: Copy + Ord> Drop for Reached<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self
                .counter
                .waiters
                .borrow_mut()
                .remove(&(self.target, ticket));
            drop(waker);
        }
    }
}
