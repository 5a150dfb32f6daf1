//! DescribeProducers.

use crate::kafka::message::{fields, message};

message! {
    DescribeProducersRequest<'a>, 0..=0, flexible from 0;
    pub struct DescribeProducersRequest<'a> {
        topics: Vec<TopicRequest<'a>> [0..];
    }
    pub struct TopicRequest<'a> {
        name: &'a str [0..];
        partition_indexes: Vec<i32> [0..];
    }
}

message! {
    DescribeProducersResponse<'a>, 0..=0, flexible from 0;
    pub struct DescribeProducersResponse<'a> {
        throttle_time_ms: i32 [0..];
        topics: Vec<TopicResponse<'a>> [0..];
    }
    pub struct TopicResponse<'a> {
        name: &'a str [0..];
        partitions: Vec<PartitionResponse<'a>> [0..];
    }
    pub struct ProducerState {
        producer_id: i64 [0..];
        producer_epoch: i32 [0..];
        last_sequence: i32 [0..] = -1;
        last_timestamp: i64 [0..] = -1;
        coordinator_epoch: i32 [0..];
        current_txn_start_offset: i64 [0..] = -1;
    }
    pub struct PartitionResponse<'a> {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        active_producers: Vec<ProducerState> [0..];
    }
}
