//! Heartbeat.

use crate::kafka::message::{fields, message};

message! {
    HeartbeatRequest<'a>, 0..=4, flexible from 4;
    pub struct HeartbeatRequest<'a> {
        group_id: &'a str [0..];
        generation_id: i32 [0..];
        member_id: &'a str [0..];
        group_instance_id: Option<&'a str> [3..];
    }
}

message! {
    HeartbeatResponse, 0..=4, flexible from 4;
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
    }
}
