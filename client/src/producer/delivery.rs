//! What becomes of a batch, shared by the records in it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

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

/// What became of a batch.
enum Fate {
    Written(Written),
    Failed(ProduceError),
    /// It was too large and goes on as several, in order.
    Split(Vec<Part>),
}

struct Part {
    /// The index, in the batch that was split, of this part's first record.
    first: u32,
    outcome: Arc<BatchOutcome>,
}

/// The fate of one batch: set once, then every waiting [`Delivery`] is woken.
pub(super) struct BatchOutcome {
    partition: TopicPartition,
    fate: OnceLock<Fate>,
    wakers: Mutex<Vec<Waker>>,
}

impl BatchOutcome {
    fn set(&self, fate: Fate) {
        if self.fate.set(fate).is_err() {
            return;
        }
        let wakers = std::mem::take(&mut *self.wakers());
        for waker in wakers {
            waker.wake();
        }
    }

    fn is_settled(&self) -> bool {
        match self.fate.get() {
            None => false,
            Some(Fate::Split(parts)) => parts.iter().all(|part| part.outcome.is_settled()),
            Some(Fate::Written(_) | Fate::Failed(_)) => true,
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once the fate is known. A waiter keeps one place in the list, however often it is polled.
    fn poll(&self, place: &mut Option<usize>, context: &mut Context<'_>) -> Poll<&Fate> {
        if let Some(fate) = self.fate.get() {
            return Poll::Ready(fate);
        }
        let mut wakers = self.wakers();
        // Between the look above and the lock it may have been set, and the list taken.
        if let Some(fate) = self.fate.get() {
            return Poll::Ready(fate);
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
                fate: OnceLock::new(),
                wakers: Mutex::new(Vec::new()),
            }),
        }
    }

    pub(super) fn settle(self, result: Result<Written, ProduceError>) {
        self.outcome.set(match result {
            Ok(written) => Fate::Written(written),
            Err(error) => Fate::Failed(error),
        });
    }

    /// Lets the records wait for the parts that they are in now: each part's completion, and which record it begins with.
    pub(super) fn split<'a>(self, parts: impl Iterator<Item = (u32, &'a Self)>) {
        let parts = parts.map(|(first, completion)| Part {
            first,
            outcome: Arc::clone(&completion.outcome),
        });
        self.outcome.set(Fate::Split(parts.collect()));
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.outcome.partition
    }

    pub(super) fn outcome(&self) -> &Arc<BatchOutcome> {
        &self.outcome
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.outcome.set(Fate::Failed(ProduceError::Closed));
    }
}

/// Resolves when the fate of a batch, and of all parts it was split into, is known, whatever it is.
pub(super) struct Settled {
    outcomes: Vec<(Arc<BatchOutcome>, Option<usize>)>,
}

impl Settled {
    pub(super) fn of(outcome: &Arc<BatchOutcome>) -> Self {
        Self {
            outcomes: vec![(Arc::clone(outcome), None)],
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.outcomes
            .iter()
            .all(|(outcome, _)| outcome.is_settled())
    }
}

impl Future for Settled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        while let Some((outcome, place)) = self.outcomes.last_mut() {
            let parts = match ready!(outcome.poll(place, context)) {
                Fate::Split(parts) => parts.iter().map(|part| Arc::clone(&part.outcome)).collect(),
                Fate::Written(_) | Fate::Failed(_) => Vec::new(),
            };
            self.outcomes.pop();
            self.outcomes
                .extend(parts.into_iter().map(|part| (part, None)));
        }
        Poll::Ready(())
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

    fn metadata(&self, written: &Written) -> RecordMetadata {
        let partition = &self.outcome.partition;
        RecordMetadata {
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            offset: written
                .base_offset
                .and_then(|base| base.checked_add(i64::from(self.index))),
            timestamp: written.log_append_time.unwrap_or(self.timestamp),
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
        loop {
            let part = match ready!(this.outcome.poll(&mut this.place, context)) {
                Fate::Written(written) => return Poll::Ready(Ok(this.metadata(written))),
                Fate::Failed(error) => return Poll::Ready(Err(error.clone())),
                Fate::Split(parts) => {
                    let mut parts = parts.iter().rev();
                    let mine = parts.find(|part| part.first <= this.index);
                    mine.map(|part| (part.first, Arc::clone(&part.outcome)))
                }
            };
            let (first, outcome) = part.expect("the first part begins with record 0");
            this.index -= first;
            this.outcome = outcome;
            this.place = None;
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.outcome.partition)
            .field("index", &self.index)
            .field("settled", &self.outcome.is_settled())
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
    async fn records_of_a_split_batch_follow_their_part() {
        let whole = completion();
        let deliveries: Vec<Delivery> = (0..5)
            .map(|index| Delivery::new(whole.outcome(), index, Timestamp::new(7)))
            .collect();
        let settled = Settled::of(whole.outcome());
        let waiting = tokio::spawn(futures_util::future::join_all(deliveries));
        tokio::task::yield_now().await;
        let (first, second) = (completion(), completion());
        whole.split([(0, &first), (3, &second)].into_iter());
        assert!(!settled.is_settled());
        for (part, base) in [(second, 40), (first, 10)] {
            part.settle(Ok(Written {
                base_offset: Some(Offset::new(base)),
                log_append_time: None,
            }));
        }
        settled.await;
        let offsets: Vec<i64> = waiting
            .await
            .unwrap()
            .into_iter()
            .map(|result| result.unwrap().offset.unwrap().get())
            .collect();
        assert_eq!(offsets, [10, 11, 12, 40, 41]);
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
