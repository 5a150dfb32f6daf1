//! Everything one core owns.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::{BrokerId, ErrorCode, ShardId};
use futures_util::{StreamExt, stream};

use super::groups::{Groups, OffsetsTopicOptions};
use super::hand_offs::HandOffs;
use super::housekeeping::keep_house;
use super::lane::Lane;
use super::message::ShardMessage;
use super::ownership::{OwnedPartition, Owner};
use super::partitions::{Partitions, Slot};
use super::producer_ids::ProducerIds;
use crate::config::TopicConfig;
use crate::controller::{self, ControllerError, ControllerHandle};
use crate::group::coordinator::CoordinatorConfig;
use crate::log::{LogConfig, LogError, PartitionStart, Recovered, ShardLog, TopicPartition};
use crate::metadata::MetadataImage;
use crate::metrics::ShardMetrics;
use crate::partition::{Partition, Refusal};
use crate::runtime::latest::Subscriber;
use crate::runtime::{BufferPool, MeshPort, ShutdownSignal, Task, spawn};

/// Fetches that may be under way to another shard for each other request that may: most of them
/// wait for records.
const FETCHES_PER_REQUEST: usize = 4;
/// The shard of the controller.
const FIRST_SHARD: ShardId = ShardId::new(0);
/// Partitions that are opened at the same time.
const OPENED_AT_ONCE: usize = 16;

pub(crate) struct ShardState {
    pub(super) id: ShardId,
    pub(super) shards: u16,
    pub(super) broker_id: BrokerId,
    pub(super) mesh: Rc<MeshPort<ShardMessage>>,
    request_lanes: Vec<Rc<Lane>>,
    fetch_lanes: Vec<Rc<Lane>>,
    waiting_lanes: Vec<Rc<Lane>>,
    pub(super) partitions: Partitions,
    pub(super) groups: Groups,
    image: RefCell<Arc<MetadataImage>>,
    pub(super) log: ShardLog,
    pub(super) pool: BufferPool,
    data_dir: PathBuf,
    pub(super) metrics: Rc<ShardMetrics>,
    mailbox_commands: usize,
    /// On shard 0 only.
    controller: OnceCell<ControllerHandle>,
    pub(super) hand_offs: HandOffs,
    pub(super) producer_ids: ProducerIds,
    housekeeping: RefCell<Option<Task<()>>>,
    housekeeping_ends: ShutdownSignal,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) id: ShardId,
    pub(crate) shards: u16,
    pub(crate) broker_id: BrokerId,
    pub(crate) mesh: MeshPort<ShardMessage>,
    pub(crate) log: ShardLog,
    pub(crate) pool: BufferPool,
    pub(crate) data_dir: PathBuf,
    pub(crate) metrics: Rc<ShardMetrics>,
    pub(crate) topic_defaults: Arc<TopicConfig>,
    /// `partition.mailbox.commands`
    pub(crate) mailbox_commands: usize,
    /// `shard.mesh.messages`
    pub(crate) mesh_messages: usize,
    pub(crate) coordinators: CoordinatorConfig,
    pub(crate) offsets_topic: OffsetsTopicOptions,
}

impl ShardState {
    pub(super) fn new(parts: ShardParts) -> Rc<Self> {
        let mesh = Rc::new(parts.mesh);
        let lanes = |places: usize| -> Vec<Rc<Lane>> {
            (0..usize::from(parts.shards))
                .map(|to| Lane::new(Rc::clone(&mesh), Rc::clone(&parts.metrics), to, places))
                .collect()
        };
        Rc::new(Self {
            id: parts.id,
            shards: parts.shards,
            broker_id: parts.broker_id,
            request_lanes: lanes(parts.mesh_messages),
            fetch_lanes: lanes(parts.mesh_messages * FETCHES_PER_REQUEST),
            waiting_lanes: lanes(usize::MAX),
            mesh,
            partitions: Partitions::default(),
            groups: Groups::new(parts.coordinators, parts.offsets_topic),
            image: RefCell::new(Arc::new(MetadataImage::empty(parts.topic_defaults))),
            log: parts.log,
            pool: parts.pool,
            data_dir: parts.data_dir,
            metrics: parts.metrics,
            mailbox_commands: parts.mailbox_commands,
            controller: OnceCell::new(),
            hand_offs: HandOffs::default(),
            producer_ids: ProducerIds::default(),
            housekeeping: RefCell::default(),
            housekeeping_ends: ShutdownSignal::new(),
        })
    }

