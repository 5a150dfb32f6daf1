//! DescribeTopicPartitions.

use crate::TopicId;
use crate::kafka::message::{fields, message};

message! {
    DescribeTopicPartitionsRequest<'a>, 0..=0, flexible from 0;
    pub struct DescribeTopicPartitionsRequest<'a> {
        topics: Vec<TopicRequest<'a>> [0..];
        response_partition_limit: i32 [0..] = 2000;
        cursor: Option<Box<Cursor<'a>>> [0..];
    }
    pub struct TopicRequest<'a> {
        name: &'a str [0..];
    }
    pub struct Cursor<'a> {
        topic_name: &'a str [0..];
        partition_index: i32 [0..];
    }
}

message! {
    DescribeTopicPartitionsResponse<'a>, 0..=0, flexible from 0;
    pub struct DescribeTopicPartitionsResponse<'a> {
        throttle_time_ms: i32 [0..];
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>> [0..];
        next_cursor: Option<Box<Cursor<'a>>> [0..];
    }
    pub struct DescribeTopicPartitionsResponseTopic<'a> {
        error_code: i16 [0..];
        name: Option<&'a str> [0..];
        topic_id: TopicId [0..];
        is_internal: bool [0..];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..];
        topic_authorized_operations: i32 [0..] = -2147483648;
    }
    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0..];
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..] = -1;
        replica_nodes: Vec<i32> [0..];
        isr_nodes: Vec<i32> [0..];
        eligible_leader_replicas: Option<Vec<i32>> [0..];
        last_known_elr: Option<Vec<i32>> [0..];
        offline_replicas: Vec<i32> [0..];
    }
}
