//! A produce that was put in a partition's mailbox.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelog_protocol::ErrorCode;

use super::Shared;
use super::request::{Outcome, ProduceOutcome, Refusal};
use crate::runtime::oneshot;

/// Resolves to the answer. Dropping it takes nothing back: the records are appended all the same.
pub struct SubmittedProduce {
    pub(super) shared: Rc<Shared>,
    pub(super) answer: oneshot::Receiver<ProduceOutcome>,
}

impl SubmittedProduce {
    /// Set while the mailbox holds as much as it should: see [`super::mailbox`].
    pub(crate) fn crowded(&self) -> Option<CrowdedPartition> {
        let is_full = self.shared.mailbox.is_full();
        is_full.then(|| CrowdedPartition(Rc::clone(&self.shared)))
    }
}

/// A partition whose mailbox was full.
pub(crate) struct CrowdedPartition(Rc<Shared>);

impl CrowdedPartition {
    /// Resolves when the partition takes further produces.
    pub(crate) async fn room(&self) {
        self.0.mailbox.room().await;
    }
}

impl Future for SubmittedProduce {
    type Output = ProduceOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProduceOutcome> {
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_closed| Outcome::refused(gone(), None)))
    }
}

/// The partition was dropped with the question still open: its topic was deleted or the broker
/// stops.
fn gone() -> Refusal {
    Refusal::new(
        ErrorCode::NotLeaderOrFollower,
        "the partition was closed before it answered; the records may have been appended",
    )
}
