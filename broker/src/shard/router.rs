//! From a request to the partition it is about: here, or one hop away.

use std::rc::Rc;
use std::sync::Arc;

use corelog_protocol::native::RouteHint;
use corelog_protocol::{BrokerId, ErrorCode, ShardId};

use super::lane::{Forwarded, Lane};
use super::message::{CopiedFetchOutcome, HandedOff, Listening, ShardMessage};
use super::partitions::Slot;
use super::pending_produce::{PendingProduce, hinted};
use super::state::ShardState;
use crate::controller::{self, ControllerError};
use crate::log::{Lending, Loan, Room, TopicPartition};
use crate::metadata::{MetadataImage, shard_of};
use crate::metrics::ShardMetrics;
use crate::partition::{
    CopiedData, DeleteRecordsCommand, DeleteRecordsOutcome, DescribeOutcome, FetchCommand,
    FetchOutcome, Fetched, FetchedData, ListOffsetsCommand, ListOffsetsOutcome, Outcome, Partition,
    ProduceCommand, Refusal,
};
use crate::runtime::now;

/// What a listener holds of its shard. Cheap to clone; stays on its core.
///
/// A request for a partition of another shard is forwarded over the mesh and its answer carries a
/// hint. A request is never refused for having come to the wrong core.
#[derive(Clone)]
pub struct Router {
    pub(super) shard: Rc<ShardState>,
}

/// Where a partition is.
enum Place {
    Here(Rc<Partition>),
    Elsewhere(ShardId),
    Nowhere(Refusal),
}

