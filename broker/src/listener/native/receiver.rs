//! From frames to requests.

use bytes::Bytes;
use corelog_protocol::native::{FrameHeader, FrameKind};

use super::connection::Connection;
use super::framing::{Frame, NativeFraming};
use crate::listener::close::Close;
use crate::listener::flow::InFlight;
use crate::listener::receive_budget::ReceiveCharge;
use crate::listener::receiver::Receiver;
use crate::listener::server::Served;

/// A frame that is a request, with what it is charged for.
pub(super) struct Request {
    pub(super) header: FrameHeader,
    pub(super) metadata: Bytes,
    pub(super) payload: Bytes,
    /// Dropped when the payload has been consumed.
    pub(super) charge: Option<ReceiveCharge>,
    /// Dropped when the reply has been sent.
    pub(super) in_flight: InFlight,
}

/// The first frame, which must be a Hello; `None` when the connection ends before.
pub(super) async fn first_frame(
    connection: &Connection,
    receiver: &mut Receiver<NativeFraming>,
) -> Option<Frame> {
    let frame = next_frame(connection, receiver).await;
    receiver.release_charge();
    frame
}

/// The next request, once the connection may have one more in flight; `None` when the
/// connection ends, for a reason that was then given to [`Connection::close`].
pub(super) async fn next_request(
    connection: &Connection,
    receiver: &mut Receiver<NativeFraming>,
) -> Option<Request> {
    let frame = next_frame(connection, receiver).await?;
    if frame.header.kind != FrameKind::Request {
        let close = Close::NotARequest(frame.header.kind);
        connection.close_at(close, frame.header.api, frame.header.correlation_id);
        return None;
    }
    let (charge, in_flight) = receiver.admit(frame.size()).await?;
    let Frame {
        header,
        metadata,
        payload,
    } = frame;
    Some(Request {
        header,
        metadata,
        payload,
        charge: Some(charge),
        in_flight,
    })
}

async fn next_frame(
    connection: &Connection,
    receiver: &mut Receiver<NativeFraming>,
) -> Option<Frame> {
    match receiver.next_frame().await {
        Ok(frame) => frame,
        Err(close) => {
            connection.close(close);
            None
        }
    }
}
