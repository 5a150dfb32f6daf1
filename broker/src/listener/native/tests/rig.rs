//! A broker of one shard on a simulated machine.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex, ShardId, TopicId};

use crate::config::{BrokerConfig, TopicConfig};
use crate::group::coordinator::CoordinatorConfig;
use crate::listener::native::NativeListener;
use crate::listener::{ListenerOptions, ReceiveBudget};
use crate::log::{JournalOptions, KnownTopics, LogOptions, ShardLog, TopicPartition, recover};
use crate::metadata::{MetadataImage, MetadataRecord, PartitionImage};
use crate::metrics::ShardMetrics;
use crate::runtime::{BufferPool, Listener, Mesh, Storage, sleep, spawn, timeout};
use crate::shard::{ConnectionLimit, OffsetsTopicOptions, Shard, ShardParts};

pub(super) const TOPIC: TopicId = TopicId::from_bytes([7; 16]);
pub(super) const PARTITIONS: i32 = 3;
const BROKER: BrokerId = BrokerId::new(1);
const SHARD: ShardId = ShardId::new(0);
const MEMORY: usize = 4 << 20;
/// In virtual time. Whatever ends at all ends long before: every time-out of the listener is a few
/// seconds.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9190).into()
}

pub(super) struct Broker {
    shard: Shard,
    listener: NativeListener,
    log: ShardLog,
    metrics: Rc<ShardMetrics>,
    pool: BufferPool,
}

impl Broker {
    /// Recovers what the disk holds, where nothing may be suspect, and serves it.
    pub(super) async fn start(storage: Storage) -> Self {
        let topics = known_topics();
        let recovered = recover(&storage, &topics).await.unwrap();
        assert!(recovered.suspects.is_empty(), "{:?}", recovered.suspects);
        let pool = BufferPool::new(MEMORY);
        let generation = recovered.generation;
        let log = ShardLog::start(storage, pool.clone(), log_options(), SHARD, generation)
            .await
            .unwrap();
        let metrics = Rc::<ShardMetrics>::default();
        let mesh = Mesh::new(1, 16).pop().unwrap();
        let shard = Shard::new(ShardParts {
            id: SHARD,
            shards: 1,
            broker_id: BROKER,
            mesh,
            log: log.clone(),
            pool: pool.clone(),
            data_dir: std::path::PathBuf::from("simulated"),
            metrics: Rc::clone(&metrics),
            topic_defaults: Arc::new(TopicConfig::default()),
            mailbox_commands: 4,
            mesh_messages: 16,
            coordinators: CoordinatorConfig::default(),
            offsets_topic: OffsetsTopicOptions::from(&BrokerConfig::default()),
        });
        shard.open_partitions(Arc::new(image()), &recovered).await;
        let config = Arc::new(BrokerConfig::default());
        let options = native_options();
        let budget =
            ReceiveBudget::new(options.receive_budget, Rc::clone(shard.router().metrics()));
        let listener = NativeListener::start(shard.router(), options, config, budget);
        let socket = Listener::bind(address()).unwrap();
        let accepting = listener.clone();
        let limit = Rc::<ConnectionLimit>::default();
        spawn(async move { accepting.accept(socket, limit).await }).detach();
        Self {
            shard,
            listener,
            log,
            metrics,
            pool,
        }
    }

    pub(super) fn lent(&self) -> usize {
        self.log.lending().lent()
    }

    pub(super) fn lending_limit(&self) -> usize {
        self.log.lending().limit()
    }

    /// A clean stop, which may not hang, and after which nothing is held.
    pub(super) async fn stop(self, context: &str) {
        let in_time = |what| format!("{context}: {what} does not end");
        timeout(PATIENCE, self.listener.stop())
            .await
            .unwrap_or_else(|_| panic!("{}", in_time("the listener")));
        let metrics = &self.metrics;
        assert_eq!(metrics.connections.get(), 0, "{context}");
        assert_eq!(metrics.subscriptions.get(), 0, "{context}");
        let requests_gone = async {
            while metrics.receive_bytes.get() > 0 || self.lent() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, requests_gone)
            .await
            .unwrap_or_else(|_| panic!("{}", in_time("a request")));
        timeout(PATIENCE, self.shard.close_logs())
            .await
            .unwrap_or_else(|_| panic!("{}", in_time("the log")))
            .unwrap();
        self.shard.end();
        let pool = self.pool.clone();
        drop(self);
        let memory_back = async {
            while pool.in_use() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, memory_back)
            .await
            .unwrap_or_else(|_| panic!("{context}: {} bytes never come back", pool.in_use()));
    }
}

fn log_options() -> LogOptions {
    LogOptions {
        journal: JournalOptions {
            file_bytes: 1 << 20,
            files: 2,
            checkpoint_bytes: 4 << 20,
        },
        write_out_bytes: 64 << 10,
        cache_bytes_per_partition: 128 << 10,
        read_bytes: 64 << 10,
        // A few replies: readers wait for each other.
        lent_bytes: 512 << 10,
        open_files: 4,
        index_bytes: 4 << 10,
        ..LogOptions::default()
    }
}

fn native_options() -> ListenerOptions {
    ListenerOptions {
        max_in_flight_requests: 8,
        max_in_flight_bytes: 1 << 20,
        receive_budget: 1 << 20,
        hello_timeout: Duration::from_secs(1),
        frame_timeout: Duration::from_secs(2),
        send_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(5),
        keepalive: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(1),
        ..ListenerOptions::default()
    }
}

fn known_topics() -> KnownTopics {
    let partition = |index| TopicPartition {
        topic_id: TOPIC,
        partition: PartitionIndex::new(index),
    };
    KnownTopics {
        partitions: (0..PARTITIONS)
            .map(|index| (partition(index), format!("topic-{index}")))
            .collect(),
        ..KnownTopics::default()
    }
}

fn image() -> MetadataImage {
    let configs = [("segment.bytes", "1048576")];
    let topic = MetadataRecord::TopicCreated {
        id: TOPIC,
        name: "topic".to_owned(),
        internal: false,
        configs: configs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        partitions: (0..PARTITIONS)
            .map(|_| PartitionImage {
                leader: Some(BROKER),
                leader_epoch: LeaderEpoch::ZERO,
                replicas: vec![BROKER],
                in_sync_replicas: vec![BROKER],
                partition_epoch: 0,
            })
            .collect(),
    };
    let empty = MetadataImage::empty(Arc::new(TopicConfig::default()));
    empty.apply(&[topic]).unwrap()
}
