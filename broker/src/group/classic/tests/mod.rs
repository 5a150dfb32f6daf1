#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod joining;
mod leaving;
mod loading;
mod offsets;
mod rig;
mod rounds;
mod static_members;
mod syncing;
