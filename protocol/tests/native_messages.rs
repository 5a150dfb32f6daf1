//! Every native message comes back from its bytes as it went in, and nothing else does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod samples;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::*;
use corelog_protocol::{ErrorCode, IsolationLevel, PartitionIndex, TopicId};

fn metadata_of<M: EncodeMessage>(message: &M) -> Bytes {
    let frame = encode_frame(FrameKind::Request, 1, message, 0).unwrap();
    let mut buffer = BytesMut::from(&frame[..]);
    let frame = decode_frame(&mut buffer, &FrameLimits::default());
    frame.unwrap().unwrap().metadata
}

#[track_caller]
fn round_trips<M: Message + PartialEq + std::fmt::Debug>(message: M) {
    assert_eq!(M::decode(&metadata_of(&message)), Ok(message));
}

#[test]
fn every_message_round_trips() {
    round_trips(samples::hello_request());
    round_trips(HelloRequest::default());
    round_trips(samples::hello_response());
    round_trips(ApiVersionsRequest {});
    round_trips(samples::api_versions_response());
    round_trips(samples::goodbye_push());
    round_trips(samples::metadata_request());
    round_trips(MetadataRequest { topics: None });
    round_trips(MetadataRequest {
        topics: Some(vec![]),
    });
    round_trips(samples::metadata_response());
    round_trips(samples::create_topics_request());
    round_trips(samples::create_topics_response());
    round_trips(samples::delete_topics_request());
    round_trips(samples::delete_topics_response());
    round_trips(samples::describe_topics_request());
    round_trips(samples::describe_topics_response());
    round_trips(samples::alter_topic_configs_request());
    round_trips(samples::alter_topic_configs_response());
    round_trips(samples::produce_response());
    round_trips(samples::fetch_request());
    round_trips(samples::fetch_response());
    round_trips(samples::subscribe_request());
    round_trips(SubscribeResponse {});
    round_trips(samples::subscribe_credit_request());
    round_trips(samples::unsubscribe_request());
    round_trips(UnsubscribeResponse {});
    round_trips(samples::list_offsets_request());
    round_trips(samples::list_offsets_response());
    round_trips(samples::delete_records_request());
    round_trips(samples::delete_records_response());
    round_trips(samples::create_partitions_request());
    round_trips(samples::create_partitions_response());
    round_trips(samples::describe_configs_request());
    round_trips(samples::describe_configs_response());
    round_trips(samples::init_producer_id_request());
    round_trips(samples::init_producer_id_response());
    round_trips(samples::find_coordinator_request());
    round_trips(samples::find_coordinator_response());
    round_trips(samples::consumer_group_heartbeat_request());
    round_trips(samples::consumer_group_heartbeat_response());
    round_trips(samples::offset_commit_request());
    round_trips(samples::offset_commit_response());
    round_trips(samples::offset_fetch_request());
    round_trips(samples::offset_fetch_response());
    round_trips(samples::offset_delete_request());
    round_trips(samples::offset_delete_response());
    round_trips(ListGroupsRequest {});
    round_trips(samples::list_groups_response());
    round_trips(samples::describe_groups_request());
    round_trips(samples::describe_groups_response());
    round_trips(samples::delete_groups_request());
    round_trips(samples::delete_groups_response());
}

#[test]
fn a_produce_request_is_read_in_place_and_splits_its_payload() {
    let partitions = samples::produce_partitions();
    let request = samples::produce_request(&partitions);
    let metadata = metadata_of(&request);
    let view = ProduceRequest::decode(&metadata).unwrap();
    assert_eq!(view.acks, request.acks);
    assert_eq!(view.timeout_ms, request.timeout_ms);
    assert_eq!(view.transactional_id, request.transactional_id);
    assert_eq!(view.partition_count(), 2);
    assert!(view.partitions().eq(partitions));
    assert_eq!(view.payload_length(), 131);

    let payload = Bytes::from(vec![9; 131]);
    let parts: Vec<_> = view.split_payload(&payload).unwrap().collect();
    assert_eq!(parts[0], (partitions[0], payload.slice(..61)));
    assert_eq!(parts[1], (partitions[1], payload.slice(61..)));

    let refused = view.split_payload(&payload.slice(1..)).err();
    assert_eq!(
        refused,
        Some(DecodeError::PayloadLength {
            named: 131,
            found: 130
        })
    );
}

