//! Behaviour of a real broker process, one file per behaviour.
//!
//! One binary, so that the broker is linked once and not once per file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adding_partitions;
mod bad_input;
mod command_line;
mod damaged_folder;
mod damaged_journal;
mod damaged_requests;
mod deleting_records;
mod embedded_brokers;
mod examples;
mod failing_disk;
mod full_disk;
mod group_consumers;
mod groups;
mod harness;
mod hello;
mod idempotent_producers;
mod interop;
mod kafka;
mod kill_loop;
mod many_connections;
mod metadata;
mod pipelining;
mod produce_and_fetch;
mod restart_keeps_records;
mod retention;
mod routing_to_the_owning_core;
mod slow_readers;
mod startup_refusals;
mod stopping;
mod subscribe;
mod timestamps;
