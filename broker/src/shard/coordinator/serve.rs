//! Commands in, batches and answers out.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corelog_protocol::kafka::GroupRecord;
use corelog_protocol::{Acks, ErrorCode};
use futures_util::future::{Either, select};

use super::batch::Batch;
use super::counts::{Cause, count};
use super::load::load;
use super::parked::{Parked, ParkedHeartbeat};
use super::{Letter, Workplace};
use crate::group::GroupId;
use crate::group::classic::Token;
use crate::group::consumer::{Heartbeat, HeartbeatEpoch, HeartbeatReply, Topics};
use crate::group::coordinator::{
    Answer, Command, Coordinator, CoordinatorError, Decision, ListedGroup, Moment, group_of,
};
use crate::partition::{ProduceCommand, ProduceOutcome, Refusal, SubmittedProduce};
use crate::runtime::{Alarm, Instant, now, oneshot, queue, timeout, unix_millis};

/// After a load that failed, and before the next.
const LOAD_BACKOFF: Duration = Duration::from_secs(1);
/// After a batch was refused, and before the next load: what refused it may do so again.
const RELOAD_BACKOFF: Duration = Duration::from_millis(200);

/// How a machine's service ends.
enum End {
    Closed,
    /// The machine knows more than the log.
    Broken,
}

enum Event {
    Letter(Letter),
    Appended(ProduceOutcome),
    /// There is something to do that nobody asks for.
    Time,
    Closed,
}

/// An answer that waits for the disk.
enum Held {
    Command(
        oneshot::Sender<Result<Answer, Refusal>>,
        Result<Answer, CoordinatorError>,
    ),
    List(
        oneshot::Sender<Result<Vec<ListedGroup>, Refusal>>,
        Vec<ListedGroup>,
    ),
}

struct UnderWay {
    append: SubmittedProduce,
    held: Vec<Held>,
}

struct Serving<'a> {
    workplace: &'a Workplace,
    machine: Coordinator,
    batch: Batch,
    /// Answers to what was decided since the last batch was handed over.
    held: Vec<Held>,
    parked: Parked,
    /// Members of the classic protocol who wait for what others do.
    waiting: BTreeMap<Token, oneshot::Sender<Result<Answer, Refusal>>>,
    /// The batch on its way to the disk. One at a time: the next one rests on it, and must not reach the log
    /// where this one does not.
    under_way: Option<UnderWay>,
    /// The topics that were last decided by.
    topics: Rc<Topics>,
    alarm: Alarm,
    /// Time came last, and letters come first now: neither waits for the other for long.
    letters_first: bool,
}

/// Runs until the coordinator is closed. Who asks afterwards finds nobody.
pub(super) async fn run(workplace: Workplace, mut letters: queue::Receiver<Letter>) {
    loop {
        let machine = {
            let loading = pin!(load(&workplace));
            match select(loading, pin!(workplace.closing.wait())).await {
                Either::Left((loaded, _)) => loaded,
                Either::Right(_) => break,
            }
        };
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) => {
                tracing::error!(partition = %workplace.id, %error, "groups cannot be loaded");
                let refusal = unavailable(&format!("the group's records cannot be read: {error}"));
                if refuse_for(LOAD_BACKOFF, &workplace, &mut letters, &refusal).await {
                    continue;
                }
                break;
            }
        };
        let serving = Serving {
            workplace: &workplace,
            machine,
            batch: Batch::new(),
            held: Vec::new(),
            parked: Parked::default(),
            waiting: BTreeMap::new(),
            under_way: None,
            topics: Rc::default(),
            alarm: Alarm::default(),
            letters_first: false,
        };
        match serving.serve(&mut letters).await {
            End::Closed => break,
            End::Broken => {
                let refusal = unavailable("the group is being loaded");
                if !refuse_for(RELOAD_BACKOFF, &workplace, &mut letters, &refusal).await {
                    break;
                }
            }
        }
    }
    drop(letters);
    workplace.finished.set();
}

/// Refuses whatever comes. False if the coordinator is to close.
async fn refuse_for(
    duration: Duration,
    workplace: &Workplace,
    letters: &mut queue::Receiver<Letter>,
    refusal: &Refusal,
) -> bool {
    let refuse_all = async {
        while let Some(letter) = letters.recv().await {
            letter.refuse(refusal);
        }
    };
    let over = async {
        let _ = timeout(duration, refuse_all).await;
    };
    matches!(
        select(pin!(over), pin!(workplace.closing.wait())).await,
        Either::Left(_)
    )
}

