//! The bytes of every format, as they were when they were first released. A change that fails here
//! breaks clients and logs that exist.
//!
//! New fixtures are written by `CORELOG_WRITE_FIXTURES=1 cargo test -p corelog-protocol --test
//! golden_fixtures`; files that exist are never overwritten.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod samples;

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::*;
use corelog_protocol::record::*;
use corelog_protocol::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
use kafka_protocol::records::RecordBatchEncoder;

fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    if !path.exists() && std::env::var_os("CORELOG_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, make()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn frame_of<M: EncodeMessage>(kind: FrameKind, message: &M) -> Vec<u8> {
    encode_frame(kind, 0x0102_0304, message, 0)
        .unwrap()
        .to_vec()
}

fn split(bytes: &[u8]) -> Frame {
    let mut buffer = BytesMut::from(bytes);
    let frame = decode_frame(&mut buffer, &FrameLimits::default());
    let frame = frame.unwrap().unwrap();
    assert!(buffer.is_empty());
    assert_eq!(frame.header.correlation_id, 0x0102_0304);
    frame
}

/// The committed bytes decode to the message, and the message encodes to the committed bytes.
#[track_caller]
fn golden<M: Message + PartialEq + std::fmt::Debug>(name: &str, kind: FrameKind, message: M) {
    let encoded = frame_of(kind, &message);
    let committed = fixture(name, || encoded.clone());
    let frame = split(&committed);
    assert_eq!(frame.header.kind, kind, "{name}");
    assert_eq!(frame.header.api_key(), Some(M::api(kind)), "{name}");
    assert_eq!(M::decode(&frame.metadata), Ok(message), "{name}");
    assert!(encoded == committed, "{name} is encoded differently");
}

#[test]
fn native_frames_keep_their_bytes() {
    use FrameKind::{Push, Request, Response};
    golden("hello_request.bin", Request, samples::hello_request());
    golden("hello_response.bin", Response, samples::hello_response());
    golden("api_versions_request.bin", Request, ApiVersionsRequest {});
    golden(
        "api_versions_response.bin",
        Response,
        samples::api_versions_response(),
    );
    golden("goodbye_push.bin", Push, samples::goodbye_push());
    golden("metadata_request.bin", Request, samples::metadata_request());
    golden(
        "metadata_response.bin",
        Response,
        samples::metadata_response(),
    );
    golden(
        "create_topics_request.bin",
        Request,
        samples::create_topics_request(),
    );
    golden(
        "create_topics_response.bin",
        Response,
        samples::create_topics_response(),
    );
    golden(
        "delete_topics_request.bin",
        Request,
        samples::delete_topics_request(),
    );
    golden(
        "delete_topics_response.bin",
        Response,
        samples::delete_topics_response(),
    );
    golden(
        "describe_topics_request.bin",
        Request,
        samples::describe_topics_request(),
    );
    golden(
        "describe_topics_response.bin",
        Response,
        samples::describe_topics_response(),
    );
    golden(
        "alter_topic_configs_request.bin",
        Request,
        samples::alter_topic_configs_request(),
    );
    golden(
        "alter_topic_configs_response.bin",
        Response,
        samples::alter_topic_configs_response(),
    );
    golden(
        "produce_response.bin",
        Response,
        samples::produce_response(),
    );
    golden("fetch_request.bin", Request, samples::fetch_request());
    golden("fetch_response.bin", Response, samples::fetch_response());
    golden(
        "subscribe_request.bin",
        Request,
        samples::subscribe_request(),
    );
    golden("subscribe_response.bin", Response, SubscribeResponse {});
    golden("subscribe_push.bin", Push, samples::fetch_response());
    golden(
        "subscribe_credit_request.bin",
        Request,
        samples::subscribe_credit_request(),
    );
    golden(
        "unsubscribe_request.bin",
        Request,
        samples::unsubscribe_request(),
    );
    golden("unsubscribe_response.bin", Response, UnsubscribeResponse {});
    golden(
        "list_offsets_request.bin",
        Request,
        samples::list_offsets_request(),
    );
    golden(
        "list_offsets_response.bin",
        Response,
        samples::list_offsets_response(),
    );
    golden(
        "delete_records_request.bin",
        Request,
        samples::delete_records_request(),
    );
    golden(
        "delete_records_response.bin",
        Response,
        samples::delete_records_response(),
    );
    golden(
        "create_partitions_request.bin",
        Request,
        samples::create_partitions_request(),
    );
    golden(
        "create_partitions_response.bin",
        Response,
        samples::create_partitions_response(),
    );
    golden(
        "describe_configs_request.bin",
        Request,
        samples::describe_configs_request(),
    );
    golden(
        "describe_configs_response.bin",
        Response,
        samples::describe_configs_response(),
    );
    golden(
        "init_producer_id_request.bin",
        Request,
        samples::init_producer_id_request(),
    );
    golden(
        "init_producer_id_response.bin",
        Response,
        samples::init_producer_id_response(),
    );
    golden(
        "find_coordinator_request.bin",
        Request,
        samples::find_coordinator_request(),
    );
    golden(
        "find_coordinator_response.bin",
        Response,
        samples::find_coordinator_response(),
    );
    golden(
        "consumer_group_heartbeat_request.bin",
        Request,
        samples::consumer_group_heartbeat_request(),
    );
    golden(
        "consumer_group_heartbeat_response.bin",
        Response,
        samples::consumer_group_heartbeat_response(),
    );
    golden(
        "offset_commit_request.bin",
        Request,
        samples::offset_commit_request(),
    );
    golden(
        "offset_commit_response.bin",
        Response,
        samples::offset_commit_response(),
    );
    golden(
        "offset_fetch_request.bin",
        Request,
        samples::offset_fetch_request(),
    );
    golden(
        "offset_fetch_response.bin",
        Response,
        samples::offset_fetch_response(),
    );
    golden(
        "offset_delete_request.bin",
        Request,
        samples::offset_delete_request(),
    );
    golden(
        "offset_delete_response.bin",
        Response,
        samples::offset_delete_response(),
    );
    golden("list_groups_request.bin", Request, ListGroupsRequest {});
    golden(
        "list_groups_response.bin",
        Response,
        samples::list_groups_response(),
    );
    golden(
        "describe_groups_request.bin",
        Request,
        samples::describe_groups_request(),
    );
    golden(
        "describe_groups_response.bin",
        Response,
        samples::describe_groups_response(),
    );
    golden(
        "delete_groups_request.bin",
        Request,
        samples::delete_groups_request(),
    );
    golden(
        "delete_groups_response.bin",
        Response,
        samples::delete_groups_response(),
    );
}