impl Router {
    /// The metadata as this shard has applied it.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shard.image()
    }

    pub fn broker_id(&self) -> BrokerId {
        self.shard.broker_id
    }

    pub fn shard_id(&self) -> ShardId {
        self.shard.id
    }

    /// How many shards the broker has; their ids count from 0.
    pub fn shards(&self) -> u16 {
        self.shard.shards
    }

    pub fn metrics(&self) -> &Rc<ShardMetrics> {
        &self.shard.metrics
    }

    /// What this shard's readers hold of its memory.
    pub fn lending(&self) -> &Lending {
        self.shard.log.lending()
    }

    /// Puts a produce in its partition's line.
    ///
    /// The order of calls is the order of offsets: the place in line is settled when this
    /// returns, and the future only waits for the answer. See [`PendingProduce::crowded`] for
    /// what the caller owes in return.
    pub fn produce(&self, command: ProduceCommand) -> PendingProduce {
        if self.shard.groups.keep(command.topic_partition.topic_id) {
            return PendingProduce::refused(Refusal::new(
                ErrorCode::InvalidTopicException,
                "the topic is the cluster's own: nobody else writes to it",
            ));
        }
        match self.find(command.topic_partition) {
            Place::Here(partition) => PendingProduce::here(partition.produce(command)),
            Place::Elsewhere(owner) => {
                let answer = self.forward(self.shard.request_lane(owner), |reply| {
                    ShardMessage::Produce { command, reply }
                });
                PendingProduce::forwarded(answer, self.hint(owner))
            }
            Place::Nowhere(refusal) => PendingProduce::refused(refusal),
        }
    }

    /// Reads from a partition, waiting until the deadline for `min_bytes`. Dropping the future
    /// ends the wait.
    pub async fn fetch(&self, command: FetchCommand) -> FetchOutcome {
        match self.find(command.topic_partition) {
            Place::Here(partition) => partition.fetch(command).await,
            Place::Elsewhere(owner) => self.fetch_elsewhere(command, owner).await,
            Place::Nowhere(refusal) => Outcome::refused(refusal, None),
        }
    }

    /// Fetches from another shard. The copy counts as held by this shard's readers: when they hold
    /// all they may, it is given up and asked for again once there is room.
    async fn fetch_elsewhere(&self, mut command: FetchCommand, owner: ShardId) -> FetchOutcome {
        let log = &self.shard.log;
        let mut loan = Loan::default();
        loop {
            let outcome = self.fetch_copy(command.clone(), owner).await;
            let bytes = outcome.result.as_ref().map_or(0, |it| it.data.len());
            if let Some(loan) = log.lending().fit(loan, bytes) {
                let charge = match bytes {
                    0 => None,
                    bytes => log.charge(bytes).await,
                };
                return outcome.map(|fetched| Fetched {
                    data: FetchedData::Forwarded(CopiedData::new(fetched.data, loan, charge)),
                    diverging_epoch: fetched.diverging_epoch,
                });
            }
            if command.room == Room::IfFree {
                return outcome.map(|_| Fetched::default());
            }
            drop(outcome);
            loan = log.lending().lend(bytes).await;
            // What was there is still there: a loan is not held while waiting for records.
            command.deadline = now();
        }
    }

    async fn fetch_copy(&self, command: FetchCommand, owner: ShardId) -> CopiedFetchOutcome {
        // Fetches wait long, so they have a lane of their own: they must not keep produces from
        // their places.
        let lane = self.shard.fetch_lane(owner);
        lane.room().await;
        let answer = self
            .forward(lane, |reply| ShardMessage::Fetch { command, reply })
            .await;
        hinted(answer, self.hint(owner))
    }

    pub async fn list_offsets(&self, command: ListOffsetsCommand) -> ListOffsetsOutcome {
        match self.find(command.topic_partition) {
            Place::Here(partition) => partition.list_offsets(command).await,
            Place::Elsewhere(owner) => {
                let lane = self.shard.request_lane(owner);
                lane.room().await;
                let answer = self
                    .forward(lane, |reply| ShardMessage::ListOffsets { command, reply })
                    .await;
                hinted(answer, self.hint(owner))
            }
            Place::Nowhere(refusal) => Outcome::refused(refusal, None),
        }
    }

    /// Deletes the oldest records of a partition. Answers when that is durable.
    pub async fn delete_records(&self, command: DeleteRecordsCommand) -> DeleteRecordsOutcome {
        match self.find(command.topic_partition) {
            Place::Here(partition) => partition.delete_records(command).await,
            Place::Elsewhere(owner) => {
                let lane = self.shard.request_lane(owner);
                lane.room().await;
                let answer = self
                    .forward(lane, |reply| ShardMessage::DeleteRecords { command, reply })
                    .await;
                hinted(answer, self.hint(owner))
            }
            Place::Nowhere(refusal) => Outcome::refused(refusal, None),
        }
    }

    /// The marks and sizes of a partition. Crossing the mesh for them is in order and neither
    /// counted as a hop nor answered with a hint: topics are described as a whole.
    pub async fn describe(&self, topic_partition: TopicPartition) -> DescribeOutcome {
        match self.find(topic_partition) {
            Place::Here(partition) => partition.describe(),
            Place::Elsewhere(owner) => {
                let lane = self.shard.request_lane(owner);
                lane.room().await;
                let answer = lane
                    .send(|reply| ShardMessage::Describe {
                        topic_partition,
                        reply,
                    })
                    .await;
                let mut outcome = hinted(answer, self.hint(owner));
                outcome.hint = None;
                outcome
            }
            Place::Nowhere(refusal) => Outcome::refused(refusal, None),
        }
    }

    /// Has the controller carry out a command. When it returns, every shard has applied the
    /// outcome.
    pub async fn control(
        &self,
        command: controller::Command,
    ) -> Result<controller::Outcome, ControllerError> {
        self.shard.control(command).await
    }

    /// Gives a connection to the shard it asked for. The connection is lost when this fails.
    pub async fn hand_off(&self, to: ShardId, connection: HandedOff) {
        let message = ShardMessage::HandOff(connection);
        self.shard.mesh.send(usize::from(to.get()), message).await;
    }

    /// The next connection to a listener that another shard hands to this one.
    pub async fn next_handed_off(&self, listening: Listening) -> HandedOff {
        self.shard.hand_offs.next(listening).await
    }

    pub(super) fn forward<T: Send + 'static>(
        &self,
        lane: &Rc<Lane>,
        request: impl FnOnce(crate::runtime::remote::ReplySender<T>) -> ShardMessage,
    ) -> Forwarded<T> {
        self.shard.metrics.mesh_hops.increment();
        lane.send(request)
    }

    pub(super) fn hint(&self, owner: ShardId) -> RouteHint {
        RouteHint {
            broker: self.shard.broker_id,
            shard: owner,
        }
    }

    fn find(&self, topic_partition: TopicPartition) -> Place {
        match self.shard.partitions.get(topic_partition) {
            Some(Slot::Open(partition)) => return Place::Here(partition),
            Some(Slot::Unusable(refusal)) => return Place::Nowhere(refusal),
            None => {}
        }
        let shard = &self.shard;
        let image = shard.image();
        let TopicPartition {
            topic_id,
            partition,
        } = topic_partition;
        let Some(topic) = image.topic_by_id(topic_id) else {
            return Place::Nowhere(Refusal::new(
                ErrorCode::UnknownTopicId,
                format!("no topic has the id {topic_id}"),
            ));
        };
        let Some(state) = topic.partition(partition) else {
            return Place::Nowhere(Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!(
                    "topic {} has {} partitions, there is no partition {partition}",
                    topic.name,
                    topic.partitions.len()
                ),
            ));
        };
        if state.leader != Some(shard.broker_id) {
            return Place::Nowhere(Refusal::new(
                ErrorCode::NotLeaderOrFollower,
                match state.leader {
                    Some(leader) => format!("broker {leader} leads the partition"),
                    None => "the partition has no leader".to_owned(),
                },
            ));
        }
        let owner = shard_of(topic_id, partition, shard.shards);
        if owner == shard.id {
            // The image is public a moment before its partitions are open.
            return Place::Nowhere(Refusal::new(
                ErrorCode::NotLeaderOrFollower,
                "the partition is being opened or closed",
            ));
        }
        Place::Elsewhere(owner)
    }
}