    pub(super) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    pub(super) fn request_lane(&self, to: ShardId) -> &Rc<Lane> {
        &self.request_lanes[usize::from(to.get())]
    }

    pub(super) fn fetch_lane(&self, to: ShardId) -> &Rc<Lane> {
        &self.fetch_lanes[usize::from(to.get())]
    }

    /// For members that wait for each other: none of them may wait for a place that another one holds. Each connection has
    /// one such request at most, which is bound enough.
    pub(super) fn waiting_lane(&self, to: ShardId) -> &Rc<Lane> {
        &self.waiting_lanes[usize::from(to.get())]
    }

    /// Makes this shard the controller's.
    pub(super) fn host_controller(&self, controller: ControllerHandle) {
        assert!(
            self.controller.set(controller).is_ok(),
            "a shard hosts one controller"
        );
    }

    pub(super) async fn control(
        &self,
        command: controller::Command,
    ) -> Result<controller::Outcome, ControllerError> {
        if let Some(controller) = self.controller.get() {
            return controller.execute(command).await;
        }
        let lane = self.request_lane(FIRST_SHARD);
        lane.room().await;
        let answer = lane.send(|reply| ShardMessage::Controller { command, reply });
        answer.await.unwrap_or(Err(ControllerError::Stopping))
    }

    /// Tells the controller that this shard has done all that the image at `offset` asks of it.
    async fn report_applied(&self, offset: i64) {
        match self.controller.get() {
            Some(controller) => controller.applied(self.id, offset),
            None => {
                let report = ShardMessage::Applied { offset };
                self.mesh.send(usize::from(FIRST_SHARD.get()), report).await;
            }
        }
    }

    /// Follows the metadata, image by image; ends with the controller.
    pub(super) async fn follow(self: &Rc<Self>, mut images: Subscriber<MetadataImage>) {
        while let Ok(image) = images.changed().await {
            let offset = image.offset;
            self.apply(image, None).await;
            self.report_applied(offset).await;
        }
    }

    /// A shard reports an image applied. Only shard 0 is told.
    pub(super) fn note_applied(&self, shard: usize, offset: i64) {
        if let (Some(controller), Ok(shard)) = (self.controller.get(), u16::try_from(shard)) {
            controller.applied(ShardId::new(shard), offset);
        }
    }

    /// Brings the shard from the image it has to `new`: deletes, updates and opens partitions.
    /// Requests see `new` when this returns. One call at a time.
    ///
    /// `recovered` holds what the start found of partitions that are older than this run.
    pub(super) async fn apply(
        self: &Rc<Self>,
        new: Arc<MetadataImage>,
        recovered: Option<&Recovered>,
    ) {
        let owner = Owner {
            broker: self.broker_id,
            shard: self.id,
            shards: self.shards,
        };
        let changes = owner.changes(&self.image(), &new);
        for id in changes.deleted {
            self.delete(id).await;
        }
        for owned in changes.updated {
            if let Some(Slot::Open(partition)) = self.partitions.get(owned.id) {
                partition.update(owned.leader_epoch, &owned.topic.config);
            }
        }
        let suspects: HashMap<TopicPartition, &str> = recovered
            .iter()
            .flat_map(|recovered| &recovered.suspects)
            .map(|suspect| (suspect.topic_partition, suspect.reason.as_str()))
            .collect();
        stream::iter(changes.opened)
            .for_each_concurrent(OPENED_AT_ONCE, |owned| {
                let start = recovered.and_then(|r| r.partitions.get(&owned.id).cloned());
                let suspect = suspects.get(&owned.id).copied();
                async move {
                    let id = owned.id;
                    let slot = match suspect {
                        Some(reason) => {
                            let reason =
                                format!("it does not hold what was acknowledged: {reason}");
                            unusable(&owned, &format!("{reason}; {}", self.mend(&owned)))
                        }
                        None => match self.open(&owned, start).await {
                            Ok(slot) => slot,
                            Err(error @ LogError::Suspect { .. }) => {
                                unusable(&owned, &format!("{error}; {}", self.mend(&owned)))
                            }
                            Err(error) => unusable(&owned, &error.to_string()),
                        },
                    };
                    self.partitions.insert(id, slot);
                }
            })
            .await;
        self.metrics.partitions.set(self.partitions.len() as u64);
        self.image.replace(Arc::clone(&new));
        self.start_coordinators();
    }

