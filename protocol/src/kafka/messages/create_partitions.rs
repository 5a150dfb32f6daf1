//! CreatePartitions.

use crate::kafka::message::{fields, message};

message! {
    CreatePartitionsRequest<'a>, 0..=3, flexible from 2;
    pub struct CreatePartitionsRequest<'a> {
        topics: Vec<CreatePartitionsTopic<'a>> [0..];
        timeout_ms: i32 [0..];
        validate_only: bool [0..];
    }
    pub struct CreatePartitionsTopic<'a> {
        name: &'a str [0..];
        count: i32 [0..];
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..];
    }
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..];
    }
}

message! {
    CreatePartitionsResponse<'a>, 0..=3, flexible from 2;
    pub struct CreatePartitionsResponse<'a> {
        throttle_time_ms: i32 [0..];
        results: Vec<CreatePartitionsTopicResult<'a>> [0..];
    }
    pub struct CreatePartitionsTopicResult<'a> {
        name: &'a str [0..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
    }
}
