//! A plain, blocking client of the native protocol that does exactly what it is told: it sends to
//! the shard it is given, right or wrong, and neither retries nor redirects.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::{
    CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, DeleteRecordsPartition,
    DeleteRecordsPartitionResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DeleteUntil, EncodeMessage, ErrorResponse,
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, Frame, FrameKind,
    FrameLimits, HelloRequest, HelloResponse, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, Message, MetadataRequest, MetadataResponse, NewTopic,
    OffsetQuery, ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse,
    TopicMetadata, TopicSelector, decode_frame, encode_frame,
};
use corelog_protocol::{Acks, ErrorCode, IsolationLevel, Offset, PartitionIndex, ShardId, TopicId};

/// No answer within this time is a failure of the test, not of its patience.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    next_correlation_id: u32,
    pub(crate) hello: HelloResponse,
}

impl Connection {
    pub(crate) fn open(native: SocketAddr, shard: Option<u16>) -> Self {
        let stream = TcpStream::connect(native).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Self {
            stream,
            received: BytesMut::new(),
            next_correlation_id: 1,
            hello: HelloResponse {
                version: 0,
                features: 0,
                cluster_id: String::new(),
                broker_id: corelog_protocol::BrokerId::ZERO,
                shard: ShardId::new(0),
                shards: 0,
                max_frame_metadata: 0,
                max_frame_payload: 0,
            },
        };
        connection.hello = connection.ask(&HelloRequest {
            min_version: 1,
            max_version: 1,
            client_id: "behaviour-tests".to_owned(),
            client_software: "corelog-broker tests".to_owned(),
            shard: shard.map(ShardId::new),
            ..HelloRequest::default()
        });
        connection
    }

    /// Has the kernel take next to nothing that this client does not read itself.
    pub(crate) fn buffer_little(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_recv_buffer_size(4096).unwrap();
    }

    /// Sends a request without payload and decodes its response.
    pub(crate) fn ask<Q: EncodeMessage, R: Message>(&mut self, request: &Q) -> R {
        self.exchange(request, &[]).0
    }

    /// Sends a request with its payload and returns the response with its own.
    pub(crate) fn exchange<Q: EncodeMessage, R: Message>(
        &mut self,
        request: &Q,
        payload: &[u8],
    ) -> (R, Bytes) {
        let correlation_id = self.send(request, payload);
        self.answer(correlation_id)
    }

    /// The response to this request, which must be the next frame.
    fn answer<R: Message>(&mut self, correlation_id: u32) -> (R, Bytes) {
        let frame = self.receive().expect("the broker closed the connection");
        assert_eq!(frame.header.correlation_id, correlation_id);
        if frame.header.kind == FrameKind::Error {
            panic!(
                "refused: {:?}",
                ErrorResponse::decode(&frame.metadata).unwrap()
            );
        }
        assert_eq!(frame.header.kind, FrameKind::Response);
        (R::decode(&frame.metadata).unwrap(), frame.payload)
    }

