//! What clients of Kafka's protocol see. Real clients are in `tools/conformance`.

mod administration;
mod bad_input;
mod client;
mod groups;
mod nodes;
mod offsets;
mod produce_and_fetch;
mod sessions;

pub(crate) use client::KafkaClient;
use client::stamped;