impl Serving<'_> {
    async fn serve(mut self, letters: &mut queue::Receiver<Letter>) -> End {
        loop {
            let event = self.next(letters).await;
            self.letters_first = matches!(event, Event::Time);
            let served = match event {
                Event::Letter(letter) => self.turn(letter, letters),
                Event::Appended(outcome) => self.release(outcome),
                Event::Time => self.tick(),
                Event::Closed => return End::Closed,
            };
            if let Err(refusal) = served {
                self.give_up(&refusal);
                return End::Broken;
            }
        }
    }

    async fn next(&mut self, letters: &mut queue::Receiver<Letter>) -> Event {
        let closing = &self.workplace.closing;
        let under_way = &mut self.under_way;
        let alarm = &mut self.alarm;
        let letters_first = self.letters_first;
        let has_disturbed = self.parked.has_disturbed();
        let deadlines = [self.machine.next_deadline(), self.parked.next_end()];
        let deadline = deadlines.into_iter().flatten().min();
        let mut letter = pin!(letters.recv());
        let mut closes = pin!(closing.wait());
        poll_fn(|context| {
            if let Some(batch) = under_way {
                // What is decided next rests on it, and waits.
                let appended = Pin::new(&mut batch.append).poll(context);
                return appended.map(Event::Appended);
            }
            if closes.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Closed);
            }
            let is_time = has_disturbed || alarm.poll_until(context, deadline).is_ready();
            if is_time && !letters_first {
                return Poll::Ready(Event::Time);
            }
            match letter.as_mut().poll(context) {
                Poll::Ready(letter) => Poll::Ready(letter.map_or(Event::Closed, Event::Letter)),
                Poll::Pending if is_time => Poll::Ready(Event::Time),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The topics as they are now.
    fn topics(&mut self) -> Result<Rc<Topics>, Refusal> {
        let Some(topics) = self.workplace.topics() else {
            return Err(unavailable("the shard is gone"));
        };
        if topics.version() != self.topics.version() {
            if topics.lack_some_of(&self.topics) {
                self.machine.topics_gone(now());
            }
            self.topics = Rc::clone(&topics);
        }
        Ok(topics)
    }

    /// Decides about a letter and all that came with it.
    fn turn(
        &mut self,
        first: Letter,
        letters: &mut queue::Receiver<Letter>,
    ) -> Result<(), Refusal> {
        let topics = self.topics()?;
        let mut next = Some(first);
        while let Some(letter) = next {
            self.take(letter, &topics)?;
            next = match self.batch.is_full() {
                true => None,
                false => letters.try_recv(),
            };
        }
        self.tell(&topics)?;
        self.submit();
        Ok(())
    }

    fn take(&mut self, letter: Letter, topics: &Topics) -> Result<(), Refusal> {
        let (records, held) = match letter {
            Letter::Command {
                group_id,
                command: Command::Heartbeat(heartbeat),
                patience,
                reply,
            } => {
                self.workplace.metrics.group_heartbeats.increment();
                // Whoever has something to say waits no more for what was to be told before.
                let before = self.parked.take(&group_id, &heartbeat.member_id);
                self.held.extend(before.map(Held::from));
                let until = now() + patience;
                return self.heartbeat(&group_id, heartbeat, until, reply, topics);
            }
            Letter::Command {
                group_id,
                command,
                patience: _,
                reply,
            } => {
                let moment = moment(topics);
                let decision = self.machine.handle(&group_id, command, &moment);
                let held = match decision.result {
                    Ok(Answer::Later(token)) => {
                        self.waiting.insert(token, reply);
                        None
                    }
                    result => Some(Held::Command(reply, result)),
                };
                (decision.records, held)
            }
            Letter::List { reply } => (Vec::new(), Some(Held::List(reply, self.machine.list()))),
        };
        self.held.extend(held);
        self.hold_released();
        self.stage(&records, Cause::Somebody)
    }

    /// Those who waited for others have their answers; they leave with the others of this turn.
    fn hold_released(&mut self) {
        for (token, result) in self.machine.take_released() {
            if let Some(reply) = self.waiting.remove(&token) {
                self.held.push(Held::Command(reply, result));
            }
        }
    }

    /// Decides about a heartbeat. If there is nothing to answer, the answer waits until then.
    fn heartbeat(
        &mut self,
        group_id: &GroupId,
        heartbeat: Heartbeat,
        until: Instant,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
        topics: &Topics,
    ) -> Result<(), Refusal> {
        let moment = moment(topics);
        let command = Command::Heartbeat(heartbeat.clone());
        let decision = self.machine.handle(group_id, command, &moment);
        if !decision.records.is_empty() {
            self.parked.disturb(group_id);
        }
        match nothing_to_tell(&heartbeat, &decision) {
            Some(answer) if until > moment.now => {
                // Silence for longer would be taken for death.
                let longest = moment.now + answer.heartbeat_interval;
                let parked = ParkedHeartbeat {
                    answer: answer.clone(),
                    heartbeat,
                    until: until.min(longest),
                    reply,
                };
                self.parked.park(group_id, parked);
            }
            _ => self.held.push(Held::Command(reply, decision.result)),
        }
        self.stage(&decision.records, Cause::Somebody)
    }

    /// Answers those parked heartbeats whose members are to hear something.
    fn tell(&mut self, topics: &Topics) -> Result<(), Refusal> {
        while !self.batch.is_full() {
            let machine = &self.machine;
            let has_news = |group: &GroupId, member: &_| machine.has_news(group, member);
            let Some((group_id, parked)) = self.parked.take_with_news(has_news) else {
                break;
            };
            // Its connection may have closed, and then it is no sign of life.
            if !parked.reply.is_closed() {
                let ParkedHeartbeat {
                    heartbeat,
                    until,
                    reply,
                    ..
                } = parked;
                self.heartbeat(&group_id, heartbeat, until, reply, topics)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Refusal> {
        let topics = self.topics()?;
        let moment = moment(&topics);
        while let Some(ended) = self.parked.take_ended(moment.now) {
            self.held.push(Held::from(ended));
        }
        let records = self.machine.tick(&moment);
        self.hold_released();
        for group_id in records.iter().filter_map(group_of) {
            self.parked.disturb(&group_id);
        }
        self.stage(&records, Cause::Time)?;
        self.tell(&topics)?;
        self.submit();
        Ok(())
    }

    fn stage(&mut self, records: &[GroupRecord], cause: Cause) -> Result<(), Refusal> {
        count(records, cause, &self.workplace.metrics);
        let staged = self.batch.add(records, unix_millis());
        staged.map_err(|error| {
            Refusal::new(
                ErrorCode::UnknownServerError,
                format!("the group's change cannot be recorded: {error}"),
            )
        })
    }

    /// Hands the batch of this turn to the log. Without one, the answers leave at once: all that was decided
    /// before is durable.
    fn submit(&mut self) {
        let present = &self.workplace.present;
        present.groups.set(self.machine.groups());
        present.waiting_heartbeats.set(self.parked.len());
        let held = std::mem::take(&mut self.held);
        if let Some(batches) = self.batch.take() {
            let append = self.workplace.partition.produce(ProduceCommand {
                topic_partition: self.workplace.id,
                leader_epoch: None,
                acks: Acks::All,
                batches,
                // An append that is given up on may yet reach the log, and then the log would know more
                // than the machine.
                deadline: now() + Duration::MAX,
            });
            self.under_way = Some(UnderWay { append, held });
            return;
        }
        held.into_iter().for_each(Held::release);
    }

    /// The batch under way is durable, or was refused.
    fn release(&mut self, outcome: ProduceOutcome) -> Result<(), Refusal> {
        let held = self.under_way.take().map(|batch| batch.held);
        let held = held.into_iter().flatten();
        match outcome.result {
            Ok(_) => {
                held.for_each(Held::release);
                Ok(())
            }
            Err(refusal) => {
                held.for_each(|held| held.refuse(&not_recorded(&refusal)));
                Err(refusal)
            }
        }
    }

    /// Sends everybody away who waits: what they were to hear may never become true.
    fn give_up(self, refusal: &Refusal) {
        tracing::warn!(
            partition = %self.workplace.id,
            "groups are loaded again: a change was not recorded: {}",
            refusal.message
        );
        let refusal = not_recorded(refusal);
        for held in self.held {
            held.refuse(&refusal);
        }
        for reply in self.waiting.into_values() {
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}

impl From<ParkedHeartbeat> for Held {
    fn from(parked: ParkedHeartbeat) -> Self {
        Self::Command(parked.reply, Ok(Answer::Heartbeat(parked.answer)))
    }
}

impl Held {
    /// Answers. Nobody listening any more is no error: the connection closed meanwhile.
    fn release(self) {
        match self {
            Self::Command(reply, result) => {
                let answer = result.map_err(|error| Refusal::new(error.code(), error.to_string()));
                let _ = reply.send(answer);
            }
            Self::List(reply, groups) => drop(reply.send(Ok(groups))),
        }
    }

    fn refuse(self, refusal: &Refusal) {
        let refusal = refusal.clone();
        match self {
            Self::Command(reply, _) => drop(reply.send(Err(refusal))),
            Self::List(reply, _) => drop(reply.send(Err(refusal))),
        }
    }
}

impl Letter {
    fn refuse(self, refusal: &Refusal) {
        let refusal = refusal.clone();
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(refusal))),
            Self::List { reply } => drop(reply.send(Err(refusal))),
        }
    }
}

impl Workplace {
    fn topics(&self) -> Option<Rc<Topics>> {
        Some(self.shard.upgrade()?.topics())
    }
}

/// The answer to a heartbeat of a member that goes on as before, if the decision is that.
fn nothing_to_tell<'a>(
    heartbeat: &Heartbeat,
    decision: &'a Decision,
) -> Option<&'a HeartbeatReply> {
    match &decision.result {
        Ok(Answer::Heartbeat(reply)) => {
            let goes_on = heartbeat.epoch == HeartbeatEpoch::At(reply.member_epoch);
            let is_told = reply.assignment.is_some() || !decision.records.is_empty();
            (goes_on && !is_told).then_some(reply)
        }
        _ => None,
    }
}

fn moment(topics: &Topics) -> Moment<'_> {
    Moment {
        now: now(),
        unix_millis: unix_millis(),
        topics,
    }
}

fn not_recorded(refusal: &Refusal) -> Refusal {
    unavailable(&format!("the change was not recorded: {}", refusal.message))
}

/// Clients look the coordinator up again and retry.
fn unavailable(reason: &str) -> Refusal {
    Refusal::new(
        ErrorCode::CoordinatorNotAvailable,
        format!("{reason}; try again"),
    )
}