    /// Sends a request and returns its correlation id.
    pub(crate) fn send<Q: EncodeMessage>(&mut self, request: &Q, payload: &[u8]) -> u32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame =
            encode_frame(FrameKind::Request, correlation_id, request, payload.len()).unwrap();
        self.stream.write_all(&frame).unwrap();
        self.stream.write_all(payload).unwrap();
        correlation_id
    }

    /// The next frame; `None` when the broker has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            let limits = FrameLimits::default();
            if let Some(frame) = decode_frame(&mut self.received, &limits).unwrap() {
                return Some(frame);
            }
            let mut buffer = [0; 64 << 10];
            let count = match self.stream.read(&mut buffer) {
                // A signal of a broker that runs in this process.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            if count == 0 {
                return None;
            }
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    pub(crate) fn create_topics(&mut self, topics: Vec<NewTopic>) -> Vec<CreatedTopic> {
        let response: CreateTopicsResponse = self.ask(&CreateTopicsRequest {
            timeout_ms: 10_000,
            validate_only: false,
            topics,
        });
        response.topics
    }

    /// Creates one topic that must not be refused.
    pub(crate) fn create_topic(&mut self, topic: NewTopicBuilder) -> TopicId {
        let created = self.create_topics(vec![topic.0]).remove(0);
        assert_eq!(
            created.error,
            ErrorCode::None,
            "{:?}",
            created.error_message
        );
        created.id
    }

    /// The metadata of one topic.
    pub(crate) fn topic(&mut self, name: &str) -> TopicMetadata {
        let mut response = self.metadata(Some(vec![TopicSelector::Name(name.to_owned())]));
        response.topics.remove(0)
    }

    pub(crate) fn metadata(&mut self, topics: Option<Vec<TopicSelector>>) -> MetadataResponse {
        self.ask(&MetadataRequest { topics })
    }

    /// Produces to one partition with acks=all.
    pub(crate) fn produce(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        batches: &[u8],
    ) -> ProducePartitionResponse {
        self.produce_with(Acks::All, topic_id, partition, batches)
    }

    pub(crate) fn produce_with(
        &mut self,
        acks: Acks,
        topic_id: TopicId,
        partition: i32,
        batches: &[u8],
    ) -> ProducePartitionResponse {
        let correlation_id = self.send_produce(acks, topic_id, partition, batches);
        let frame = self.receive().expect("the broker closed the connection");
        assert_eq!(frame.header.correlation_id, correlation_id);
        let mut response = ProduceResponse::decode(&frame.metadata).unwrap();
        assert_eq!(response.partitions.len(), 1);
        response.partitions.remove(0)
    }

    pub(crate) fn send_produce(
        &mut self,
        acks: Acks,
        topic_id: TopicId,
        partition: i32,
        batches: &[u8],
    ) -> u32 {
        let partitions = [ProducePartition {
            topic_id,
            partition: PartitionIndex::new(partition),
            leader_epoch: None,
            length: u32::try_from(batches.len()).unwrap(),
        }];
        let request = ProduceRequest {
            acks,
            timeout_ms: 10_000,
            transactional_id: None,
            partitions: &partitions,
        };
        self.send(&request, batches)
    }

    /// Deletes a topic that must be there.
    pub(crate) fn delete_topic(&mut self, name: &str) {
        let response: DeleteTopicsResponse = self.ask(&DeleteTopicsRequest {
            timeout_ms: 10_000,
            topics: vec![TopicSelector::Name(name.to_owned())],
        });
        assert_eq!(response.topics[0].error, ErrorCode::None);
    }

    /// Sends a fetch of one partition and returns its correlation id.
    pub(crate) fn send_fetch(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        offset: Offset,
        max_wait: Duration,
    ) -> u32 {
        self.send_fetch_request(topic_id, [partition], offset, max_wait, 4 << 20)
    }

    /// As [`Connection::send_fetch`], for several partitions from their start.
    pub(crate) fn send_fetch_all(
        &mut self,
        topic_id: TopicId,
        partitions: impl IntoIterator<Item = i32>,
        max_wait: Duration,
    ) -> u32 {
        self.send_fetch_request(topic_id, partitions, Offset::ZERO, max_wait, 4 << 20)
    }

    /// As [`Connection::send_fetch`], without waiting and for up to so many bytes.
    pub(crate) fn send_fetch_up_to(
        &mut self,
        max_bytes: u32,
        topic_id: TopicId,
        partition: i32,
        offset: Offset,
    ) -> u32 {
        self.send_fetch_request(topic_id, [partition], offset, Duration::ZERO, max_bytes)
    }

    fn send_fetch_request(
        &mut self,
        topic_id: TopicId,
        partitions: impl IntoIterator<Item = i32>,
        fetch_offset: Offset,
        max_wait: Duration,
        max_bytes: u32,
    ) -> u32 {
        let request = FetchRequest {
            max_wait_ms: u32::try_from(max_wait.as_millis()).unwrap(),
            min_bytes: 1,
            max_bytes,
            isolation: IsolationLevel::ReadUncommitted,
            partitions: partitions
                .into_iter()
                .map(|partition| FetchPartition {
                    topic_id,
                    partition: PartitionIndex::new(partition),
                    leader_epoch: None,
                    last_fetched_epoch: None,
                    fetch_offset,
                    max_bytes,
                })
                .collect(),
        };
        self.send(&request, &[])
    }

    /// Closes the sending direction.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// One fetch from one partition, waiting at most `max_wait` for a first byte.
    pub(crate) fn fetch(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        offset: Offset,
        max_wait: Duration,
    ) -> (FetchPartitionResponse, Bytes) {
        let correlation_id = self.send_fetch(topic_id, partition, offset, max_wait);
        let (mut response, payload): (FetchResponse, Bytes) = self.answer(correlation_id);
        assert_eq!(response.partitions.len(), 1);
        (response.partitions.remove(0), payload)
    }

    /// Everything from offset 0 to the high watermark.
    pub(crate) fn read_all(&mut self, topic_id: TopicId, partition: i32) -> Values {
        self.read_from(topic_id, partition, Offset::ZERO)
    }

    /// Everything from the log start to the high watermark. Where retention moves the log start
    /// meanwhile, the reading begins again from there.
    pub(crate) fn read_from_start(&mut self, topic_id: TopicId, partition: i32) -> Values {
        loop {
            let start = self.log_start(topic_id, partition);
            let read = self.try_read_from(topic_id, partition, start);
            match read {
                Ok(values) => return values,
                Err((ErrorCode::OffsetOutOfRange, _))
                    if self.log_start(topic_id, partition) > start => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Where the log starts.
    pub(crate) fn log_start(&mut self, topic_id: TopicId, partition: i32) -> Offset {
        let listed = self.list_offset(topic_id, partition, OffsetQuery::Earliest);
        listed.offset.expect("a log has a start")
    }

    /// Asks for one offset, which must not be refused.
    pub(crate) fn list_offset(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        query: OffsetQuery,
    ) -> ListOffsetsPartitionResponse {
        let mut response: ListOffsetsResponse = self.ask(&ListOffsetsRequest {
            isolation: IsolationLevel::ReadUncommitted,
            partitions: vec![ListOffsetsPartition {
                topic_id,
                partition: PartitionIndex::new(partition),
                leader_epoch: None,
                query,
            }],
        });
        let answer = response.partitions.remove(0);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        answer
    }

    /// Deletes what lies before an offset.
    pub(crate) fn delete_records(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        until: DeleteUntil,
    ) -> DeleteRecordsPartitionResponse {
        let mut response: DeleteRecordsResponse = self.ask(&DeleteRecordsRequest {
            timeout_ms: 20_000,
            partitions: vec![DeleteRecordsPartition {
                topic_id,
                partition: PartitionIndex::new(partition),
                leader_epoch: None,
                until,
            }],
        });
        response.partitions.remove(0)
    }

    /// Everything from an offset to the high watermark.
    pub(crate) fn read_from(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        offset: Offset,
    ) -> Values {
        let read = self.try_read_from(topic_id, partition, offset);
        read.unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn try_read_from(
        &mut self,
        topic_id: TopicId,
        partition: i32,
        mut offset: Offset,
    ) -> Result<Values, (ErrorCode, Option<String>)> {
        let mut values = Values::new();
        loop {
            let (response, payload) = self.fetch(topic_id, partition, offset, Duration::ZERO);
            if response.error != ErrorCode::None {
                return Err((response.error, response.error_message));
            }
            if offset == response.high_watermark {
                return Ok(values);
            }
            let fetched = super::values_in(&payload);
            values.extend(fetched.into_iter().filter(|(at, _)| *at >= offset));
            let (last, _) = values.last().expect("below the high watermark");
            offset = last.checked_add(1).unwrap();
        }
    }
}

/// Values by their offsets.
type Values = Vec<(Offset, String)>;

/// A topic to create, with one replica.
pub(crate) struct NewTopicBuilder(NewTopic);

impl NewTopicBuilder {
    pub(crate) fn new(name: &str, partitions: i32) -> Self {
        Self(NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication_factor: None,
            configs: Vec::new(),
        })
    }

    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.0.configs.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn build(self) -> NewTopic {
        self.0
    }
}
