//! The way to a group's coordinator: looked up when first needed, and again when it turned out to be elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use corelog_protocol::ErrorCode;
use corelog_protocol::native::{
    ConsumerGroupHeartbeatResponse, FindCoordinatorRequest, OffsetCommitResponse,
    OffsetFetchResponse, RouteHint,
};
use tracing::debug;

use crate::cluster::{Cluster, Node};
use crate::connection::Request;
use crate::error::{ConnectionError, RequestError, words};

pub(super) struct Coordinator {
    cluster: Arc<Cluster>,
    group: String,
    node: Mutex<Option<Node>>,
}

/// What every answer of a coordinator says.
pub(super) trait FromCoordinator {
    fn error(&self) -> ErrorCode;
    fn hint(&self) -> Option<RouteHint>;
}

macro_rules! from_coordinator {
    ($($response:ty,)*) => {
        $(impl FromCoordinator for $response {
            fn error(&self) -> ErrorCode {
                self.error
            }

            fn hint(&self) -> Option<RouteHint> {
                self.hint
            }
        })*
    };
}

from_coordinator! {
    ConsumerGroupHeartbeatResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
}

impl Coordinator {
    pub(super) fn new(cluster: Arc<Cluster>, group: String) -> Self {
        Self {
            cluster,
            group,
            node: Mutex::new(None),
        }
    }

    /// Asks the coordinator once. Its answer may hold an error; if that says that another one is to be asked, the next
    /// call does.
    pub(super) async fn call<R>(&self, request: &R) -> Result<R::Response, RequestError>
    where
        R: Request<Response: FromCoordinator>,
    {
        let node = self.find().await?;
        let answer = match self.cluster.node(node).await {
            Ok(connection) => connection.call(request).await,
            Err(ConnectionError::UnknownBroker { .. }) => {
                // It is younger than this client's metadata.
                let version = self.cluster.image().version;
                self.cluster.refresh(version).await?;
                match self.cluster.node(node).await {
                    Ok(connection) => connection.call(request).await,
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        };
        match &answer {
            Ok(response) if has_moved(response.error()) => self.forget(node),
            Ok(response) => {
                if let Some(hint) = response.hint() {
                    self.set(Some(Node {
                        broker: hint.broker,
                        shard: hint.shard,
                    }));
                }
            }
            Err(_) => self.forget(node),
        }
        answer
    }

    async fn find(&self) -> Result<Node, RequestError> {
        if let Some(node) = *self.node.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(node);
        }
        let request = FindCoordinatorRequest {
            groups: vec![self.group.clone()],
        };
        let found = self.cluster.call_any(&request).await?;
        let refused = |code, message| RequestError::Broker {
            request: "FindCoordinator",
            code,
            message,
        };
        let coordinator = found
            .coordinators
            .into_iter()
            .find(|coordinator| coordinator.group == self.group)
            .ok_or_else(|| {
                let what = "the broker's answer leaves the group out";
                refused(ErrorCode::CoordinatorNotAvailable, what.to_owned())
            })?;
        if coordinator.error != ErrorCode::None {
            let message = words(coordinator.error, coordinator.error_message);
            return Err(refused(coordinator.error, message));
        }
        let node = Node {
            broker: coordinator.broker,
            shard: coordinator.shard,
        };
        debug!(group = self.group, %node, "coordinator found");
        self.set(Some(node));
        Ok(node)
    }

    fn set(&self, node: Option<Node>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// Unless somebody has found another one meanwhile.
    fn forget(&self, failed: Node) {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        if *node == Some(failed) {
            *node = None;
        }
    }
}

fn has_moved(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
    )
}
