//! One partition on the core that owns it.
//!
//! `replica::Replica` decides and does no I/O; `Partition` carries its decisions out. Appends
//! go through a mailbox to the partition's one task, which makes them one after the other, so
//! the order in which they were handed over is the order of their offsets. Reads take no place in
//! that line: they ask the replica how far they may read and read the log themselves, so a
//! produce that waits for room, or a log that refuses appends, holds no reader up.
//!
//! A partition that nobody uses is a parked task: no buffer, no timer, an empty mailbox.
//!
//! No borrow of the replica is held across an `.await`.

mod append_rules;
mod canary;
mod delete_records;
mod mailbox;
mod producers;
mod replica;
mod replica_config;
#[cfg(test)]
mod replica_tests;
mod reply;
mod request;
mod retention;
mod submitted;
mod task;
#[cfg(test)]
mod tests;
mod waiting_fetch;

pub(crate) use reply::ProduceReply;
pub use request::{
    CopiedData, DeleteRecordsCommand, DeleteRecordsOutcome, DescribeOutcome, FetchCommand,
    FetchOutcome, Fetched, FetchedData, ListOffsetsCommand, ListOffsetsOutcome, ListedOffset,
    Marks, OffsetQuestion, Outcome, PartitionSize, ProduceCommand, ProduceOutcome, Produced,
    Refusal,
};
pub(crate) use submitted::CrowdedPartition;
pub use submitted::SubmittedProduce;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelog_protocol::native::messages::OffsetQuery;
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::config::TopicConfig;
use crate::log::{
    LogConfig, LogFailure, PartitionLog, ReadBatches, ReadError, RetentionRules, ShardLog,
};
use crate::metrics::ShardMetrics;
use crate::runtime::{Event, Task, now, oneshot, spawn};
use mailbox::{Letter, Mailbox};
use replica::{Answers, LogMarks, ReadDecision, ReadRequest, Replica, ReplicaConfig};
use task::TaskWaker;

type PartitionReplica = Replica<ProduceReply, oneshot::Sender<()>>;
type PartitionAnswers = Answers<ProduceReply, oneshot::Sender<()>>;

/// A partition led by this broker, on its owning core.
pub struct Partition {
    shared: Rc<Shared>,
    /// Dropping it stops the partition where it stands.
    _task: Task<()>,
}

/// What the partition's task and its callers have in common.
struct Shared {
    replica: RefCell<PartitionReplica>,
    log: Rc<PartitionLog>,
    shard_log: ShardLog,
    retention: Cell<RetentionRules>,
    mailbox: Mailbox,
    waker: TaskWaker,
    /// Nothing new is taken; the task ends when all it took is answered.
    closing: Cell<bool>,
    /// The task has made its last append.
    appends_ended: Cell<bool>,
    finished: Event,
    metrics: Rc<ShardMetrics>,
}

impl Partition {
    /// Leads a partition whose log is open, and starts its task.
    pub fn lead(
        leader_epoch: LeaderEpoch,
        config: &TopicConfig,
        log: Rc<PartitionLog>,
        shard_log: ShardLog,
        metrics: Rc<ShardMetrics>,
        mailbox_commands: usize,
    ) -> Self {
        let retention = RetentionRules::from(config);
        let config = ReplicaConfig::from(config);
        let marks = log_marks(&log, &config);
        let shared = Rc::new(Shared {
            replica: RefCell::new(Replica::new(leader_epoch, config, marks)),
            log,
            shard_log,
            retention: Cell::new(retention),
            mailbox: Mailbox::new(mailbox_commands),
            waker: TaskWaker::default(),
            closing: Cell::new(false),
            appends_ended: Cell::new(false),
            finished: Event::new(),
            metrics,
        });
        Self {
            _task: spawn(task::run(Rc::clone(&shared))),
            shared,
        }
    }

    /// Puts a produce in line. Its place is settled when this returns.
    pub fn produce(&self, command: ProduceCommand) -> SubmittedProduce {
        let (sender, receiver) = oneshot::channel();
        self.submit(command, ProduceReply::Local(sender));
        SubmittedProduce {
            shared: Rc::clone(&self.shared),
            answer: receiver,
        }
    }

