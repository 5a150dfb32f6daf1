//! Thousands of damaged messages and frames: no decoder panics, and none takes more memory than its
//! input can justify.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting_allocator;
mod damage;
mod samples;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::*;
use counting_allocator::measure;
use damage::{damage, seeded};

/// A table takes at least 8 bytes and turns into a struct of up to 300; what it refers to may be
/// counted sixteen times before the verifier refuses.
const MESSAGE_FACTOR: usize = 64;
/// Error texts and the like.
const MESSAGE_SLACK: usize = 4 * 1024;
fn metadata_of<M: EncodeMessage>(message: &M) -> Vec<u8> {
    let frame = encode_frame(FrameKind::Request, 1, message, 0).unwrap();
    frame[FRAME_HEADER_BYTES..].to_vec()
}

/// Decodes, and when that works, expects the message to survive another round.
fn attempt<M: Message + PartialEq + std::fmt::Debug>(metadata: &[u8]) {
    let (decoded, taken) = measure(|| M::decode(metadata));
    assert!(
        taken.peak_bytes <= MESSAGE_FACTOR * metadata.len() + MESSAGE_SLACK,
        "{} took {} bytes for {}",
        std::any::type_name::<M>(),
        taken.peak_bytes,
        metadata.len()
    );
    match decoded {
        Ok(message) => assert_eq!(M::decode(&metadata_of(&message)), Ok(message)),
        Err(error) => assert!(!error.to_string().contains('\n'), "one line: {error}"),
    }
}

fn attempt_error(metadata: &[u8]) {
    drop(ErrorResponse::decode(metadata));
}

fn attempt_produce(metadata: &[u8]) {
    let (view, taken) = measure(|| ProduceRequest::decode(metadata));
    assert!(taken.peak_bytes <= MESSAGE_SLACK, "{taken:?}");
    if let Ok(view) = view {
        assert_eq!(view.partitions().count(), view.partition_count());
        let payload = Bytes::from_static(&[0; 131]);
        if let Ok(parts) = view.split_payload(&payload) {
            assert_eq!(parts.map(|(_, bytes)| bytes.len()).sum::<usize>(), 131);
        }
    }
}

const DECODERS: &[fn(&[u8])] = &[
    attempt_error,
    attempt_produce,
    attempt::<HelloRequest>,
    attempt::<HelloResponse>,
    attempt::<ApiVersionsRequest>,
    attempt::<ApiVersionsResponse>,
    attempt::<GoodbyePush>,
    attempt::<MetadataRequest>,
    attempt::<MetadataResponse>,
    attempt::<CreateTopicsRequest>,
    attempt::<CreateTopicsResponse>,
    attempt::<DeleteTopicsRequest>,
    attempt::<DeleteTopicsResponse>,
    attempt::<DescribeTopicsRequest>,
    attempt::<DescribeTopicsResponse>,
    attempt::<AlterTopicConfigsRequest>,
    attempt::<AlterTopicConfigsResponse>,
    attempt::<ProduceResponse>,
    attempt::<FetchRequest>,
    attempt::<FetchResponse>,
    attempt::<SubscribeRequest>,
    attempt::<SubscribeResponse>,
    attempt::<SubscribeCreditRequest>,
    attempt::<UnsubscribeRequest>,
    attempt::<UnsubscribeResponse>,
    attempt::<ListOffsetsRequest>,
    attempt::<ListOffsetsResponse>,
    attempt::<DeleteRecordsRequest>,
    attempt::<DeleteRecordsResponse>,
    attempt::<CreatePartitionsRequest>,
    attempt::<CreatePartitionsResponse>,
    attempt::<DescribeConfigsRequest>,
    attempt::<DescribeConfigsResponse>,
    attempt::<InitProducerIdRequest>,
    attempt::<InitProducerIdResponse>,
    attempt::<FindCoordinatorRequest>,
    attempt::<FindCoordinatorResponse>,
    attempt::<ConsumerGroupHeartbeatRequest>,
    attempt::<ConsumerGroupHeartbeatResponse>,
    attempt::<OffsetCommitRequest>,
    attempt::<OffsetCommitResponse>,
    attempt::<OffsetFetchRequest>,
    attempt::<OffsetFetchResponse>,
    attempt::<OffsetDeleteRequest>,
    attempt::<OffsetDeleteResponse>,
    attempt::<ListGroupsRequest>,
    attempt::<ListGroupsResponse>,
    attempt::<DescribeGroupsRequest>,
    attempt::<DescribeGroupsResponse>,
    attempt::<DeleteGroupsRequest>,
    attempt::<DeleteGroupsResponse>,
];

