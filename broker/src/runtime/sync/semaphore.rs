//! Counted permits, granted in the order they were asked for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Notify;

/// A number of permits. First come, first served: a large request at the head of the line is not
/// overtaken by smaller ones, so it cannot starve. A clone is the same semaphore.
#[derive(Debug, Clone)]
pub struct Semaphore(Rc<State>);

#[derive(Debug)]
struct State {
    available: Cell<usize>,
    line: RefCell<VecDeque<Rc<Request>>>,
    released: Notify,
}

#[derive(Debug)]
struct Request {
    permits: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Semaphore {
    pub const MAX_PERMITS: usize = usize::MAX >> 2;

    pub fn new(permits: usize) -> Self {
        assert!(permits <= Self::MAX_PERMITS, "too many permits");
        Self(Rc::new(State {
            available: Cell::new(permits),
            line: RefCell::new(VecDeque::new()),
            released: Notify::new(),
        }))
    }

    /// Permits that can be taken now.
    pub fn available(&self) -> usize {
        self.0.available.get()
    }

    /// Someone waits for permits.
    pub fn has_line(&self) -> bool {
        !self.0.line.borrow().is_empty()
    }

    /// Takes permits if they are there and nobody waits ahead of this caller.
    pub fn try_acquire(&self, permits: usize) -> Option<Permit> {
        if !self.0.line.borrow().is_empty() {
            return None;
        }
        let left = self.0.available.get().checked_sub(permits)?;
        self.0.available.set(left);
        Some(Permit {
            state: Rc::clone(&self.0),
            permits,
        })
    }

    /// Waits in line for permits. Asking for more than will ever exist waits for ever; the caller knows
    /// its bound.
    pub fn acquire(&self, permits: usize) -> Acquire {
        Acquire {
            state: Rc::clone(&self.0),
            permits,
            request: None,
        }
    }

    /// Adds permits that belonged to nobody.
    pub fn add_permits(&self, permits: usize) {
        self.0.release(permits);
    }

    /// Completes when permits were next given back.
    pub async fn released(&self) {
        self.0.released.notified().await;
    }
}

impl State {
    fn release(&self, permits: usize) {
        self.available.set(self.available.get() + permits);
        self.grant();
        self.released.notify_waiters();
    }

    /// Serves the line from its head for as long as the permits suffice.
    fn grant(&self) {
        loop {
            let request = {
                let mut line = self.line.borrow_mut();
                match line.front() {
                    Some(head) if head.permits <= self.available.get() => line.pop_front(),
                    _ => None,
                }
            };
            let Some(request) = request else { return };
            self.available.set(self.available.get() - request.permits);
            request.granted.set(true);
            let waker = request.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Future of [`Semaphore::acquire`]. Dropping it gives up the place in the line.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    state: Rc<State>,
    permits: usize,
    request: Option<Rc<Request>>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        if let Some(request) = &self.request {
            if !request.granted.get() {
                *request.waker.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            self.request = None;
        } else if self.state.line.borrow().is_empty() && self.state.available.get() >= self.permits
        {
            self.state
                .available
                .set(self.state.available.get() - self.permits);
        } else {
            let request = Rc::new(Request {
                permits: self.permits,
                granted: Cell::new(false),
                waker: RefCell::new(Some(context.waker().clone())),
            });
            self.state.line.borrow_mut().push_back(Rc::clone(&request));
            self.request = Some(request);
            return Poll::Pending;
        }
        Poll::Ready(Permit {
            state: Rc::clone(&self.state),
            permits: self.permits,
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        if request.granted.get() {
            self.state.release(request.permits);
        } else {
            self.state
                .line
                .borrow_mut()
                .retain(|waiting| !Rc::ptr_eq(waiting, &request));
            // Those behind may have been waiting for this one only.
            self.state.grant();
        }
    }
}

/// Permits held; given back on drop.
#[derive(Debug)]
pub struct Permit {
    state: Rc<State>,
    permits: usize,
}

impl Permit {
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Gives a part of the permits back and keeps the rest.
    pub fn shrink_to(&mut self, permits: usize) {
        assert!(permits <= self.permits, "a permit cannot grow");
        let surplus = self.permits - permits;
        self.permits = permits;
        if surplus > 0 {
            self.state.release(surplus);
        }
    }

    /// Keeps the permits taken; [`Semaphore::add_permits`] may bring them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.state.release(self.permits);
        }
    }
}
