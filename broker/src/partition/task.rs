//! The task of one partition: appends in order on one side, answers on the other.
//!
//! Both sides run in the same task, so one wake-up serves both, and an append that waits for room
//! does not keep finished ones from being answered.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corelog_protocol::{ErrorCode, Offset, Timestamp};
use futures_util::future::join;

use super::mailbox::Letter;
use super::producers::{Held, judge};
use super::replica::{Appended, Retry};
use super::reply::ProduceReply;
use super::request::{Outcome, ProduceCommand, Produced, Refusal};
use super::{PartitionAnswers, Shared, refuse_failed, send};
use crate::log::{AppendError, Producers};
use crate::runtime::{Alarm, Instant, now, unix_millis, yield_now};

/// Bytes appended before the task lets the others of its core run.
const BYTES_PER_TURN: usize = 1 << 20;

/// Answers kept allocated for the next round; a larger list is given back.
const KEPT_ANSWERS: usize = 64;

/// Wakes the partition's task: for a letter, for an earlier deadline, for its end.
#[derive(Default)]
pub(super) struct TaskWaker(RefCell<Option<Waker>>);

impl TaskWaker {
    pub(super) fn wake(&self) {
        let waker = self.0.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn register(&self, context: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }
}

pub(super) async fn run(shared: Rc<Shared>) {
    join(append_in_order(&shared), answer(&shared)).await;
    shared.finished.set();
}

/// Empties the mailbox, one append after the other. Ends when the partition is closing.
async fn append_in_order(shared: &Shared) {
    let mut turn_bytes = 0;
    while let Some(letter) = next_letter(shared).await {
        turn_bytes += letter.command.batches.len();
        append(shared, letter).await;
        if turn_bytes >= BYTES_PER_TURN {
            turn_bytes = 0;
            yield_now().await;
        }
    }
    shared.appends_ended.set(true);
}

fn next_letter(shared: &Shared) -> impl Future<Output = Option<Letter>> + '_ {
    poll_fn(|context| {
        if let Some(letter) = shared.mailbox.pop() {
            return Poll::Ready(Some(letter));
        }
        if shared.closing.get() {
            return Poll::Ready(None);
        }
        shared.waker.register(context);
        Poll::Pending
    })
}

async fn append(shared: &Shared, letter: Letter) {
    let Letter { command, reply } = letter;
    let metrics = &shared.metrics;
    metrics.produce_requests.add(1);
    let checked = if command.deadline <= now() {
        Err(not_appended_in_time())
    } else if let Some(failure) = shared.shard_log.failure() {
        Err(refuse_failed(&failure))
    } else {
        shared.replica.borrow().check_append(
            command.leader_epoch,
            command.acks,
            &command.batches,
            Timestamp::new(unix_millis()),
        )
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refuse(shared, reply, refusal),
    };
    let held = if checked.has_sequences {
        let judge = |producers: &mut Producers| judge(producers, &command.batches);
        match shared.log.with_producers(judge) {
            Ok(held) => held,
            Err(refusal) => return refuse(shared, reply, refusal),
        }
    } else {
        Held::Nothing
    };
    let (batches, first) = match held {
        Held::Nothing => (&command.batches[..], None),
        Held::First { held, rest_from } => (&command.batches[rest_from..], Some(held)),
        Held::All(held) => return answer_retry(shared, &command, held, reply),
    };
    let bytes = batches.len() as u64;
    let base_offset = shared.log.log_end_offset();
    let leader_epoch = shared.replica.borrow().leader_epoch();
    let append = shared
        .log
        .append(batches, base_offset, leader_epoch, checked.append_time);
    let appended = append.await;
    let end_offset = shared.log.log_end_offset();
    let produced = (end_offset > base_offset).then(|| Produced {
        base_offset,
        last_offset: Offset::new(end_offset.get() - 1),
        log_append_time: checked.append_time,
    });
    let appended = match (appended, produced) {
        (Ok(_), Some(produced)) => {
            let records = end_offset.get() - base_offset.get();
            metrics.produce_records.add(records.unsigned_abs());
            // The answer begins with what an earlier attempt brought into the log.
            let produced = match first {
                Some(first) => Produced {
                    last_offset: produced.last_offset,
                    ..first
                },
                None => produced,
            };
            Appended { produced, bytes }
        }
        (Ok(_), None) => unreachable!("a checked produce holds records"),
        (Err(error), part) => {
            if let Some(produced) = part {
                let part = Appended { produced, bytes };
                shared.replica.borrow_mut().appended_in_part(part);
            }
            return refuse(shared, reply, refuse_append(&error));
        }
    };
    metrics.produce_bytes.add(bytes);
    let mut answers = PartitionAnswers::default();
    shared.replica.borrow_mut().appended(
        appended,
        command.acks,
        command.deadline,
        reply,
        &mut answers,
    );
    send(&mut answers);
}

