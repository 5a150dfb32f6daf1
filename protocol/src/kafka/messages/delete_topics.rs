//! DeleteTopics.

use crate::TopicId;
use crate::kafka::message::{fields, message};

message! {
    DeleteTopicsRequest<'a>, 1..=6, flexible from 4;
    pub struct DeleteTopicsRequest<'a> {
        topics: Vec<DeleteTopicState<'a>> [6..];
        topic_names: Vec<&'a str> [1..=5];
        timeout_ms: i32 [0..];
    }
    pub struct DeleteTopicState<'a> {
        name: Option<&'a str> [6..];
        topic_id: TopicId [6..];
    }
}

message! {
    DeleteTopicsResponse<'a>, 1..=6, flexible from 4;
    pub struct DeleteTopicsResponse<'a> {
        throttle_time_ms: i32 [0..];
        responses: Vec<DeletableTopicResult<'a>> [0..];
    }
    pub struct DeletableTopicResult<'a> {
        name: Option<&'a str> [0..];
        topic_id: TopicId [6..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [5..];
    }
}
