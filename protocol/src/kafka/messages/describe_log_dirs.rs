//! DescribeLogDirs.

use crate::kafka::message::{fields, message};

message! {
    DescribeLogDirsRequest<'a>, 1..=4, flexible from 2;
    pub struct DescribeLogDirsRequest<'a> {
        topics: Option<Vec<DescribableLogDirTopic<'a>>> [0..];
    }
    pub struct DescribableLogDirTopic<'a> {
        topic: &'a str [0..];
        partitions: Vec<i32> [0..];
    }
}

message! {
    DescribeLogDirsResponse<'a>, 1..=4, flexible from 2;
    pub struct DescribeLogDirsResponse<'a> {
        throttle_time_ms: i32 [0..];
        error_code: i16 [3..];
        results: Vec<DescribeLogDirsResult<'a>> [0..];
    }
    pub struct DescribeLogDirsTopic<'a> {
        name: &'a str [0..];
        partitions: Vec<DescribeLogDirsPartition> [0..];
    }
    pub struct DescribeLogDirsResult<'a> {
        error_code: i16 [0..];
        log_dir: &'a str [0..];
        topics: Vec<DescribeLogDirsTopic<'a>> [0..];
        total_bytes: i64 [4..] = -1;
        usable_bytes: i64 [4..] = -1;
    }
    pub struct DescribeLogDirsPartition {
        partition_index: i32 [0..];
        partition_size: i64 [0..];
        offset_lag: i64 [0..];
        is_future_key: bool [0..];
    }
}
