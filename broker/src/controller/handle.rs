use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use corelog_protocol::{ErrorCode, ShardId, TopicId};

use super::applied::Applied;
use super::command::{Command, Outcome};
use super::decide::{Rules, decide};
use super::store::{MetadataError, MetadataStore};
use crate::metadata::MetadataImage;
use crate::runtime::{Task, oneshot, queue, random_u64, spawn};

/// Commands that may wait for the controller. At the bound, senders wait.
const MAILBOX_COMMANDS: usize = 64;

/// Why a command was not carried out, whatever it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControllerError {
    /// The command may or may not be found carried out after the next start.
    #[error("the metadata could not be written: {message}")]
    Storage { message: String },
    #[error("the broker is stopping")]
    Stopping,
}

impl ControllerError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Storage { .. } => ErrorCode::KafkaStorageError,
            Self::Stopping => ErrorCode::NotController,
        }
    }
}

/// Hands commands to the controller's task. A clone reaches the same controller.
#[derive(Clone)]
pub struct ControllerHandle(Rc<Inner>);

struct Inner {
    mailbox: RefCell<Option<queue::Sender<Request>>>,
    applied: Applied,
    task: RefCell<Option<Task<MetadataStore>>>,
}

struct Request {
    command: Command,
    reply: oneshot::Sender<Result<Carried, ControllerError>>,
}

/// A command's answer, and the offset of the image that holds its effect.
struct Carried {
    outcome: Outcome,
    offset: i64,
}

impl ControllerHandle {
    /// Starts the controller's task on this core. `publish` is given each new image and must not
    /// block; every shard has started with the store's present image.
    pub fn start(
        store: MetadataStore,
        rules: Rules,
        shards: u16,
        publish: impl Fn(Arc<MetadataImage>) + 'static,
    ) -> Self {
        let (mailbox, requests) = queue::bounded(MAILBOX_COMMANDS);
        let applied = Applied::new(shards, store.image().offset);
        let task = spawn(serve(store, rules, requests, publish));
        Self(Rc::new(Inner {
            mailbox: RefCell::new(Some(mailbox)),
            applied,
            task: RefCell::new(Some(task)),
        }))
    }

    /// Carries out a command and waits until every shard has applied its effect.
    pub async fn execute(&self, command: Command) -> Result<Outcome, ControllerError> {
        let mailbox = self.0.mailbox.borrow().clone();
        let mailbox = mailbox.ok_or(ControllerError::Stopping)?;
        let (reply, answer) = oneshot::channel();
        mailbox
            .send(Request { command, reply })
            .await
            .map_err(|_| ControllerError::Stopping)?;
        // Held across a wait, it would keep the task alive at a stop.
        drop(mailbox);
        let carried = answer.await.map_err(|_| ControllerError::Stopping)??;
        if self.0.applied.by_all(carried.offset).await {
            Ok(carried.outcome)
        } else {
            Err(ControllerError::Stopping)
        }
    }

    /// A shard reports that it has applied the image at `offset`.
    pub fn applied(&self, shard: ShardId, offset: i64) {
        self.0.applied.report(shard, offset);
    }

    /// Carries out what has been handed over, takes no more, and closes the store. Commands that
    /// still wait for a shard are answered with [`ControllerError::Stopping`].
    pub async fn close(&self) -> Result<(), MetadataError> {
        self.0.mailbox.borrow_mut().take();
        self.0.applied.close();
        let task = self.0.task.borrow_mut().take();
        match task {
            Some(task) => task.await.close().await,
            None => Ok(()),
        }
    }
}

async fn serve(
    mut store: MetadataStore,
    rules: Rules,
    mut requests: queue::Receiver<Request>,
    publish: impl Fn(Arc<MetadataImage>),
) -> MetadataStore {
    while let Some(Request { command, reply }) = requests.recv().await {
        let image = store.image();
        let decision = decide(&rules, &image, &command, &mut || new_topic_id(&image));
        let carried = if decision.records.is_empty() {
            Ok(image.offset)
        } else {
            store.append(&decision.records).await.map(|image| {
                let offset = image.offset;
                publish(image);
                offset
            })
        };
        let answer = match carried {
            Ok(offset) => Ok(Carried {
                outcome: decision.outcome,
                offset,
            }),
            Err(error) => {
                tracing::error!(%error, "a metadata change was refused");
                // An entry of several may be durable: what is, is published.
                let kept = store.image();
                if kept.offset > image.offset {
                    publish(kept);
                }
                Err(ControllerError::Storage {
                    message: error.to_string(),
                })
            }
        };
        // The one who asked may have gone away; the change stands.
        let _ = reply.send(answer);
    }
    store
}

/// A random UUID (version 4) that no topic has or had, and that does not begin with `-` where it is
/// shown: command lines would take it for an option.
fn new_topic_id(image: &MetadataImage) -> TopicId {
    loop {
        let random = (u128::from(random_u64()) << 64) | u128::from(random_u64());
        let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
        let id = TopicId::from_uuid(uuid);
        let taken = image.topic_by_id(id).is_some() || image.is_deleted(id);
        if !taken && !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests;
