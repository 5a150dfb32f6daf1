//! What becomes of a batch, shared by the records in it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use corelog_protocol::{Offset, Timestamp};

use crate::error::ProduceError;
use crate::record::{RecordMetadata, TopicPartition};

/// Where the broker put a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// None with `acks=0`.
    pub(super) base_offset: Option<Offset>,
    /// Set where the topic's records carry the broker's time.
    pub(super) log_append_time: Option<Timestamp>,
}

/// The fate of one batch: set once, then every waiting [`Delivery`] is woken.
pub(super) struct BatchOutcome {
    partition: TopicPartition,
    result: OnceLock<Result<Written, ProduceError>>,
    wakers: Mutex<Vec<Waker>>,
}

impl BatchOutcome {
    fn set(&self, result: Result<Written, ProduceError>) {
        if self.result.set(result).is_err() {
            return;
        }
        let wakers = std::mem::take(&mut *self.wakers());
        for waker in wakers {
            waker.wake();
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once the fate is known. A waiter keeps one place in the list, however often it is polled.
    fn poll(
        &self,
        place: &mut Option<usize>,
        context: &mut Context<'_>,
    ) -> Poll<&Result<Written, ProduceError>> {
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        let mut wakers = self.wakers();
        // Between the look above and the lock it may have been set, and the list taken.
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        match place {
            Some(place) => wakers[*place].clone_from(context.waker()),
            None => {
                *place = Some(wakers.len());
                wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// The right and duty to settle a batch. Dropped unsettled, as when the producer goes away, the batch fails as closed:
/// nobody waits for ever.
pub(super) struct Completion {
    outcome: Arc<BatchOutcome>,
}

impl Completion {
    pub(super) fn new(partition: TopicPartition) -> Self {
        Self {
            outcome: Arc::new(BatchOutcome {
                partition,
                result: OnceLock::new(),
                wakers: Mutex::new(Vec::new()),
            }),
        }
    }

    pub(super) fn settle(self, result: Result<Written, ProduceError>) {
        self.outcome.set(result);
    }

    pub(super) fn outcome(&self) -> &Arc<BatchOutcome> {
        &self.outcome
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.outcome.set(Err(ProduceError::Closed));
    }
}

/// Resolves when the fate of a batch is known, whatever it is.
pub(super) struct Settled {
    outcome: Arc<BatchOutcome>,
    place: Option<usize>,
}

impl Settled {
    pub(super) fn of(outcome: &Arc<BatchOutcome>) -> Self {
        Self {
            outcome: Arc::clone(outcome),
            place: None,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.outcome.result.get().is_some()
    }
}

impl Future for Settled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.outcome.poll(&mut this.place, context).map(|_| ())
    }
}

/// The acknowledgement of one record, to be awaited. Dropping it does not take the record back.
#[must_use = "a record is delivered whether or not this is awaited, but only this tells whether it was"]
pub struct Delivery {
    outcome: Arc<BatchOutcome>,
    place: Option<usize>,
    /// The record's place in its batch.
    index: u32,
    timestamp: Timestamp,
}

impl Delivery {
    pub(super) fn new(outcome: &Arc<BatchOutcome>, index: u32, timestamp: Timestamp) -> Self {
        Self {
            outcome: Arc::clone(outcome),
            place: None,
            index,
            timestamp,
        }
    }

    /// The partition that the record was put into.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.outcome.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.outcome
            .poll(&mut this.place, context)
            .map(|result| match result {
                Ok(written) => Ok(RecordMetadata {
                    topic: Arc::clone(&this.outcome.partition.topic),
                    partition: this.outcome.partition.partition,
                    offset: written
                        .base_offset
                        .and_then(|base| base.checked_add(i64::from(this.index))),
                    timestamp: written.log_append_time.unwrap_or(this.timestamp),
                }),
                Err(error) => Err(error.clone()),
            })
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.outcome.partition)
            .field("index", &self.index)
            .field("settled", &self.outcome.result.get().is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::PartitionIndex;

    use super::*;

    fn completion() -> Completion {
        Completion::new(TopicPartition::new("orders", PartitionIndex::new(3)))
    }

    #[tokio::test]
    async fn every_record_of_a_batch_gets_its_own_offset() {
        let completion = completion();
        let deliveries: Vec<Delivery> = (0..3)
            .map(|index| Delivery::new(completion.outcome(), index, Timestamp::new(7)))
            .collect();
        let waiting = tokio::spawn(futures_util::future::join_all(deliveries));
        tokio::task::yield_now().await;
        completion.settle(Ok(Written {
            base_offset: Some(Offset::new(100)),
            log_append_time: None,
        }));
        let offsets: Vec<i64> = waiting
            .await
            .unwrap()
            .into_iter()
            .map(|result| result.unwrap().offset.unwrap().get())
            .collect();
        assert_eq!(offsets, [100, 101, 102]);
    }

    #[tokio::test]
    async fn a_batch_that_is_dropped_fails_as_closed() {
        let completion = completion();
        let delivery = Delivery::new(completion.outcome(), 0, Timestamp::new(7));
        drop(completion);
        assert!(matches!(delivery.await, Err(ProduceError::Closed)));
    }

    #[tokio::test]
    async fn a_delivery_polled_again_keeps_one_place_in_the_list() {
        let completion = completion();
        let mut delivery = Delivery::new(completion.outcome(), 0, Timestamp::new(7));
        for _ in 0..3 {
            assert!(futures_util::poll!(&mut delivery).is_pending());
        }
        assert_eq!(completion.outcome().wakers().len(), 1);
    }
}
