//! Keeps glommio's I/O futures from being polled when nothing has happened to them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Whether the I/O was woken since it was last polled, and the task that waits for it.
struct Gate {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Polls `io` only after it was woken. A pending operation of glommio keeps one more waker of its task at
/// every poll, and the task panics at 32,768 of them: a task that waits for a slow flush and for
/// messages at once would get there while the disk stalls.
pub(in crate::runtime) async fn gated<F: Future>(io: F) -> F::Output {
    let mut io = pin!(io);
    let gate = Arc::new(Gate {
        woken: AtomicBool::new(true),
        task: AtomicWaker::new(),
    });
    let waker = Waker::from(Arc::clone(&gate));
    poll_fn(|context| {
        gate.task.register(context.waker());
        if !gate.woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        io.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}
