//! One value from one task to another of the same executor.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Closed;

#[derive(Debug)]
struct Slot<T> {
    value: RefCell<Option<T>>,
    receiver_waker: RefCell<Option<Waker>>,
    sender_gone: Cell<bool>,
    receiver_gone: Cell<bool>,
}

impl<T> Slot<T> {
    fn wake(&self) {
        let waker = self.receiver_waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(Slot {
        value: RefCell::new(None),
        receiver_waker: RefCell::new(None),
        sender_gone: Cell::new(false),
        receiver_gone: Cell::new(false),
    });
    (Sender(Rc::clone(&slot)), Receiver(slot))
}

/// Sends once; dropped unused, the receiver gets [`Closed`].
#[derive(Debug)]
pub struct Sender<T>(Rc<Slot<T>>);

impl<T> Sender<T> {
    /// Gives the value back when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.0.receiver_gone.get() {
            return Err(value);
        }
        *self.0.value.borrow_mut() = Some(value);
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.get()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender_gone.set(true);
        self.0.wake();
    }
}

/// Resolves to the value, or to [`Closed`] when the sender was dropped.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T>(Rc<Slot<T>>);

impl<T> Receiver<T> {
    /// The value if it is there already.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.value.borrow_mut().take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.0.value.borrow_mut().take() {
            return Poll::Ready(Ok(value));
        }
        if self.0.sender_gone.get() {
            return Poll::Ready(Err(Closed));
        }
        *self.0.receiver_waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
        let unread = self.0.value.borrow_mut().take();
        drop(unread);
    }
}
