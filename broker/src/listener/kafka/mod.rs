//! Kafka's own protocol, for the clients and tools that people have.
//!
//! `server` has the connections of a core, `connection` one of them. `call` is a request on its way from bytes to an answer,
//! `request` sends it to its API's file. `versions` says what is spoken; `nodes` what the brokers are called here. As in the
//! native dialect, a connection decides nothing about partitions or groups: it asks the router and translates the answers.
//!
//! Formats: `protocol/src/kafka/messages`. The source for behaviour is Kafka's protocol guide and the KIPs named where
//! they matter.

mod api_versions;
mod call;
mod connection;
mod fetch;
mod fetch_session;
mod framing;
mod groups;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod nodes;
mod offset_for_leader_epoch;
mod operations;
mod produce;
mod request;
mod sender;
mod server;
mod versions;

pub use nodes::Nodes;
pub use server::KafkaListener;
