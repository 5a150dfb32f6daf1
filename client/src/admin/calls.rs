//! Sends a request to whoever answers it, until there is an answer or the time is over.

use std::future::Future;

use corelog_protocol::{BrokerId, ErrorCode, ShardId};
use tokio::time::Instant;

use super::Admin;
use crate::backoff::Backoff;
use crate::cluster::{Cluster, Node};
use crate::connection::{Request, name_of};
use crate::coordinator::{Coordinator, FromCoordinator};
use crate::error::{AdminError, ConnectionError, RequestError, words};

/// What becomes of the cluster when a request is carried out twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The same as after once.
    Harmless,
    /// The second time may meet, or undo, what somebody else did in between.
    Harmful,
}

/// Who is asked.
pub(super) trait Destination<R: Request> {
    /// Asks once. `sent` is set before the first byte of the request may have left.
    fn ask(
        &self,
        cluster: &Cluster,
        request: &R,
        sent: &mut bool,
    ) -> impl Future<Output = Result<R::Response, RequestError>> + Send;
}

pub(super) struct AnyBroker;

impl<R: Request> Destination<R> for AnyBroker {
    async fn ask(
        &self,
        cluster: &Cluster,
        request: &R,
        sent: &mut bool,
    ) -> Result<R::Response, RequestError> {
        let connection = cluster.any().await?;
        *sent = true;
        connection.call(request).await
    }
}

/// Any shard of one broker.
impl<R: Request<Response: FromCoordinator>> Destination<R> for BrokerId {
    async fn ask(
        &self,
        cluster: &Cluster,
        request: &R,
        sent: &mut bool,
    ) -> Result<R::Response, RequestError> {
        let node = Node {
            broker: *self,
            shard: ShardId::default(),
        };
        let connection = cluster.reach(node).await?;
        *sent = true;
        unless_it_passes::<R>(connection.call(request).await?)
    }
}

impl<R: Request<Response: FromCoordinator>> Destination<R> for Coordinator {
    async fn ask(
        &self,
        _cluster: &Cluster,
        request: &R,
        sent: &mut bool,
    ) -> Result<R::Response, RequestError> {
        unless_it_passes::<R>(self.call_noting(request, sent).await?)
    }
}

/// A refusal that passes by itself counts as an error, so that the request is sent again.
fn unless_it_passes<R: Request<Response: FromCoordinator>>(
    response: R::Response,
) -> Result<R::Response, RequestError> {
    let code = response.error();
    if !code.is_retriable() {
        return Ok(response);
    }
    Err(RequestError::Broker {
        request: name_of(R::API),
        code,
        message: words(code, response.error_message()),
    })
}

impl Admin {
    /// Sends a request to any broker, again and again while there is none to be had. A request that may have been carried
    /// out is sent again only if nothing changes by it.
    pub(super) async fn call<R: Request>(
        &self,
        action: &'static str,
        request: &R,
        repeat: Repeat,
    ) -> Result<R::Response, AdminError> {
        self.call_at(&AnyBroker, action, request, repeat).await
    }

    /// As [`call`](Self::call), to somebody in particular.
    pub(super) async fn call_at<R: Request>(
        &self,
        destination: &impl Destination<R>,
        action: &'static str,
        request: &R,
        repeat: Repeat,
    ) -> Result<R::Response, AdminError> {
        let start = Instant::now();
        let mut backoff = Backoff::new(self.settings.connection.retry_backoff);
        let mut reason = "no answer came".to_owned();
        loop {
            let left = self.settings.api_timeout.saturating_sub(start.elapsed());
            let mut sent = false;
            let asking = destination.ask(&self.cluster, request, &mut sent);
            let called = tokio::time::timeout(left, asking).await;
            let answer_lost = sent
                && match &called {
                    Ok(Ok(_)) => false,
                    Ok(Err(error)) => leaves_open(error),
                    Err(_elapsed) => true,
                };
            reason = match called {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) if answer_lost || error.is_retriable() => error.to_string(),
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) if answer_lost => format!(
                    "no answer within default.api.timeout.ms = {}",
                    self.settings.api_timeout.as_millis()
                ),
                // What was heard before says more than that the time is over.
                Err(_elapsed) => reason,
            };
            if answer_lost && repeat == Repeat::Harmful {
                return Err(AdminError::OutcomeUnknown { action, reason });
            }
            let wait = backoff.next_wait();
            if start.elapsed() + wait >= self.settings.api_timeout {
                return Err(AdminError::Timeout {
                    action,
                    waited: start.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// True if a request that failed with this error, after it was sent, may have been carried out.
fn leaves_open(error: &RequestError) -> bool {
    match error {
        RequestError::Connection(ConnectionError::Unsendable { .. }) => false,
        RequestError::Connection(_) => true,
        // A coordinator that cannot be had any more may have been there for long enough.
        RequestError::Broker { code, .. } => matches!(
            code,
            ErrorCode::RequestTimedOut | ErrorCode::CoordinatorNotAvailable
        ),
    }
}
