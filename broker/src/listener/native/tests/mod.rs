//! The real listener, router, partitions and log on a simulated machine with a bad network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_network;
mod client;
mod model;
mod rig;