#[test]
fn a_produce_request_keeps_its_bytes() {
    let partitions = samples::produce_partitions();
    let encoded = frame_of(FrameKind::Request, &samples::produce_request(&partitions));
    let committed = fixture("produce_request.bin", || encoded.clone());
    let frame = split(&committed);
    let view = ProduceRequest::decode(&frame.metadata).unwrap();
    assert!(view.partitions().eq(partitions));
    assert_eq!(view.transactional_id, Some("billing-1"));
    assert!(encoded == committed);
}

#[test]
fn an_error_frame_keeps_its_bytes() {
    let mut encoded = BytesMut::new();
    Encoder::default()
        .error_frame(99, 0x0102_0304, &samples::error_response(), &mut encoded)
        .unwrap();
    let committed = fixture("error_response.bin", || encoded.to_vec());
    let frame = split(&committed);
    assert_eq!(frame.header.api, 99);
    assert_eq!(
        ErrorResponse::decode(&frame.metadata),
        Ok(samples::error_response())
    );
    assert!(encoded == committed[..]);
}

const TIMES: [i64; 3] = [1_700_000_000_000, 1_700_000_000_005, 1_700_000_000_010];

/// Compressed, it reaches over the blocks of snappy and lz4; uncompressed, it need not be long.
fn long_value(compression: Compression) -> Vec<u8> {
    let length = if compression == Compression::None {
        700
    } else {
        70_000
    };
    vec![b'x'; length]
}

/// Three records: one with a header, a tombstone, and one with a long value.
fn build_batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, 1024);
    let headers = [Header {
        key: "trace",
        value: Some(b"\x00\x01"),
    }];
    builder
        .append(
            Timestamp::new(TIMES[0]),
            Some(b"key"),
            Some(b"value"),
            &headers,
        )
        .unwrap();
    builder
        .append(Timestamp::new(TIMES[1]), Some(b"key"), None, &[])
        .unwrap();
    builder
        .append(
            Timestamp::new(TIMES[2]),
            None,
            Some(&long_value(compression)),
            &[],
        )
        .unwrap();
    let batch = builder.finish(Some(ProducerStamp {
        id: ProducerId::new(4_711),
        epoch: ProducerEpoch::new(2),
        base_sequence: Sequence::new(10),
        transactional: false,
    }));
    let mut batch = BytesMut::from(&batch[..]);
    patch_base_offset(&mut batch, Offset::new(1_000), LeaderEpoch::new(7));
    batch.to_vec()
}

