//! The rules of one replica: who may append and read, how far, and who waits for what.
//!
//! Plain synchronous code. Time comes in as an argument; what is to be done comes out as return
//! values and [`Answers`]. The log's marks come in through [`Replica::advance`]; nothing here
//! reads or writes a byte of it.
//!
//! Invariants:
//! - `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`, and none of
//!   the last three ever moves back while the replica leads.
//! - A produce is answered only when every offset below its end reached the topic's durability as
//!   it is *now*. A mark of the log is "everything below", so this holds whatever level the
//!   earlier appends were made at.
//!
//! `P` and `F` are whom to answer and whom to wake; the replica only hands them back.

use std::collections::VecDeque;

use corelog_protocol::native::messages::DeleteUntil;
use corelog_protocol::{
    Acks, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset, Timestamp,
};

use super::append_rules::{AppendRules, CheckedBatches};
use super::request::{Marks, Outcome, ProduceOutcome, Produced, Refusal};
use crate::runtime::Instant;

/// The most fetches that wait on one partition. One more is answered at once with what there is,
/// which a reader has to expect anyway.
pub(crate) const MAX_WAITING_FETCHES: usize = 16_384;

/// The most retries that wait on one partition for the durability of what they repeat. One more is
/// told to come again, which it does anyway when an answer takes long.
pub(crate) const MAX_WAITING_RETRIES: usize = 16_384;

/// The leader is the only replica so far.
const IN_SYNC_REPLICAS: u16 = 1;

/// What the topic's configuration means to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaConfig {
    pub(crate) durability: Durability,
    /// `min.insync.replicas`: how many replicas must be in sync for an acks=all produce.
    pub(crate) min_insync_replicas: u16,
    /// `cleanup.policy` holds `delete`: old records may be deleted.
    pub(crate) deletes: bool,
    pub(crate) rules: AppendRules,
}

/// How far the log reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogMarks {
    pub(crate) log_start_offset: Offset,
    pub(crate) log_end_offset: Offset,
    /// Everything below has reached the topic's durability.
    pub(crate) durable_end_offset: Offset,
}

/// An append that the log has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) produced: Produced,
    pub(crate) bytes: u64,
}

/// A produce that the log holds already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Where the first attempt came to stand.
    pub(crate) held: Produced,
    /// Everything below has reached the topic's durability.
    pub(crate) durable_end: Offset,
    pub(crate) acks: Acks,
    pub(crate) deadline: Instant,
}

/// Answers and wake-ups that a call brought about.
#[derive(Debug)]
pub(crate) struct Answers<P, F> {
    pub(crate) produces: Vec<(P, ProduceOutcome)>,
    /// Look again: there is more to read, or the time is over, or the partition is gone.
    pub(crate) fetches: Vec<F>,
}

impl<P, F> Default for Answers<P, F> {
    fn default() -> Self {
        Self {
            produces: Vec::new(),
            fetches: Vec::new(),
        }
    }
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) last_fetched_epoch: Option<LeaderEpoch>,
    pub(crate) fetch_offset: Offset,
    pub(crate) isolation: IsolationLevel,
}

/// What a reader may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadDecision {
    /// Read up to `until`; `readable_bytes` is where a wait for more counts from.
    Read { until: Offset, readable_bytes: u64 },
    /// The reader's log parted from this one: the last epoch both have, and its end here.
    Diverged { epoch: LeaderEpoch, end: Offset },
}

/// Names one waiting fetch, so that a reader that goes away can take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitTicket(u64);

/// One replica that leads its partition.
#[derive(Debug)]
pub(crate) struct Replica<P, F> {
    leader_epoch: LeaderEpoch,
    config: ReplicaConfig,
    log_start_offset: Offset,
    log_end_offset: Offset,
    high_watermark: Offset,
    last_stable_offset: Offset,
    /// Bytes appended since the replica opened, and how many of them lie below the high watermark.
    appended_bytes: u64,
    readable_bytes: u64,
    /// Appends above the high watermark, in offset order. Bounded by the log's memory, which an
    /// append waits for before it gets here.
    unreached: VecDeque<UnreachedAppend<P>>,
    /// Retries of appends above the high watermark.
    retries: Vec<WaitingRetry<P>>,
    fetches: Vec<WaitingFetch<F>>,
    next_ticket: u64,
    /// No later than the earliest deadline of anything that waits. An answer that came in time
    /// leaves it behind, so that answering costs no search: the next expiry finds out.
    earliest_deadline: Option<Instant>,
    /// Why nothing is served any more.
    closed: Option<Refusal>,
}

