//! What one shard's thread does, from its start to its end.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use corelog_protocol::{BrokerId, ShardId};
use futures_util::future::{join, join_all};

use crate::config::BrokerConfig;
use crate::controller::{
    BrokerStart, Command, ControllerHandle, MetadataError, MetadataStore, Rules,
};
use crate::group::coordinator::CoordinatorConfig;
use crate::listener::kafka::{KafkaListener, Nodes};
use crate::listener::native::NativeListener;
use crate::listener::{ListenerOptions, ReceiveBudget};
use crate::log::{
    CompactionOptions, JournalOptions, KnownTopics, LogError, LogOptions, Recovered, RecoveryError,
    ShardLog, TopicPartition, recover, remove_deleted_topics,
};
use crate::metadata::MetadataImage;
use crate::metrics::ShardMetrics;
use crate::runtime::latest::{Publisher, Subscriber};
use crate::runtime::{
    BufferPool, ListeningSocket, MeshPort, Storage, raise_open_files_limit, remote, spawn,
};
use crate::shard::{
    ConnectionLimit, OffsetsTopicOptions, Shard, ShardMessage, ShardParts, StopPhase, StopReport,
    StopRequest,
};

/// The part of a shard's memory that its readers may hold: one byte in so many.
const LENT_SHARE: usize = 4;

/// Everything a shard's thread is given.
pub(super) struct ShardSetup {
    pub(super) id: ShardId,
    pub(super) shards: u16,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) data_dir: PathBuf,
    pub(super) mesh: MeshPort<ShardMessage>,
    pub(super) images: Subscriber<MetadataImage>,
    pub(super) kafka_nodes: Arc<Nodes>,
    pub(super) role: Role,
    /// Answered when all executors stand; dropped when one does not.
    pub(super) begin: remote::ReplyReceiver<()>,
    pub(super) started: mpsc::Sender<Started>,
}

pub(super) enum Role {
    First(Box<FirstShard>),
    Other(remote::ReplyReceiver<Arc<Found>>),
}

/// What only shard 0 does: metadata, recovery, and accepting connections.
pub(super) struct FirstShard {
    pub(super) cluster_id: String,
    pub(super) start: BrokerStart,
    pub(super) publisher: Publisher<MetadataImage>,
    pub(super) others: Vec<remote::ReplySender<Arc<Found>>>,
    pub(super) native: ListeningSocket,
    /// One for each of the broker's nodes.
    pub(super) kafka: Vec<ListeningSocket>,
    /// Answered when every shard is ready.
    pub(super) serve: remote::ReplyReceiver<()>,
}

/// What shard 0 found on disk, for all shards.
pub(super) struct Found {
    image: Arc<MetadataImage>,
    recovered: Recovered,
}

/// The one message of each shard about its start.
pub(super) struct Started {
    pub(super) shard: ShardId,
    pub(super) result: Result<(), ShardError>,
}

/// Why a shard did not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("cannot open the data folder: {0}")]
    Storage(io::Error),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("shard 0 did not start")]
    FirstShardFailed,
}

