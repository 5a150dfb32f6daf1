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
                    let mine = (thread..tasks).step_by(threads).map(make);
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
}
