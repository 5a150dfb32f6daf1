//! Consumers in groups, over a real broker: who reads what, what is committed, and what goes wrong.

mod commits;
mod rig;
mod sharing;
mod subscriptions;
mod trouble;
