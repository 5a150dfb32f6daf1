//! ConsumerGroupHeartbeat.

use crate::TopicId;
use crate::kafka::message::{fields, message};

message! {
    ConsumerGroupHeartbeatRequest<'a>, 0..=1, flexible from 0;
    pub struct ConsumerGroupHeartbeatRequest<'a> {
        group_id: &'a str [0..];
        member_id: &'a str [0..];
        member_epoch: i32 [0..];
        instance_id: Option<&'a str> [0..];
        rack_id: Option<&'a str> [0..];
        rebalance_timeout_ms: i32 [0..] = -1;
        subscribed_topic_names: Option<Vec<&'a str>> [0..];
        subscribed_topic_regex: Option<&'a str> [1..];
        server_assignor: Option<&'a str> [0..];
        topic_partitions: Option<Vec<TopicPartitions>> [0..];
    }
    pub struct TopicPartitions {
        topic_id: TopicId [0..];
        partitions: Vec<i32> [0..];
    }
}

message! {
    ConsumerGroupHeartbeatResponse<'a>, 0..=1, flexible from 0;
    pub struct ConsumerGroupHeartbeatResponse<'a> {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        member_id: Option<&'a str> [0..];
        member_epoch: i32 [0..];
        heartbeat_interval_ms: i32 [0..];
        assignment: Option<Box<Assignment>> [0..];
    }
    pub struct Assignment {
        topic_partitions: Vec<TopicPartitions> [0..];
    }
}
