//! The way to a group's coordinator: looked up when first needed, and again when it turned out to be elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use corelog_protocol::ErrorCode;
use corelog_protocol::native::{
    ConsumerGroupHeartbeatResponse, DeleteGroupsResponse, DescribeGroupsResponse,
    FindCoordinatorRequest, ListGroupsResponse, OffsetCommitResponse, OffsetDeleteResponse,
    OffsetFetchResponse, RouteHint,
};
use tracing::debug;

use crate::cluster::{Cluster, Node};
use crate::connection::Request;
use crate::error::{RequestError, words};

pub(crate) struct Coordinator {
    cluster: Arc<Cluster>,
    group: String,
    node: Mutex<Option<Node>>,
}

/// What every answer of a coordinator says.
pub(crate) trait FromCoordinator {
    fn error(&self) -> ErrorCode;
    fn error_message(&self) -> Option<&str>;
    fn hint(&self) -> Option<RouteHint>;
}

macro_rules! from_coordinator {
    ($($response:ty,)*) => {
        $(impl FromCoordinator for $response {
            fn error(&self) -> ErrorCode {
                self.error
            }

            fn error_message(&self) -> Option<&str> {
                self.error_message.as_deref()
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
    OffsetDeleteResponse,
}

impl FromCoordinator for ListGroupsResponse {
    fn error(&self) -> ErrorCode {
        self.error
    }

    fn error_message(&self) -> Option<&str> {
        self.error_message.as_deref()
    }

    fn hint(&self) -> Option<RouteHint> {
        None
    }
}

/// Of answers about the one group that was asked about.
macro_rules! from_coordinator_of_one {
    ($($response:ty,)*) => {
        $(impl FromCoordinator for $response {
            fn error(&self) -> ErrorCode {
                self.groups.first().map_or(ErrorCode::None, |group| group.error)
            }

            fn error_message(&self) -> Option<&str> {
                self.groups.first()?.error_message.as_deref()
            }

            fn hint(&self) -> Option<RouteHint> {
                None
            }
        })*
    };
}

from_coordinator_of_one! {
    DescribeGroupsResponse,
    DeleteGroupsResponse,
}

impl Coordinator {
    pub(crate) fn new(cluster: Arc<Cluster>, group: String) -> Self {
        Self {
            cluster,
            group,
            node: Mutex::new(None),
        }
    }

    /// Asks the coordinator once. Its answer may hold an error; if that says that another one is to be asked, the next
    /// call does.
    pub(crate) async fn call<R>(&self, request: &R) -> Result<R::Response, RequestError>
    where
        R: Request<Response: FromCoordinator>,
    {
        self.call_noting(request, &mut false).await
    }

    /// As [`call`](Self::call); sets `sent` before the first byte of the request may have left.
    pub(crate) async fn call_noting<R>(
        &self,
        request: &R,
        sent: &mut bool,
    ) -> Result<R::Response, RequestError>
    where
        R: Request<Response: FromCoordinator>,
    {
        let node = self.find().await?;
        let answer = match self.cluster.reach(node).await {
            Ok(connection) => {
                *sent = true;
                connection.call(request).await
            }
            Err(error) => Err(error),
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

    /// Where the coordinator is: known, or asked of any broker.
    pub(crate) async fn find(&self) -> Result<Node, RequestError> {
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
