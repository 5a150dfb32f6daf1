//! The client against a broker that is not one: it speaks the native frames over a real socket, keeps its log in memory,
//! and does what a test scripts: errors, lost connections, replies that do not come.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod answers;
mod connecting;
mod consuming;
mod coordinator;
mod fake;
mod group_admin;
mod group_members;
mod idempotence;
mod log;
mod producing;
mod retrying;
mod topics;
