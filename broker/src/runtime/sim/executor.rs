//! The tasks, the clock and the timers of one simulation.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::super::sync::oneshot;
use super::super::time::Instant;
use super::network::Network;

/// Virtual time that one poll of a task takes, so that a task that spins still meets its deadlines.
const STEP: Duration = Duration::from_micros(1);

/// Wall clock at the start of every simulation: 2023-11-14T22:13:20Z.
const START_UNIX_MILLIS: i64 = 1_700_000_000_000;

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;
type Action = Box<dyn FnOnce()>;

/// Tasks that were woken. A set, not a list: the order of wake-ups within a step has no influence.
#[derive(Default)]
struct Ready(Mutex<BTreeSet<u64>>);

impl Ready {
    fn insert(&self, id: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take_nth(&self, index: usize) -> Option<u64> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = ready.iter().nth(index).copied()?;
        ready.remove(&id);
        Some(id)
    }

    fn remove(&self, id: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.insert(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.insert(self.id);
    }
}

/// What a simulation does next.
pub(super) enum Next {
    Task(u64),
    Deadline,
    /// Nothing is ready and no timer is set.
    Stuck,
}

enum Event {
    Wake(Waker),
    Run(Action),
}

/// The state that tasks reach through the thread's back end.
pub(in crate::runtime) struct Core {
    seed: u64,
    random: RefCell<StdRng>,
    now: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, BoxedTask>>,
    ready: Arc<Ready>,
    events: RefCell<BTreeMap<(u64, u64), Event>>,
    next_id: Cell<u64>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    network: Network,
}

impl Core {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            random: RefCell::new(StdRng::seed_from_u64(seed)),
            now: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            events: RefCell::default(),
            next_id: Cell::new(1),
            steps: Cell::new(0),
            trace: Cell::new(0),
            network: Network::default(),
        }
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    pub(in crate::runtime) fn now(&self) -> Instant {
        Instant::from_nanos(self.now.get())
    }

    pub(in crate::runtime) fn unix_millis(&self) -> i64 {
        let since = i64::try_from(self.now.get() / 1_000_000).unwrap_or(i64::MAX);
        START_UNIX_MILLIS.saturating_add(since)
    }

    pub(in crate::runtime) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn random_below(&self, bound: u64) -> u64 {
        self.random_u64() % bound
    }

    fn fresh_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    /// A task id and the waker that makes it ready.
    pub(super) fn waker(&self) -> (u64, Waker) {
        let id = self.fresh_id();
        (id, self.waker_of(id))
    }

    fn waker_of(&self, id: u64) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.ready),
        }))
    }

    /// Runs an action at a point of the virtual clock, whether or not the task that asked for it still
    /// lives then: the device finishes what it was given.
    pub(super) fn run_at(&self, at: Instant, action: impl FnOnce() + 'static) {
        let key = (at.as_nanos(), self.fresh_id());
        self.events
            .borrow_mut()
            .insert(key, Event::Run(Box::new(action)));
    }

    pub(in crate::runtime) async fn sleep_until(self: &Rc<Self>, deadline: Instant) {
        let mut timer = Timer {
            core: Rc::clone(self),
            key: None,
        };
        poll_fn(|context| {
            if timer.core.now() >= deadline {
                return Poll::Ready(());
            }
            let core = Rc::clone(&timer.core);
            let key = *timer
                .key
                .get_or_insert_with(|| (deadline.as_nanos(), core.fresh_id()));
            let event = Event::Wake(context.waker().clone());
            let replaced = core.events.borrow_mut().insert(key, event);
            drop(replaced);
            Poll::Pending
        })
        .await;
    }

    pub(in crate::runtime) fn spawn<T: 'static>(
        self: &Rc<Self>,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let (sender, output) = oneshot::channel();
        let id = self.fresh_id();
        let task: BoxedTask = Box::pin(async move {
            // The handle may have been detached.
            let _ = sender.send(future.await);
        });
        self.tasks.borrow_mut().insert(id, task);
        self.ready.insert(id);
        Task {
            core: Rc::clone(self),
            id,
            output,
            detached: false,
        }
    }

    /// Fires the timers that are due and takes a ready task, chosen by the seed; when nothing is ready,
    /// jumps to the next timer, but not beyond the deadline.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Next {
        loop {
            if deadline.is_some_and(|deadline| self.now() >= deadline) {
                return Next::Deadline;
            }
            self.fire_due_events();
            let ready = self.ready.len();
            if ready > 0 {
                let index = self.random_below(ready as u64) as usize;
                let id = self
                    .ready
                    .take_nth(index)
                    .expect("the index is below the length");
                self.note_step(id);
                return Next::Task(id);
            }
            let event = self.events.borrow().keys().next().map(|&(at, _)| at);
            let deadline = deadline.map(Instant::as_nanos);
            match (event, deadline) {
                (None, None) => return Next::Stuck,
                (event, deadline) => {
                    let at = event.into_iter().chain(deadline).min().unwrap_or(u64::MAX);
                    self.now.set(self.now.get().max(at));
                }
            }
        }
    }

    fn fire_due_events(&self) {
        loop {
            let event = {
                let mut events = self.events.borrow_mut();
                match events.first_entry() {
                    Some(first) if first.key().0 <= self.now.get() => first.remove(),
                    _ => return,
                }
            };
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Run(action) => action(),
            }
        }
    }

    fn note_step(&self, id: u64) {
        self.steps.set(self.steps.get() + 1);
        let now = (self.now() + STEP).as_nanos();
        self.now.set(now);
        let mixed = (self.trace.get().rotate_left(5) ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.trace.set(mixed ^ now);
    }

    /// Polls a spawned task once. A task polled is not in the table, so it may spawn and cancel others.
    pub(super) fn poll_task(&self, id: u64) {
        let task = self.tasks.borrow_mut().remove(&id);
        let Some(mut task) = task else {
            return; // It finished or was cancelled after it was woken.
        };
        let waker = self.waker_of(id);
        let mut context = Context::from_waker(&waker);
        if task.as_mut().poll(&mut context).is_pending() {
            self.tasks.borrow_mut().insert(id, task);
        }
    }

    fn cancel(&self, id: u64) {
        let task = self.tasks.borrow_mut().remove(&id);
        self.ready.remove(id);
        drop(task);
    }

    /// Drops every task and every event that has not happened. Destructors may spawn; those tasks go too.
    pub(super) fn clear(&self) {
        loop {
            self.network.clear();
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            let events = std::mem::take(&mut *self.events.borrow_mut());
            if tasks.is_empty() && events.is_empty() {
                break;
            }
            drop(tasks);
            drop(events);
        }
        self.ready.clear();
    }
}

struct Timer {
    core: Rc<Core>,
    key: Option<(u64, u64)>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let event = self.core.events.borrow_mut().remove(&key);
            drop(event);
        }
    }
}

/// A task of the simulation; see [`crate::runtime::Task`].
pub(in crate::runtime) struct Task<T> {
    core: Rc<Core>,
    id: u64,
    output: oneshot::Receiver<T>,
    detached: bool,
}

impl<T> Task<T> {
    pub(in crate::runtime) fn detach(mut self) {
        self.detached = true;
    }

    pub(in crate::runtime) fn cancel(mut self) -> Option<T> {
        self.core.cancel(self.id);
        self.output.try_recv()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.output)
            .poll(context)
            .map(|output| output.expect("a task that is awaited was not cancelled"))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.core.cancel(self.id);
        }
    }
}
