//! What every introduction to Kafka tells about consumers, told by tests: a module for each picture of
//! the chapter "Consumer Architecture", a test for each of its scenarios.

mod consumer_group_concept;
mod consumer_offset_management;
mod consumer_rebalancing;
