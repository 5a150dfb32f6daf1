//! The place of one connection: opened when first asked for, and again after it ended.

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use crate::backoff::Backoff;
use crate::config::{BackoffSettings, ConnectionSettings};
use crate::connection::{Connection, Dial, dial};
use crate::error::ConnectionError;

pub(super) struct ConnectionSlot {
    state: Mutex<State>,
}

struct State {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl ConnectionSlot {
    pub(super) fn new(backoff: BackoffSettings) -> Self {
        Self {
            state: Mutex::new(State {
                connection: None,
                backoff: Backoff::new(backoff),
                not_before: None,
            }),
        }
    }

    /// The open connection, or a new one to the first of `dials` that answers. After a failure the next attempt waits.
    pub(super) async fn get(
        &self,
        dials: &[Dial],
        settings: &ConnectionSettings,
    ) -> Result<Connection, ConnectionError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            if connection.is_open() {
                return Ok(connection.clone());
            }
            state.connection = None;
        }
        if let Some(not_before) = state.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let mut last = None;
        for candidate in dials {
            match dial(candidate, settings).await {
                Ok((connection, hello)) => {
                    debug!(
                        address = candidate.address,
                        broker = %hello.broker_id,
                        shard = %hello.shard,
                        "connected"
                    );
                    state.connection = Some(connection.clone());
                    state.backoff.reset();
                    state.not_before = None;
                    return Ok(connection);
                }
                Err(error) => {
                    debug!(address = candidate.address, %error, "not connected");
                    last = Some(error);
                }
            }
        }
        let wait = state.backoff.next_wait();
        state.not_before = Some(Instant::now() + wait);
        Err(last.expect("there is always somebody to dial"))
    }
}
