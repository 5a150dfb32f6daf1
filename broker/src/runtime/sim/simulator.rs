//! Runs a program on the simulated executor, and cuts its power.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::backend::{self, Backend};
use super::super::time::Instant;
use super::disk::SimulatedDisk;
use super::executor::{Core, Next};
use super::network::SimulatedNetwork;

/// One simulated machine: an executor that follows a seed, and a disk that survives its crashes.
///
/// ```text
/// let mut simulator = Simulator::new(seed);
/// let storage = Storage::simulated(simulator.disk());
/// simulator.run_until(Duration::from_millis(3), write_records(storage.clone()));
/// simulator.crash();
/// simulator.run(check_that_acknowledged_records_are_there(storage));
/// ```
pub struct Simulator {
    core: Rc<Core>,
    disk: SimulatedDisk,
}

/// When a run stops although its root has not finished.
#[derive(Clone, Copy)]
enum Limit {
    Never,
    At(Instant),
    Steps(u64),
}

impl Simulator {
    pub fn new(seed: u64) -> Self {
        Self {
            core: Rc::new(Core::new(seed)),
            disk: SimulatedDisk::new(seed),
        }
    }

    pub fn seed(&self) -> u64 {
        self.core.seed()
    }

    /// The machine's disk: the same one every time.
    pub fn disk(&self) -> SimulatedDisk {
        self.disk.clone()
    }

    /// The machine's network. Its connections end with the power, how bad it is stays.
    pub fn network(&self) -> SimulatedNetwork {
        SimulatedNetwork(Rc::clone(&self.core))
    }

    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// A digest of every step taken: two runs that agree here took the same way.
    pub fn trace(&self) -> u64 {
        self.core.trace()
    }

    /// Polls of tasks so far; the finest measure of where to stop.
    pub fn steps(&self) -> u64 {
        self.core.steps()
    }

    /// Runs until the root future finishes; tasks it spawned and detached stay for the next run.
    ///
    /// # Panics
    /// With the seed, when nothing is ready and no timer is set: the program waits for itself.
    pub fn run<T>(&mut self, root: impl Future<Output = T>) -> T {
        self.run_limited(Limit::Never, root)
            .expect("a run without a limit ends with its root")
    }

    /// Runs for at most `duration` of virtual time. `None`: the time ran out and the root was dropped,
    /// while its tasks and its I/O are still under way; cut the power with [`Simulator::crash`].
    pub fn run_until<T>(&mut self, duration: Duration, root: impl Future<Output = T>) -> Option<T> {
        self.run_limited(Limit::At(self.core.now() + duration), root)
    }

    /// Runs for at most `steps` polls.
    pub fn run_steps<T>(&mut self, steps: u64, root: impl Future<Output = T>) -> Option<T> {
        self.run_limited(Limit::Steps(steps), root)
    }

    fn run_limited<T>(&mut self, limit: Limit, root: impl Future<Output = T>) -> Option<T> {
        let _entered = backend::enter(Backend::Simulated(Rc::clone(&self.core)));
        let (root_id, waker) = self.core.waker();
        let mut context = Context::from_waker(&waker);
        let mut root = pin!(root);
        waker.wake_by_ref();
        let (deadline, last_step) = match limit {
            Limit::Never => (None, u64::MAX),
            Limit::At(deadline) => (Some(deadline), u64::MAX),
            Limit::Steps(steps) => (None, self.core.steps() + steps),
        };
        while self.core.steps() < last_step {
            match self.core.next(deadline) {
                Next::Task(id) if id == root_id => {
                    if let Poll::Ready(output) = root.as_mut().poll(&mut context) {
                        return Some(output);
                    }
                }
                Next::Task(id) => self.core.poll_task(id),
                Next::Deadline => return None,
                Next::Stuck => panic!(
                    "simulation with seed {} is stuck at {:?}: nothing is ready and no timer is set; \
                     {} tasks wait besides the root",
                    self.core.seed(),
                    self.core.now(),
                    self.core.task_count(),
                ),
            }
        }
        None
    }

    /// The power goes: every task is dropped and the disk loses what no sync covered, as
    /// [`SimulatedDisk`] says. The next `run` is the machine after its restart.
    pub fn crash(&mut self) {
        self.drop_tasks();
        self.disk.power_cut();
    }

    /// The process dies (kill -9): every task is dropped, completed writes stay, and each write in
    /// flight is kept, dropped or torn.
    pub fn kill(&mut self) {
        self.drop_tasks();
        self.disk.process_death();
    }

    fn drop_tasks(&mut self) {
        // From here on the disk ignores what destructors do to it.
        self.disk.detach_handles();
        let _entered = backend::enter(Backend::Simulated(Rc::clone(&self.core)));
        self.core.clear();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Tasks hold the core and the core holds the tasks.
        let _entered = backend::enter(Backend::Simulated(Rc::clone(&self.core)));
        self.core.clear();
    }
}
