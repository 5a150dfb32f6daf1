//! OffsetFetch.

use crate::kafka::message::{fields, message};

message! {
    OffsetFetchRequest<'a>, 1..=9, flexible from 6;
    pub struct OffsetFetchRequest<'a> {
        group_id: &'a str [1..=7];
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> [1..=7] null [2..];
        groups: Vec<OffsetFetchRequestGroup<'a>> [8..];
        require_stable: bool [7..];
    }
    pub struct OffsetFetchRequestTopics<'a> {
        name: &'a str [8..];
        partition_indexes: Vec<i32> [8..];
    }
    pub struct OffsetFetchRequestTopic<'a> {
        name: &'a str [1..=7];
        partition_indexes: Vec<i32> [1..=7];
    }
    pub struct OffsetFetchRequestGroup<'a> {
        group_id: &'a str [8..];
        member_id: Option<&'a str> [9..];
        member_epoch: i32 [9..] = -1;
        topics: Option<Vec<OffsetFetchRequestTopics<'a>>> [8..];
    }
}

message! {
    OffsetFetchResponse<'a>, 1..=9, flexible from 6;
    pub struct OffsetFetchResponse<'a> {
        throttle_time_ms: i32 [3..];
        topics: Vec<OffsetFetchResponseTopic<'a>> [1..=7];
        error_code: i16 [2..=7];
        groups: Vec<OffsetFetchResponseGroup<'a>> [8..];
    }
    pub struct OffsetFetchResponseTopics<'a> {
        name: &'a str [8..];
        partitions: Vec<OffsetFetchResponsePartitions<'a>> [8..];
    }
    pub struct OffsetFetchResponseTopic<'a> {
        name: &'a str [1..=7];
        partitions: Vec<OffsetFetchResponsePartition<'a>> [1..=7];
    }
    pub struct OffsetFetchResponsePartitions<'a> {
        partition_index: i32 [8..];
        committed_offset: i64 [8..];
        committed_leader_epoch: i32 [8..] = -1;
        metadata: Option<&'a str> [8..];
        error_code: i16 [8..];
    }
    pub struct OffsetFetchResponsePartition<'a> {
        partition_index: i32 [1..=7];
        committed_offset: i64 [1..=7];
        committed_leader_epoch: i32 [5..=7] = -1;
        metadata: Option<&'a str> [1..=7];
        error_code: i16 [1..=7];
    }
    pub struct OffsetFetchResponseGroup<'a> {
        group_id: &'a str [8..];
        topics: Vec<OffsetFetchResponseTopics<'a>> [8..];
        error_code: i16 [8..];
    }
}
