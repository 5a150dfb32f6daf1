#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod expiry;
mod groups;
mod offsets;
mod replays;
mod rig;
mod settings;
