//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat and LeaveGroup, as Kafka 4's
//! coordinator does them. The leader among the members computes the assignment; the coordinator
//! carries it.
//!
//! [`ClassicGroup`] is one group on the core that owns its partition of `__consumer_offsets`. It
//! does no I/O and reads no clock. A request becomes an [`Outcome`]: records for the log, and
//! replies, which leave once those records are durable. A request that waits for others is parked
//! under its [`Token`] and is answered by the outcome of a later call, exactly once.
//!
//! A round, as the members see it:
//!
//! 1. *PreparingRebalance*: every member sends JoinGroup, and waits. When the last one has, or the
//!    rebalance time-out is over, the generation rises, and all are answered at once.
//! 2. *CompletingRebalance*: the leader was sent everyone's subscriptions; all send SyncGroup, and
//!    wait for the leader's, which brings the assignments.
//! 3. The assignments are recorded, all are answered, and the group is *Stable* until a member
//!    comes, goes, changes its subscription or falls silent.
//!
//! Invariants:
//! * What was decided is what the log says: a record enters the state through
//!   [`ClassicGroup::apply`], now or when another coordinator loads it. Everything else (who waits,
//!   deadlines, a generation whose assignments have not come) may be lost: its members join again.
//! * Assignments of a generation come from one SyncGroup, the one of that generation's leader.
//! * A member without a session deadline waits for a reply that will give it one.
//!
//! Ignored on purpose: what subscriptions and assignments say, and committed offsets.

mod canary;
mod commits;
mod config;
mod describe;
mod error;
mod group;
mod heartbeat;
mod join;
mod leave;
mod member;
mod rebalance;
mod record;
mod reply;
mod request;
mod sync;
#[cfg(test)]
mod tests;

pub use commits::{CommitClaim, OffsetExpiry};
pub use config::ClassicConfig;
pub use describe::{GroupDescription, GroupState, MemberDescription};
pub use error::ClassicError;
pub use group::ClassicGroup;
pub use record::{GroupMetadata, GroupRecord, MemberMetadata};
pub use reply::{Joined, JoinedMember, Left, Outcome, Reply, Synced};
pub use request::{
    Assignment, HeartbeatRequest, JoinRequest, LeaveRequest, Leaving, Moment, Protocol,
    SyncRequest, Token,
};
