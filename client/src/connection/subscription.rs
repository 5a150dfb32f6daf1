//! Pushed frames: the broker sends them under the correlation id of the Subscribe, within the credit it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use corelog_protocol::native::{
    ApiKey, Frame, SubscribeCreditRequest, SubscribeRequest, UnsubscribeRequest,
};
use tokio::sync::mpsc;

use super::{Connection, PendingReply, Shared, name_of};
use crate::error::{ConnectionError, RequestError};

/// The reader's side of a subscription.
pub(super) struct Inlet {
    frames: mpsc::UnboundedSender<Frame>,
    credit: Arc<AtomicI64>,
}

/// A subscription on one connection. Frames wait here until taken; the credit bounds how many bytes can.
pub(crate) struct Subscription {
    connection: Connection,
    correlation_id: u32,
    frames: mpsc::UnboundedReceiver<Frame>,
    credit: Arc<AtomicI64>,
}

impl Connection {
    /// Subscribes; the pending reply tells whether the broker accepted.
    pub(crate) fn subscribe(
        &self,
        request: &SubscribeRequest,
    ) -> Result<(Subscription, PendingReply), ConnectionError> {
        let shared = self.shared();
        let (inlet, frames) = mpsc::unbounded_channel();
        let credit = Arc::new(AtomicI64::new(as_signed(request.credit_bytes)));
        let (sender, reply) = tokio::sync::oneshot::channel();
        let correlation_id = shared.register(|waiting, id| {
            waiting.replies.insert(id, sender);
            waiting.subscriptions.insert(
                id,
                Inlet {
                    frames: inlet,
                    credit: Arc::clone(&credit),
                },
            );
        })?;
        let pending = PendingReply {
            shared: Arc::clone(shared),
            reply,
            deadline: tokio::time::Instant::now() + shared.request_timeout,
            request: ApiKey::Subscribe,
        };
        let subscription = Subscription {
            connection: self.clone(),
            correlation_id,
            frames,
            credit,
        };
        shared.queue(request, correlation_id, Vec::new(), None)?;
        Ok((subscription, pending))
    }
}

impl Subscription {
    /// The next pushed frame. An error means that the connection ended.
    pub(crate) async fn next(&mut self) -> Result<Frame, ConnectionError> {
        match self.frames.recv().await {
            Some(frame) => Ok(frame),
            None => Err(self.connection.shared().closed_error()),
        }
    }

    /// Allows the broker to push more bytes.
    pub(crate) fn grant(&self, bytes: u64) -> Result<(), ConnectionError> {
        self.credit.fetch_add(as_signed(bytes), Ordering::AcqRel);
        let request = SubscribeCreditRequest {
            subscription: self.correlation_id,
            bytes,
        };
        self.connection
            .send_unanswered(&request, Vec::new())
            .map(drop)
    }

    /// Ends the subscription. Frames pushed meanwhile are dropped by the reader.
    pub(crate) async fn end(self) -> Result<(), RequestError> {
        let request = UnsubscribeRequest {
            subscription: self.correlation_id,
        };
        let connection = self.connection.clone();
        drop(self);
        connection.call(&request).await.map(drop)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.connection
            .shared()
            .waiting()
            .subscriptions
            .remove(&self.correlation_id);
    }
}

impl Shared {
    /// Hands a pushed frame to its subscription. A broker that pushes beyond its credit would grow this client's memory
    /// without bound, so that is an error.
    pub(super) fn dispatch_push(&self, frame: Frame) -> Result<(), ConnectionError> {
        let waiting = self.waiting();
        let Some(inlet) = waiting.subscriptions.get(&frame.header.correlation_id) else {
            // It was ended while this frame was on its way.
            return Ok(());
        };
        let bytes = as_signed(frame.payload.len() as u64);
        let before = inlet.credit.fetch_sub(bytes, Ordering::AcqRel);
        // The last push may exceed what is left by a part: a batch is never split.
        if before <= 0 && bytes > 0 {
            return Err(ConnectionError::Malformed {
                address: self.address.clone(),
                what: name_of(ApiKey::Subscribe),
                reason: format!("a push of {bytes} bytes beyond the credit granted"),
            });
        }
        // The subscription may be going away at this moment.
        let _ = inlet.frames.send(frame);
        Ok(())
    }
}

fn as_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
