//! The member's side of `poll`: its reader, its commits, and the partitions that come and go.

use std::collections::HashMap;
use std::sync::Arc;

use corelog_protocol::Offset;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::warn;

use super::commits::Outcome;
use super::holdings::{IdPartition, Owned};
use super::offsets::{self, CommittedOffset};
use super::shared::Shared;
use crate::consumer::{Beginning, Consumer, SeekTo};
use crate::error::GroupError;
use crate::record::TopicPartition;

pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Consumer,
    pub(super) changes: watch::Receiver<u64>,
    /// The membership has changed since the partitions were last looked at.
    pub(super) is_behind: bool,
    pub(super) revocation: Option<Revocation>,
    /// Taken, and not yet told to the listener.
    pub(super) to_announce: Vec<TopicPartition>,
    /// When positions are next committed by themselves.
    next_commit: Instant,
    automatic: Option<Outcome>,
    tasks: [AbortHandle; 3],
}

/// Partitions on their way out, whose positions are being committed.
pub(super) struct Revocation {
    pub(super) partitions: Vec<Owned>,
    commit: Option<Outcome>,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, reader: Consumer, tasks: [AbortHandle; 3]) -> Self {
        Self {
            changes: shared.watch(),
            is_behind: true,
            revocation: None,
            to_announce: Vec::new(),
            next_commit: Instant::now() + shared.settings.auto_commit.unwrap_or_default(),
            automatic: None,
            tasks,
            shared,
            reader,
        }
    }

    /// True if the membership may have changed since `poll` last saw to it.
    pub(super) fn is_behind(&mut self) -> bool {
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.borrow_and_update();
            self.is_behind = true;
        }
        self.is_behind
    }

    /// Takes what is ready to be taken; the listener is to be told.
    pub(super) fn take_in(&mut self) {
        let taken = self.shared.change(|membership| membership.holdings.take());
        let mut beginnings = Vec::with_capacity(taken.len());
        for (partition, start) in taken {
            let committed = start.committed;
            let beginning = Beginning {
                topic_id: partition.id.topic_id,
                at: committed.as_ref().map(|it| SeekTo::Offset(it.offset)),
                epoch: committed.and_then(|it| it.leader_epoch),
            };
            self.to_announce.push(partition.name.clone());
            beginnings.push((partition.name, beginning));
        }
        self.reader.take_in(beginnings);
    }

    /// Stops reading these, and has their positions committed if that goes by itself. What the caller asked to be
    /// committed comes before.
    pub(super) fn begin_revocation(&mut self, partitions: Vec<Owned>) {
        self.reader.withhold(&names(&partitions));
        let mut offsets = match self.shared.settings.auto_commit {
            Some(_) => self.uncommitted(),
            None => Vec::new(),
        };
        offsets.retain(|(owned, _)| partitions.contains(owned));
        let has_nothing_to_wait_for = offsets.is_empty() && self.shared.commits.is_idle();
        let commit = match has_nothing_to_wait_for {
            true => None,
            false => self.push(offsets).ok(),
        };
        self.revocation = Some(Revocation { partitions, commit });
    }

    /// The partitions on their way out, once their positions are committed or cannot be.
    pub(super) fn revocable(&mut self) -> Option<Vec<Owned>> {
        let revocation = self.revocation.as_mut()?;
        if let Some(commit) = &mut revocation.commit {
            match commit.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Ok(Err(error)) => {
                    warn!(%error, "positions were not committed: their records will be read again");
                }
                Ok(Ok(())) | Err(TryRecvError::Closed) => {}
            }
            revocation.commit = None;
        }
        Some(revocation.partitions.clone())
    }

    /// Reads nothing of these any more.
    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.reader.give_up(partitions);
        self.to_announce.retain(|name| !partitions.contains(name));
    }

    /// Commits what earlier polls returned, when it is time.
    pub(super) fn commit_when_due(&mut self) {
        let Some(interval) = self.shared.settings.auto_commit else {
            return;
        };
        let now = Instant::now();
        if now < self.next_commit {
            return;
        }
        self.next_commit = now + interval;
        if let Some(automatic) = &mut self.automatic {
            match automatic.try_recv() {
                // The next time, then, with what is read until then.
                Err(TryRecvError::Empty) => return,
                Ok(Err(error)) => warn!(%error, "positions were not committed"),
                Ok(Ok(())) | Err(TryRecvError::Closed) => {}
            }
        }
        let offsets = self.uncommitted();
        self.automatic = if offsets.is_empty() {
            None
        } else {
            self.push(offsets).ok()
        };
    }

    /// When `poll` should wake up to commit.
    pub(super) fn next_commit(&self) -> Option<Instant> {
        self.shared.settings.auto_commit.map(|_| self.next_commit)
    }

    /// The position of every partition that is owned and has one.
    pub(super) fn positions(&self) -> Vec<(Owned, CommittedOffset)> {
        let owned = self.owned_by_name();
        let progress = self.reader.progress().into_iter();
        progress
            .filter_map(|progress| {
                let owned = owned.get(&progress.partition)?;
                let committed = CommittedOffset {
                    leader_epoch: progress.epoch,
                    ..CommittedOffset::from(progress.position)
                };
                Some((owned.clone(), committed))
            })
            .collect()
    }

    /// The positions that the coordinator does not have yet.
    fn uncommitted(&self) -> Vec<(Owned, CommittedOffset)> {
        let mut positions = self.positions();
        let membership = self.shared.membership();
        positions.retain(|(owned, at)| !membership.holdings.is_committed(owned.id, at.offset));
        positions
    }

    fn owned_by_name(&self) -> HashMap<TopicPartition, Owned> {
        let owned = self.shared.membership().holdings.owned();
        owned
            .into_iter()
            .map(|owned| (owned.name.clone(), owned))
            .collect()
    }

    pub(super) fn push(
        &self,
        offsets: Vec<(Owned, CommittedOffset)>,
    ) -> Result<Outcome, GroupError> {
        self.shared.commits.push(&self.shared, offsets)
    }

    /// The partitions by which the coordinator knows what the caller names.
    pub(super) fn named_offsets(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Vec<(Owned, CommittedOffset)>, GroupError> {
        let owned = self.owned_by_name();
        offsets
            .iter()
            .map(|(name, offset)| match owned.get(name) {
                Some(owned) => Ok((owned.clone(), offset.clone())),
                None => Err(GroupError::NotOwned {
                    group: self.shared.settings.group_id.clone(),
                    partition: name.clone(),
                    reason: self.shared.membership().holdings.why_not_owned().to_owned(),
                }),
            })
            .collect()
    }

    pub(super) async fn commit(&self) -> Result<(), GroupError> {
        wait_for(self.push(self.positions())?).await
    }

    pub(super) async fn commit_offsets(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), GroupError> {
        wait_for(self.push(self.named_offsets(offsets)?)?).await
    }

    /// Commits what goes by itself, and waits for all commits asked for before.
    pub(super) async fn finish_commits(&self) -> Result<(), GroupError> {
        let last = match self.shared.settings.auto_commit {
            Some(_) => self.uncommitted(),
            None => Vec::new(),
        };
        wait_for(self.push(last)?).await
    }

    pub(super) fn position(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, GroupError> {
        Ok(self.reader.position(partition)?)
    }

    pub(super) async fn seek(
        &mut self,
        partition: &TopicPartition,
        to: SeekTo,
    ) -> Result<(), GroupError> {
        Ok(self.reader.seek(partition, to).await?)
    }

    pub(super) async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Option<CommittedOffset>>, GroupError> {
        self.reader.check_exist(partitions).await?;
        let image = self.shared.cluster.image();
        let ids = partitions.iter().filter_map(|partition| {
            let topic = image.topics.get(&partition.topic)?;
            let id = IdPartition {
                topic_id: topic.id,
                partition: partition.partition,
            };
            Some((id, partition.clone()))
        });
        offsets::fetch(&self.shared, &ids.collect()).await
    }

    pub(super) async fn lag(&self, partition: &TopicPartition) -> Result<Option<u64>, GroupError> {
        let Some(position) = self.position(partition)? else {
            return Ok(None);
        };
        let ends = self
            .reader
            .end_offsets(std::slice::from_ref(partition))
            .await?;
        Ok(ends.get(partition).map(|end| {
            // A position may lie beyond the end for a moment, after a new leader has cut the log.
            u64::try_from(end.distance_from(position)).unwrap_or(0)
        }))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

pub(super) fn names(partitions: &[Owned]) -> Vec<TopicPartition> {
    partitions
        .iter()
        .map(|partition| partition.name.clone())
        .collect()
}

/// The task that answers lives as long as the consumer.
pub(super) async fn wait_for(outcome: Outcome) -> Result<(), GroupError> {
    outcome.await.unwrap_or(Err(GroupError::Closed))
}
