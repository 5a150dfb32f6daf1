//! InitProducerId.

use crate::kafka::message::{fields, message};

message! {
    InitProducerIdRequest<'a>, 0..=5, flexible from 2;
    pub struct InitProducerIdRequest<'a> {
        transactional_id: Option<&'a str> [0..];
        transaction_timeout_ms: i32 [0..];
        producer_id: i64 [3..] = -1;
        producer_epoch: i16 [3..] = -1;
    }
}

message! {
    InitProducerIdResponse, 0..=5, flexible from 2;
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        producer_id: i64 [0..] = -1;
        producer_epoch: i16 [0..];
    }
}
