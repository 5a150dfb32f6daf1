//! Produce.

use crate::TopicId;
use crate::kafka::message::{fields, message};

message! {
    ProduceRequest<'a>, 3..=13, flexible from 9;
    pub struct ProduceRequest<'a> {
        transactional_id: Option<&'a str> [0..];
        acks: i16 [0..];
        timeout_ms: i32 [0..];
        topic_data: Vec<TopicProduceData<'a>> [0..];
    }
    pub struct TopicProduceData<'a> {
        name: &'a str [3..=12];
        topic_id: TopicId [13..];
        partition_data: Vec<PartitionProduceData<'a>> [0..];
    }
    pub struct PartitionProduceData<'a> {
        index: i32 [0..];
        records: Option<&'a [u8]> [0..];
    }
}

message! {
    ProduceResponse<'a>, 3..=13, flexible from 9;
    pub struct ProduceResponse<'a> {
        responses: Vec<TopicProduceResponse<'a>> [0..];
        throttle_time_ms: i32 [0..];
        node_endpoints: Vec<NodeEndpoint<'a>> [10..] tag 0;
    }
    pub struct TopicProduceResponse<'a> {
        name: &'a str [3..=12];
        topic_id: TopicId [13..];
        partition_responses: Vec<PartitionProduceResponse<'a>> [0..];
    }
    pub struct PartitionProduceResponse<'a> {
        index: i32 [0..];
        error_code: i16 [0..];
        base_offset: i64 [0..];
        log_append_time_ms: i64 [0..] = -1;
        log_start_offset: i64 [5..] = -1;
        record_errors: Vec<BatchIndexAndErrorMessage<'a>> [8..];
        error_message: Option<&'a str> [8..];
        current_leader: LeaderIdAndEpoch [10..] tag 0;
    }
    pub struct NodeEndpoint<'a> {
        node_id: i32 [10..];
        host: &'a str [10..];
        port: i32 [10..];
        rack: Option<&'a str> [10..];
    }
    pub struct LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1;
        leader_epoch: i32 [10..] = -1;
    }
    pub struct BatchIndexAndErrorMessage<'a> {
        batch_index: i32 [8..];
        batch_index_error_message: Option<&'a str> [8..];
    }
}
