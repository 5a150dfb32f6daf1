//! CreateTopics.

use crate::TopicId;
use crate::kafka::message::{fields, message};

message! {
    CreateTopicsRequest<'a>, 2..=7, flexible from 5;
    pub struct CreateTopicsRequest<'a> {
        topics: Vec<CreatableTopic<'a>> [0..];
        timeout_ms: i32 [0..] = 60000;
        validate_only: bool [0..];
    }
    pub struct CreatableTopicConfig<'a> {
        name: &'a str [0..];
        value: Option<&'a str> [0..];
    }
    pub struct CreatableTopic<'a> {
        name: &'a str [0..];
        num_partitions: i32 [0..];
        replication_factor: i16 [0..];
        assignments: Vec<CreatableReplicaAssignment> [0..];
        configs: Vec<CreatableTopicConfig<'a>> [0..];
    }
    pub struct CreatableReplicaAssignment {
        partition_index: i32 [0..];
        broker_ids: Vec<i32> [0..];
    }
}

message! {
    CreateTopicsResponse<'a>, 2..=7, flexible from 5;
    pub struct CreateTopicsResponse<'a> {
        throttle_time_ms: i32 [0..];
        topics: Vec<CreatableTopicResult<'a>> [0..];
    }
    pub struct CreatableTopicResult<'a> {
        name: &'a str [0..];
        topic_id: TopicId [7..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        topic_config_error_code: i16 [5..] tag 0;
        num_partitions: i32 [5..] = -1;
        replication_factor: i16 [5..] = -1;
        configs: Option<Vec<CreatableTopicConfigs<'a>>> [5..];
    }
    pub struct CreatableTopicConfigs<'a> {
        name: &'a str [5..];
        value: Option<&'a str> [5..];
        read_only: bool [5..];
        config_source: i8 [5..] = -1;
        is_sensitive: bool [5..];
    }
}
