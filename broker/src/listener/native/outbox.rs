//! What waits to be sent on one connection, in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::BytesMut;
use corelog_protocol::native::messages::{
    AlterTopicConfigsResponse, ApiVersionsResponse, ConsumerGroupHeartbeatResponse,
    CreatePartitionsResponse, CreateTopicsResponse, DeleteGroupsResponse, DeleteRecordsResponse,
    DeleteTopicsResponse, DescribeConfigsResponse, DescribeGroupsResponse, DescribeTopicsResponse,
    ErrorResponse, FetchResponse, FindCoordinatorResponse, GoodbyePush, HelloResponse,
    InitProducerIdResponse, ListGroupsResponse, ListOffsetsResponse, MetadataResponse,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse, ProduceResponse,
    SubscribeResponse, UnsubscribeResponse,
};
use corelog_protocol::native::{Encoder, FrameError, FrameKind};

use crate::listener::flow::InFlight;
use crate::partition::{FetchedData, Refusal};
use crate::runtime::Notify;

/// At or above this many bytes of pushes waiting to be sent, or the part of what readers may hold
/// that is [`PUSH_SHARE`], subscriptions do not push. However much credit a slow reader grants, this
/// is what it holds of the broker's memory, plus one push per subscription.
const MAX_WAITING_PUSH_BYTES: usize = 4 * 1024 * 1024;
/// One byte in so many of what readers may hold: so few connections that do not read leave room for
/// the others.
const PUSH_SHARE: usize = 16;

/// Record batches that follow a table, one piece per partition.
pub(super) type Payload = Vec<FetchedData>;

