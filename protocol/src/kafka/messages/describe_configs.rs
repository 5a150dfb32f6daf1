//! DescribeConfigs.

use crate::kafka::message::{fields, message};

message! {
    DescribeConfigsRequest<'a>, 1..=4, flexible from 4;
    pub struct DescribeConfigsRequest<'a> {
        resources: Vec<DescribeConfigsResource<'a>> [0..];
        include_synonyms: bool [0..];
        include_documentation: bool [3..];
    }
    pub struct DescribeConfigsResource<'a> {
        resource_type: i8 [0..];
        resource_name: &'a str [0..];
        configuration_keys: Option<Vec<&'a str>> [0..];
    }
}

message! {
    DescribeConfigsResponse<'a>, 1..=4, flexible from 4;
    pub struct DescribeConfigsResponse<'a> {
        throttle_time_ms: i32 [0..];
        results: Vec<DescribeConfigsResult<'a>> [0..];
    }
    pub struct DescribeConfigsSynonym<'a> {
        name: &'a str [0..];
        value: Option<&'a str> [0..];
        source: i8 [0..];
    }
    pub struct DescribeConfigsResult<'a> {
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        resource_type: i8 [0..];
        resource_name: &'a str [0..];
        configs: Vec<DescribeConfigsResourceResult<'a>> [0..];
    }
    pub struct DescribeConfigsResourceResult<'a> {
        name: &'a str [0..];
        value: Option<&'a str> [0..];
        read_only: bool [0..];
        config_source: i8 [0..] = -1;
        is_sensitive: bool [0..];
        synonyms: Vec<DescribeConfigsSynonym<'a>> [0..];
        config_type: i8 [3..];
        documentation: Option<&'a str> [3..];
    }
}
