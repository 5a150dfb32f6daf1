//! Fetch.

use crate::TopicId;
use crate::kafka::Records;
use crate::kafka::message::{fields, message};

message! {
    FetchRequest<'a>, 4..=18, flexible from 12;
    pub struct FetchRequest<'a> {
        cluster_id: Option<&'a str> [12..] tag 0;
        replica_id: i32 [4..=14] = -1;
        replica_state: ReplicaState [15..] tag 1;
        max_wait_ms: i32 [0..];
        min_bytes: i32 [0..];
        max_bytes: i32 [0..] = 2147483647;
        isolation_level: i8 [0..];
        session_id: i32 [7..];
        session_epoch: i32 [7..] = -1;
        topics: Vec<FetchTopic<'a>> [0..];
        forgotten_topics_data: Vec<ForgottenTopic<'a>> [7..];
        rack_id: &'a str [11..];
    }
    pub struct ReplicaState {
        replica_id: i32 [15..] = -1;
        replica_epoch: i64 [15..] = -1;
    }
    pub struct ForgottenTopic<'a> {
        topic: &'a str [7..=12];
        topic_id: TopicId [13..];
        partitions: Vec<i32> [7..];
    }
    pub struct FetchTopic<'a> {
        topic: &'a str [4..=12];
        topic_id: TopicId [13..];
        partitions: Vec<FetchPartition> [0..];
    }
    pub struct FetchPartition {
        partition: i32 [0..];
        current_leader_epoch: i32 [9..] = -1;
        fetch_offset: i64 [0..];
        last_fetched_epoch: i32 [12..] = -1;
        log_start_offset: i64 [5..] = -1;
        partition_max_bytes: i32 [0..];
        replica_directory_id: TopicId [17..] tag 0;
        high_watermark: i64 [18..] = 9223372036854775807 tag 1;
    }
}

message! {
    FetchResponse<'a>, 4..=18, flexible from 12;
    pub struct FetchResponse<'a> {
        throttle_time_ms: i32 [0..];
        error_code: i16 [7..];
        session_id: i32 [7..];
        responses: Vec<FetchableTopicResponse<'a>> [0..];
        node_endpoints: Vec<NodeEndpoint<'a>> [16..] tag 0;
    }
    pub struct SnapshotId {
        end_offset: i64 [0..] = -1;
        epoch: i32 [0..] = -1;
    }
    pub struct PartitionData<'a> {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        high_watermark: i64 [0..];
        last_stable_offset: i64 [0..] = -1;
        log_start_offset: i64 [5..] = -1;
        diverging_epoch: EpochEndOffset [12..] tag 0;
        current_leader: LeaderIdAndEpoch [12..] tag 1;
        snapshot_id: SnapshotId [12..] tag 2;
        aborted_transactions: Option<Vec<AbortedTransaction>> [0..];
        preferred_read_replica: i32 [11..] = -1;
        records: Records<'a> [0..];
    }
    pub struct NodeEndpoint<'a> {
        node_id: i32 [16..];
        host: &'a str [16..];
        port: i32 [16..];
        rack: Option<&'a str> [16..];
    }
    pub struct LeaderIdAndEpoch {
        leader_id: i32 [12..] = -1;
        leader_epoch: i32 [12..] = -1;
    }
    pub struct FetchableTopicResponse<'a> {
        topic: &'a str [4..=12];
        topic_id: TopicId [13..];
        partitions: Vec<PartitionData<'a>> [0..];
    }
    pub struct EpochEndOffset {
        epoch: i32 [12..] = -1;
        end_offset: i64 [12..] = -1;
    }
    pub struct AbortedTransaction {
        producer_id: i64 [0..];
        first_offset: i64 [0..];
    }
}
