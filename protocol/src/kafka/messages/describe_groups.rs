//! DescribeGroups.

use crate::kafka::message::{fields, message};

message! {
    DescribeGroupsRequest<'a>, 0..=6, flexible from 5;
    pub struct DescribeGroupsRequest<'a> {
        groups: Vec<&'a str> [0..];
        include_authorized_operations: bool [3..];
    }
}

message! {
    DescribeGroupsResponse<'a>, 0..=6, flexible from 5;
    pub struct DescribeGroupsResponse<'a> {
        throttle_time_ms: i32 [1..];
        groups: Vec<DescribedGroup<'a>> [0..];
    }
    pub struct DescribedGroupMember<'a> {
        member_id: &'a str [0..];
        group_instance_id: Option<&'a str> [4..];
        client_id: &'a str [0..];
        client_host: &'a str [0..];
        member_metadata: &'a [u8] [0..];
        member_assignment: &'a [u8] [0..];
    }
    pub struct DescribedGroup<'a> {
        error_code: i16 [0..];
        error_message: Option<&'a str> [6..];
        group_id: &'a str [0..];
        group_state: &'a str [0..];
        protocol_type: &'a str [0..];
        protocol_data: &'a str [0..];
        members: Vec<DescribedGroupMember<'a>> [0..];
        authorized_operations: i32 [3..] = -2147483648;
    }
}
