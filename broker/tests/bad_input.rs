//! Whatever comes out of a socket: the sender gets the specific error, or an orderly close where
//! no reply is possible; it is counted; and no other connection notices.

use corelog_protocol::native::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorResponse, FrameKind, Message,
    MetadataRequest, MetadataResponse, ProducePartition, ProduceRequest, ProduceResponse,
    encode_frame,
};
use corelog_protocol::record::BATCH_HEADER_BYTES;
use corelog_protocol::{Acks, ErrorCode, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use crate::harness::{
    BrokerProcess, Connection, NewTopicBuilder, Stranger, batch_of, frame, hello, raw_frame, until,
};

/// Where the fields stand in a frame's header.
const MAGIC: usize = 4;
const VERSION: usize = 6;
const KIND: usize = 7;
const FLAGS: usize = 10;
const METADATA_LENGTH: usize = 16;
const CRC: usize = 20;

/// An honest client that produces before, during and after somebody else's misbehaviour.
struct Bystander {
    connection: Connection,
    topic_id: TopicId,
    produced: i64,
}

impl Bystander {
    fn new(broker: &BrokerProcess) -> Self {
        let mut connection = broker.connect();
        let topic_id = connection.create_topic(NewTopicBuilder::new("bystander", 1));
        let mut bystander = Self {
            connection,
            topic_id,
            produced: 0,
        };
        bystander.assert_unharmed();
        bystander
    }

    fn assert_unharmed(&mut self) {
        let batch = batch_of([format!("record {}", self.produced).as_str()]);
        let answer = self.connection.produce(self.topic_id, 0, &batch);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, Offset::new(self.produced));
        self.produced += 1;
    }
}

fn bad_frames(broker: &BrokerProcess, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    broker
        .metrics()
        .sum_or_zero("corelog_bad_frames_total", &label)
}

/// A good request with one change, which its CRC does not cover up.
fn altered(position: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame(7, &MetadataRequest { topics: None }, &[]);
    frame[position..position + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Every way not to be a frame: the bytes, the error they get, and how they are counted.
fn broken_frames() -> Vec<(Vec<u8>, ErrorCode, &'static str)> {
    let megabytes = |count: u32| (count << 20).to_le_bytes();
    let mut too_much_metadata = altered(0, &megabytes(2));
    too_much_metadata[METADATA_LENGTH..][..4].copy_from_slice(&megabytes(2));
    vec![
        (
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
            ErrorCode::InvalidRequest,
            "magic",
        ),
        (vec![0xA5; 4096], ErrorCode::InvalidRequest, "magic"),
        (vec![0; 24], ErrorCode::InvalidRequest, "magic"),
        (altered(MAGIC, &[1, 2]), ErrorCode::InvalidRequest, "magic"),
        (
            altered(VERSION, &[9]),
            ErrorCode::UnsupportedVersion,
            "version",
        ),
        (altered(KIND, &[77]), ErrorCode::InvalidRequest, "kind"),
        (altered(FLAGS, &[1, 0]), ErrorCode::InvalidRequest, "flags"),
        (
            altered(METADATA_LENGTH, &[0xFF; 4]),
            ErrorCode::InvalidRequest,
            "length",
        ),
        (too_much_metadata, ErrorCode::MessageTooLarge, "too_long"),
        (
            altered(0, &megabytes(200)),
            ErrorCode::MessageTooLarge,
            "too_long",
        ),
        (
            altered(0, &[0xFF; 4]),
            ErrorCode::MessageTooLarge,
            "too_long",
        ),
        (
            altered(CRC, &[1, 2, 3, 4]),
            ErrorCode::CorruptMessage,
            "crc",
        ),
        (
            raw_frame(FrameKind::Response, ApiKey::Metadata.code(), 7, &[]),
            ErrorCode::InvalidRequest,
            "not_a_request",
        ),
    ]
}

#[test]
fn bytes_that_are_no_frame_get_an_error_and_a_close() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let peers: [fn(std::net::SocketAddr) -> Stranger; 2] = [Stranger::connect, Stranger::greeted];
    for connect in peers {
        for (bytes, code, reason) in broken_frames() {
            let before = bad_frames(&broker, reason);
            let mut stranger = connect(broker.native());
            stranger.send(&bytes);
            bystander.assert_unharmed();
            let (error, _) = stranger.error();
            assert_eq!(error.code, code, "{reason}: {}", error.message);
            stranger.assert_closed();
            assert_eq!(bad_frames(&broker, reason) - before, 1.0, "{reason}");
            bystander.assert_unharmed();
        }
    }
    assert!(broker.stop().success());
}

#[test]
fn an_error_names_what_was_found_and_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut stranger = Stranger::greeted(broker.native());
    stranger.send(&altered(0, &(200_u32 << 20).to_le_bytes()));
    let (error, _) = stranger.error();
    assert!(error.message.contains("104857600"), "{}", error.message);
}

