//! Members that join, leave, crash and stall.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::Run;
use super::members::{self, Group, Orders};

/// How long a member may take to leave.
const LEAVING: Duration = Duration::from_secs(60);

/// What happened to members, by number.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Churn {
    pub(crate) joined: u64,
    pub(crate) left: u64,
    pub(crate) crashed: u64,
    pub(crate) stalled: u64,
}

/// The members of one group.
pub(super) struct Members {
    run: Arc<Run>,
    group: Group,
    random: StdRng,
    running: Vec<Member>,
    leaving: Vec<JoinHandle<Result<()>>>,
    pub(super) churn: Churn,
}

struct Member {
    orders: Arc<Orders>,
    task: JoinHandle<Result<()>>,
}

impl Members {
    pub(super) fn new(run: &Arc<Run>, group: Group) -> Self {
        let seed = run.plan.seed ^ group as u64;
        let mut members = Self {
            run: Arc::clone(run),
            group,
            random: StdRng::seed_from_u64(seed),
            running: Vec::new(),
            leaving: Vec::new(),
            churn: Churn::default(),
        };
        for _ in 0..run.plan.group {
            members.join();
        }
        members
    }

    fn join(&mut self) {
        let orders = Arc::new(Orders::default());
        let member = members::run(Arc::clone(&self.run), self.group, Arc::clone(&orders));
        let task = tokio::spawn(member);
        self.running.push(Member { orders, task });
    }

    /// Does something to a random member, or adds one. One is always left, and there are never more than
    /// twice as many as at first.
    pub(super) fn stir(&mut self) {
        let count = self.running.len();
        let (least, most) = (1.max(self.run.plan.group / 2), 2 * self.run.plan.group);
        let choice = self.random.random_range(0..4);
        if count <= least || (choice == 0 && count < most) {
            self.churn.joined += 1;
            self.join();
            return;
        }
        let chosen = self.random.random_range(0..count);
        match choice {
            1 => {
                self.churn.stalled += 1;
                self.running[chosen]
                    .orders
                    .stall
                    .store(true, Ordering::Relaxed);
            }
            2 => {
                self.churn.crashed += 1;
                // Dropped where it stands, it says no farewell.
                self.running.swap_remove(chosen).task.abort();
            }
            _ => {
                self.churn.left += 1;
                let leaver = self.running.swap_remove(chosen);
                leaver.orders.leave.store(true, Ordering::Relaxed);
                self.leaving.push(leaver.task);
            }
        }
    }

    /// Has everybody leave.
    pub(super) async fn end(mut self) -> Result<Churn> {
        for member in self.running.drain(..) {
            member.orders.leave.store(true, Ordering::Relaxed);
            self.leaving.push(member.task);
        }
        for task in self.leaving {
            let ended = tokio::time::timeout(LEAVING, task).await;
            ended
                .context("a consumer does not end")?
                .context("a consumer panicked")??;
        }
        Ok(self.churn)
    }
}
