//! Reading several partitions at once, for a fetch of either dialect.
//!
//! A fetch of one partition waits inside the partition. A fetch of several reads what each has,
//! in the request's order and within its bytes; if that is less than `min_bytes`, it waits until
//! any of them has more and reads again. It is answered at the deadline at the latest, and at
//! once when a partition refuses, which is how the client learns of it.
//!
//! While it waits it holds no records. When readers hold all the memory they may, a fetch waits in
//! line for its first partition that has records, and brings of the others what there is room for.

use std::time::Duration;

use corelog_protocol::IsolationLevel;
use corelog_protocol::native::messages::FetchPartition;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::options::ListenerOptions;
use crate::log::{Room, TopicPartition};
use crate::partition::{FetchCommand, FetchOutcome};
use crate::runtime::{self, Instant};
use crate::shard::Router;

/// A longer wait is cut to this.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

/// A reply brings at most this part of what readers may hold, so that a few large fetches leave room
/// for others; a single larger batch comes alone.
const LENDING_SHARE: usize = 4;

pub(super) struct PartitionReads {
    router: Router,
    partitions: Vec<FetchPartition>,
    isolation: IsolationLevel,
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
}

/// How much a fetch wants, and for how long it waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appetite {
    pub(super) min_bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) max_wait: Duration,
}

impl PartitionReads {
    pub(super) fn new(
        router: Router,
        partitions: Vec<FetchPartition>,
        isolation: IsolationLevel,
        appetite: Appetite,
        options: &ListenerOptions,
    ) -> Self {
        let max_bytes = appetite
            .max_bytes
            .min(options.max_fetch_bytes)
            .min(router.lending().limit() / LENDING_SHARE);
        Self {
            router,
            partitions,
            isolation,
            min_bytes: appetite.min_bytes.min(max_bytes),
            max_bytes,
            deadline: runtime::now() + appetite.max_wait.min(MAX_WAIT),
        }
    }

    /// What the answer may hold.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn partitions(&self) -> &[FetchPartition] {
        &self.partitions
    }

    /// One outcome for each partition, in order.
    pub(super) async fn outcomes(&self) -> Vec<FetchOutcome> {
        let (max_bytes, min_bytes) = (self.max_bytes, self.min_bytes);
        match &self.partitions[..] {
            [only] => {
                let read = self.read(only, max_bytes, min_bytes, self.deadline, Room::Awaited);
                vec![read.await]
            }
            _ => self.read_all().await,
        }
    }

    /// Reads one partition within `room` and its own limit.
    async fn read(
        &self,
        partition: &FetchPartition,
        room: usize,
        min_bytes: usize,
        deadline: Instant,
        room_in_memory: Room,
    ) -> FetchOutcome {
        let command = FetchCommand {
            topic_partition: topic_partition(partition),
            leader_epoch: partition.leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            fetch_offset: partition.fetch_offset,
            max_bytes: room.min(partition.max_bytes as usize),
            min_bytes,
            deadline,
            isolation: self.isolation,
            room: room_in_memory,
        };
        self.router.fetch(command).await
    }

    async fn read_all(&self) -> Vec<FetchOutcome> {
        let mut has_more = true;
        loop {
            let outcomes = self.read_present().await;
            let lengths: Vec<usize> = outcomes.iter().map(data_length).collect();
            if lengths.iter().sum::<usize>() >= self.min_bytes
                || outcomes.iter().any(is_final)
                || runtime::now() >= self.deadline
                || !has_more
            {
                return outcomes;
            }
            drop(outcomes);
            has_more = self.wait_for_more(&lengths).await;
        }
    }

    /// What every partition has now. Once the bytes are spent, the rest answer with their marks.
    async fn read_present(&self) -> Vec<FetchOutcome> {
        let mut outcomes = Vec::with_capacity(self.partitions.len());
        let mut room = self.max_bytes;
        for partition in &self.partitions {
            let in_memory = match room {
                room if room == self.max_bytes => Room::Awaited,
                _ => Room::IfFree,
            };
            let outcome = self
                .read(partition, room, 0, runtime::now(), in_memory)
                .await;
            room = room.saturating_sub(data_length(&outcome));
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Waits until a partition has more than the `lengths` that were there; false if nothing came.
    async fn wait_for_more(&self, lengths: &[usize]) -> bool {
        let mut waits: FuturesUnordered<_> = self
            .partitions
            .iter()
            .zip(lengths.iter().copied())
            // One that gave all it may has nothing to add.
            .filter(|&(partition, had)| had < self.max_bytes.min(partition.max_bytes as usize))
            .map(|(partition, had)| async move {
                let outcome = self
                    .read(
                        partition,
                        self.max_bytes,
                        had + 1,
                        self.deadline,
                        Room::Awaited,
                    )
                    .await;
                outcome.result.is_err() || data_length(&outcome) > had
            })
            .collect();
        while let Some(has_more) = waits.next().await {
            if has_more {
                return true;
            }
        }
        false
    }
}

fn data_length(outcome: &FetchOutcome) -> usize {
    outcome
        .result
        .as_ref()
        .map_or(0, |fetched| fetched.data.len())
}

/// Whether waiting cannot improve the answer.
fn is_final(outcome: &FetchOutcome) -> bool {
    match &outcome.result {
        Ok(fetched) => fetched.diverging_epoch.is_some(),
        Err(_) => true,
    }
}

pub(super) fn topic_partition(partition: &FetchPartition) -> TopicPartition {
    TopicPartition {
        topic_id: partition.topic_id,
        partition: partition.partition,
    }
}