#[test]
fn a_frame_cut_short_is_counted_and_closed() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let whole = frame(7, &MetadataRequest { topics: None }, &[]);
    for cut in [1, 23, 24, whole.len() - 1] {
        let before = bad_frames(&broker, "truncated");
        let mut stranger = Stranger::greeted(broker.native());
        stranger.send(&whole[..cut]);
        bystander.assert_unharmed();
        stranger.finish();
        stranger.assert_closed();
        assert_eq!(
            bad_frames(&broker, "truncated") - before,
            1.0,
            "cut at {cut}"
        );
        bystander.assert_unharmed();
    }
    assert!(broker.stop().success());
}

#[test]
fn a_first_frame_other_than_hello_is_refused() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut stranger = Stranger::connect(broker.native());
    stranger.send(&frame(7, &MetadataRequest { topics: None }, &[]));
    let (error, id) = stranger.error();
    assert_eq!((error.code, id), (ErrorCode::InvalidRequest, 7));
    assert!(error.message.contains("Hello"), "{}", error.message);
    stranger.assert_closed();
    assert_eq!(bad_frames(&broker, "hello_expected"), 1.0);
}

#[test]
fn an_unknown_api_is_refused_and_the_connection_goes_on() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut stranger = Stranger::greeted(broker.native());
    stranger.send(&raw_frame(FrameKind::Request, 999, 31, &[]));
    let (error, id) = stranger.error();
    assert_eq!((error.code, id), (ErrorCode::UnsupportedVersion, 31));
    assert!(error.message.contains("999"), "{}", error.message);
    assert_still_answered(&mut stranger);
    let refused = broker.metrics().sum_or_zero(
        "corelog_request_errors_total",
        "error=\"UNSUPPORTED_VERSION\"",
    );
    assert_eq!(refused, 1.0);
}

#[test]
fn metadata_that_is_no_table_is_refused_and_the_connection_goes_on() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut stranger = Stranger::greeted(broker.native());
    stranger.send(&frame(4, &ApiVersionsRequest {}, &[]));
    let answer = stranger.receive().expect("an answer");
    let listed = ApiVersionsResponse::decode(&answer.metadata).unwrap().apis;
    let listed = listed.into_iter().map(|listed| listed.api);
    for api in listed.chain([ApiKey::Goodbye.code()]) {
        for metadata in [&[][..], &[9], &[0xFF; 64]] {
            stranger.send(&raw_frame(FrameKind::Request, api, 5, metadata));
            let (error, id) = stranger.error();
            assert_eq!((error.code, id), (ErrorCode::InvalidRequest, 5), "{api}");
        }
    }
    assert_still_answered(&mut stranger);
    assert!(broker.stop().success());
}

fn assert_still_answered(stranger: &mut Stranger) {
    stranger.send(&frame(99, &MetadataRequest { topics: None }, &[]));
    let answer = stranger.receive().expect("the connection goes on");
    assert_eq!(answer.header.kind, FrameKind::Response);
    assert_eq!(answer.header.correlation_id, 99);
    MetadataResponse::decode(&answer.metadata).unwrap();
}

