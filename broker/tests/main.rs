//! Behaviour of a real broker process, one file per behaviour.
//!
//! One binary, so that the broker is linked once and not once per file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod harness;
mod metadata;
mod produce_and_fetch;
mod restart_keeps_records;
mod routing_to_the_owning_core;
mod startup_refusals;
