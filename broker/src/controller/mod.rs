//! The one writer of the metadata: decides what a command changes, makes it durable, publishes the
//! image.
//!
//! `decide` is a pure state machine, `MetadataStore` its log and snapshot on disk, and
//! `ControllerHandle` the task that joins them. All of it lives on shard 0. A command is answered
//! when every shard has applied the image that holds it: a client that created a topic may produce
//! to it at once, on any core.

mod applied;
mod command;
mod decide;
mod handle;
mod store;
mod topic_name;

pub use command::{
    AlterTopic, Command, ConfigChange, CreatedTopic, DeletedTopic, MorePartitions, NewTopic,
    Outcome, ProducerIdBlock, TopicError, TopicSelector,
};
pub use decide::{Decision, Rules, decide};
pub use handle::{ControllerError, ControllerHandle};
pub use store::{BrokerStart, MetadataError, MetadataStore, SnapshotError};
pub(crate) use topic_name::check_name;
