//! The consumer group: scenarios, and a property test over random ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