fn all_metadata() -> Vec<Vec<u8>> {
    vec![
        metadata_of(&samples::hello_request()),
        metadata_of(&samples::hello_response()),
        metadata_of(&samples::api_versions_response()),
        metadata_of(&samples::goodbye_push()),
        metadata_of(&samples::metadata_request()),
        metadata_of(&samples::metadata_response()),
        metadata_of(&samples::create_topics_request()),
        metadata_of(&samples::create_topics_response()),
        metadata_of(&samples::delete_topics_request()),
        metadata_of(&samples::delete_topics_response()),
        metadata_of(&samples::describe_topics_request()),
        metadata_of(&samples::describe_topics_response()),
        metadata_of(&samples::alter_topic_configs_request()),
        metadata_of(&samples::alter_topic_configs_response()),
        metadata_of(&samples::produce_request(&samples::produce_partitions())),
        metadata_of(&samples::produce_response()),
        metadata_of(&samples::fetch_request()),
        metadata_of(&samples::fetch_response()),
        metadata_of(&samples::subscribe_request()),
        metadata_of(&samples::subscribe_credit_request()),
        metadata_of(&samples::unsubscribe_request()),
        metadata_of(&samples::list_offsets_request()),
        metadata_of(&samples::list_offsets_response()),
        metadata_of(&samples::delete_records_request()),
        metadata_of(&samples::delete_records_response()),
        metadata_of(&samples::create_partitions_request()),
        metadata_of(&samples::create_partitions_response()),
        metadata_of(&samples::describe_configs_request()),
        metadata_of(&samples::describe_configs_response()),
        metadata_of(&samples::init_producer_id_request()),
        metadata_of(&samples::init_producer_id_response()),
        metadata_of(&samples::find_coordinator_request()),
        metadata_of(&samples::find_coordinator_response()),
        metadata_of(&samples::consumer_group_heartbeat_request()),
        metadata_of(&samples::consumer_group_heartbeat_response()),
        metadata_of(&samples::offset_commit_request()),
        metadata_of(&samples::offset_commit_response()),
        metadata_of(&samples::offset_fetch_request()),
        metadata_of(&samples::offset_fetch_response()),
        metadata_of(&samples::offset_delete_request()),
        metadata_of(&samples::offset_delete_response()),
        metadata_of(&ListGroupsRequest {}),
        metadata_of(&samples::list_groups_response()),
        metadata_of(&samples::describe_groups_request()),
        metadata_of(&samples::describe_groups_response()),
        metadata_of(&samples::delete_groups_request()),
        metadata_of(&samples::delete_groups_response()),
    ]
}

#[test]
fn damaged_metadata_harms_no_decoder() {
    let mut random = seeded();
    for metadata in all_metadata() {
        for decode in DECODERS {
            decode(&metadata);
        }
        for _ in 0..200 {
            let damaged = damage(&metadata, &mut random);
            for decode in DECODERS {
                decode(&damaged);
            }
        }
    }
}

/// A `MetadataRequest` whose topics are `tables` tables, each `copies` times in the list, all with
/// one name: valid FlatBuffers, 4 bytes a copy, which would expand into a name each.
fn metadata_request_of_shared_parts(tables: usize, copies: usize, name: &str) -> Vec<u8> {
    /// The first field of any table.
    const FIRST_SLOT: flatbuffers::VOffsetT = 4;
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let name = builder.create_string(name);
    let mut selectors = Vec::new();
    for _ in 0..tables {
        let table = builder.start_table();
        builder.push_slot_always(FIRST_SLOT, name);
        let table = builder.end_table(table);
        selectors.extend(std::iter::repeat_n(table, copies));
    }
    let selectors = builder.create_vector(&selectors);
    let table = builder.start_table();
    builder.push_slot_always(FIRST_SLOT, selectors);
    let table = builder.end_table(table);
    builder.finish_minimal(table);
    builder.finished_data().to_vec()
}

#[test]
fn shared_tables_and_strings_do_not_expand() {
    use flatbuffers::InvalidFlatbuffer;
    let honest = metadata_request_of_shared_parts(1, 1, "topic");
    assert!(MetadataRequest::decode(&honest).is_ok());

    let shared_table = metadata_request_of_shared_parts(1, 100_000, "topic");
    attempt::<MetadataRequest>(&shared_table);
    assert_eq!(
        MetadataRequest::decode(&shared_table),
        Err(DecodeError::Table(InvalidFlatbuffer::TooManyTables))
    );
    let shared_name = metadata_request_of_shared_parts(100_000, 1, &"x".repeat(1_000));
    attempt::<MetadataRequest>(&shared_name);
    assert_eq!(
        MetadataRequest::decode(&shared_name),
        Err(DecodeError::Table(InvalidFlatbuffer::ApparentSizeTooLarge))
    );
}

/// A list of strings takes 4 bytes for each that it repeats, which would expand into a string each.
#[test]
fn shared_names_of_a_list_do_not_expand() {
    let list_of = |name: &str| {
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        let name = builder.create_string(name);
        let names = builder.create_vector(&vec![name; 50_000]);
        let table = builder.start_table();
        builder.push_slot_always(4, names);
        let table = builder.end_table(table);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    };
    attempt::<DescribeGroupsRequest>(&list_of(""));
    let long = list_of(&"x".repeat(1_000));
    attempt::<DescribeGroupsRequest>(&long);
    assert_eq!(
        DescribeGroupsRequest::decode(&long),
        Err(DecodeError::Table(
            flatbuffers::InvalidFlatbuffer::ApparentSizeTooLarge
        ))
    );
}

#[test]
fn damaged_frames_are_refused_or_wait_within_bounds() {
    let mut random = seeded();
    let limits = FrameLimits::default();
    let mut out = BytesMut::new();
    Encoder::new(limits)
        .frame(
            FrameKind::Push,
            9,
            &samples::fetch_response(),
            131,
            &mut out,
        )
        .unwrap();
    out.extend_from_slice(&[7; 131]);
    for _ in 0..20_000 {
        let damaged = damage(&out, &mut random);
        let length = damaged.len();
        let mut buffer = BytesMut::from(&damaged[..]);
        let (_, taken) = measure(|| decode_frame(&mut buffer, &limits));
        assert!(taken.peak_bytes <= 2 * length + 128 * 1024, "{taken:?}");
    }
}
