//! Connections that other shards handed to this one and that its listener has not taken up yet.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::message::HandedOff;
use crate::runtime::Notify;

/// Waiting connections at most. One more is closed; its client tries again.
const MAX_WAITING: usize = 1024;

#[derive(Default)]
pub(super) struct HandOffs {
    waiting: RefCell<VecDeque<HandedOff>>,
    arrived: Notify,
}

impl HandOffs {
    /// Gives the connection back when too many wait.
    pub(super) fn push(&self, connection: HandedOff) -> Result<(), HandedOff> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_WAITING {
            return Err(connection);
        }
        waiting.push_back(connection);
        drop(waiting);
        self.arrived.notify_waiters();
        Ok(())
    }

    pub(super) async fn next(&self) -> HandedOff {
        loop {
            let connection = self.waiting.borrow_mut().pop_front();
            if let Some(connection) = connection {
                return connection;
            }
            self.arrived.notified().await;
        }
    }
}
