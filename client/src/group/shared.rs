//! What a consumer in a group and its tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::commits::CommitQueue;
use super::membership::{Identity, Membership};
use crate::cluster::Cluster;
use crate::config::GroupSettings;
use crate::coordinator::Coordinator;

pub(super) struct Shared {
    pub(super) settings: GroupSettings,
    pub(super) cluster: Arc<Cluster>,
    pub(super) coordinator: Coordinator,
    pub(super) commits: CommitQueue,
    membership: Mutex<Membership>,
    /// Counts what `poll` and the tasks may want to look at.
    changes: watch::Sender<u64>,
    /// Wakes the heartbeats' task.
    pub(super) attention: Notify,
}

impl Shared {
    pub(super) fn new(settings: GroupSettings, cluster: Arc<Cluster>) -> Self {
        let identity = Identity {
            group: settings.group_id.clone(),
            member_id: uuid::Uuid::new_v4().to_string(),
            instance_id: settings.instance_id.clone(),
            rack: settings.rack.clone(),
            assignor: settings.assignor.clone(),
            max_poll_interval: settings.max_poll_interval,
            longest_wait: cluster.settings().request_timeout / 2,
        };
        Self {
            coordinator: Coordinator::new(Arc::clone(&cluster), settings.group_id.clone()),
            commits: CommitQueue::default(),
            membership: Mutex::new(Membership::new(identity, Instant::now())),
            changes: watch::Sender::new(0),
            attention: Notify::new(),
            settings,
            cluster,
        }
    }

    /// Looks at the membership, or changes what nobody waits for.
    pub(super) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the membership, and lets everybody look again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Membership) -> T) -> T {
        let result = change(&mut self.membership());
        self.changed();
        self.attention.notify_one();
        result
    }

    /// Lets `poll` and the tasks look again, except for that of the heartbeats.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
