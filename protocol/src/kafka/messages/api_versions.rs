//! ApiVersions.

use crate::kafka::message::{fields, message};

message! {
    ApiVersionsRequest<'a>, 0..=4, flexible from 3;
    pub struct ApiVersionsRequest<'a> {
        client_software_name: &'a str [3..];
        client_software_version: &'a str [3..];
    }
}

message! {
    ApiVersionsResponse<'a>, 0..=4, flexible from 3;
    pub struct ApiVersionsResponse<'a> {
        error_code: i16 [0..];
        api_keys: Vec<ApiVersion> [0..];
        throttle_time_ms: i32 [1..];
        supported_features: Vec<SupportedFeatureKey<'a>> [3..] tag 0;
        finalized_features_epoch: i64 [3..] = -1 tag 1;
        finalized_features: Vec<FinalizedFeatureKey<'a>> [3..] tag 2;
        zk_migration_ready: bool [3..] tag 3;
    }
    pub struct SupportedFeatureKey<'a> {
        name: &'a str [3..];
        min_version: i16 [3..];
        max_version: i16 [3..];
    }
    pub struct FinalizedFeatureKey<'a> {
        name: &'a str [3..];
        max_version_level: i16 [3..];
        min_version_level: i16 [3..];
    }
    pub struct ApiVersion {
        api_key: i16 [0..];
        min_version: i16 [0..];
        max_version: i16 [0..];
    }
}
