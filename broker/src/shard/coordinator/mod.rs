//! The coordinator of one partition of `__consumer_offsets`, on the core that owns the partition.
//!
//! One task decides about the groups of the partition, command by command, with the pure machine of
//! [`crate::group::coordinator`]. What it decides goes to the partition's log, all that was decided in
//! one turn as one batch; the answers leave when that batch, and with it all before it, is durable.
//! While a batch is on its way to the disk, commands gather: the more there is to do, the more fits into
//! the next.
//!
//! When a batch could not be appended, the machine knows more than the log. Then everybody who waits is
//! sent away to try again, and the machine is built anew from the log.
//!
//! | file | holds |
//! |---|---|
//! | `load` | the machine out of the log |
//! | `serve` | commands in, batches and answers out |
//! | `parked` | heartbeats that wait for something to be told |
//! | `counts` | what metrics tell of it |
//! | `batch` | the records of one turn, encoded |

mod batch;
mod counts;
mod load;
mod parked;
mod serve;
#[cfg(test)]
mod tests;

use std::rc::{Rc, Weak};
use std::time::Duration;

use corelog_protocol::ErrorCode;

pub(super) use counts::Present;

use super::state::ShardState;
use crate::group::GroupId;
use crate::group::coordinator::{Answer, Command, CoordinatorConfig, ListedGroup};
use crate::log::TopicPartition;
use crate::metrics::ShardMetrics;
use crate::partition::{Partition, Refusal};
use crate::runtime::{Event, Task, oneshot, queue, spawn};

/// Commands that wait for the task; who brings one more waits until there is room.
const WAITING_COMMANDS: usize = 1024;

/// What the task is told.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all letters are commands, which a box would only cost an allocation each"
)]
enum Letter {
    Command {
        group_id: GroupId,
        command: Command,
        /// How long a heartbeat may wait for something to be told to its member.
        patience: Duration,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    },
    List {
        reply: oneshot::Sender<Result<Vec<ListedGroup>, Refusal>>,
    },
}

/// A coordinator, for those who ask it.
pub(super) struct GroupCoordinator {
    letters: queue::Sender<Letter>,
    present: Rc<Present>,
    closing: Rc<Event>,
    finished: Rc<Event>,
    /// Dropping it stops the coordinator where it stands.
    _task: Task<()>,
}

/// What the task works with.
struct Workplace {
    /// The task is the shard's, not the other way round.
    shard: Weak<ShardState>,
    id: TopicPartition,
    partition: Rc<Partition>,
    config: CoordinatorConfig,
    metrics: Rc<ShardMetrics>,
    present: Rc<Present>,
    closing: Rc<Event>,
    finished: Rc<Event>,
}

impl GroupCoordinator {
    /// Begins to load the groups of `partition`. Commands wait until that is done.
    pub(super) fn start(
        shard: &Rc<ShardState>,
        id: TopicPartition,
        partition: Rc<Partition>,
        config: CoordinatorConfig,
    ) -> Self {
        let (letters, received) = queue::bounded(WAITING_COMMANDS);
        let (closing, finished) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let present = Rc::new(Present::default());
        let workplace = Workplace {
            shard: Rc::downgrade(shard),
            id,
            partition,
            config,
            metrics: Rc::clone(&shard.metrics),
            present: Rc::clone(&present),
            closing: Rc::clone(&closing),
            finished: Rc::clone(&finished),
        };
        Self {
            letters,
            present,
            closing,
            finished,
            _task: spawn(serve::run(workplace, received)),
        }
    }

    /// Has a command carried out. Answers when the outcome is durable, and all it rests on; a
    /// heartbeat's answer may wait so long for something to be told.
    pub(super) async fn execute(
        &self,
        group_id: GroupId,
        command: Command,
        patience: Duration,
    ) -> Result<Answer, Refusal> {
        self.ask(|reply| Letter::Command {
            group_id,
            command,
            patience,
            reply,
        })
        .await
    }

    pub(super) fn present(&self) -> &Present {
        &self.present
    }

    pub(super) async fn list(&self) -> Result<Vec<ListedGroup>, Refusal> {
        self.ask(|reply| Letter::List { reply }).await
    }

    async fn ask<T>(
        &self,
        letter: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Letter,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.letters.send(letter(reply)).await.is_err() {
            return Err(moved());
        }
        answer.await.unwrap_or_else(|_| Err(moved()))
    }

    /// Takes nothing new, and returns when all that was decided is answered.
    pub(super) async fn close(&self) {
        self.closing.set();
        self.finished.wait().await;
    }
}

fn moved() -> Refusal {
    Refusal::new(
        ErrorCode::NotCoordinator,
        "this broker does not coordinate the group any more: look up its coordinator and try again",
    )
}