pub(super) async fn run(setup: ShardSetup) {
    let ShardSetup {
        id,
        shards,
        config,
        data_dir,
        mesh,
        images,
        kafka_nodes,
        role,
        begin,
        started,
    } = setup;
    if begin.await.is_err() {
        return;
    }
    let options = ListenerOptions::from(&*config);
    let start = async {
        let storage = Storage::real(data_dir.clone())
            .await
            .map_err(ShardError::Storage)?;
        let metrics = Rc::<ShardMetrics>::default();
        let (found, first) = match role {
            Role::First(first) => {
                let (found, first) = begin_broker(&storage, &config, shards, *first).await?;
                (found, Some(first))
            }
            Role::Other(found) => {
                let found = found.await.map_err(|_| ShardError::FirstShardFailed)?;
                (found, None)
            }
        };
        // What the listener may hold of frames comes out of the same budget.
        let memory = config.shard_memory_bytes.as_usize();
        let pool = BufferPool::new(memory.saturating_sub(options.receive_budget));
        let log = ShardLog::start(
            storage,
            pool.clone(),
            log_options(&config, shards),
            id,
            found.recovered.generation,
        )
        .await?;
        let shard = Shard::new(ShardParts {
            id,
            shards,
            broker_id: config.broker_id,
            mesh,
            log,
            pool,
            data_dir,
            metrics,
            topic_defaults: Arc::new(config.topic_defaults.clone()),
            mailbox_commands: config.partition_mailbox_commands,
            mesh_messages: config.shard_mesh_messages,
            coordinators: CoordinatorConfig::from(&*config),
            offsets_topic: OffsetsTopicOptions::from(&*config),
        });
        let image = Arc::clone(&found.image);
        shard.open_partitions(image, &found.recovered).await;
        Ok((shard, first))
    };
    let (shard, first) = match start.await {
        Ok(running) => running,
        Err(error) => {
            // Nobody listens any more when another shard failed first.
            let result = Err(error);
            let _ = started.send(Started { shard: id, result });
            return;
        }
    };
    let mut stops = shard.serve();
    shard.follow(images);
    if config.log_cleaner_enable {
        shard.compact_logs(config.log_cleaner_backoff);
    }
    shard.keep_house(config.log_retention_check_interval);
    let router = shard.router();
    let budget = ReceiveBudget::new(options.receive_budget, Rc::clone(router.metrics()));
    let listeners = Listeners {
        native: NativeListener::start(
            router.clone(),
            options.clone(),
            Arc::clone(&config),
            Rc::clone(&budget),
        ),
        kafka: KafkaListener::start(router, options, config, budget, kafka_nodes),
    };
    let controller = first.map(|first| {
        shard.host_controller(first.controller.clone());
        let sockets = (first.native, first.kafka);
        spawn(serve_clients(first.serve, sockets, listeners.clone())).detach();
        if let Some(offset) = first.deletions_finished {
            spawn(forget_deleted_topics(first.controller.clone(), offset)).detach();
        }
        first.controller
    });
    let result = Ok(());
    let _ = started.send(Started { shard: id, result });
    drop(started);

    while let Some(StopRequest { phase, done }) = stops.recv().await {
        let stopped = match phase {
            StopPhase::Connections => {
                join(listeners.native.stop(), listeners.kafka.stop()).await;
                Ok(())
            }
            StopPhase::Logs => shard.close_logs().await.map_err(ShardError::Log),
            StopPhase::Exit => match &controller {
                Some(controller) => controller.close().await.map_err(ShardError::Metadata),
                None => Ok(()),
            },
        };
        if phase == StopPhase::Exit {
            shard.end();
        }
        let error = stopped.err().map(|error| error.to_string());
        let _ = done.send(StopReport { shard: id, error });
        if phase == StopPhase::Exit {
            return;
        }
    }
}

/// What is left for shard 0 to do once it has found out what there is.
struct Begun {
    controller: ControllerHandle,
    native: ListeningSocket,
    kafka: Vec<ListeningSocket>,
    serve: remote::ReplyReceiver<()>,
    /// Nothing is left on the disk of the topics deleted at or below this metadata offset: no
    /// journal that counts names them, and their folders are gone.
    deletions_finished: Option<i64>,
}

/// Reads the metadata, registers this start, replays the journals, and tells the other shards.
async fn begin_broker(
    storage: &Storage,
    config: &BrokerConfig,
    shards: u16,
    first: FirstShard,
) -> Result<(Arc<Found>, Begun), ShardError> {
    let mut store = MetadataStore::open(
        storage.clone(),
        &first.cluster_id,
        Arc::new(config.topic_defaults.clone()),
        config.metadata_snapshot_interval_bytes,
    )
    .await?;
    let image = store.start_broker(first.start).await?;
    let topics = known_topics(&image, config.broker_id);
    let recovered = recover(storage, &topics).await?;
    tracing::info!("recovered: {}", recovered.report);
    let deletions_finished = match remove_deleted_topics(storage, &topics.deleted).await {
        Ok(()) => Some(image.offset),
        Err(error) => {
            tracing::error!(%error, "a deleted topic's files are left until the next start");
            None
        }
    };
    let found = Arc::new(Found {
        image: Arc::clone(&image),
        recovered,
    });
    for other in first.others {
        // A shard that failed meanwhile has told the broker itself.
        let _ = other.send(Arc::clone(&found));
    }
    let publisher = first.publisher;
    let controller = ControllerHandle::start(store, Rules::from(config), shards, move |image| {
        publisher.publish(image);
    });
    let begun = Begun {
        controller,
        native: first.native,
        kafka: first.kafka,
        serve: first.serve,
        deletions_finished,
    };
    Ok((found, begun))
}

