//! Corelog's client: [`Producer`], [`Consumer`], [`GroupConsumer`] and [`Admin`], over the native protocol.
//!
//! All of them are built from a [`ClientConfig`] of Kafka's setting names and run on the caller's tokio runtime. The client
//! knows which core of which broker owns a partition and keeps one connection to each core that it needs, so that a
//! record reaches its owner without a hop.
//!
//! The layers, top down: `group` over `consumer`, beside `producer` and `admin`; `cluster` (metadata, a connection per broker and shard);
//! `connection` (one socket: frames, pipelining, subscriptions). Nothing below knows anything above.
#![warn(missing_docs)]

mod admin;
pub mod assignors;
mod backoff;
mod cluster;
mod config;
mod connection;
mod consumer;
mod delete_records;
mod error;
mod group;
mod leaders;
mod metadata;
mod offsets;
mod producer;
mod record;
mod requests;

pub use admin::{
    Admin, BrokerInfo, ClusterDescription, ConfigChange, ConfigDescription, ConfigEntry,
    ConfigResource, ConfigResourceKind, ConfigSource, ConfigType, CreatedTopic, DeleteUntil,
    MorePartitions, NewTopic, OffsetQuery, PartitionDescription, TopicDescription, TopicListing,
    TopicSelector,
};
pub use config::{AutoOffsetReset, ClientConfig, FetchMode, Partitioner};
pub use consumer::{Consumer, ConsumerBatch, ConsumerRecords, SeekTo};
pub use error::{
    AdminError, ConfigError, ConnectError, ConnectionError, ConsumeError, GroupError, ProduceError,
    RequestError,
};
pub use group::{
    CommittedOffset, GroupConsumer, Listening, PendingCommit, Rebalance, RebalanceListener,
};
pub use metadata::PartitionInfo;
pub use offsets::ListedOffset;
pub use producer::{Delivery, Producer, ProducerMetrics};
pub use record::{
    ConsumerRecord, Header, ProducerRecord, RecordHeader, RecordMetadata, TopicPartition,
};

pub use corelog_protocol::{
    Acks, BrokerId, Compression, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset,
    PartitionIndex, ShardId, Timestamp, TopicId,
};
