//! Tasks of the executor that runs on this thread.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::backend::{self, Backend};
use super::sim;

/// A spawned future. Await it for its output; drop it to cancel it; or [`Task::detach`] it.
#[must_use = "dropping a task cancels it: detach it to let it run"]
pub struct Task<T>(Inner<T>);

enum Inner<T> {
    Glommio(glommio::Task<T>),
    Simulated(sim::Task<T>),
}

/// Starts a task on this thread's executor. It runs after the caller has yielded, never inside this
/// call: glommio's own `spawn_local` polls the new task at once, which turns a `RefCell` borrowed by the
/// caller into a panic.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    match backend::expect_current() {
        Backend::Glommio => Task(Inner::Glommio(glommio::spawn_local(async move {
            pend_once().await;
            future.await
        }))),
        Backend::Simulated(core) => Task(Inner::Simulated(core.spawn(future))),
    }
}

impl<T: 'static> Task<T> {
    /// Lets the task run to its end on its own.
    pub fn detach(self) {
        match self.0 {
            Inner::Glommio(task) => drop(task.detach()),
            Inner::Simulated(task) => task.detach(),
        }
    }

    /// Stops the task and waits until it has been dropped. Returns its output if it had finished.
    pub async fn cancel(self) -> Option<T> {
        match self.0 {
            Inner::Glommio(task) => task.cancel().await,
            Inner::Simulated(task) => task.cancel(),
        }
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            Inner::Glommio(task) => Pin::new(task).poll(context),
            Inner::Simulated(task) => Pin::new(task).poll(context),
        }
    }
}

impl<T> Unpin for Task<T> {}

/// Lets the other tasks and the completions of I/O run before this task goes on.
pub async fn yield_now() {
    match backend::expect_current() {
        Backend::Glommio => glommio::executor().yield_task_queue_now().await,
        Backend::Simulated(_) => pend_once().await,
    }
}

/// Pending once, and ready to be polled again.
async fn pend_once() {
    let mut pended = false;
    poll_fn(|context| {
        if pended {
            return Poll::Ready(());
        }
        pended = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
