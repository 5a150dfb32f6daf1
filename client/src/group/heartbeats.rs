//! Sends the member's heartbeats: one at a time, whatever the membership says.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::membership::Step;
use super::shared::Shared;
use crate::backoff::Backoff;

/// Runs until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(shared.cluster.settings().retry_backoff);
    loop {
        let step = shared.membership().next(Instant::now());
        match step {
            Step::Send(request) => {
                let answer = shared.coordinator.call(&request).await;
                let now = Instant::now();
                let mut membership = shared.membership();
                let goes_on = match answer {
                    Ok(response) => {
                        if response.error.is_error() {
                            debug!(group = request.group, code = %response.error, message = ?response.error_message,
                                "heartbeat refused");
                        }
                        membership.answered(&response, now)
                    }
                    Err(error) if error.is_retriable() => {
                        debug!(group = request.group, %error, "heartbeat not answered");
                        membership.unanswered(error.to_string());
                        false
                    }
                    Err(error) => {
                        warn!(group = request.group, %error, "the member is out of its group");
                        membership.fail(error.into());
                        true
                    }
                };
                if goes_on {
                    backoff.reset();
                } else {
                    membership.retry_at(now + backoff.next_wait());
                }
                drop(membership);
                shared.changed();
            }
            Step::WaitUntil(time) => tokio::select! {
                () = tokio::time::sleep_until(time) => {}
                () = shared.attention.notified() => {}
            },
            Step::Wait => {
                // A caller that polls no more may have lost its partitions by the look at the time alone.
                shared.changed();
                shared.attention.notified().await;
            }
        }
    }
}
