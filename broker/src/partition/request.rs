//! What a partition is asked and what it answers.
//!
//! These types are what the listener builds from a frame of either dialect and what crosses the
//! mesh when a request reached the wrong shard, so everything in a request is `Send` and owns or
//! shares its bytes.

use std::borrow::Cow;

use bytes::Bytes;
use corelog_protocol::native::RouteHint;
use corelog_protocol::native::messages::{DeleteUntil, OffsetQuery};
use corelog_protocol::{
    Acks, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset, Timestamp,
};

use crate::log::{Loan, ReadBatches, Room, TopicPartition};
use crate::runtime::{Charge, Instant};

/// Record batches for one partition.
#[derive(Clone, Debug)]
pub struct ProduceCommand {
    pub topic_partition: TopicPartition,
    /// The leader epoch the sender believes in; `None` when its dialect has none.
    pub leader_epoch: Option<LeaderEpoch>,
    pub acks: Acks,
    /// One or more whole record batches, as they arrived.
    pub batches: Bytes,
    /// When to answer REQUEST_TIMED_OUT instead of waiting on.
    pub deadline: Instant,
}

/// A read from one partition.
#[derive(Clone, Debug)]
pub struct FetchCommand {
    pub topic_partition: TopicPartition,
    pub leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record the reader has: lets the leader see that their logs part.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    pub fetch_offset: Offset,
    /// The most to return. The first batch is returned even if it is larger.
    pub max_bytes: usize,
    /// Wait until this much is readable, or until `deadline`.
    pub min_bytes: usize,
    pub deadline: Instant,
    pub isolation: IsolationLevel,
    /// What happens when readers hold all the memory they may.
    pub room: Room,
}

/// A question about one partition's offsets.
#[derive(Clone, Debug)]
pub struct ListOffsetsCommand {
    pub topic_partition: TopicPartition,
    pub leader_epoch: Option<LeaderEpoch>,
    pub isolation: IsolationLevel,
    pub query: OffsetQuestion,
}

/// Which of a partition's offsets is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuestion {
    Listed(OffsetQuery),
    /// Where the records of the largest epoch at or below this one end (KIP-320).
    EpochEnd(LeaderEpoch),
}

/// A wish to delete the oldest records of one partition.
#[derive(Clone, Debug)]
pub struct DeleteRecordsCommand {
    pub topic_partition: TopicPartition,
    pub leader_epoch: Option<LeaderEpoch>,
    pub until: DeleteUntil,
    /// When to answer REQUEST_TIMED_OUT instead of waiting on.
    pub deadline: Instant,
}

/// Where a partition stands. Every end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// What an acknowledgement of this partition means.
    pub durability: Durability,
}

/// Why a request got no data: a code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// An answer about one partition.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    pub result: Result<T, Refusal>,
    /// Absent when the partition is not here to tell.
    pub marks: Option<Marks>,
    /// Where to send the next such request: set when this one reached the wrong shard.
    pub hint: Option<RouteHint>,
}

impl<T> Outcome<T> {
    pub(crate) fn ok(value: T, marks: Marks) -> Self {
        Self {
            result: Ok(value),
            marks: Some(marks),
            hint: None,
        }
    }

    pub(crate) fn refused(refusal: Refusal, marks: Option<Marks>) -> Self {
        Self {
            result: Err(refusal),
            marks,
            hint: None,
        }
    }

    /// [`ErrorCode::None`] or the refusal's code.
    pub fn error_code(&self) -> ErrorCode {
        match &self.result {
            Ok(_) => ErrorCode::None,
            Err(refusal) => refusal.code,
        }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        Outcome {
            result: self.result.map(change),
            marks: self.marks,
            hint: self.hint,
        }
    }
}

/// Where the batches of a produce came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The time the leader stamped, on topics with `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<Timestamp>,
}

pub type ProduceOutcome = Outcome<Produced>;

/// What a fetch brought, `D` being the bytes' owner: see [`FetchedData`].
#[derive(Clone, Debug, Default)]
pub struct Fetched<D = FetchedData> {
    pub data: D,
    /// Set instead of data when the reader's log parted from the leader's: the last epoch they
    /// share and where it ends.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
}

pub type FetchOutcome = Outcome<Fetched>;

/// Whole record batches, in order. Dropped when the reader's socket took them: until then they count
/// as held by readers (see `log::Lending`).
#[derive(Debug, Default)]
pub enum FetchedData {
    #[default]
    Empty,
    /// From a partition of this shard: the log's own memory, not copied.
    Local(ReadBatches),
    /// From another shard. The log's buffers never leave their core, so these bytes are a copy.
    Forwarded(CopiedData),
}

/// A copy of what another shard read, counted on the shard that received it.
#[derive(Debug)]
pub struct CopiedData {
    bytes: Bytes,
    _loan: Loan,
    _charge: Option<Charge>,
}

impl CopiedData {
    pub(crate) fn new(bytes: Bytes, loan: Loan, charge: Option<Charge>) -> Self {
        Self {
            bytes,
            _loan: loan,
            _charge: charge,
        }
    }
}

impl FetchedData {
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.slices().all(<[u8]>::is_empty)
    }

    /// The bytes in order, in as many pieces as they lie in memory.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (local, forwarded): (_, &[u8]) = match self {
            Self::Empty => (None, &[]),
            Self::Local(read) => (Some(&read.slices), &[]),
            Self::Forwarded(copied) => (None, &copied.bytes),
        };
        local
            .into_iter()
            .flatten()
            .map(|slice| &**slice)
            .chain(std::iter::once(forwarded).filter(|bytes| !bytes.is_empty()))
    }
}

/// The answer to a [`ListOffsetsCommand`]; all are absent when no record is that young.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: Option<Offset>,
    pub timestamp: Option<Timestamp>,
    /// The epoch whose end was found.
    pub leader_epoch: Option<LeaderEpoch>,
}

pub type ListOffsetsOutcome = Outcome<ListedOffset>;

/// The marks tell where the log starts now.
pub type DeleteRecordsOutcome = Outcome<()>;

/// What `DescribeTopics` tells about a partition beside its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionSize {
    pub log_end_offset: Offset,
    pub size_bytes: u64,
}

pub type DescribeOutcome = Outcome<PartitionSize>;