/// The same records as an encoder writes them that is not ours.
fn build_theirs(compression: Compression) -> Vec<u8> {
    use kafka_protocol::records as theirs;
    let record = |index: i64, key: Option<&'static [u8]>, value: Option<Bytes>| theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: 4_711,
        producer_epoch: 2,
        timestamp_type: theirs::TimestampType::Creation,
        offset: 1_000 + index,
        sequence: 10 + index as i32,
        timestamp: TIMES[index as usize],
        key: key.map(Bytes::from_static),
        value,
        headers: Default::default(),
    };
    let mut records = [
        record(0, Some(b"key"), Some(Bytes::from_static(b"value"))),
        record(1, Some(b"key"), None),
        record(2, None, Some(long_value(compression).into())),
    ];
    let header_value = Some(Bytes::from_static(b"\x00\x01"));
    records[0]
        .headers
        .insert("trace".to_owned().into(), header_value);
    let mut out = BytesMut::new();
    let options = theirs::RecordEncodeOptions {
        version: 2,
        compression: match compression {
            Compression::None => theirs::Compression::None,
            Compression::Gzip => theirs::Compression::Gzip,
            Compression::Snappy => theirs::Compression::Snappy,
            Compression::Lz4 => theirs::Compression::Lz4,
            Compression::Zstd => theirs::Compression::Zstd,
        },
    };
    RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    out.to_vec()
}

fn assert_reads_as_built(name: &str, batch: Vec<u8>, compression: Compression) {
    let batch = Bytes::from(batch);
    let (view, rest) = BatchView::parse(&batch).unwrap();
    assert!(rest.is_empty(), "{name}");
    assert_eq!(view.validate(), Ok(()), "{name}");
    assert_eq!(view.compression(), Some(compression), "{name}");
    assert_eq!(view.base_offset(), Offset::new(1_000));
    assert_eq!(view.partition_leader_epoch(), Some(LeaderEpoch::new(7)));
    assert_eq!(view.producer_id(), Some(ProducerId::new(4_711)));
    assert_eq!(view.producer_epoch(), Some(ProducerEpoch::new(2)));
    assert_eq!(view.base_sequence(), Some(Sequence::new(10)));
    assert_eq!(view.base_timestamp(), Timestamp::new(TIMES[0]));
    assert_eq!(view.max_timestamp(), Timestamp::new(TIMES[2]));
    let decoded = DecodedBatch::decode(&batch, 1024 * 1024).unwrap();
    let records: Vec<_> = decoded.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), 3);
    for (record, index) in records.iter().zip(0..) {
        assert_eq!(record.offset, Offset::new(1_000 + index));
        assert_eq!(record.timestamp, Timestamp::new(TIMES[index as usize]));
    }
    let key = Some(&b"key"[..]);
    assert_eq!(records[0].key.as_deref(), key);
    assert_eq!(records[0].value.as_deref(), Some(&b"value"[..]));
    let headers: Vec<_> = records[0].headers().collect();
    assert_eq!(
        headers,
        [Header {
            key: "trace",
            value: Some(b"\x00\x01")
        }]
    );
    assert_eq!((records[1].key.as_deref(), &records[1].value), (key, &None));
    assert_eq!(records[2].key, None);
    let long_value = long_value(compression);
    assert_eq!(records[2].value.as_deref(), Some(&long_value[..]));
}

#[test]
fn record_batches_keep_their_bytes_and_are_read_whoever_wrote_them() {
    for &compression in Compression::ALL {
        let name = format!("batch_{compression}.bin");
        let committed = fixture(&name, || build_batch(compression));
        // A codec's next release may compress better; uncompressed bytes are fixed.
        if compression == Compression::None {
            assert!(build_batch(compression) == committed, "{name}");
        }
        assert_reads_as_built(&name, committed, compression);

        let name = format!("batch_{compression}_by_kafka_protocol.bin");
        let committed = fixture(&name, || build_theirs(compression));
        assert_reads_as_built(&name, committed, compression);
    }
}
