//! OffsetForLeaderEpoch.

use crate::kafka::message::{fields, message};

message! {
    OffsetForLeaderEpochRequest<'a>, 2..=4, flexible from 4;
    pub struct OffsetForLeaderEpochRequest<'a> {
        replica_id: i32 [3..] = -2;
        topics: Vec<OffsetForLeaderTopic<'a>> [0..];
    }
    pub struct OffsetForLeaderTopic<'a> {
        topic: &'a str [0..];
        partitions: Vec<OffsetForLeaderPartition> [0..];
    }
    pub struct OffsetForLeaderPartition {
        partition: i32 [0..];
        current_leader_epoch: i32 [0..] = -1;
        leader_epoch: i32 [0..];
    }
}

message! {
    OffsetForLeaderEpochResponse<'a>, 2..=4, flexible from 4;
    pub struct OffsetForLeaderEpochResponse<'a> {
        throttle_time_ms: i32 [0..];
        topics: Vec<OffsetForLeaderTopicResult<'a>> [0..];
    }
    pub struct OffsetForLeaderTopicResult<'a> {
        topic: &'a str [0..];
        partitions: Vec<EpochEndOffset> [0..];
    }
    pub struct EpochEndOffset {
        error_code: i16 [0..];
        partition: i32 [0..];
        leader_epoch: i32 [0..] = -1;
        end_offset: i64 [0..] = -1;
    }
}
