//! The same behaviour on both back ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::poll_immediate;

use super::*;
use crate::runtime::{Simulator, Task, launch_small, sleep, spawn, timeout, yield_now};

fn on_both<Fut: Future<Output = ()> + 'static>(test: fn() -> Fut) {
    for seed in 0..20 {
        Simulator::new(seed).run(test());
    }
    launch_small(test).join().unwrap();
}

type Seen = Rc<RefCell<Vec<u64>>>;

/// Notes `mark` once `future` completes.
fn note(seen: &Seen, mark: u64, future: impl Future + 'static) -> Task<()> {
    let seen = Rc::clone(seen);
    spawn(async move {
        future.await;
        seen.borrow_mut().push(mark);
    })
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[test]
fn a_notification_reaches_who_waits_and_no_later_one() {
    on_both(|| async {
        let notify = Rc::new(Notify::new());
        let before = notify.notified();
        let dropped = notify.notified();
        drop(dropped);
        notify.notify_waiters();
        before.await;
        let mut after = Box::pin(notify.notified());
        assert!(poll_immediate(&mut after).await.is_none());
        let waiting = Rc::clone(&notify);
        let task = spawn(async move { waiting.notified().await });
        settle().await;
        notify.notify_waiters();
        task.await;
        after.await;
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_the_others_in_place() {
    on_both(|| async {
        let notify = Rc::new(Notify::new());
        let mut first = Box::pin(notify.notified());
        let mut second = Box::pin(notify.notified());
        assert!(poll_immediate(&mut first).await.is_none());
        assert!(poll_immediate(&mut second).await.is_none());
        drop(first);
        let waking = Rc::clone(&notify);
        spawn(async move { waking.notify_waiters() }).detach();
        second.await;
    });
}

#[test]
fn a_stop_signal_reaches_those_who_ask_late() {
    on_both(|| async {
        let signal = ShutdownSignal::new();
        let waiting = signal.clone();
        let task = spawn(async move { waiting.wait().await });
        settle().await;
        assert!(!signal.triggered());
        signal.trigger();
        task.await;
        signal.clone().wait().await;
        assert!(signal.triggered());
    });
}

#[test]
fn a_oneshot_carries_one_value_or_the_end() {
    on_both(|| async {
        let (sender, receiver) = oneshot::channel();
        let task = spawn(receiver);
        settle().await;
        sender.send(5).unwrap();
        assert_eq!(task.await, Ok(5));

        let (sender, receiver) = oneshot::channel::<u8>();
        let task = spawn(receiver);
        settle().await;
        drop(sender);
        assert_eq!(task.await, Err(Closed));

        let (sender, receiver) = oneshot::channel();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(6), Err(6));
    });
}

#[test]
fn a_queue_is_bounded_and_keeps_its_order() {
    on_both(|| async {
        let (sender, mut receiver) = queue::bounded(2);
        sender.try_send(0).unwrap();
        sender.try_send(1).unwrap();
        assert_eq!(sender.try_send(2), Err(queue::TrySendError::Full(2)));
        let waiting = sender.clone();
        let task = spawn(async move {
            for item in 2..100 {
                waiting.send(item).await.unwrap();
            }
        });
        settle().await;
        assert_eq!(
            receiver.len(),
            2,
            "a waiting sender does not exceed the bound"
        );
        drop(sender);
        let mut received = Vec::new();
        while let Some(item) = receiver.recv().await {
            received.push(item);
        }
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        task.await;
    });
}

#[test]
fn senders_that_wait_get_room_in_their_order() {
    on_both(|| async {
        let (sender, mut receiver) = queue::bounded(1);
        sender.try_send(0_u64).unwrap();
        let mut tasks = Vec::new();
        for item in 1..6 {
            let sender = sender.clone();
            tasks.push(spawn(async move { sender.send(item).await.unwrap() }));
            settle().await;
        }
        for expected in 0..6 {
            assert_eq!(receiver.recv().await, Some(expected));
        }
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn a_receiver_that_goes_frees_its_senders() {
    on_both(|| async {
        let (sender, receiver) = queue::bounded(1);
        sender.try_send(1).unwrap();
        let waiting = sender.clone();
        let task = spawn(async move { waiting.send(2).await });
        settle().await;
        drop(receiver);
        assert_eq!(task.await, Err(Closed));
        assert_eq!(sender.try_send(3), Err(queue::TrySendError::Closed(3)));
        assert_eq!(sender.send(4).await, Err(Closed));
    });
}

#[test]
fn permits_are_granted_in_the_order_they_were_asked_for() {
    on_both(|| async {
        let semaphore = Semaphore::new(3);
        let held = semaphore.try_acquire(2).unwrap();
        let seen = Seen::default();
        let mut tasks = Vec::new();
        for (mark, permits) in [(1, 3), (2, 1)] {
            let semaphore = semaphore.clone();
            tasks.push(note(&seen, mark, async move {
                drop(semaphore.acquire(permits).await)
            }));
            settle().await;
        }
        assert!(
            seen.borrow().is_empty(),
            "the small one stands behind the large one"
        );
        assert!(
            semaphore.try_acquire(1).is_none(),
            "nobody overtakes the line"
        );
        drop(held);
        for task in tasks {
            task.await;
        }
        assert_eq!(*seen.borrow(), [1, 2]);
        assert_eq!(semaphore.available(), 3);
    });
}

#[test]
fn a_place_in_the_line_that_is_given_up_lets_the_next_one_through() {
    on_both(|| async {
        let semaphore = Semaphore::new(2);
        let held = semaphore.try_acquire(1).unwrap();
        let mut large = Box::pin(semaphore.acquire(2));
        assert!(poll_immediate(&mut large).await.is_none());
        let small = spawn(semaphore.acquire(1));
        settle().await;
        drop(large);
        drop(small.await);
        // Granted, and then given up without having been seen.
        let mut granted = Box::pin(semaphore.acquire(2));
        assert!(poll_immediate(&mut granted).await.is_none());
        drop(held);
        drop(granted);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn a_permit_can_shrink_and_be_kept() {
    let semaphore = Semaphore::new(5);
    let mut permit = semaphore.try_acquire(5).unwrap();
    permit.shrink_to(2);
    assert_eq!((permit.permits(), semaphore.available()), (2, 3));
    permit.forget();
    assert_eq!(semaphore.available(), 3);
    semaphore.add_permits(2);
    assert_eq!(semaphore.available(), 5);
}

#[test]
fn a_counter_wakes_those_it_has_reached_and_no_others() {
    on_both(|| async {
        let counter = Rc::new(WaitFor::new(0_u64));
        let seen = Seen::default();
        let waiters: Vec<_> = [30_u64, 10, 20, 10]
            .into_iter()
            .map(|target| {
                let counter = Rc::clone(&counter);
                note(&seen, target, async move {
                    counter.reached(target).await.unwrap()
                })
            })
            .collect();
        settle().await;
        counter.advance(9);
        settle().await;
        assert!(seen.borrow().is_empty());
        counter.advance(20);
        counter.advance(5);
        assert_eq!(counter.current(), 20);
        settle().await;
        seen.borrow_mut().sort_unstable();
        assert_eq!(*seen.borrow(), [10, 10, 20]);
        counter.advance(u64::MAX);
        for waiter in waiters {
            waiter.await;
        }
        counter.reached(7).await.unwrap();
    });
}

#[test]
fn a_counter_that_is_closed_fails_those_it_has_not_reached() {
    on_both(|| async {
        let counter = Rc::new(WaitFor::new(5));
        let waiting = Rc::clone(&counter);
        let task = spawn(async move { waiting.reached(6).await });
        settle().await;
        counter.close();
        assert_eq!(task.await, Err(Closed));
        assert_eq!(counter.reached(7).await, Err(Closed));
        assert_eq!(counter.reached(5).await, Ok(()));
    });
}

#[test]
fn a_spawned_task_never_runs_inside_its_spawner() {
    on_both(|| async {
        let state = Rc::new(RefCell::new(0));
        let task = {
            let mut borrowed = state.borrow_mut();
            let shared = Rc::clone(&state);
            let task = spawn(async move { *shared.borrow_mut() += 1 });
            *borrowed += 1;
            task
        };
        task.await;
        assert_eq!(*state.borrow(), 2);
    });
}

#[test]
fn a_dropped_task_is_cancelled_and_a_detached_one_runs_on() {
    on_both(|| async {
        let seen = Seen::default();
        let waiting = |mark| note(&seen, mark, async { sleep(Duration::from_millis(1)).await });
        drop(waiting(1));
        waiting(2).detach();
        assert_eq!(waiting(3).cancel().await, None);
        let finished = waiting(4);
        // Those that were dropped would have been first.
        while seen.borrow().len() < 2 {
            yield_now().await;
        }
        assert_eq!(finished.cancel().await, Some(()));
        seen.borrow_mut().sort_unstable();
        assert_eq!(*seen.borrow(), [2, 4]);
    });
}

#[test]
fn a_timeout_drops_what_is_late_and_passes_on_what_is_not() {
    on_both(|| async {
        let late = timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        assert_eq!(late, Err(crate::runtime::Elapsed));
        let early = timeout(Duration::from_secs(60), async { 7 }).await;
        assert_eq!(early, Ok(7));
    });
}

#[test]
fn yielding_lets_others_run() {
    on_both(|| async {
        let seen = Seen::default();
        let other = note(&seen, 1, async {});
        while seen.borrow().is_empty() {
            yield_now().await;
        }
        other.await;
    });
}