#[test]
fn payload_lengths_that_do_not_add_up_are_refused_and_append_nothing() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let mut stranger = Stranger::greeted(broker.native());
    let batch = batch_of(["never"]);
    let length = u32::try_from(batch.len()).unwrap();
    for lengths in [
        vec![length + 1],
        vec![length - 1],
        vec![length, 1],
        vec![u32::MAX, 7],
        vec![],
    ] {
        let partitions: Vec<_> = lengths
            .iter()
            .map(|&length| ProducePartition {
                topic_id: bystander.topic_id,
                partition: PartitionIndex::ZERO,
                leader_epoch: None,
                length,
            })
            .collect();
        let request = ProduceRequest {
            acks: Acks::All,
            timeout_ms: 1000,
            transactional_id: None,
            partitions: &partitions,
        };
        stranger.send(&frame(3, &request, &batch));
        let (error, id) = stranger.error();
        assert_eq!(
            (error.code, id),
            (ErrorCode::InvalidRequest, 3),
            "{lengths:?}"
        );
        // The offsets go on without a gap.
        bystander.assert_unharmed();
    }
    assert!(broker.stop().success());
}

/// A batch with these bytes put in, and a CRC that is right again unless they lie before it.
fn altered_batch(position: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch_of(["one", "two", "three"]).to_vec();
    batch[position..position + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn batches_that_lie_are_refused_one_by_one_and_append_nothing() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let mut liar = broker.connect();
    let good = batch_of(["one", "two", "three"]);
    let mut bad_crc = good.to_vec();
    *bad_crc.last_mut().unwrap() ^= 1;
    let length = i32::try_from(good.len() - 12).unwrap();
    let cases = [
        (
            "a CRC that does not match",
            bad_crc,
            ErrorCode::CorruptMessage,
        ),
        (
            "a length beyond its bytes",
            altered_batch(8, &(length + 1).to_be_bytes()),
            ErrorCode::CorruptMessage,
        ),
        (
            "a length short of its bytes",
            altered_batch(8, &(length - 1).to_be_bytes()),
            ErrorCode::CorruptMessage,
        ),
        (
            "a negative length",
            altered_batch(8, &(-1_i32).to_be_bytes()),
            ErrorCode::CorruptMessage,
        ),
        (
            "a length below a header's",
            altered_batch(8, &9_i32.to_be_bytes()),
            ErrorCode::CorruptMessage,
        ),
        (
            "half a header",
            good[..BATCH_HEADER_BYTES / 2].to_vec(),
            ErrorCode::CorruptMessage,
        ),
        ("nothing at all", Vec::new(), ErrorCode::InvalidRecord),
        (
            "more records than offsets",
            altered_batch(57, &4_i32.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "no records",
            altered_batch(57, &0_i32.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "a negative count",
            altered_batch(57, &(-3_i32).to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "more offsets than records",
            altered_batch(23, &9_i32.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "an old message",
            altered_batch(16, &[1]),
            ErrorCode::InvalidRecord,
        ),
        (
            "magic 9",
            altered_batch(16, &[9]),
            ErrorCode::CorruptMessage,
        ),
        (
            "a control batch",
            altered_batch(21, &[0, 0x20]),
            ErrorCode::InvalidRecord,
        ),
    ];
    for (what, batch, code) in cases {
        let answer = liar.produce(bystander.topic_id, 0, &batch);
        assert_eq!(answer.error, code, "{what}: {:?}", answer.error_message);
        assert!(answer.error_message.is_some(), "{what}");
        bystander.assert_unharmed();
    }
    let errors = broker
        .metrics()
        .sum_or_zero("corelog_request_errors_total", "error=\"CORRUPT_MESSAGE\"");
    assert!(errors >= 6.0, "{errors}");
    assert!(broker.stop().success());
}

#[test]
fn unknown_topics_and_oversized_records_are_refused_and_the_connection_goes_on() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let mut client = broker.connect();
    let small =
        client.create_topic(NewTopicBuilder::new("small", 1).config("max.message.bytes", "2000"));
    let batch = batch_of(["fine"]);
    let large = batch_of(["x".repeat(2000).as_str()]);

    let answer = client.produce(TopicId::random(), 0, &batch);
    assert_eq!(answer.error, ErrorCode::UnknownTopicId);
    let answer = client.produce(small, 1, &batch);
    assert_eq!(answer.error, ErrorCode::UnknownTopicOrPartition);
    let answer = client.produce(small, 0, &large);
    assert_eq!(answer.error, ErrorCode::MessageTooLarge);
    let message = answer.error_message.unwrap();
    assert!(message.contains("2000"), "{message}");
    // The limit is the topic's, not the connection's.
    assert_eq!(
        client.produce(bystander.topic_id, 0, &large).error,
        ErrorCode::None
    );
    bystander.produced += 1;
    assert_eq!(client.produce(small, 0, &batch).base_offset, Offset::ZERO);
    bystander.assert_unharmed();
    assert!(broker.stop().success());
}

#[test]
fn one_refused_partition_does_not_refuse_the_others_of_its_request() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("pair", 2));
    let good = batch_of(["good"]);
    let mut bad = good.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let partition = |index| ProducePartition {
        topic_id,
        partition: PartitionIndex::new(index),
        leader_epoch: None,
        length: u32::try_from(good.len()).unwrap(),
    };
    let partitions = [partition(0), partition(1)];
    let request = ProduceRequest {
        acks: Acks::All,
        timeout_ms: 10_000,
        transactional_id: None,
        partitions: &partitions,
    };
    let payload = [&bad[..], &good[..]].concat();
    let (answer, _): (ProduceResponse, _) = client.exchange(&request, &payload);
    let codes: Vec<_> = answer.partitions.iter().map(|it| it.error).collect();
    assert_eq!(codes, [ErrorCode::CorruptMessage, ErrorCode::None]);
}

#[test]
fn a_failed_produce_without_acks_closes_the_connection() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut bystander = Bystander::new(&broker);
    let mut client = broker.connect();
    client.send_produce(Acks::None, bystander.topic_id, 0, &batch_of(["silent"]));
    bystander.produced += 1;
    // Nothing answers it, so the next reply is that of the next request.
    client.metadata(None);
    client.send_produce(Acks::None, TopicId::random(), 0, &batch_of(["lost"]));
    let last = client.receive().expect("an error tells why");
    assert_eq!(last.header.kind, FrameKind::Error);
    let error = ErrorResponse::decode(&last.metadata).unwrap();
    assert_eq!(error.code, ErrorCode::UnknownTopicId);
    assert!(client.receive().is_none(), "the connection is closed");
    bystander.assert_unharmed();
}

#[test]
fn a_silent_connection_is_told_and_closed() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connection.hello.timeout.ms = 100\n");
    let mut bystander = Bystander::new(&broker);
    let mut silent = Stranger::connect(broker.native());
    // Bytes that never make a Hello do not count as one.
    let mut dawdler = Stranger::connect(broker.native());
    dawdler.send(&frame(1, &hello(), &[])[..30]);
    for stranger in [&mut silent, &mut dawdler] {
        let (error, _) = stranger.error();
        assert_eq!(error.code, ErrorCode::RequestTimedOut);
        stranger.assert_closed();
    }
    let rejected = broker.metrics().sum_or_zero(
        "corelog_connections_rejected_total",
        "reason=\"hello_timed_out\"",
    );
    assert_eq!(rejected, 2.0);
    bystander.assert_unharmed();
}

