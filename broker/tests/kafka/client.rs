//! A client that says what it is told to, over a plain socket.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::kafka::messages::fetch::{FetchPartition, FetchTopic};
use corelog_protocol::kafka::messages::metadata::MetadataRequestTopic;
use corelog_protocol::kafka::messages::produce::{PartitionProduceData, TopicProduceData};
use corelog_protocol::kafka::messages::{
    FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage, Records, RequestHeader, Writer};
use corelog_protocol::record::{BatchBuilder, Header, ProducerStamp};
use corelog_protocol::{
    Compression, ErrorCode, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct KafkaClient {
    stream: TcpStream,
    next_correlation_id: i32,
}

/// What a produce of one partition brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Produced {
    pub(super) error: ErrorCode,
    pub(super) base_offset: i64,
    pub(super) message: Option<String>,
}

impl KafkaClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            next_correlation_id: 100,
        }
    }

    /// Sends bytes as they are.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Closes the sending direction.
    pub(super) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and returns its correlation id.
    pub(super) fn send<'a>(
        &mut self,
        api: KafkaApi,
        version: i16,
        request: &impl KafkaMessage<'a>,
    ) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let body = request.to_bytes(version).unwrap();
        self.send_raw(&frame(api.key(), version, correlation_id, &body));
        correlation_id
    }

    /// The next response: correlation id, and all behind it. `None` at the end of the stream.
    pub(super) fn receive(&mut self) -> Option<(i32, Bytes)> {
        let mut head = [0; 4];
        let got = self.stream.read(&mut head).unwrap();
        if got == 0 {
            return None;
        }
        self.stream.read_exact(&mut head[got..]).unwrap();
        let mut body = BytesMut::zeroed(u32::from_be_bytes(head) as usize);
        self.stream.read_exact(&mut body).unwrap();
        let correlation_id = i32::from_be_bytes(body.split_to(4)[..].try_into().unwrap());
        Some((correlation_id, body.freeze()))
    }

    /// Sends a request and returns the body of its response.
    pub(crate) fn ask<'a>(
        &mut self,
        api: KafkaApi,
        version: i16,
        request: &impl KafkaMessage<'a>,
    ) -> Bytes {
        let asked = self.send(api, version, request);
        self.answer_to(asked, api, version)
    }

    /// The body of the next response, which must be that to the request.
    pub(super) fn answer_to(&mut self, asked: i32, api: KafkaApi, version: i16) -> Bytes {
        let (answered, mut body) = self.receive().expect("the broker closed the connection");
        assert_eq!(answered, asked);
        if api != KafkaApi::ApiVersions && api.is_flexible(version) {
            assert_eq!(body.split_to(1)[..], [0], "no tagged fields in the header");
        }
        body
    }

    /// Passes when the broker closed the connection and sent nothing more.
    pub(super) fn assert_closed(&mut self) {
        assert_eq!(self.receive(), None, "an answer came instead of the end");
    }

    /// Makes a topic by asking for it, and returns its id.
    pub(super) fn topic(&mut self, name: &str) -> TopicId {
        let body = self.ask(KafkaApi::Metadata, 12, &metadata_of(name));
        let response = MetadataResponse::decode(&body, 12).unwrap();
        let topic = &response.topics[0];
        assert_eq!(topic.error_code, 0);
        topic.topic_id
    }

    pub(super) fn send_produce(&mut self, acks: i16, topic: &str, records: &[u8]) -> i32 {
        self.send(KafkaApi::Produce, 9, &produce_of(acks, topic, 0, records))
    }

    /// Produces to partition 0 of a topic.
    pub(super) fn produce(&mut self, acks: i16, topic: &str, records: &[u8]) -> Produced {
        let asked = self.send_produce(acks, topic, records);
        self.produced(asked)
    }

    /// The answer to a produce.
    pub(super) fn produced(&mut self, asked: i32) -> Produced {
        let body = self.answer_to(asked, KafkaApi::Produce, 9);
        let response = ProduceResponse::decode(&body, 9).unwrap();
        let partition = &response.responses[0].partition_responses[0];
        Produced {
            error: ErrorCode::from_code(partition.error_code).unwrap(),
            base_offset: partition.base_offset,
            message: partition.error_message.map(str::to_owned),
        }
    }

    /// What partition 0 of a topic has from an offset on, in a version that names topics.
    pub(super) fn fetch(&mut self, topic: &str, offset: i64) -> (ErrorCode, Vec<u8>) {
        self.fetch_in(12, &fetch_of(topic, TopicId::ZERO, offset))
    }

    /// As [`KafkaClient::fetch`], in any version.
    pub(super) fn fetch_in(
        &mut self,
        version: i16,
        request: &FetchRequest<'_>,
    ) -> (ErrorCode, Vec<u8>) {
        let body = self.ask(KafkaApi::Fetch, version, request);
        let response = FetchResponse::decode(&body, version).unwrap();
        assert_eq!(response.error_code, 0);
        let partition = &response.responses[0].partitions[0];
        let Records::Here(records) = partition.records else {
            panic!("records are here when they were read");
        };
        let error = ErrorCode::from_code(partition.error_code).unwrap();
        (error, records.to_vec())
    }
}

/// A whole request, whatever its header says.
pub(super) fn frame(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let header = RequestHeader {
        api_key,
        api_version,
        correlation_id,
        client_id: Some("a test"),
    };
    header.encode(&mut writer).unwrap();
    let header = writer.finish();
    let length = i32::try_from(header.len() + body.len()).unwrap();
    [&length.to_be_bytes()[..], &header, body].concat()
}

pub(super) fn metadata_of(topic: &str) -> MetadataRequest<'_> {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

pub(super) fn produce_of<'a>(
    acks: i16,
    topic: &'a str,
    partition: i32,
    records: &'a [u8],
) -> ProduceRequest<'a> {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(records),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A fetch of partition 0 that waits for nothing.
pub(super) fn fetch_of(topic: &str, topic_id: TopicId, offset: i64) -> FetchRequest<'_> {
    FetchRequest {
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic,
            topic_id,
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

/// A batch of an idempotent producer, with keys, headers and a tombstone.
pub(super) fn stamped(compression: Compression, producer: i64, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(compression, 4096);
    for number in 0..10 {
        let (key, value) = (format!("key {number}"), "value ".repeat(number));
        let value = (number > 0).then_some(value.as_bytes());
        let header = |key: &'static str, value| Header { key, value };
        let headers = [
            header("origin", Some(&b"a test"[..])),
            header("empty", None),
        ];
        let time = Timestamp::new(1_700_000_000_000 + number as i64);
        builder
            .append(time, Some(key.as_bytes()), value, &headers)
            .unwrap();
    }
    builder.finish(Some(ProducerStamp {
        id: ProducerId::new(producer),
        epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::new(sequence),
        transactional: false,
    }))
}