#[test]
fn a_fetch_response_splits_its_payload() {
    let response = samples::fetch_response();
    let payload = Bytes::from(vec![9; 131]);
    let parts: Vec<_> = response.split_payload(&payload).unwrap().collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0], (&response.partitions[0], payload.clone()));
    assert_eq!(parts[1], (&response.partitions[1], Bytes::new()));
    assert!(response.split_payload(&payload.slice(1..)).is_err());
}

#[test]
fn an_error_frame_names_the_api_it_answers_even_when_unknown() {
    let mut out = BytesMut::new();
    let error = samples::error_response();
    let mut encoder = Encoder::default();
    encoder.error_frame(99, 7, &error, &mut out).unwrap();
    let frame = decode_frame(&mut out, &FrameLimits::default());
    let frame = frame.unwrap().unwrap();
    assert_eq!(frame.header.kind, FrameKind::Error);
    assert_eq!(frame.header.api, 99);
    assert_eq!(frame.header.api_key(), None);
    assert_eq!(frame.header.correlation_id, 7);
    assert_eq!(ErrorResponse::decode(&frame.metadata), Ok(error));
}

#[test]
fn a_pushed_fetch_response_names_the_subscribe_api() {
    let mut out = BytesMut::new();
    let response = samples::fetch_response();
    Encoder::default()
        .frame(FrameKind::Push, 5, &response, 131, &mut out)
        .unwrap();
    let header = out.first_chunk().unwrap();
    let header = FrameHeader::decode(header, &FrameLimits::default()).unwrap();
    assert_eq!(header.api_key(), Some(ApiKey::Subscribe));
    assert_eq!(header.payload_length, 131);
}

#[test]
fn a_frame_above_the_peers_limits_is_refused_and_leaves_the_output_alone() {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut encoder = Encoder::new(FrameLimits {
        max_metadata: 8,
        max_payload: 100,
    });
    let refused = encoder.frame(FrameKind::Push, 0, &samples::goodbye_push(), 0, &mut out);
    assert!(matches!(
        refused,
        Err(FrameError::MetadataTooLong { limit: 8, .. })
    ));
    encoder.set_limits(FrameLimits {
        max_metadata: 1000,
        max_payload: 100,
    });
    let refused = encoder.frame(
        FrameKind::Response,
        0,
        &samples::fetch_response(),
        101,
        &mut out,
    );
    assert_eq!(
        refused,
        Err(FrameError::PayloadTooLong {
            length: 101,
            limit: 100
        })
    );
    assert_eq!(&out[..], b"before");
}

/// What is absent is as said before, what is empty is empty: a heartbeat and its answer mean
/// different things by the two.
#[test]
fn absent_and_empty_parts_of_a_heartbeat_stay_apart() {
    let silent = ConsumerGroupHeartbeatRequest::default();
    round_trips(silent.clone());
    round_trips(ConsumerGroupHeartbeatRequest {
        topic_names: Some(vec![]),
        topic_pattern: Some(String::new()),
        owned: Some(vec![]),
        ..silent
    });
    let unchanged = ConsumerGroupHeartbeatResponse::refused(ErrorCode::None, None);
    round_trips(unchanged.clone());
    round_trips(ConsumerGroupHeartbeatResponse {
        assignment: Some(vec![]),
        ..unchanged
    });
    round_trips(InitProducerIdRequest::default());
    round_trips(OffsetCommitRequest::default());
    round_trips(OffsetFetchRequest::default());
    round_trips(OffsetFetchRequest {
        topics: Some(vec![]),
        ..OffsetFetchRequest::default()
    });
}

