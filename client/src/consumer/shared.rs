//! What a consumer and its tasks share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::assignment::Assignment;
use super::buffer::FetchBuffer;
use crate::cluster::{Cluster, Node};
use crate::config::ConsumerSettings;

pub(super) struct Shared {
    pub(super) settings: ConsumerSettings,
    pub(super) cluster: Arc<Cluster>,
    pub(super) buffer: FetchBuffer,
    assignment: Mutex<Assignment>,
    /// Counts changes of the assignment; every fetcher compares its work with it.
    changes: watch::Sender<u64>,
    /// Wakes the coordinator.
    pub(super) attention: Notify,
    fetchers: Mutex<HashMap<Node, AbortHandle>>,
}

impl Shared {
    pub(super) fn new(settings: ConsumerSettings, cluster: Arc<Cluster>) -> Self {
        Self {
            settings,
            cluster,
            buffer: FetchBuffer::default(),
            assignment: Mutex::new(Assignment::default()),
            changes: watch::Sender::new(0),
            attention: Notify::new(),
            fetchers: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the tasks that the assignment has changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
        self.attention.notify_one();
    }

    pub(super) fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Starts a fetcher for each of these nodes that has none.
    pub(super) fn start_fetchers(&self, nodes: &[Node], start: impl Fn(Node) -> AbortHandle) {
        let mut fetchers = self.fetchers();
        for node in nodes {
            let running = fetchers.get(node).is_some_and(|task| !task.is_finished());
            if !running {
                fetchers.insert(*node, start(*node));
            }
        }
    }

    pub(super) fn stop_fetchers(&self) {
        for (_, task) in self.fetchers().drain() {
            task.abort();
        }
    }

    fn fetchers(&self) -> MutexGuard<'_, HashMap<Node, AbortHandle>> {
        self.fetchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
