//! The threads that clients run on: one tokio runtime on each client core.

use std::future::Future;
use std::thread;

use anyhow::{Context, Result, anyhow};
use futures_util::future::try_join_all;

use crate::cores::{CoreLayout, pin_this_thread};

/// Runs `make(0)`, `make(1)`, … `make(tasks - 1)` side by side, spread over
/// the client cores, and returns what they return, in that order.
pub(crate) fn run<T, F, Fut>(cores: &CoreLayout, tasks: usize, make: F) -> Result<Vec<T>>
where
    T: Send,
    F: Fn(usize) -> Fut + Sync,
    Fut: Future<Output = Result<T>>,
{
    let threads = cores.client_threads().min(tasks);
    let make = &make;
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let core = cores.client_core(thread);
                scope.spawn(move || {
                    pin_this_thread(core);
                    // All of them before anything can fail: what `make` hands a future is
                    // dropped with it, and other threads may wait for that.
                    let mine: Vec<_> = (thread..tasks).step_by(threads).map(make).collect();
                    runtime()?.block_on(try_join_all(mine))
                })
            })
            .collect();
        let mut results = Vec::new();
        for thread in running {
            let outcome = thread
                .join()
                .map_err(|_| anyhow!("a client thread panicked"))?;
            results.push(outcome?.into_iter());
        }
        // Task n ran on thread n % threads.
        Ok((0..tasks)
            .filter_map(|task| results[task % threads].next())
            .collect())
    })
}

/// Runs one future on the first client core.
pub(crate) fn run_one<T, Fut>(cores: &CoreLayout, make: impl Fn() -> Fut + Sync) -> Result<T>
where
    T: Send,
    Fut: Future<Output = Result<T>>,
{
    let results = run(cores, 1, |_| make())?;
    results
        .into_iter()
        .next()
        .context("one task gives one result")
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a client's runtime")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::*;

    fn cores() -> CoreLayout {
        CoreLayout {
            broker: vec![],
            clients: vec![0, 0, 0],
            shared: true,
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        for tasks in [1, 2, 3, 7] {
            let results = run(&cores(), tasks, |task| async move { Ok(task) }).unwrap();
            assert_eq!(results, (0..tasks).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_error_of_one_task_is_the_error_of_all() {
        let failing = |task| async move {
            if task == 4 {
                bail!("task four");
            }
            Ok(task)
        };
        assert_eq!(
            run(&cores(), 6, failing).unwrap_err().to_string(),
            "task four"
        );
    }

    /// The story: a producer's task failed before it took the count of those
    /// that send down, and the consumers on another thread waited for ever.
    #[test]
    fn what_a_task_was_given_is_dropped_though_another_failed_first() {
        struct Held<'a>(&'a AtomicUsize);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        // Tasks 0, 3 and 6 share a thread; 0 fails before the others are polled.
        let held = AtomicUsize::new(7);
        let error = run(&cores(), 7, |task| {
            let mine = Held(&held);
            let held = &held;
            async move {
                if task == 0 {
                    bail!("task zero");
                }
                drop(mine);
                while held.load(Ordering::Acquire) > 0 {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "task zero");
    }
}
