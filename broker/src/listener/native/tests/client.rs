//! A client that speaks the protocol's frames over a network that may fail at any moment.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::{
    ApiKey, EncodeMessage, FetchPartition, FetchRequest, FetchResponse, Frame, FrameKind,
    FrameLimits, HelloRequest, Message, ProducePartition, ProduceRequest, decode_frame,
    encode_frame,
};
use corelog_protocol::record::{BatchBuilder, split_batches};
use corelog_protocol::{
    Acks, Compression, ErrorCode, IsolationLevel, Offset, PartitionIndex, Timestamp,
};

use super::rig::{TOPIC, address};
use crate::runtime::{Connection, timeout, unix_millis};

/// How long the client waits for anything before it takes the connection for dead.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) struct Client {
    socket: Connection,
    received: BytesMut,
    next_id: u32,
}

impl Client {
    /// A connection whose Hello was answered.
    pub(super) async fn connect() -> io::Result<Self> {
        let mut client = Self {
            socket: in_time(Connection::connect(address())).await?,
            received: BytesMut::new(),
            next_id: 1,
        };
        let hello = HelloRequest {
            min_version: 1,
            max_version: 1,
            client_id: "simulated".to_owned(),
            client_software: "corelog-broker tests".to_owned(),
            ..HelloRequest::default()
        };
        let id = client.send(&hello, &[]).await?;
        let frame = client.receive().await?;
        assert_eq!(frame.header.correlation_id, id, "Hello is answered first");
        Ok(client)
    }

    pub(super) async fn send<Q: EncodeMessage>(
        &mut self,
        request: &Q,
        payload: &[u8],
    ) -> io::Result<u32> {
        let id = self.next_id;
        self.next_id += 1;
        let head = encode_frame(FrameKind::Request, id, request, payload.len()).unwrap();
        in_time(self.socket.write_all(&head)).await?;
        in_time(self.socket.write_all(payload)).await?;
        Ok(id)
    }

    /// The next frame, which is whole and undamaged whatever the network did.
    pub(super) async fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let limits = FrameLimits::default();
            if let Some(frame) = decode_frame(&mut self.received, &limits).unwrap() {
                let is_goodbye = frame.header.api_key() == Some(ApiKey::Goodbye);
                if is_goodbye || frame.header.kind == FrameKind::Error {
                    // The broker's last words.
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                return Ok(frame);
            }
            let mut chunk = [0; 8 << 10];
            match in_time(self.socket.read(&mut chunk)).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    pub(super) async fn send_produce(&mut self, partition: i32, batch: &[u8]) -> io::Result<u32> {
        let partitions = [ProducePartition {
            topic_id: TOPIC,
            partition: PartitionIndex::new(partition),
            leader_epoch: None,
            length: u32::try_from(batch.len()).unwrap(),
        }];
        let request = ProduceRequest {
            acks: Acks::All,
            timeout_ms: 3_000,
            transactional_id: None,
            partitions: &partitions,
        };
        self.send(&request, batch).await
    }

    /// What a partition has from `offset` on, and its high watermark.
    pub(super) async fn fetch(
        &mut self,
        partition: i32,
        offset: i64,
        max_wait: Duration,
    ) -> io::Result<(Vec<(i64, String)>, i64)> {
        let request = FetchRequest {
            max_wait_ms: u32::try_from(max_wait.as_millis()).unwrap(),
            min_bytes: 1,
            max_bytes: 256 << 10,
            isolation: IsolationLevel::ReadUncommitted,
            partitions: vec![position(partition, offset)],
        };
        let id = self.send(&request, &[]).await?;
        let frame = self.receive().await?;
        assert_eq!(frame.header.correlation_id, id, "one request, one reply");
        assert_eq!(frame.header.kind, FrameKind::Response);
        let mut response = FetchResponse::decode(&frame.metadata).unwrap();
        assert_eq!(response.partitions.len(), 1);
        let response = response.partitions.remove(0);
        match response.error {
            ErrorCode::None => {}
            // It is stopping.
            ErrorCode::NotLeaderOrFollower => return Err(io::ErrorKind::ConnectionAborted.into()),
            error => panic!("{error:?}: {:?}", response.error_message),
        }
        let mut records = records(&frame.payload);
        records.retain(|(at, _)| *at >= offset);
        Ok((records, response.high_watermark.get()))
    }
}

pub(super) fn position(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic_id: TOPIC,
        partition: PartitionIndex::new(partition),
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset: Offset::new(offset),
        max_bytes: 256 << 10,
    }
}

pub(super) fn batch(values: &[String]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for value in values {
        let timestamp = Timestamp::new(unix_millis());
        builder
            .append(timestamp, None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.finish(None)
}

/// Offsets and values, in order and without a gap inside.
pub(super) fn records(payload: &[u8]) -> Vec<(i64, String)> {
    let mut records: Vec<(i64, String)> = Vec::new();
    for batch in split_batches(payload) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let mut scratch = Vec::new();
        for record in batch.records(&mut scratch, 1 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            let offset = record.offset.get();
            if let Some((last, _)) = records.last() {
                assert_eq!(offset, last + 1);
            }
            records.push((offset, value));
        }
    }
    records
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