    /// What an operator does about a partition that is not what it must be.
    fn mend(&self, owned: &OwnedPartition) -> String {
        format!(
            "restore it from a backup, or delete its topic, or stop the broker and have it serve \
             what the segments hold: corelog log repair {} --partition {} --accept --apply",
            self.data_dir.display(),
            owned.folder()
        )
    }

    async fn open(
        &self,
        owned: &OwnedPartition,
        start: Option<PartitionStart>,
    ) -> Result<Slot, LogError> {
        let config = &owned.topic.config;
        let log = self
            .log
            .open_partition(owned.id, &owned.folder(), LogConfig::from(&**config), start)
            .await?;
        Ok(Slot::Open(Rc::new(Partition::lead(
            owned.leader_epoch,
            config,
            log,
            self.log.clone(),
            Rc::clone(&self.metrics),
            self.mailbox_commands,
        ))))
    }

    /// From the first line on nobody finds the partition any more, and those who wait are told.
    async fn delete(&self, id: TopicPartition) {
        let Some(slot) = self.partitions.remove(id) else {
            return;
        };
        self.groups.end(id).await;
        let deleted = match slot {
            Slot::Open(partition) => {
                partition.forget_deleted();
                self.log.delete_partition(id).await
            }
            // The image still is the one that knows the topic.
            Slot::Unusable(_) => match self.image().topic_by_id(id.topic_id) {
                Some(topic) => {
                    let folder = topic.partition_folder(id.partition);
                    self.log.delete_unopened(id, &folder).await
                }
                None => Ok(()),
            },
        };
        if let Err(error) = deleted {
            // The topic is gone all the same: its id is recorded as deleted, and the next start
            // skips what is left of it.
            tracing::error!(partition = %id, %error, "cannot remove a deleted partition's files");
        }
    }

    /// Starts the housekeeping. Once.
    pub(super) fn keep_house(self: &Rc<Self>, interval: Duration) {
        let ends = self.housekeeping_ends.clone();
        let task = spawn(keep_house(Rc::clone(self), interval, ends));
        *self.housekeeping.borrow_mut() = Some(task);
    }

    /// Closes every partition, then the log. Everything taken before is answered.
    pub(super) async fn close_logs(&self) -> Result<(), LogError> {
        self.housekeeping_ends.trigger();
        let housekeeping = self.housekeeping.borrow_mut().take();
        if let Some(housekeeping) = housekeeping {
            housekeeping.await;
        }
        self.groups.close().await;
        stream::iter(self.partitions.open())
            .for_each_concurrent(None, |partition| async move { partition.close().await })
            .await;
        self.log.close().await
    }

    /// Called last: nothing of this shard may start a task any more.
    pub(super) fn close_lanes(&self) {
        let lanes = self.request_lanes.iter().chain(&self.fetch_lanes);
        for lane in lanes.chain(&self.waiting_lanes) {
            lane.close();
        }
    }
}

fn unusable(owned: &OwnedPartition, reason: &str) -> Slot {
    tracing::error!(
        partition = owned.folder(),
        reason,
        "partition is not served"
    );
    Slot::Unusable(Refusal::new(
        ErrorCode::KafkaStorageError,
        format!("the partition is not served: {reason}"),
    ))
}
