//! OffsetDelete.

use crate::kafka::message::{fields, message};

message! {
    OffsetDeleteRequest<'a>, 0..=0, flexible from 1;
    pub struct OffsetDeleteRequest<'a> {
        group_id: &'a str [0..];
        topics: Vec<OffsetDeleteRequestTopic<'a>> [0..];
    }
    pub struct OffsetDeleteRequestTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<OffsetDeleteRequestPartition> [0..];
    }
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32 [0..];
    }
}

message! {
    OffsetDeleteResponse<'a>, 0..=0, flexible from 1;
    pub struct OffsetDeleteResponse<'a> {
        error_code: i16 [0..];
        throttle_time_ms: i32 [0..];
        topics: Vec<OffsetDeleteResponseTopic<'a>> [0..];
    }
    pub struct OffsetDeleteResponseTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<OffsetDeleteResponsePartition> [0..];
    }
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
