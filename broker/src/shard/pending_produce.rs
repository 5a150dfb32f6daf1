//! A produce on its way through the router.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelog_protocol::ErrorCode;
use corelog_protocol::native::RouteHint;

use super::lane::{Forwarded, Lane};
use crate::partition::{CrowdedPartition, Outcome, ProduceOutcome, Refusal, SubmittedProduce};

/// Resolves to the answer of one partition. Its place in that partition's order was settled when
/// [`super::Router::produce`] returned it; dropping it takes nothing back.
#[must_use = "a connection has to answer, or at least to mind `room`"]
pub struct PendingProduce(State);

enum State {
    Refused(Option<Refusal>),
    Here(SubmittedProduce),
    Forwarded {
        answer: Forwarded<ProduceOutcome>,
        hint: RouteHint,
    },
}

impl PendingProduce {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self(State::Refused(Some(refusal)))
    }

    pub(super) fn here(produce: SubmittedProduce) -> Self {
        Self(State::Here(produce))
    }

    pub(super) fn forwarded(answer: Forwarded<ProduceOutcome>, hint: RouteHint) -> Self {
        Self(State::Forwarded { answer, hint })
    }

    /// Set when the partition, or the way to its shard, has as much to do as it takes on: the
    /// connection must not read another request before [`Crowded::room`] resolves. This is how
    /// back-pressure reaches the sender, and what bounds the memory of waiting requests.
    pub fn crowded(&self) -> Option<Crowded> {
        match &self.0 {
            State::Here(produce) => produce.crowded().map(|full| Crowded(Full::Partition(full))),
            State::Forwarded { answer, .. } if answer.lane().is_full() => {
                Some(Crowded(Full::Lane(Rc::clone(answer.lane()))))
            }
            State::Refused(_) | State::Forwarded { .. } => None,
        }
    }
}

/// What has to come to less work before a connection may bring more.
pub struct Crowded(Full);

enum Full {
    Partition(CrowdedPartition),
    Lane(Rc<Lane>),
}

impl Crowded {
    /// Resolves when further requests are taken.
    pub async fn room(&self) {
        match &self.0 {
            Full::Partition(partition) => partition.room().await,
            Full::Lane(lane) => lane.room().await,
        }
    }
}

impl Future for PendingProduce {
    type Output = ProduceOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProduceOutcome> {
        match &mut self.0 {
            State::Refused(refusal) => {
                let refusal = refusal.take().expect("polled after it was done");
                Poll::Ready(Outcome::refused(refusal, None))
            }
            State::Here(produce) => Pin::new(produce).poll(context),
            State::Forwarded { answer, hint } => {
                let hint = *hint;
                Pin::new(answer)
                    .poll(context)
                    .map(|outcome| hinted(outcome, hint))
            }
        }
    }
}

/// A forwarded answer, with the advice where to ask next time.
pub(super) fn hinted<T>(outcome: Option<Outcome<T>>, hint: RouteHint) -> Outcome<T> {
    let mut outcome = outcome.unwrap_or_else(|| Outcome::refused(shard_gone(), None));
    outcome.hint = Some(hint);
    outcome
}

fn shard_gone() -> Refusal {
    Refusal::new(
        ErrorCode::NotLeaderOrFollower,
        "the shard that owns the partition is stopping",
    )
}
