//! ListOffsets.

use crate::kafka::message::{fields, message};

message! {
    ListOffsetsRequest<'a>, 1..=10, flexible from 6;
    pub struct ListOffsetsRequest<'a> {
        replica_id: i32 [0..];
        isolation_level: i8 [2..];
        topics: Vec<ListOffsetsTopic<'a>> [0..];
        timeout_ms: i32 [10..];
    }
    pub struct ListOffsetsTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<ListOffsetsPartition> [0..];
    }
    pub struct ListOffsetsPartition {
        partition_index: i32 [0..];
        current_leader_epoch: i32 [4..] = -1;
        timestamp: i64 [0..];
    }
}

message! {
    ListOffsetsResponse<'a>, 1..=10, flexible from 6;
    pub struct ListOffsetsResponse<'a> {
        throttle_time_ms: i32 [2..];
        topics: Vec<ListOffsetsTopicResponse<'a>> [0..];
    }
    pub struct ListOffsetsTopicResponse<'a> {
        name: &'a str [0..];
        partitions: Vec<ListOffsetsPartitionResponse> [0..];
    }
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        timestamp: i64 [0..] = -1;
        offset: i64 [0..] = -1;
        leader_epoch: i32 [4..] = -1;
    }
}
