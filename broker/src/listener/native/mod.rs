//! The native dialect: Corelog's own frames on one port.
//!
//! `server` has the connections of a core, `connection` one of them, with `receiver` and `sender`
//! as its two tasks. `request` sends each request to its API's file. What a connection does not
//! do is decide about partitions: it asks the router and passes on the answers.
//!
//! Formats: `protocol/docs/native_wire_format.md`.

mod alter_topic_configs;
mod api_versions;
mod batch_end;
mod connection;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_configs;
mod describe_topics;
mod fetch;
mod framing;
mod groups;
mod hello;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod outbox;
mod produce;
mod receiver;
mod reply_order;
mod request;
mod sender;
mod server;
mod subscribe;
#[cfg(test)]
mod tests;

pub use server::NativeListener;