/// Answers for batches that are in the log already, when they are as durable as a new one would
/// have to be.
fn answer_retry(shared: &Shared, command: &ProduceCommand, held: Produced, reply: ProduceReply) {
    shared.metrics.produce_retries.add(1);
    let mut answers = PartitionAnswers::default();
    {
        let mut replica = shared.replica.borrow_mut();
        let durable_end = shared.log.end_offset_at(replica.durability());
        let retry = Retry {
            held,
            durable_end,
            acks: command.acks,
            deadline: command.deadline,
        };
        replica.retried(retry, reply, &mut answers);
    }
    send(&mut answers);
    // The answering side of the task minds the deadline.
    shared.waker.wake();
}

fn refuse(shared: &Shared, reply: ProduceReply, refusal: Refusal) {
    let marks = shared.replica.borrow().marks();
    reply.send(Outcome::refused(refusal, Some(marks)));
}

/// Answers produces and wakes fetches as the log gets on, and when their time is over. Ends when
/// the partition is closing and nobody waits for an append any more.
async fn answer(shared: &Shared) {
    let mut answers = PartitionAnswers::default();
    let mut alarm = Alarm::default();
    // A failed log gets no further; asking it for changes would return at once for ever.
    let mut failed = false;
    loop {
        let event = {
            let mut changed = pin!(shared.log.changed());
            poll_fn(|context| {
                if !failed && changed.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Event::LogChanged);
                }
                if alarm
                    .poll_until(context, shared.earliest_deadline())
                    .is_ready()
                {
                    return Poll::Ready(Event::DeadlineReached);
                }
                if shared.may_end() {
                    return Poll::Ready(Event::Closed);
                }
                shared.waker.register(context);
                Poll::Pending
            })
            .await
        };
        match event {
            Event::LogChanged => {
                failed = shared.shard_log.failure().is_some();
                shared.advance_with(&mut answers);
            }
            Event::DeadlineReached => shared.expire(&mut answers),
            Event::Closed => return,
        }
        if answers.produces.capacity() > KEPT_ANSWERS {
            answers = PartitionAnswers::default();
        }
    }
}

enum Event {
    LogChanged,
    DeadlineReached,
    Closed,
}

impl Shared {
    fn earliest_deadline(&self) -> Option<Instant> {
        let waiting = self.replica.borrow().earliest_deadline();
        match (waiting, self.mailbox.earliest_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (deadline, None) | (None, deadline) => deadline,
        }
    }

    fn expire(&self, answers: &mut PartitionAnswers) {
        let now = now();
        let marks = {
            let mut replica = self.replica.borrow_mut();
            replica.expire(now, answers);
            replica.marks()
        };
        send(answers);
        for letter in self.mailbox.take_expired(now) {
            letter
                .reply
                .send(Outcome::refused(not_appended_in_time(), Some(marks)));
        }
    }

    fn may_end(&self) -> bool {
        self.appends_ended.get() && !self.replica.borrow().has_waiting_produces()
    }
}

fn not_appended_in_time() -> Refusal {
    Refusal::new(
        ErrorCode::RequestTimedOut,
        "the records were not appended: those before them took until the deadline",
    )
}

fn refuse_append(error: &AppendError) -> Refusal {
    let code = match error {
        AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendError::Stopped(_) | AppendError::DiskFull { .. } => ErrorCode::KafkaStorageError,
        AppendError::Malformed(_) => ErrorCode::CorruptMessage,
        AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
    };
    Refusal::new(code, error.to_string())
}
