//! OffsetCommit.

use crate::kafka::message::{fields, message};

message! {
    OffsetCommitRequest<'a>, 2..=9, flexible from 8;
    pub struct OffsetCommitRequest<'a> {
        group_id: &'a str [0..];
        generation_id_or_member_epoch: i32 [0..] = -1;
        member_id: &'a str [0..];
        group_instance_id: Option<&'a str> [7..];
        retention_time_ms: i64 [2..=4] = -1;
        topics: Vec<OffsetCommitRequestTopic<'a>> [0..];
    }
    pub struct OffsetCommitRequestTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<OffsetCommitRequestPartition<'a>> [0..];
    }
    pub struct OffsetCommitRequestPartition<'a> {
        partition_index: i32 [0..];
        committed_offset: i64 [0..];
        committed_leader_epoch: i32 [6..] = -1;
        committed_metadata: Option<&'a str> [0..];
    }
}

message! {
    OffsetCommitResponse<'a>, 2..=9, flexible from 8;
    pub struct OffsetCommitResponse<'a> {
        throttle_time_ms: i32 [3..];
        topics: Vec<OffsetCommitResponseTopic<'a>> [0..];
    }
    pub struct OffsetCommitResponseTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<OffsetCommitResponsePartition> [0..];
    }
    pub struct OffsetCommitResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
