//! Waiting for the answer to a request.

use std::sync::Arc;

use corelog_protocol::native::{ApiKey, ErrorResponse, Frame, FrameKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use crate::error::{ConnectionError, RequestError};

/// A reply under way.
pub(crate) struct PendingReply {
    pub(super) shared: Arc<Shared>,
    pub(super) reply: oneshot::Receiver<Result<Frame, ConnectionError>>,
    pub(super) deadline: Instant,
    pub(super) request: ApiKey,
}

/// A request under way that has no reply.
pub(crate) struct PendingWrite {
    pub(super) shared: Arc<Shared>,
    pub(super) written: oneshot::Receiver<()>,
    pub(super) deadline: Instant,
    pub(super) request: ApiKey,
}

impl PendingWrite {
    /// Waits until the request was given to the socket; a broker that takes nothing for too long is given up.
    pub(crate) async fn wait(self) -> Result<(), ConnectionError> {
        match tokio::time::timeout_at(self.deadline, self.written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_sender_dropped)) => Err(self.shared.closed_error()),
            Err(_elapsed) => Err(self.shared.give_up(self.request)),
        }
    }
}

impl PendingReply {
    /// Waits for the reply, at most for the request's time; a broker that takes longer is given up.
    pub(crate) async fn wait(self) -> Result<Frame, RequestError> {
        let frame = match tokio::time::timeout_at(self.deadline, self.reply).await {
            Ok(Ok(reply)) => reply?,
            Ok(Err(_sender_dropped)) => return Err(self.shared.closed_error().into()),
            Err(_elapsed) => {
                return Err(self.shared.give_up(self.request).into());
            }
        };
        match frame.header.kind {
            FrameKind::Response if frame.header.api == self.request.code() => Ok(frame),
            FrameKind::Error => match ErrorResponse::decode(&frame.metadata) {
                Ok(error) => Err(RequestError::Broker {
                    request: name_of(self.request),
                    code: error.code,
                    message: error.message,
                }),
                Err(reason) => Err(self.shared.malformed("an error response", reason).into()),
            },
            kind => Err(self
                .shared
                .malformed(
                    "an unexpected reply",
                    format!("{kind:?} of API {} to {}", frame.header.api, self.request),
                )
                .into()),
        }
    }
}

/// The API's name as errors show it.
pub(crate) fn name_of(api: ApiKey) -> &'static str {
    match api {
        ApiKey::Hello => "Hello",
        ApiKey::ApiVersions => "ApiVersions",
        ApiKey::Metadata => "Metadata",
        ApiKey::CreateTopics => "CreateTopics",
        ApiKey::DeleteTopics => "DeleteTopics",
        ApiKey::DescribeTopics => "DescribeTopics",
        ApiKey::AlterTopicConfigs => "AlterTopicConfigs",
        ApiKey::Goodbye => "Goodbye",
        ApiKey::CreatePartitions => "CreatePartitions",
        ApiKey::DescribeConfigs => "DescribeConfigs",
        ApiKey::Produce => "Produce",
        ApiKey::Fetch => "Fetch",
        ApiKey::Subscribe => "Subscribe",
        ApiKey::SubscribeCredit => "SubscribeCredit",
        ApiKey::Unsubscribe => "Unsubscribe",
        ApiKey::ListOffsets => "ListOffsets",
        ApiKey::DeleteRecords => "DeleteRecords",
        ApiKey::InitProducerId => "InitProducerId",
        ApiKey::FindCoordinator => "FindCoordinator",
        ApiKey::ConsumerGroupHeartbeat => "ConsumerGroupHeartbeat",
        ApiKey::OffsetCommit => "OffsetCommit",
        ApiKey::OffsetFetch => "OffsetFetch",
        ApiKey::OffsetDelete => "OffsetDelete",
        ApiKey::ListGroups => "ListGroups",
        ApiKey::DescribeGroups => "DescribeGroups",
        ApiKey::DeleteGroups => "DeleteGroups",
    }
}
