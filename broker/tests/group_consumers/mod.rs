//! Consumers in groups, over a real broker: who reads what, what is committed, and what goes wrong.

mod commits;
mod consumer_architecture;
mod rig;
mod sharing;
mod subscriptions;
mod trouble;
