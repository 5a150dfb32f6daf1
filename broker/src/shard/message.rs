//! What crosses the mesh between the shards, and from the control thread to a shard.

use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use corelog_protocol::ShardId;

use super::connection_limit::ConnectionPermit;
use crate::controller::{self, ControllerError};
use crate::group::{self, GroupId};
use crate::log::TopicPartition;
use crate::metrics::ShardSnapshot;
use crate::partition::{
    DeleteRecordsCommand, DeleteRecordsOutcome, DescribeOutcome, FetchCommand, Fetched,
    ListOffsetsCommand, ListOffsetsOutcome, Outcome, ProduceCommand, ProduceOutcome, Refusal,
};
use crate::runtime::{AcceptedSocket, remote};

/// A fetch's answer on the mesh: a copy, because the log's buffers never leave their core.
pub(crate) type CopiedFetchOutcome = Outcome<Fetched<Bytes>>;

#[derive(Debug)]
pub enum ShardMessage {
    Produce {
        command: ProduceCommand,
        reply: remote::ReplySender<ProduceOutcome>,
    },
    Fetch {
        command: FetchCommand,
        reply: remote::ReplySender<CopiedFetchOutcome>,
    },
    ListOffsets {
        command: ListOffsetsCommand,
        reply: remote::ReplySender<ListOffsetsOutcome>,
    },
    DeleteRecords {
        command: DeleteRecordsCommand,
        reply: remote::ReplySender<DeleteRecordsOutcome>,
    },
    /// A command for a group that the receiver coordinates.
    Group {
        partition: TopicPartition,
        group_id: GroupId,
        command: group::coordinator::Command,
        reply: remote::ReplySender<Result<group::coordinator::Answer, Refusal>>,
    },
    ListGroups {
        reply: remote::ReplySender<Result<Vec<group::coordinator::ListedGroup>, Refusal>>,
    },
    Describe {
        topic_partition: TopicPartition,
        reply: remote::ReplySender<DescribeOutcome>,
    },
    /// For shard 0, where the controller lives.
    Controller {
        command: controller::Command,
        reply: remote::ReplySender<Result<controller::Outcome, ControllerError>>,
    },
    /// To shard 0: the sender has done all that the metadata image at `offset` asks of it.
    Applied {
        offset: i64,
    },
    HandOff(HandedOff),
    /// From the control thread, for `/metrics` and `/health`.
    Snapshot {
        reply: remote::ReplySender<ShardSnapshot>,
    },
    Stop {
        phase: StopPhase,
        done: mpsc::Sender<StopReport>,
    },
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    Native,
    Kafka,
}

/// A connection on its way to the shard that is to serve it.
#[derive(Debug)]
pub struct HandedOff {
    pub listening: Listening,
    pub socket: AcceptedSocket,
    /// What the accepting shard read from the socket, a Hello included.
    pub bytes_read: BytesMut,
    /// Its place among the broker's connections.
    pub permit: ConnectionPermit,
}

/// The steps of a clean stop. Every shard finishes a step before any shard begins the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPhase {
    /// Accept nothing more, tell the connections, answer what they asked, close them.
    Connections,
    /// Close the partitions, write the logs out and checkpoint them.
    Logs,
    /// Close the metadata log and end the shard's thread.
    Exit,
}

/// A shard has finished a step of the stop.
#[derive(Debug)]
pub struct StopReport {
    pub shard: ShardId,
    /// What went wrong on the way.
    pub error: Option<String>,
}