/// A table of one scalar or string in the given slot, beside a first field if there is one.
fn table_with(
    first: Option<&str>,
    fill: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'_>),
) -> Vec<u8> {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let first = first.map(|text| builder.create_string(text));
    let no_topics = builder.create_vector::<flatbuffers::ForwardsUOffset<&str>>(&[]);
    let table = builder.start_table();
    if let Some(first) = first {
        builder.push_slot_always(slot(0), first);
        builder.push_slot_always(slot(3), no_topics);
    }
    fill(&mut builder);
    let table = builder.end_table(table);
    builder.finish_minimal(table);
    builder.finished_data().to_vec()
}

fn slot(field: flatbuffers::VOffsetT) -> flatbuffers::VOffsetT {
    4 + 2 * field
}

#[test]
fn fields_that_belong_together_are_refused_alone() {
    let epoch_of_nobody = table_with(Some("billing"), |builder| {
        builder.push_slot_always(slot(2), 7_i32);
    });
    let refused = OffsetCommitRequest::decode(&epoch_of_nobody).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "OffsetCommitRequest: member_id and member_epoch must both be present or both be absent"
    );
    let refused = OffsetFetchRequest::decode(&epoch_of_nobody).unwrap_err();
    assert!(
        matches!(refused, DecodeError::Inconsistent { .. }),
        "{refused}"
    );

    let producer_without_epoch = table_with(None, |builder| {
        builder.push_slot_always(slot(0), 1_000_i64);
    });
    let refused = InitProducerIdRequest::decode(&producer_without_epoch).unwrap_err();
    assert!(
        matches!(refused, DecodeError::Inconsistent { .. }),
        "{refused}"
    );
}

/// The verifier's bounds on tables and repeated bytes follow the length of the metadata; tables of
/// nothing but defaults come closest to them.
#[test]
fn many_partitions_of_default_values_stay_within_the_verifiers_bounds() {
    let refused =
        FetchPartitionResponse::refused(TopicId::ZERO, PartitionIndex::ZERO, ErrorCode::None, None);
    round_trips(FetchResponse {
        partitions: vec![refused; 5_000],
    });
    let unanswered = ListOffsetsPartition {
        topic_id: TopicId::ZERO,
        partition: PartitionIndex::ZERO,
        leader_epoch: None,
        query: OffsetQuery::Earliest,
    };
    round_trips(ListOffsetsRequest {
        isolation: IsolationLevel::ReadUncommitted,
        partitions: vec![unanswered; 5_000],
    });
    let undeleted = DeleteRecordsPartition {
        topic_id: TopicId::ZERO,
        partition: PartitionIndex::ZERO,
        leader_epoch: None,
        until: DeleteUntil::HighWatermark,
    };
    round_trips(DeleteRecordsRequest {
        timeout_ms: 0,
        partitions: vec![undeleted; 5_000],
    });
    round_trips(CreateTopicsRequest {
        topics: vec![NewTopic::default(); 5_000],
        ..CreateTopicsRequest::default()
    });
    round_trips(DeleteTopicsResponse {
        topics: vec![
            DeletedTopic {
                name: None,
                id: None,
                error: ErrorCode::None,
                error_message: None
            };
            5_000
        ],
    });
    round_trips(ConsumerGroupHeartbeatRequest {
        owned: Some(vec![
            TopicPartitions {
                topic_id: TopicId::ZERO,
                partitions: vec![],
            };
            5_000
        ]),
        ..ConsumerGroupHeartbeatRequest::default()
    });
    round_trips(DescribeGroupsRequest {
        groups: vec![String::new(); 5_000],
    });
    let unnamed = GroupDescription::refused(String::new(), ErrorCode::None, None);
    round_trips(DescribeGroupsResponse {
        groups: vec![
            GroupDescription {
                members: vec![GroupMember::default(); 50],
                ..unnamed
            };
            100
        ],
    });
    round_trips(MetadataRequest {
        topics: Some(vec![TopicSelector::Name(String::new()); 5_000]),
    });
}
