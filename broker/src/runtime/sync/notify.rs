//! Edge- and level-triggered notifications.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes every task that waits at the moment of the call, and no later one.
#[derive(Debug, Default)]
pub struct Notify {
    generation: Cell<u64>,
    waiters: RefCell<Waiters>,
}

/// Wakers of the current generation. A waker's key is valid until the generation ends.
#[derive(Debug, Default)]
struct Waiters {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Waiters {
    fn insert(&mut self, waker: Waker) -> usize {
        if let Some(key) = self.free.pop() {
            self.slots[key] = Some(waker);
            key
        } else {
            self.slots.push(Some(waker));
            self.slots.len() - 1
        }
    }

    fn update(&mut self, key: usize, waker: &Waker) {
        match &mut self.slots[key] {
            Some(current) => current.clone_from(waker),
            slot => *slot = Some(waker.clone()),
        }
    }

    fn remove(&mut self, key: usize) -> Option<Waker> {
        self.free.push(key);
        self.slots[key].take()
    }
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes the futures that [`Notify::notified`] returned before this call.
    pub fn notify_waiters(&self) {
        self.generation.set(self.generation.get() + 1);
        let mut woken = {
            let mut waiters = self.waiters.borrow_mut();
            waiters.free.clear();
            std::mem::take(&mut waiters.slots)
        };
        for waker in woken.drain(..).flatten() {
            waker.wake();
        }
        // Keep the allocation, unless a waiter came meanwhile.
        let mut waiters = self.waiters.borrow_mut();
        if waiters.slots.is_empty() {
            waiters.slots = woken;
        }
    }

    /// Completes at the first [`Notify::notify_waiters`] after this call; it counts from the call, not
    /// from the first poll, so a condition checked in between cannot be missed.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            generation: self.generation.get(),
            key: None,
        }
    }
}

/// Future of [`Notify::notified`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    generation: u64,
    key: Option<usize>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.generation.get() != self.generation {
            return Poll::Ready(());
        }
        let mut waiters = self.notify.waiters.borrow_mut();
        match self.key {
            Some(key) => waiters.update(key, context.waker()),
            None => {
                let key = waiters.insert(context.waker().clone());
                drop(waiters);
                self.key = Some(key);
            }
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && self.notify.generation.get() == self.generation
        {
            let waker = self.notify.waiters.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

/// A flag to wait for: level-triggered, so that a wait that comes late returns at once.
#[derive(Debug, Default)]
pub struct Event {
    set: Cell<bool>,
    changed: Notify,
}

impl Event {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set(&self) {
        if !self.set.replace(true) {
            self.changed.notify_waiters();
        }
    }

    pub fn clear(&self) {
        self.set.set(false);
    }

    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes when the flag is set; if it is cleared again before the waiter ran, waits on.
    pub async fn wait(&self) {
        while !self.set.get() {
            self.changed.notified().await;
        }
    }
}

/// Tells the tasks of one executor to stop. Once triggered it stays so. A clone is the same signal.
#[derive(Debug, Clone, Default)]
pub struct ShutdownSignal(Rc<Event>);

impl ShutdownSignal {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn trigger(&self) {
        self.0.set();
    }

    pub fn triggered(&self) -> bool {
        self.0.is_set()
    }

    pub async fn wait(&self) {
        self.0.wait().await;
    }
}
