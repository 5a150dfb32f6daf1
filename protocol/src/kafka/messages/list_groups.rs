//! ListGroups.

use crate::kafka::message::{fields, message};

message! {
    ListGroupsRequest<'a>, 0..=5, flexible from 3;
    pub struct ListGroupsRequest<'a> {
        states_filter: Vec<&'a str> [4..];
        types_filter: Vec<&'a str> [5..];
    }
}

message! {
    ListGroupsResponse<'a>, 0..=5, flexible from 3;
    pub struct ListGroupsResponse<'a> {
        throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
        groups: Vec<ListedGroup<'a>> [0..];
    }
    pub struct ListedGroup<'a> {
        group_id: &'a str [0..];
        protocol_type: &'a str [0..];
        group_state: &'a str [4..];
        group_type: &'a str [5..];
    }
}