/// A frame's content.
pub(super) enum Reply {
    Hello(HelloResponse),
    ApiVersions(ApiVersionsResponse),
    Metadata(MetadataResponse),
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    DescribeTopics(DescribeTopicsResponse),
    AlterTopicConfigs(AlterTopicConfigsResponse),
    CreatePartitions(CreatePartitionsResponse),
    DescribeConfigs(DescribeConfigsResponse),
    Produce(ProduceResponse),
    Fetch(FetchResponse, Payload),
    ListOffsets(ListOffsetsResponse),
    DeleteRecords(DeleteRecordsResponse),
    InitProducerId(InitProducerIdResponse),
    FindCoordinator(FindCoordinatorResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    ListGroups(ListGroupsResponse),
    DescribeGroups(DescribeGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    Subscribe(SubscribeResponse),
    Unsubscribe(UnsubscribeResponse),
    /// Records for a subscription.
    Push(FetchResponse, Payload),
    Goodbye(GoodbyePush),
    /// Instead of a response.
    Error(ErrorResponse),
}

impl Reply {
    pub(super) fn error(refusal: Refusal) -> Self {
        Self::Error(ErrorResponse {
            code: refusal.code,
            message: refusal.message.into_owned(),
        })
    }

    pub(super) fn payload(&self) -> &[FetchedData] {
        match self {
            Self::Fetch(_, payload) | Self::Push(_, payload) => payload,
            _ => &[],
        }
    }

    /// Appends the frame's header and table to `out`.
    ///
    /// # Errors
    /// The reply is above the limits of a frame; `out` is then unchanged.
    pub(super) fn encode(
        &self,
        (api, id): (u16, u32),
        payload: usize,
        encoder: &mut Encoder,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        use FrameKind::{Push, Response};
        match self {
            Self::Hello(message) => encoder.frame(Response, id, message, payload, out),
            Self::ApiVersions(message) => encoder.frame(Response, id, message, payload, out),
            Self::Metadata(message) => encoder.frame(Response, id, message, payload, out),
            Self::CreateTopics(message) => encoder.frame(Response, id, message, payload, out),
            Self::DeleteTopics(message) => encoder.frame(Response, id, message, payload, out),
            Self::DescribeTopics(message) => encoder.frame(Response, id, message, payload, out),
            Self::AlterTopicConfigs(message) => encoder.frame(Response, id, message, payload, out),
            Self::CreatePartitions(message) => encoder.frame(Response, id, message, payload, out),
            Self::DescribeConfigs(message) => encoder.frame(Response, id, message, payload, out),
            Self::Produce(message) => encoder.frame(Response, id, message, payload, out),
            Self::Fetch(message, _) => encoder.frame(Response, id, message, payload, out),
            Self::ListOffsets(message) => encoder.frame(Response, id, message, payload, out),
            Self::DeleteRecords(message) => encoder.frame(Response, id, message, payload, out),
            Self::InitProducerId(message) => encoder.frame(Response, id, message, payload, out),
            Self::FindCoordinator(message) => encoder.frame(Response, id, message, payload, out),
            Self::ConsumerGroupHeartbeat(message) => {
                encoder.frame(Response, id, message, payload, out)
            }
            Self::OffsetCommit(message) => encoder.frame(Response, id, message, payload, out),
            Self::OffsetFetch(message) => encoder.frame(Response, id, message, payload, out),
            Self::OffsetDelete(message) => encoder.frame(Response, id, message, payload, out),
            Self::ListGroups(message) => encoder.frame(Response, id, message, payload, out),
            Self::DescribeGroups(message) => encoder.frame(Response, id, message, payload, out),
            Self::DeleteGroups(message) => encoder.frame(Response, id, message, payload, out),
            Self::Subscribe(message) => encoder.frame(Response, id, message, payload, out),
            Self::Unsubscribe(message) => encoder.frame(Response, id, message, payload, out),
            Self::Push(message, _) => encoder.frame(Push, id, message, payload, out),
            Self::Goodbye(message) => encoder.frame(Push, id, message, payload, out),
            Self::Error(error) => encoder.error_frame(api, id, error, out),
        }
    }
}

pub(super) struct Outgoing {
    /// The API that the request named, which an error names again.
    pub(super) api: u16,
    pub(super) correlation_id: u32,
    pub(super) reply: Reply,
    /// Given back once the bytes are sent. Pushes and last words have none.
    #[expect(dead_code, reason = "held for what its drop does")]
    pub(super) in_flight: Option<InFlight>,
    /// It holds records, and so memory that other readers may want.
    pub(super) holds_records: bool,
}

impl Outgoing {
    pub(super) fn new(
        (api, correlation_id): (u16, u32),
        reply: Reply,
        in_flight: Option<InFlight>,
    ) -> Self {
        let holds_records = reply.payload().iter().any(|data| !data.is_empty());
        Self {
            api,
            correlation_id,
            reply,
            in_flight,
            holds_records,
        }
    }
}

pub(super) struct Outbox {
    push_limit: usize,
    queue: RefCell<VecDeque<Outgoing>>,
    push_bytes: Cell<usize>,
    pushes_sent: Notify,
}

impl Outbox {
    /// `lending_limit`: what all readers of the shard may hold.
    pub(super) fn new(lending_limit: usize) -> Self {
        Self {
            push_limit: (lending_limit / PUSH_SHARE).clamp(1, MAX_WAITING_PUSH_BYTES),
            queue: RefCell::default(),
            push_bytes: Cell::new(0),
            pushes_sent: Notify::new(),
        }
    }

    /// Bytes of pushes waiting to be sent at which subscriptions stop; one push is no larger, unless
    /// it is a single batch.
    pub(super) fn push_limit(&self) -> usize {
        self.push_limit
    }

    pub(super) fn push(&self, outgoing: Outgoing) {
        self.push_bytes
            .set(self.push_bytes.get() + push_bytes(&outgoing));
        self.queue.borrow_mut().push_back(outgoing);
    }

    /// The next to be sent. Its bytes count as waiting until [`Outbox::note_sent`].
    pub(super) fn pop(&self) -> Option<Outgoing> {
        self.queue.borrow_mut().pop_front()
    }

    pub(super) fn note_sent(&self, outgoing: &Outgoing) {
        let sent = push_bytes(outgoing);
        if sent > 0 {
            self.push_bytes.set(self.push_bytes.get() - sent);
            self.pushes_sent.notify_waiters();
        }
    }

    /// Everything that waits to be sent and never will be.
    pub(super) fn take(&self) -> VecDeque<Outgoing> {
        self.queue.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Waits until pushes may be added.
    pub(super) async fn room_for_pushes(&self) {
        while self.push_bytes.get() >= self.push_limit {
            self.pushes_sent.notified().await;
        }
    }
}

fn push_bytes(outgoing: &Outgoing) -> usize {
    match &outgoing.reply {
        Reply::Push(_, payload) => payload.iter().map(FetchedData::len).sum(),
        _ => 0,
    }
}
