//! LeaveGroup.

use crate::kafka::message::{fields, message};

message! {
    LeaveGroupRequest<'a>, 0..=5, flexible from 4;
    pub struct LeaveGroupRequest<'a> {
        group_id: &'a str [0..];
        member_id: &'a str [0..=2];
        members: Vec<MemberIdentity<'a>> [3..];
    }
    pub struct MemberIdentity<'a> {
        member_id: &'a str [3..];
        group_instance_id: Option<&'a str> [3..];
        reason: Option<&'a str> [5..];
    }
}

message! {
    LeaveGroupResponse<'a>, 0..=5, flexible from 4;
    pub struct LeaveGroupResponse<'a> {
        throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
        members: Vec<MemberResponse<'a>> [3..];
    }
    pub struct MemberResponse<'a> {
        member_id: &'a str [3..];
        group_instance_id: Option<&'a str> [3..];
        error_code: i16 [3..];
    }
}
