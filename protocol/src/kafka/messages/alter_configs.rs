//! AlterConfigs.

use crate::kafka::message::{fields, message};

message! {
    AlterConfigsRequest<'a>, 0..=2, flexible from 2;
    pub struct AlterConfigsRequest<'a> {
        resources: Vec<AlterConfigsResource<'a>> [0..];
        validate_only: bool [0..];
    }
    pub struct AlterableConfig<'a> {
        name: &'a str [0..];
        value: Option<&'a str> [0..];
    }
    pub struct AlterConfigsResource<'a> {
        resource_type: i8 [0..];
        resource_name: &'a str [0..];
        configs: Vec<AlterableConfig<'a>> [0..];
    }
}

message! {
    AlterConfigsResponse<'a>, 0..=2, flexible from 2;
    pub struct AlterConfigsResponse<'a> {
        throttle_time_ms: i32 [0..];
        responses: Vec<AlterConfigsResourceResponse<'a>> [0..];
    }
    pub struct AlterConfigsResourceResponse<'a> {
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        resource_type: i8 [0..];
        resource_name: &'a str [0..];
    }
}
