//! Corelog's client: write records to topics, read them in groups, and administer brokers, over the native protocol.
//!
//! # A whole program
//!
//! It makes a topic, sends a thousand orders of ten customers, and bills them as a member of a group. Start a broker
//! (`corelog-broker --data-dir /tmp/corelog`), and run it with
//! `cargo run -p corelog-client --example guide -- 127.0.0.1:9190`.
//!
//! ```no_run
#![doc = include_str!("../examples/guide.rs")]
//! ```
//!
//! Everything runs on the caller's tokio runtime, and every type is built from a [`ClientConfig`] of Kafka's setting names. A
//! setting that is unknown, out of range, or contradicts another one is an error of the constructor that names it.
//!
//! # Writing
//!
//! [`Producer::send`] copies a record into the batch of its partition and returns a [`Delivery`], the acknowledgement to come.
//! It waits only while `buffer.memory` is full or the topic is unknown, for up to `max.block.ms`.
//!
//! - **Where a record goes.** To the partition it names; else to that of its key, by Kafka's hash; else where a batch is
//!   being filled (`partitioner`).
//! - **Order.** Records of one partition are written in the order of the calls of `send`, also when connections break, brokers
//!   restart and batches are sent again. That holds with `enable.idempotence` (the default), and without it with
//!   `max.in.flight.requests.per.connection=1`.
//! - **Once.** With `enable.idempotence` a batch that is sent again is written once: the broker knows the last five batches of
//!   each producer and partition. A program that calls `send` twice writes twice.
//! - **Durable.** With `acks=all` (the default) an acknowledged record survives what the topic's `durability` says: at
//!   `sync` a power cut, at `written` the end of the broker's process.
//! - **Failure.** A delivery fails when no acknowledgement came within `delivery.timeout.ms`, or the broker refused for good.
//!   After a time-out nobody knows whether the record was written.
//!
//! # Reading
//!
//! A [`GroupConsumer`] shares the partitions of its topics with the other members of its `group.id`. The coordinator, a core of
//! a broker, decides who reads what (KIP-848); members that keep a partition read on during a rebalance. What was processed is
//! committed, by itself or by hand, and another member goes on from there: see [`GroupConsumer`] for what is lost, what is
//! repeated, and how a program that stores its offsets with its results counts each record exactly once.
//!
//! A [`Consumer`] reads partitions that the program names, without a group.
//!
//! A record borrows from the batch it came in; [`GroupConsumer::poll_batches`] hands out whole batches undecoded.
//!
//! # Errors
//!
//! Each operation has its own error type. `is_retriable()` tells whether the same call may succeed later without a change by
//! the program: a broker restarts, a partition changes its leader, a group rebalances. Until then the client itself tries
//! again, with pauses from `retry.backoff.ms` to `retry.backoff.max.ms`, for a bounded time:
//!
//! | what | tries for |
//! |---|---|
//! | sending a record, from `send` to the acknowledgement | `delivery.timeout.ms` |
//! | room in the buffer, a topic's metadata, a producer's id | `max.block.ms` |
//! | everything else: commits, offsets, administration | `default.api.timeout.ms` |
//! | one request on one connection | `request.timeout.ms` |
//!
//! # Throughput and latency
//!
//! | to have | set |
//! |---|---|
//! | more records a second | `batch.size` to 1 MiB, `linger.ms` to 5 or more, several records in flight: await deliveries later |
//! | less waiting for a record | `linger.ms=0`; the topic's `durability=written`, if a power cut may take the last moment |
//! | fewer bytes | `compression.type=lz4` or `zstd` |
//! | larger reads | `max.partition.fetch.bytes`, `max.poll.records`, [`GroupConsumer::poll_batches`] |
//!
//! The client knows which core of which broker owns a partition and keeps one connection to each core that it needs, so that a
//! record reaches its owner without a hop.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | settings of connections, producers, readers, members | [`ClientConfig`], [`Producer`], [`Consumer`], [`GroupConsumer`] |
//! | sending, and what became of it | the example `produce` |
//! | hearing which partitions come and go | [`RebalanceListener`], the example `consume_in_a_group` |
//! | state per key, committed by hand | the example `keyed_processing` |
//! | topics, partitions, settings, groups, offsets | [`Admin`] |
//!
//! # Inside
//!
//! The layers, top down: `group` over `consumer`, beside `producer` and `admin`; `leaders` and `coordinator` (who answers for a
//! partition, and for a group); `cluster` (metadata, a connection per broker and shard); `connection` (one socket: frames,
//! pipelining, subscriptions). Nothing below knows anything above.
#![warn(missing_docs)]

mod admin;
pub mod assignors;
mod backoff;
mod cluster;
mod config;
mod connection;
mod consumer;
mod coordinator;
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
    GroupDescription, GroupKind, GroupMember, GroupState, ListedGroup, MorePartitions, NewTopic,
    OffsetQuery, PartitionDescription, TopicDescription, TopicListing, TopicSelector,
};
pub use config::{AutoOffsetReset, ClientConfig, FetchMode, Partitioner, parse_iso_duration};
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
pub use producer::{Delivery, DeliveryLatency, Producer, ProducerMetrics};
pub use record::{
    ConsumerRecord, Header, ProducerRecord, RecordHeader, RecordMetadata, TopicPartition,
};

pub use corelog_protocol::{
    Acks, BrokerId, Compression, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset,
    PartitionIndex, ShardId, Timestamp, TopicId,
};