    /// Puts a produce in line, the answer going wherever `reply` leads.
    pub(crate) fn submit(&self, command: ProduceCommand, reply: ProduceReply) {
        if self.shared.closing.get() {
            let replica = self.shared.replica.borrow();
            let refusal = replica.closed().cloned().unwrap_or_else(stopping);
            reply.send(Outcome::refused(refusal, Some(replica.marks())));
            return;
        }
        self.shared.mailbox.push(Letter { command, reply });
        self.shared.waker.wake();
    }

    /// Reads whole batches, waiting for `min_bytes` until the deadline.
    pub(crate) async fn fetch(&self, command: FetchCommand) -> FetchOutcome {
        let shared = &self.shared;
        shared.metrics.fetch_requests.add(1);
        let mut waited = false;
        loop {
            let (decision, marks) = {
                let replica = shared.replica.borrow();
                let request = ReadRequest {
                    leader_epoch: command.leader_epoch,
                    last_fetched_epoch: command.last_fetched_epoch,
                    fetch_offset: command.fetch_offset,
                    isolation: command.isolation,
                };
                let decision =
                    replica.check_read(request, |epoch| shared.log.end_offset_for_epoch(epoch));
                (decision, replica.marks())
            };
            let (until, readable_bytes) = match decision {
                Err(refusal) => return Outcome::refused(refusal, Some(marks)),
                Ok(ReadDecision::Diverged { epoch, end }) => {
                    let fetched = Fetched {
                        data: FetchedData::Empty,
                        diverging_epoch: Some((epoch, end)),
                    };
                    return Outcome::ok(fetched, marks);
                }
                Ok(ReadDecision::Read {
                    until,
                    readable_bytes,
                }) => (until, readable_bytes),
            };
            let read = match shared.read(&command, until).await {
                Ok(read) => read,
                Err(refusal) => return Outcome::refused(refusal, Some(marks)),
            };
            // A wait that ended, for whatever reason, ends the fetch: what there is now is the
            // answer, also when whole batches do not add up to min_bytes within max_bytes.
            let bytes = read.as_ref().map_or(0, |read| read.bytes);
            let enough = bytes >= command.min_bytes.min(command.max_bytes);
            if enough || waited || now() >= command.deadline {
                shared.metrics.fetch_bytes.add(bytes as u64);
                let data = read.map_or(FetchedData::Empty, FetchedData::Local);
                return Outcome::ok(
                    Fetched {
                        data,
                        diverging_epoch: None,
                    },
                    marks,
                );
            }
            drop(read);
            let missing = command.min_bytes.saturating_sub(bytes) as u64;
            waiting_fetch::wait(shared, readable_bytes + missing, command.deadline).await;
            waited = true;
        }
    }

    pub(crate) async fn list_offsets(&self, command: ListOffsetsCommand) -> ListOffsetsOutcome {
        let shared = &self.shared;
        let marks = self.marks();
        let until = {
            let replica = shared.replica.borrow();
            replica.check_query(command.leader_epoch, command.isolation)
        };
        let until = match until {
            Ok(until) => until,
            Err(refusal) => return Outcome::refused(refusal, Some(marks)),
        };
        let at = |offset| ListedOffset {
            offset: Some(offset),
            ..ListedOffset::default()
        };
        let listed = match command.query {
            OffsetQuestion::Listed(OffsetQuery::Earliest) => at(marks.log_start_offset),
            OffsetQuestion::Listed(OffsetQuery::Latest) => at(until),
            OffsetQuestion::EpochEnd(epoch) => {
                let found = shared.log.end_offset_for_epoch(epoch);
                ListedOffset {
                    offset: found.map(|(_, end)| end),
                    timestamp: None,
                    leader_epoch: found.map(|(epoch, _)| epoch),
                }
            }
            OffsetQuestion::Listed(OffsetQuery::Timestamp(timestamp)) => {
                match shared.log.find_timestamp(timestamp, until).await {
                    Ok(found) => ListedOffset {
                        offset: found.map(|(_, offset)| offset),
                        timestamp: found.map(|(timestamp, _)| timestamp),
                        leader_epoch: None,
                    },
                    Err(error) => {
                        return Outcome::refused(refuse_read(&error), Some(marks));
                    }
                }
            }
        };
        Outcome::ok(listed, marks)
    }