/// What speaks with clients on one shard, a listener for each dialect.
#[derive(Clone)]
struct Listeners {
    native: NativeListener,
    kafka: KafkaListener,
}

/// Accepts connections once every shard is ready, and until the listeners stop.
async fn serve_clients(
    serve: remote::ReplyReceiver<()>,
    (native, kafka): (ListeningSocket, Vec<ListeningSocket>),
    listeners: Listeners,
) {
    if serve.await.is_err() {
        // Another part of the broker did not start.
        return;
    }
    let limit = Rc::<ConnectionLimit>::default();
    let kafka = kafka.into_iter().enumerate().map(|(node, socket)| {
        let (listeners, limit) = (&listeners, Rc::clone(&limit));
        async move {
            match socket.into_listener() {
                Ok(socket) => listeners.kafka.accept(node, socket, limit).await,
                Err(error) => tracing::error!(%error, "cannot accept Kafka's connections"),
            }
        }
    });
    let native = async {
        match native.into_listener() {
            Ok(native) => listeners.native.accept(native, Rc::clone(&limit)).await,
            Err(error) => tracing::error!(%error, "cannot accept connections"),
        }
    };
    join(native, join_all(kafka)).await;
}

/// The journals that could name the topics deleted before this start mean nothing any more. Ids of
/// topics deleted from here on are kept until the next start: files of this run's journals hold
/// their entries until they are written again.
async fn forget_deleted_topics(controller: ControllerHandle, through_offset: i64) {
    let command = Command::ForgetDeletedTopics { through_offset };
    if let Err(error) = controller.execute(command).await {
        tracing::warn!(%error, "deleted topics stay in the metadata until the next start");
    }
}

fn known_topics(image: &MetadataImage, broker: BrokerId) -> KnownTopics {
    let mut known = KnownTopics {
        deleted: image.deleted_topic_ids().collect(),
        ..KnownTopics::default()
    };
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            if partition.replicas.contains(&broker) {
                let id = TopicPartition {
                    topic_id: topic.id,
                    partition: index,
                };
                known.partitions.insert(id, topic.partition_folder(index));
            }
        }
    }
    known
}

/// Of the files that this process may open, a quarter may be segments.
fn open_segment_files(shards: u64) -> usize {
    const MOST: u64 = 4096;
    const LEAST: u64 = 64;
    let allowed = raise_open_files_limit().unwrap_or(1024);
    (allowed / 4 / shards).clamp(LEAST, MOST) as usize
}

/// Compaction's memory and its bytes a second are the broker's, and its shards share them evenly.
fn log_options(config: &BrokerConfig, shards: u16) -> LogOptions {
    let shards = u64::from(shards.max(1));
    let rate = config.log_cleaner_io_max_bytes_per_second;
    LogOptions {
        compaction: CompactionOptions {
            map_bytes: config.log_cleaner_dedupe_buffer_size.as_usize() / shards as usize,
            map_load_factor: config.log_cleaner_io_buffer_load_factor,
            io_bytes: config.log_cleaner_io_buffer_size.as_usize(),
            bytes_per_second: rate.map(|rate| (rate.get() / shards).max(1)),
        },
        journal: JournalOptions {
            file_bytes: config.journal_file_bytes.get(),
            files: config.journal_files,
            ..JournalOptions::default()
        },
        open_files: open_segment_files(shards),
        producers: config.shard_producers_max,
        producer_expiration: config.producer_id_expiration,
        bypass_bytes: config.journal_bypass_bytes.get(),
        lent_bytes: config.shard_memory_bytes.as_usize() / LENT_SHARE,
        ..LogOptions::default()
    }
}