#[test]
fn a_frame_that_stands_still_is_told_and_closed() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connection.stall.timeout.ms = 100\n");
    let mut bystander = Bystander::new(&broker);
    let mut stranger = Stranger::greeted(broker.native());
    stranger.send(&frame(7, &MetadataRequest { topics: None }, &[])[..30]);
    let (error, _) = stranger.error();
    assert_eq!(error.code, ErrorCode::RequestTimedOut);
    stranger.assert_closed();
    assert_eq!(bad_frames(&broker, "timed_out"), 1.0);
    bystander.assert_unharmed();
}

#[test]
fn a_frame_that_trickles_is_told_and_closed() {
    let folder = TempDir::new().unwrap();
    let settings = "connection.stall.timeout.ms = 200\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut stranger = Stranger::greeted(broker.native());
    let whole = frame(7, &MetadataRequest { topics: None }, &[0; 10_000]);
    let mut sent = 0;
    until(|| {
        // A byte each time: as fast as `/metrics` answers, and never the end.
        sent += usize::from(stranger.try_send(&whole[sent..=sent]));
        bad_frames(&broker, "timed_out") == 1.0
    });
    assert!(sent < whole.len());
    assert_eq!(stranger.error().0.code, ErrorCode::RequestTimedOut);
}

#[test]
fn a_thousand_promises_of_100_mib_cost_nothing_and_keep_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    // A quarter of this is for received frames: 16 KiB for each promise.
    let settings = "shard.memory.bytes = 67108864\nsocket.request.max.bytes = 33554432\n";
    let broker = BrokerProcess::start_with(folder.path(), 1, settings);
    let mut bystander = Bystander::new(&broker);
    let promise = {
        let partitions = [ProducePartition {
            topic_id: bystander.topic_id,
            partition: PartitionIndex::ZERO,
            leader_epoch: None,
            length: 32 << 20,
        }];
        let request = ProduceRequest {
            acks: Acks::All,
            timeout_ms: 1000,
            transactional_id: None,
            partitions: &partitions,
        };
        encode_frame(FrameKind::Request, 1, &request, 32 << 20).unwrap()
    };
    let mut liars: Vec<_> = (0..1000)
        .map(|_| Stranger::greeted(broker.native()))
        .collect();
    let before = broker.resident_bytes();
    for liar in &mut liars {
        liar.send(&promise);
        liar.send(&[0; 100]);
    }
    bystander.assert_unharmed();
    let large = "x".repeat(1_000_000);
    let answer = bystander
        .connection
        .produce(bystander.topic_id, 0, &batch_of([large.as_str()]));
    assert_eq!(answer.error, ErrorCode::None);
    let cost = broker.resident_bytes().saturating_sub(before);
    assert!(cost < 32 << 20, "{cost} bytes for promises");
    drop(liars);
    until(|| broker.metrics().total("corelog_receive_bytes") == 0.0);
    assert!(broker.stop().success());
}

