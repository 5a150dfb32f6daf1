//! Sends the member's heartbeats: one at a time, whatever the membership says. Where there is nothing to say, one waits at
//! the coordinator, so that a rebalance reaches the member as soon as it is decided.

use std::pin::pin;
use std::sync::Arc;

use corelog_protocol::native::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tokio::time::Instant;
use tracing::{debug, trace, warn};

use super::membership::Step;
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::error::RequestError;

/// Runs until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(shared.cluster.settings().retry_backoff);
    loop {
        let step = shared.membership().next(Instant::now());
        match step {
            Step::Send(request) => {
                trace!(?request, "heartbeat");
                let Some(answer) = answer(&shared, &request).await else {
                    trace!(
                        member = request.member_id,
                        "heartbeat given up: there is news"
                    );
                    continue;
                };
                trace!(member = request.member_id, ?answer, "heartbeat answered");
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

/// The coordinator's answer; none if there is something to say before it has come.
async fn answer(
    shared: &Shared,
    request: &ConsumerGroupHeartbeatRequest,
) -> Option<Result<ConsumerGroupHeartbeatResponse, RequestError>> {
    let mut answer = pin!(shared.coordinator.call(request));
    loop {
        let away_until = shared.membership().away_until(Instant::now());
        tokio::select! {
            answer = &mut answer => return Some(answer),
            () = shared.attention.notified(), if request.wait_ms > 0 => {}
            () = tokio::time::sleep_until(away_until), if request.wait_ms > 0 => {}
        }
        if shared.membership().breaks_off(Instant::now()) {
            shared.changed();
            return None;
        }
    }
}
