//! One plain struct per message, over the FlatBuffers tables of `schema/*.fbs`.
//!
//! Absent values are `Option`s, ids and offsets their own types; what a table holds beyond what a
//! type allows is a [`DecodeError`](super::DecodeError). Fields that only a success can fill (an
//! offset, a leader epoch) are zero next to an error code.

mod alter_topic_configs;
mod connection;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_configs;
mod describe_groups;
mod describe_topics;
mod fetch;
mod find_coordinator;
mod group_parts;
mod init_producer_id;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod parts;
mod produce;
mod subscribe;

pub use alter_topic_configs::*;
pub use connection::*;
pub use consumer_group_heartbeat::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_topics::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use group_parts::{GroupKind, GroupState, MemberEpoch, OffsetPartitionError, TopicPartitions};
pub use init_producer_id::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_delete::*;
pub use offset_fetch::*;
pub use parts::{ConfigEntry, ConfigSource, RouteHint, TopicSelector};
pub use produce::*;
pub use subscribe::*;
