//! A bounded queue between the tasks of one executor: many senders, one receiver.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{Closed, Semaphore};

#[derive(Debug)]
struct State<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    senders: Cell<usize>,
    receiver_gone: Cell<bool>,
    receiver_waker: RefCell<Option<Waker>>,
    /// One permit for each free place; senders wait in line for them.
    room: Semaphore,
}

/// The queue holds as many items as it was made for, or its receiver has gone; the item comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    Full(T),
    Closed(T),
}

impl<T> TrySendError<T> {
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

/// A queue of at most `capacity` items. Memory grows with use up to that bound, never beyond.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a queue without room can pass nothing on");
    let state = Rc::new(State {
        items: RefCell::new(VecDeque::new()),
        capacity,
        senders: Cell::new(1),
        receiver_gone: Cell::new(false),
        receiver_waker: RefCell::new(None),
        room: Semaphore::new(capacity),
    });
    (Sender(Rc::clone(&state)), Receiver(state))
}

impl<T> State<T> {
    fn wake_receiver(&self) {
        let waker = self.receiver_waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        self.wake_receiver();
    }

    fn take(&self) -> Option<T> {
        let item = self.items.borrow_mut().pop_front()?;
        self.room.add_permits(1);
        Some(item)
    }
}

#[derive(Debug)]
pub struct Sender<T>(Rc<State<T>>);

impl<T> Sender<T> {
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        if self.0.receiver_gone.get() {
            return Err(TrySendError::Closed(item));
        }
        match self.0.room.try_acquire(1) {
            Some(place) => place.forget(),
            None => return Err(TrySendError::Full(item)),
        }
        self.0.push(item);
        Ok(())
    }

    /// Waits for room, in the order the senders came.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let place = self.0.room.acquire(1).await;
        if self.0.receiver_gone.get() {
            return Err(Closed);
        }
        place.forget();
        self.0.push(item);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.get()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.wake_receiver();
        }
    }
}

#[derive(Debug)]
pub struct Receiver<T>(Rc<State<T>>);

impl<T> Receiver<T> {
    /// The next item, or `None` once every sender is gone and the queue is empty. Cancel safe.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| {
            if let Some(item) = self.0.take() {
                return Poll::Ready(Some(item));
            }
            if self.0.senders.get() == 0 {
                return Poll::Ready(None);
            }
            *self.0.receiver_waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub fn try_recv(&mut self) -> Option<T> {
        self.0.take()
    }

    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
        let unread = std::mem::take(&mut *self.0.items.borrow_mut());
        drop(unread);
        // Lets every sender in the line through, to find that the receiver has gone.
        self.0.room.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}