#[derive(Debug)]
struct UnreachedAppend<P> {
    produced: Produced,
    /// `appended_bytes` after this append.
    appended_bytes: u64,
    /// Who waits for it; nobody after a time-out.
    waiting: Option<(P, Instant)>,
}

#[derive(Debug)]
struct WaitingRetry<P> {
    held: Produced,
    reply: P,
    deadline: Instant,
}

#[derive(Debug)]
struct WaitingFetch<F> {
    ticket: WaitTicket,
    wake: F,
    /// Wake when this many bytes are readable.
    readable_bytes: u64,
    deadline: Instant,
}

impl<P, F> Replica<P, F> {
    /// Takes over a log as it was opened. All it holds has been made durable by then, so the high
    /// watermark starts where the topic's level does.
    pub(crate) fn new(leader_epoch: LeaderEpoch, config: ReplicaConfig, log: LogMarks) -> Self {
        assert!(log.log_start_offset <= log.durable_end_offset);
        assert!(log.durable_end_offset <= log.log_end_offset);
        Self {
            leader_epoch,
            config,
            log_start_offset: log.log_start_offset,
            log_end_offset: log.log_end_offset,
            high_watermark: log.durable_end_offset,
            last_stable_offset: log.durable_end_offset,
            appended_bytes: 0,
            readable_bytes: 0,
            unreached: VecDeque::new(),
            retries: Vec::new(),
            fetches: Vec::new(),
            next_ticket: 0,
            earliest_deadline: None,
            closed: None,
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        Marks {
            log_start_offset: self.log_start_offset,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            leader_epoch: self.leader_epoch,
            durability: self.config.durability,
        }
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub(crate) fn durability(&self) -> Durability {
        self.config.durability
    }

    /// Leads at a later epoch.
    pub(crate) fn lead(&mut self, leader_epoch: LeaderEpoch) {
        assert!(
            leader_epoch >= self.leader_epoch,
            "a leader epoch never moves back"
        );
        self.leader_epoch = leader_epoch;
    }

    /// Takes a changed configuration. Appends that wait are answered at the new durability; the
    /// caller advances the replica with that level's mark right after.
    pub(crate) fn configure(&mut self, config: ReplicaConfig) {
        self.config = config;
    }

    /// Whether these batches may be appended now.
    pub(crate) fn check_append(
        &self,
        leader_epoch: Option<LeaderEpoch>,
        acks: Acks,
        batches: &[u8],
        now: Timestamp,
    ) -> Result<CheckedBatches, Refusal> {
        self.check_open()?;
        self.check_leader_epoch(leader_epoch)?;
        let wanted = self.config.min_insync_replicas;
        if acks == Acks::All && wanted > IN_SYNC_REPLICAS {
            return Err(Refusal::new(
                ErrorCode::NotEnoughReplicas,
                format!(
                    "{IN_SYNC_REPLICAS} replica is in sync and min.insync.replicas is {wanted}: \
                     nothing was appended"
                ),
            ));
        }
        self.config.rules.check(batches, now)
    }

    /// Notes what the log appended and answers `reply` when `acks` is satisfied.
    pub(crate) fn appended(
        &mut self,
        append: Appended,
        acks: Acks,
        deadline: Instant,
        reply: P,
        answers: &mut Answers<P, F>,
    ) {
        let produced = append.produced;
        // The produce may begin below the log's end, with what an earlier attempt appended of it.
        assert!(
            produced.last_offset >= self.log_end_offset,
            "appends come in offset order"
        );
        assert!(produced.last_offset >= produced.base_offset);
        self.log_end_offset = next_offset(produced.last_offset);
        self.appended_bytes += append.bytes;
        let waiting = if let Some(closed) = &self.closed {
            let refused = Outcome::refused(closed.clone(), Some(self.marks()));
            answers.produces.push((reply, refused));
            None
        } else if acks == Acks::None {
            answers
                .produces
                .push((reply, Outcome::ok(produced, self.marks())));
            None
        } else {
            self.note_deadline(deadline);
            Some((reply, deadline))
        };
        self.unreached.push_back(UnreachedAppend {
            produced,
            appended_bytes: self.appended_bytes,
            waiting,
        });
    }

    /// Notes the first batches of a produce whose later ones the log refused. They are in the log,
    /// so they become readable, but whoever sent them was told of the refusal.
    pub(crate) fn appended_in_part(&mut self, append: Appended) {
        self.log_end_offset = next_offset(append.produced.last_offset);
        self.appended_bytes += append.bytes;
        self.unreached.push_back(UnreachedAppend {
            produced: append.produced,
            appended_bytes: self.appended_bytes,
            waiting: None,
        });
    }

    /// Answers a produce whose batches are all in the log, once they are as durable as the topic asks
    /// for.
    pub(crate) fn retried(&mut self, retry: Retry, reply: P, answers: &mut Answers<P, F>) {
        let Retry {
            held,
            durable_end,
            acks,
            deadline,
        } = retry;
        let marks = self.marks();
        let is_durable = next_offset(held.last_offset) <= durable_end.min(self.log_end_offset);
        let outcome = if let Some(closed) = &self.closed {
            Outcome::refused(closed.clone(), Some(marks))
        } else if acks == Acks::None || is_durable {
            Outcome::ok(held, marks)
        } else if self.retries.len() >= MAX_WAITING_RETRIES {
            let refusal = Refusal::new(
                ErrorCode::RequestTimedOut,
                format!(
                    "the records are in the log at offset {} and {MAX_WAITING_RETRIES} retries \
                     wait already: try again",
                    held.base_offset
                ),
            );
            Outcome::refused(refusal, Some(marks))
        } else {
            self.note_deadline(deadline);
            self.retries.push(WaitingRetry {
                held,
                reply,
                deadline,
            });
            return;
        };
        answers.produces.push((reply, outcome));
    }

    /// Takes the log's marks as they are now, raises the high watermark, and answers every
    /// produce and wakes every fetch that this satisfies.
    ///
    /// The high watermark is the lowest offset, over the in-sync replicas and the leader itself,
    /// that reached the topic's durability. The leader is the only in-sync replica so far, so
    /// acks=1 and acks=all are answered at the same moment.
    pub(crate) fn advance(&mut self, log: LogMarks, answers: &mut Answers<P, F>) {
        assert!(log.durable_end_offset <= log.log_end_offset);
        self.log_start_offset = self.log_start_offset.max(log.log_start_offset);
        // An append is in the log a moment before `appended` tells of it; what is not told of is
        // not readable yet, or its answer would be skipped.
        let reached = log.durable_end_offset.min(self.log_end_offset);
        // After durability was raised, the new level's mark may lie below what readers were
        // shown at the old one. They keep it; produces wait for the new level.
        self.high_watermark = self.high_watermark.max(reached);
        self.last_stable_offset = self.high_watermark;
        let marks = self.marks();
        while let Some(front) = self.unreached.front() {
            if next_offset(front.produced.last_offset) > reached {
                break;
            }
            let Some(append) = self.unreached.pop_front() else {
                break;
            };
            self.readable_bytes = append.appended_bytes;
            if let Some((reply, _)) = append.waiting {
                answers
                    .produces
                    .push((reply, Outcome::ok(append.produced, marks)));
            }
        }
        self.answer_retries(answers, |retry| {
            let is_durable = next_offset(retry.held.last_offset) <= reached;
            is_durable.then(|| Outcome::ok(retry.held, marks))
        });
        let readable_bytes = self.readable_bytes;
        self.wake_fetches(answers, |fetch| fetch.readable_bytes <= readable_bytes);
    }

    /// What a reader may have now.
    ///
    /// `end_offset_for_epoch` is the log's: the greatest epoch up to the one given, and its end.
    pub(crate) fn check_read(
        &self,
        request: ReadRequest,
        end_offset_for_epoch: impl FnOnce(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> Result<ReadDecision, Refusal> {
        self.check_open()?;
        self.check_leader_epoch(request.leader_epoch)?;
        if let Some(last_fetched) = request.last_fetched_epoch
            && let Some((epoch, end)) = end_offset_for_epoch(last_fetched)
            && (epoch < last_fetched || end < request.fetch_offset)
        {
            return Ok(ReadDecision::Diverged { epoch, end });
        }
        let until = self.read_end(request.isolation);
        if request.fetch_offset < self.log_start_offset || request.fetch_offset > until {
            return Err(self.out_of_range(request.fetch_offset, request.isolation));
        }
        Ok(ReadDecision::Read {
            until,
            readable_bytes: self.readable_bytes,
        })
    }

    /// Checks a question about offsets and returns where readable offsets end.
    pub(crate) fn check_query(
        &self,
        leader_epoch: Option<LeaderEpoch>,
        isolation: IsolationLevel,
    ) -> Result<Offset, Refusal> {
        self.check_open()?;
        self.check_leader_epoch(leader_epoch)?;
        Ok(self.read_end(isolation))
    }

    /// Where the log shall start for a reader's wish to delete, at most at the high watermark:
    /// nothing is deleted that a crash could take back, or that nobody could read yet.
    pub(crate) fn check_deletion(
        &self,
        leader_epoch: Option<LeaderEpoch>,
        until: DeleteUntil,
    ) -> Result<Offset, Refusal> {
        self.check_open()?;
        self.check_leader_epoch(leader_epoch)?;
        if !self.config.deletes {
            return Err(Refusal::new(
                ErrorCode::PolicyViolation,
                "the topic's cleanup.policy does not hold `delete`: its records are only compacted",
            ));
        }
        match until {
            DeleteUntil::HighWatermark => Ok(self.high_watermark),
            DeleteUntil::Offset(offset) if offset <= self.high_watermark => Ok(offset),
            DeleteUntil::Offset(offset) => Err(Refusal::new(
                ErrorCode::OffsetOutOfRange,
                format!(
                    "the log cannot start at offset {offset}: it can start from {} up to the high \
                     watermark {}",
                    self.log_start_offset, self.high_watermark
                ),
            )),
        }
    }

    pub(crate) fn out_of_range(&self, offset: Offset, isolation: IsolationLevel) -> Refusal {
        Refusal::new(
            ErrorCode::OffsetOutOfRange,
            format!(
                "offset {offset} is outside the readable range {} to {}",
                self.log_start_offset,
                self.read_end(isolation)
            ),
        )
    }

    /// Lets a fetch wait until `readable_bytes` are readable. `None`: they are, or as many
    /// wait as may.
    pub(crate) fn wait_for_bytes(
        &mut self,
        readable_bytes: u64,
        deadline: Instant,
        wake: F,
    ) -> Option<WaitTicket> {
        if self.readable_bytes >= readable_bytes || self.fetches.len() >= MAX_WAITING_FETCHES {
            return None;
        }
        let ticket = WaitTicket(self.next_ticket);
        self.next_ticket += 1;
        self.note_deadline(deadline);
        self.fetches.push(WaitingFetch {
            ticket,
            wake,
            readable_bytes,
            deadline,
        });
        Some(ticket)
    }

    /// Takes back a wait whose reader went away.
    pub(crate) fn forget_fetch(&mut self, ticket: WaitTicket) {
        if let Some(index) = self.fetches.iter().position(|f| f.ticket == ticket) {
            self.fetches.swap_remove(index);
            self.give_back_memory();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_fetches(&self) -> usize {
        self.fetches.len()
    }

    /// When [`Replica::expire`] is next worth calling.
    pub(crate) fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest_deadline
    }

    /// Answers what has waited until its deadline. The records of a produce that timed out stay
    /// in the log and may yet become readable.
    pub(crate) fn expire(&mut self, now: Instant, answers: &mut Answers<P, F>) {
        let marks = self.marks();
        let mut earliest: Option<Instant> = None;
        for append in &mut self.unreached {
            match append.waiting.take() {
                Some((reply, deadline)) if deadline <= now => {
                    let refusal = not_durable_in_time(append.produced, marks);
                    answers
                        .produces
                        .push((reply, Outcome::refused(refusal, Some(marks))));
                }
                Some((reply, deadline)) => {
                    earliest = Some(earliest.map_or(deadline, |e| e.min(deadline)));
                    append.waiting = Some((reply, deadline));
                }
                None => {}
            }
        }
        self.answer_retries(answers, |retry| {
            let refusal = || not_durable_in_time(retry.held, marks);
            (retry.deadline <= now).then(|| Outcome::refused(refusal(), Some(marks)))
        });
        for retry in &self.retries {
            earliest = Some(earliest.map_or(retry.deadline, |e| e.min(retry.deadline)));
        }
        self.wake_fetches(answers, |fetch| fetch.deadline <= now);
        for fetch in &self.fetches {
            earliest = Some(earliest.map_or(fetch.deadline, |e| e.min(fetch.deadline)));
        }
        self.earliest_deadline = earliest;
    }

    /// Refuses every produce that waits: the log has failed, nothing more will become durable.
    /// Reads go on.
    pub(crate) fn refuse_waiting_produces(
        &mut self,
        refusal: &Refusal,
        answers: &mut Answers<P, F>,
    ) {
        let marks = self.marks();
        for append in &mut self.unreached {
            if let Some((reply, _)) = append.waiting.take() {
                answers
                    .produces
                    .push((reply, Outcome::refused(refusal.clone(), Some(marks))));
            }
        }
        self.answer_retries(answers, |_| {
            Some(Outcome::refused(refusal.clone(), Some(marks)))
        });
    }

    /// Serves nothing from now on: `refusal` says why, to those who wait and to all who come.
    pub(crate) fn close(&mut self, refusal: Refusal, answers: &mut Answers<P, F>) {
        self.refuse_waiting_produces(&refusal, answers);
        self.wake_fetches(answers, |_| true);
        self.earliest_deadline = None;
        self.closed = Some(refusal);
    }

    /// Why nothing is served any more, if so.
    pub(crate) fn closed(&self) -> Option<&Refusal> {
        self.closed.as_ref()
    }

    /// True while somebody waits for an append to reach the topic's durability.
    pub(crate) fn has_waiting_produces(&self) -> bool {
        !self.retries.is_empty() || self.unreached.iter().any(|append| append.waiting.is_some())
    }

    fn check_open(&self) -> Result<(), Refusal> {
        match &self.closed {
            None => Ok(()),
            Some(refusal) => Err(refusal.clone()),
        }
    }

    /// Kafka's fencing (KIP-320): an older epoch has missed a change of leader, a newer one has
    /// heard of a change before this broker did.
    fn check_leader_epoch(&self, epoch: Option<LeaderEpoch>) -> Result<(), Refusal> {
        let Some(epoch) = epoch else {
            return Ok(());
        };
        let current = self.leader_epoch;
        match epoch.cmp(&current) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(Refusal::new(
                ErrorCode::FencedLeaderEpoch,
                format!("leader epoch {epoch} is over, the current one is {current}"),
            )),
            std::cmp::Ordering::Greater => Err(Refusal::new(
                ErrorCode::UnknownLeaderEpoch,
                format!("leader epoch {epoch} is not known here yet, the current one is {current}"),
            )),
        }
    }

    fn read_end(&self, isolation: IsolationLevel) -> Offset {
        match isolation {
            IsolationLevel::ReadUncommitted => self.high_watermark,
            IsolationLevel::ReadCommitted => self.last_stable_offset,
        }
    }

    fn note_deadline(&mut self, deadline: Instant) {
        self.earliest_deadline = Some(
            self.earliest_deadline
                .map_or(deadline, |earliest| earliest.min(deadline)),
        );
    }

    /// Answers the retries that `outcome` has one for, in the order in which they came.
    fn answer_retries(
        &mut self,
        answers: &mut Answers<P, F>,
        outcome: impl Fn(&WaitingRetry<P>) -> Option<ProduceOutcome>,
    ) {
        if self.retries.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.retries);
        for retry in waiting {
            match outcome(&retry) {
                Some(outcome) => answers.produces.push((retry.reply, outcome)),
                None => self.retries.push(retry),
            }
        }
    }

    fn wake_fetches(
        &mut self,
        answers: &mut Answers<P, F>,
        ready: impl Fn(&WaitingFetch<F>) -> bool,
    ) {
        if self.fetches.is_empty() {
            return;
        }
        let mut index = 0;
        while index < self.fetches.len() {
            if ready(&self.fetches[index]) {
                answers.fetches.push(self.fetches.swap_remove(index).wake);
            } else {
                index += 1;
            }
        }
        self.give_back_memory();
    }

    /// A crowd of readers must not leave its list behind on a partition that falls idle.
    fn give_back_memory(&mut self) {
        const KEPT: usize = 64;
        if self.fetches.is_empty() && self.fetches.capacity() > KEPT {
            self.fetches = Vec::new();
        }
    }
}

fn not_durable_in_time(produced: Produced, marks: Marks) -> Refusal {
    Refusal::new(
        ErrorCode::RequestTimedOut,
        format!(
            "the records were appended at offset {} but did not reach durability {} in time",
            produced.base_offset, marks.durability
        ),
    )
}

fn next_offset(last_offset: Offset) -> Offset {
    last_offset
        .checked_add(1)
        .expect("the append checks leave room for the next offset")
}