#[test]
fn a_connection_that_asks_for_nothing_is_closed_and_one_that_waits_is_not() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connections.max.idle.ms = 1000\n");
    let mut waiting = broker.connect();
    let topic_id = waiting.create_topic(NewTopicBuilder::new("quiet", 1));
    let mut idle = Stranger::greeted(broker.native());
    // Twice as long as a connection may be idle.
    let wait = std::time::Duration::from_secs(2);
    let (answer, _) = waiting.fetch(topic_id, 0, Offset::ZERO, wait);
    assert_eq!(answer.error, ErrorCode::None);
    idle.assert_closed();
    assert_eq!(
        broker
            .metrics()
            .total("corelog_connections_idle_closed_total"),
        1.0
    );
}

#[test]
fn a_peer_that_takes_nothing_is_dropped() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(
        folder.path(),
        1,
        "connection.stall.timeout.ms = 200\nconnection.requests.max = 4\n",
    );
    let mut bystander = Bystander::new(&broker);
    let topic_id = bystander.topic_id;
    let value = "x".repeat(900_000);
    let large = batch_of([value.as_str()]);
    let answer = bystander.connection.produce(topic_id, 0, &large);
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    bystander.produced += 1;
    // Asks for ten times what the sockets' buffers hold and reads none of it.
    let mut greedy = broker.connect();
    for _ in 0..100 {
        greedy.send_fetch_up_to(1_000_000, topic_id, 0, Offset::new(1));
    }
    let gone = || broker.metrics().total("corelog_connections") <= 1.0;
    until(gone);
    bystander.assert_unharmed();
    assert!(broker.stop().success());
}