    pub(crate) fn describe(&self) -> DescribeOutcome {
        let size = PartitionSize {
            log_end_offset: self.shared.log.log_end_offset(),
            size_bytes: self.shared.log.size_bytes(),
        };
        Outcome::ok(size, self.marks())
    }

    /// Takes a changed leader epoch and configuration. They count at once: a produce that waits
    /// is answered at the new durability, one still in the mailbox is checked by the new rules.
    pub(crate) fn update(&self, leader_epoch: LeaderEpoch, config: &TopicConfig) {
        self.shared.log.set_config(LogConfig::from(config));
        self.shared.retention.set(RetentionRules::from(config));
        {
            let mut replica = self.shared.replica.borrow_mut();
            replica.lead(leader_epoch);
            replica.configure(ReplicaConfig::from(config));
        }
        self.shared.advance();
    }

    /// Takes nothing new, and returns when everything taken before is answered.
    pub(crate) async fn close(&self) {
        self.shared.closing.set(true);
        self.shared.waker.wake();
        self.shared.finished.wait().await;
        self.shared.refuse_everything(stopping());
    }

    /// Refuses what waits and what comes: the topic was deleted.
    pub(crate) fn forget_deleted(&self) {
        self.shared.closing.set(true);
        self.shared.refuse_everything(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            "the topic was deleted",
        ));
        self.shared.waker.wake();
    }

    pub(crate) fn marks(&self) -> Marks {
        self.shared.replica.borrow().marks()
    }
}

impl Shared {
    async fn read(
        &self,
        command: &FetchCommand,
        until: Offset,
    ) -> Result<Option<ReadBatches>, Refusal> {
        if command.fetch_offset == until || command.max_bytes == 0 {
            return Ok(None);
        }
        match self
            .log
            .read_in(command.room, command.fetch_offset, until, command.max_bytes)
            .await
        {
            Ok(read) => Ok(Some(read)),
            // The log start moved while the read was on its way.
            Err(ReadError::OutOfRange { .. }) => Err(self
                .replica
                .borrow()
                .out_of_range(command.fetch_offset, command.isolation)),
            Err(error) => Err(refuse_read(&error)),
        }
    }

    /// Brings the replica up to date with the log and sends out what follows from it.
    fn advance(&self) {
        let mut answers = PartitionAnswers::default();
        self.advance_with(&mut answers);
    }

    fn advance_with(&self, answers: &mut PartitionAnswers) {
        {
            let mut replica = self.replica.borrow_mut();
            let marks = LogMarks {
                log_start_offset: self.log.log_start_offset(),
                log_end_offset: self.log.log_end_offset(),
                durable_end_offset: self.log.end_offset_at(replica.durability()),
            };
            replica.advance(marks, answers);
            if let Some(failure) = self.shard_log.failure() {
                replica.refuse_waiting_produces(&refuse_failed(&failure), answers);
            }
        }
        send(answers);
    }

    fn refuse_everything(&self, refusal: Refusal) {
        let mut answers = PartitionAnswers::default();
        let marks = {
            let mut replica = self.replica.borrow_mut();
            replica.close(refusal.clone(), &mut answers);
            replica.marks()
        };
        send(&mut answers);
        while let Some(letter) = self.mailbox.pop() {
            letter
                .reply
                .send(Outcome::refused(refusal.clone(), Some(marks)));
        }
    }
}

fn send(answers: &mut PartitionAnswers) {
    for (reply, outcome) in answers.produces.drain(..) {
        reply.send(outcome);
    }
    for wake in answers.fetches.drain(..) {
        // A reader that went away is no error.
        let _ = wake.send(());
    }
}

fn log_marks(log: &PartitionLog, config: &ReplicaConfig) -> LogMarks {
    LogMarks {
        log_start_offset: log.log_start_offset(),
        log_end_offset: log.log_end_offset(),
        durable_end_offset: log.end_offset_at(config.durability),
    }
}

fn stopping() -> Refusal {
    Refusal::new(ErrorCode::NotLeaderOrFollower, "the broker is stopping")
}

fn refuse_failed(failure: &LogFailure) -> Refusal {
    Refusal::new(
        ErrorCode::KafkaStorageError,
        format!("the log takes no more writes: {failure}"),
    )
}

fn refuse_read(error: &ReadError) -> Refusal {
    let code = match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::Io { .. } => ErrorCode::KafkaStorageError,
    };
    Refusal::new(code, error.to_string())
}
