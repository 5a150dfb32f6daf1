//! The consumer group: one heartbeat call, assignments computed by the coordinator (KIP-848).
//!
//! Three epochs carry a group from one assignment to the next. The *group epoch* rises when members,
//! their subscriptions or the subscribed topics change. The *target assignment* is computed for a
//! group epoch and says where every partition belongs. Each member goes to the target at its own
//! pace and has a *member epoch*: it first gives up what it must (`UnrevokedPartitions`), then moves
//! to the target's epoch and gets what others have given up, at once or later
//! (`UnreleasedPartitions`).
//!
//! **Invariant:** a partition that a member may still read is in that member's assigned or
//! pending-revocation set, and in nobody else's. It leaves the set only when the member reported
//! that it does not own it any more, when it left, or when it was fenced.
//!
//! | file | holds |
//! |---|---|
//! | `request` | what a heartbeat says, and the answer |
//! | `records` | what is written to `__consumer_offsets` |
//! | `state` | what the records say: the state that survives a move; `apply` |
//! | `group`, `heartbeat`, `departure`, `deadlines` | decisions |
//! | `reconcile` | one member's next step towards its target |
//! | `assignor` | target assignments: `uniform` and `range` |
//! | `topics`, `pattern` | the topics that exist, and those that a pattern means |
//!
//! On purpose not here: members of the classic protocol in a consumer group, client-side assignors,
//! and racks (recorded and shown, not used).

mod assignor;
mod canary;
mod commits;
mod config;
mod deadlines;
mod departure;
mod describe;
mod error;
mod group;
mod heartbeat;
mod partitions;
mod pattern;
mod reconcile;
mod records;
mod request;
mod state;
mod topics;

#[cfg(test)]
mod tests;

pub use crate::config::{Assignor, Assignors};
pub use assignor::Subscriber;
pub use config::ConsumerGroupConfig;
pub use describe::{GroupDescription, GroupState, MemberDescription};
pub use error::GroupError;
pub use group::ConsumerGroup;
pub use partitions::{Partitions, TopicPartition};
pub use records::{
    Change, CurrentAssignment, GroupMetadata, MemberMetadata, MemberState, Record, ResolvedPattern,
    STATIC_MEMBER_AWAY, TargetAssignmentMetadata,
};
pub use request::{Heartbeat, HeartbeatEpoch, HeartbeatReply, Outcome};
pub use topics::{Topic, Topics};
