//! DescribeCluster.

use crate::kafka::message::{fields, message};

message! {
    DescribeClusterRequest, 0..=2, flexible from 0;
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0..];
        endpoint_type: i8 [1..] = 1;
        include_fenced_brokers: bool [2..];
    }
}

message! {
    DescribeClusterResponse<'a>, 0..=2, flexible from 0;
    pub struct DescribeClusterResponse<'a> {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        endpoint_type: i8 [1..] = 1;
        cluster_id: &'a str [0..];
        controller_id: i32 [0..] = -1;
        brokers: Vec<DescribeClusterBroker<'a>> [0..];
        cluster_authorized_operations: i32 [0..] = -2147483648;
    }
    pub struct DescribeClusterBroker<'a> {
        broker_id: i32 [0..];
        host: &'a str [0..];
        port: i32 [0..];
        rack: Option<&'a str> [0..];
        is_fenced: bool [2..];
    }
}
