//! DeleteGroups.

use crate::kafka::message::{fields, message};

message! {
    DeleteGroupsRequest<'a>, 0..=2, flexible from 2;
    pub struct DeleteGroupsRequest<'a> {
        groups_names: Vec<&'a str> [0..];
    }
}

message! {
    DeleteGroupsResponse<'a>, 0..=2, flexible from 2;
    pub struct DeleteGroupsResponse<'a> {
        throttle_time_ms: i32 [0..];
        results: Vec<DeletableGroupResult<'a>> [0..];
    }
    pub struct DeletableGroupResult<'a> {
        group_id: &'a str [0..];
        error_code: i16 [0..];
    }
}
