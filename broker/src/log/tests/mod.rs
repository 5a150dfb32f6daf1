//! The log on a simulated disk: what it promises, checked against a model.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod appends_and_reads;
mod closing;
mod compaction;
mod crowded;
mod damaged_journals;
mod format_page;
mod memory;
mod model;
mod power_cuts;
mod producers;
mod reads;
mod rearranging;
mod recreated;
mod rig;
mod suspects;
mod workload;
