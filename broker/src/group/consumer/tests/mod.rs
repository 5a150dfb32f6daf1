//! The consumer group: scenarios, and a property test over random ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod cluster;
mod commits;
mod fences;
mod random_runs;
mod rebalances;
mod replays;
mod requests;
mod rig;
mod simulation;
mod static_members;
mod subscriptions;
