//! The receiving side of a connection, up to whole frames.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::close::Close;
use super::flow::{Flow, InFlight};
use super::frame_buffer::{FrameBuffer, Framing};
use super::receive_budget::{ReceiveBudget, ReceiveCharge};
use super::watch::Phase;
use crate::runtime::{self, ReadHalf};

/// The most that [`discard_input`] throws away.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;
const DISCARD_CHUNK: usize = 16 * 1024;

/// Bytes received without a pause after which other tasks of the core have their turn.
const TURN_BYTES: usize = 1024 * 1024;

pub(super) struct Receiver<F> {
    flow: Rc<Flow>,
    budget: Rc<ReceiveBudget>,
    frames: FrameBuffer<F>,
    socket: ReadHalf,
    /// Held for the frame under way.
    charge: Option<ReceiveCharge>,
    /// Received since the last pause.
    turn: usize,
}

impl<F: Framing> Receiver<F> {
    pub(super) fn new(
        flow: Rc<Flow>,
        budget: Rc<ReceiveBudget>,
        frames: FrameBuffer<F>,
        socket: ReadHalf,
    ) -> Self {
        Self {
            flow,
            budget,
            frames,
            socket,
            charge: None,
            turn: 0,
        }
    }

    pub(super) fn into_parts(self) -> (FrameBuffer<F>, ReadHalf) {
        (self.frames, self.socket)
    }

    /// The next whole frame; `None` once the connection is ending.
    ///
    /// # Errors
    /// Why it must end now.
    pub(super) async fn next_frame(&mut self) -> Result<Option<F::Frame>, Close> {
        loop {
            if self.flow.is_closing() {
                return Ok(None);
            }
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(Some(frame));
            }
            if let Some(bytes) = self.frames.frame_charge()
                && self.charge_for(bytes).await.is_none()
            {
                return Ok(None);
            }
            if self.read().await?.is_none() {
                return Ok(None);
            }
        }
    }

    /// Gives back what the last frame was charged: it was dealt with at once.
    pub(super) fn release_charge(&mut self) {
        self.charge = None;
    }

    /// Waits until the last frame, of `bytes`, may be carried out; `None` once the connection is ending. The charge is to
    /// be dropped when the frame's bytes have been consumed.
    pub(super) async fn admit(&mut self, bytes: usize) -> Option<(ReceiveCharge, InFlight)> {
        let charge = self.charge.take();
        let Self { flow, budget, .. } = self;
        let admitted = flow.unless_closing(async {
            let charge = match charge {
                Some(mut charge) => {
                    charge.grow_to(bytes).await;
                    charge
                }
                None => budget.begin(bytes).await,
            };
            (charge, flow.admit(bytes).await)
        });
        admitted.await
    }

    /// Charges the shard's budget for what the frame under way takes.
    async fn charge_for(&mut self, bytes: usize) -> Option<()> {
        let flow = &self.flow;
        match &mut self.charge {
            // The frame time-out goes on: see the head of `receive_budget`.
            Some(charge) => flow.unless_closing(charge.grow_to(bytes)).await,
            None => {
                flow.enter(Phase::HeldBack);
                let begun = self.budget.begin(bytes);
                self.charge = Some(flow.unless_closing(begun).await?);
                Some(())
            }
        }
    }

    /// Reads what the socket has. While it has nothing, an idle connection holds no buffer.
    async fn read(&mut self) -> Result<Option<()>, Close> {
        let Self {
            flow,
            frames,
            socket,
            turn,
            ..
        } = self;
        if *turn >= TURN_BYTES {
            *turn = 0;
            runtime::yield_now().await;
        }
        flow.note_reading(frames.unread());
        let read = flow.unless_closing(poll_fn(|context| {
            // A future of its own for each poll, so that no buffer is held between them. A read
            // that is dropped loses nothing.
            let poll = pin!(socket.read_buf(frames.buffer_with_room())).poll(context);
            if poll.is_pending() {
                *turn = 0;
                frames.release_unused_memory();
            }
            poll
        }));
        match read.await {
            None => Ok(None),
            Some(Ok(0)) => Err(match frames.unread() {
                0 => Close::PeerClosed,
                received => Close::Truncated { received },
            }),
            Some(Ok(count)) => {
                *turn += count;
                Ok(Some(()))
            }
            Some(Err(error)) => Err(Close::SocketFailed(error)),
        }
    }
}

/// Reads to the peer's end of stream and throws it away, within bounds.
///
/// Closing a socket with unread input sends a reset, which can destroy the last frame on its way
/// to the peer: tcp(7), RFC 1122 section 4.2.2.13.
pub(super) async fn discard_input(socket: &mut ReadHalf, limit: Duration) {
    let discarded = runtime::timeout(limit, async {
        let mut chunk = vec![0; DISCARD_CHUNK];
        let mut total = 0;
        while total < MAX_DISCARDED_BYTES {
            match socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    });
    // Past either bound the peer gets its reset.
    let _ = discarded.await;
}
