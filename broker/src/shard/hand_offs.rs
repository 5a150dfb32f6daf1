//! Connections that other shards handed to this one and that its listeners have not taken up yet.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::message::{HandedOff, Listening};
use crate::runtime::Notify;

/// Waiting connections of one listener at most. One more is closed; its client tries again.
const MAX_WAITING: usize = 1024;

#[derive(Default)]
pub(super) struct HandOffs {
    native: Line,
    kafka: Line,
}

#[derive(Default)]
struct Line {
    waiting: RefCell<VecDeque<HandedOff>>,
    arrived: Notify,
}

impl HandOffs {
    /// Gives the connection back when too many wait.
    pub(super) fn push(&self, connection: HandedOff) -> Result<(), HandedOff> {
        let line = self.line(connection.listening);
        let mut waiting = line.waiting.borrow_mut();
        if waiting.len() >= MAX_WAITING {
            return Err(connection);
        }
        waiting.push_back(connection);
        drop(waiting);
        line.arrived.notify_waiters();
        Ok(())
    }

    pub(super) async fn next(&self, listening: Listening) -> HandedOff {
        let line = self.line(listening);
        loop {
            let connection = line.waiting.borrow_mut().pop_front();
            if let Some(connection) = connection {
                return connection;
            }
            line.arrived.notified().await;
        }
    }

    fn line(&self, listening: Listening) -> &Line {
        match listening {
            Listening::Native => &self.native,
            Listening::Kafka => &self.kafka,
        }
    }
}
