//! What a program is told about its partitions.

use std::future::Future;
use std::pin::Pin;

use corelog_protocol::Offset;

use super::member::Member;
use super::offsets::CommittedOffset;
use crate::consumer::SeekTo;
use crate::error::GroupError;
use crate::record::TopicPartition;

/// What a [`RebalanceListener`] returns: `Box::pin(async move { … })`.
pub type Listening<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Hears which partitions come and go. It is called within [`GroupConsumer::poll`](crate::GroupConsumer::poll) and
/// [`close`](crate::GroupConsumer::close), never besides the program's own work on records. A call that is cut off, because
/// the poll around it is dropped, is made again by the next poll.
pub trait RebalanceListener: Send {
    /// These partitions came. No record of them was returned yet: a seek decides where they begin.
    fn assigned<'a>(
        &'a mut self,
        rebalance: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        let _ = (rebalance, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions are about to go to another member, once this call is over: the last moment to commit them. With
    /// `enable.auto.commit` that was done before.
    fn revoked<'a>(
        &'a mut self,
        rebalance: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        let _ = (rebalance, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions are gone, perhaps to another member already: it is too late to commit them.
    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        let _ = partitions;
        Box::pin(std::future::ready(()))
    }
}

/// What a listener may do with the consumer that calls it.
pub struct Rebalance<'a> {
    pub(super) member: &'a mut Member,
}

impl Rebalance<'_> {
    /// The offset of the next record that `poll` would return; `None` while it is being looked up.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>, GroupError> {
        self.member.position(partition)
    }

    /// Moves a partition.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub async fn seek(&mut self, partition: &TopicPartition, to: SeekTo) -> Result<(), GroupError> {
        self.member.seek(partition, to).await
    }

    /// Commits, as [`GroupConsumer::commit`](crate::GroupConsumer::commit).
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&mut self) -> Result<(), GroupError> {
        self.member.commit().await
    }

    /// Commits, as [`GroupConsumer::commit_offsets`](crate::GroupConsumer::commit_offsets).
    ///
    /// # Errors
    /// As there.
    pub async fn commit_offsets(
        &mut self,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), GroupError> {
        self.member.commit_offsets(offsets).await
    }
}
