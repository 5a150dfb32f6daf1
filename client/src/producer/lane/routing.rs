//! Where a lane's batches go, and on which list it stands: that of its leader's node, or that of lanes without one.

use std::sync::Arc;

use corelog_protocol::{LeaderEpoch, TopicId};

use super::{Lane, NodeQueue};

/// Where the partition's leader is, as far as this client knows.
#[derive(Clone)]
pub(in crate::producer) struct Route {
    pub(in crate::producer) queue: Arc<NodeQueue>,
    pub(in crate::producer) topic_id: TopicId,
    pub(in crate::producer) leader_epoch: Option<LeaderEpoch>,
}

impl Lane {
    /// Whether the lane must be put on a list now, and on which: its node's, or that of lanes without a leader.
    pub(in crate::producer) fn claim_listing(&self) -> Option<Option<Arc<NodeQueue>>> {
        let mut state = self.state();
        if state.listed || !state.has_work() {
            return None;
        }
        state.listed = true;
        Some(state.route.as_ref().map(|route| Arc::clone(&route.queue)))
    }

    /// Forgets the place on the list of lanes without a leader.
    pub(in crate::producer) fn unlist(&self) {
        self.state().listed = false;
    }

    pub(in crate::producer) fn has_route(&self) -> bool {
        self.state().route.is_some()
    }

    pub(in crate::producer) fn is_routed_to(&self, queue: &Arc<NodeQueue>) -> bool {
        self.state()
            .route
            .as_ref()
            .is_some_and(|route| Arc::ptr_eq(&route.queue, queue))
    }

    /// Sets where the leader is; `None` until it is known again. The caller lists the lane after it.
    pub(in crate::producer) fn set_route(&self, route: Option<Route>) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.gone.is_some() {
            return;
        }
        let moved = match (&state.route, &route) {
            (Some(old), Some(new)) => !Arc::ptr_eq(&old.queue, &new.queue),
            (None, None) => false,
            _ => true,
        };
        let is_another_topic = match (state.topic_id, &route) {
            (Some(old), Some(new)) => old != new.topic_id,
            _ => false,
        };
        if is_another_topic && let Some(sequences) = &mut state.sequences {
            sequences.may_be_forgotten();
        }
        if let Some(route) = &route {
            state.topic_id = Some(route.topic_id);
        }
        state.route = route;
        if moved {
            // Its place on the old list is worth nothing: whoever meets it there passes on.
            state.listed = false;
        }
    }

    /// Forgets a leader that turned out not to be one, unless another one is known by now.
    pub(in crate::producer) fn forget_route(&self, queue: &Arc<NodeQueue>) {
        let mut state = self.state();
        if state
            .route
            .as_ref()
            .is_some_and(|route| Arc::ptr_eq(&route.queue, queue))
        {
            state.route = None;
            state.listed = false;
        }
    }
}
