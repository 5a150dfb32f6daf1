//! One plain struct per message, over the FlatBuffers tables of `schema/*.fbs`.
//!
//! Absent values are `Option`s, ids and offsets their own types; what a table holds beyond what a
//! type allows is a [`DecodeError`](super::DecodeError). Fields that only a success can fill (an
//! offset, a leader epoch) are zero next to an error code.

mod alter_topic_configs;
mod connection;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_topics;
mod fetch;
mod list_offsets;
mod metadata;
mod parts;
mod produce;
mod subscribe;

pub use alter_topic_configs::*;
pub use connection::*;
pub use create_topics::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_topics::*;
pub use fetch::*;
pub use list_offsets::*;
pub use metadata::*;
pub use parts::{ConfigEntry, ConfigSource, RouteHint, TopicSelector};
pub use produce::*;
pub use subscribe::*;
