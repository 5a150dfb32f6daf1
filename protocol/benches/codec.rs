//! What the codecs cost, batch by batch and frame by frame, beside the floor: the checksum of the same bytes alone.
//!
//! `cargo bench -p corelog-protocol --bench codec [-- NAME]`. Sizes are those of a batch: records of 100 bytes or of 1 KiB.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use bytes::{Bytes, BytesMut};
use corelog_protocol::kafka::KafkaMessage;
use corelog_protocol::kafka::messages::ProduceRequest as KafkaProduceRequest;
use corelog_protocol::kafka::messages::produce::{PartitionProduceData, TopicProduceData};
use corelog_protocol::native::{
    Encoder, FrameKind, FrameLimits, ProducePartition, ProduceRequest, decode_frame, encode_frame,
};
use corelog_protocol::record::{BatchBuilder, BatchView, DecodedBatch};
use corelog_protocol::{Acks, Compression, PartitionIndex, Timestamp, TopicId};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Bytes of a record's value, and records of a batch.
const BATCHES: [(usize, usize); 3] = [(100, 600), (1024, 62), (1024, 1000)];
/// More than any of them.
const LARGEST: usize = 16 << 20;
/// A version of Kafka's Produce that most clients speak.
const KAFKA_PRODUCE: i16 = 9;

fn batch(value: usize, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    fill(&mut builder, &vec![b'x'; value], records);
    builder.finish(None)
}

fn fill(builder: &mut BatchBuilder, value: &[u8], records: usize) {
    for number in 0..records {
        let timestamp = Timestamp::new(1_800_000_000_000 + number as i64);
        builder.append(timestamp, None, Some(value), &[]).unwrap();
    }
}

#[divan::bench(args = BATCHES)]
fn build_batch(bencher: Bencher<'_, '_>, (value, records): (usize, usize)) {
    let bytes = batch(value, records).len();
    let value = vec![b'x'; value];
    let mut builder = BatchBuilder::new(Compression::None, bytes);
    let counted = bencher.counter(BytesCount::new(bytes));
    counted.counter(ItemsCount::new(records)).bench_local(|| {
        fill(&mut builder, black_box(&value), records);
        builder.finish(None)
    });
}

/// What the broker does with a batch that it receives.
#[divan::bench(args = BATCHES)]
fn validate_batch(bencher: Bencher<'_, '_>, (value, records): (usize, usize)) {
    let bytes = batch(value, records);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let (view, _) = BatchView::parse(black_box(&bytes)).unwrap();
        view.validate().unwrap();
    });
}

/// The floor of [`validate_batch`].
#[divan::bench(args = BATCHES)]
fn checksum(bencher: Bencher<'_, '_>, (value, records): (usize, usize)) {
    let bytes = batch(value, records);
    let counted = bencher.counter(BytesCount::new(bytes.len()));
    counted.bench(|| crc32c::crc32c(black_box(&bytes)));
}

/// What a consumer does with a batch that it receives.
#[divan::bench(args = BATCHES)]
fn read_records(bencher: Bencher<'_, '_>, (value, records): (usize, usize)) {
    let bytes = batch(value, records);
    let counted = bencher.counter(BytesCount::new(bytes.len()));
    counted.counter(ItemsCount::new(records)).bench(|| {
        let batch = DecodedBatch::decode(black_box(&bytes), LARGEST).unwrap();
        let values = batch.borrowed_records().map(|record| record.unwrap().value);
        values
            .map(|value| value.map_or(0, <[u8]>::len))
            .sum::<usize>()
    });
}

/// The frame without its records, which are sent from where they are.
#[divan::bench]
fn encode_native_produce(bencher: Bencher<'_, '_>) {
    let mut encoder = Encoder::new(FrameLimits::default());
    let mut out = BytesMut::with_capacity(4 << 10);
    let partitions = [partition(64 << 10)];
    bencher.bench_local(|| {
        out.clear();
        let request = request(black_box(&partitions));
        let (kind, bytes) = (FrameKind::Request, 64 << 10);
        encoder.frame(kind, 7, &request, bytes, &mut out).unwrap();
    });
}

#[divan::bench]
fn decode_native_produce(bencher: Bencher<'_, '_>) {
    let payload = batch(1024, 62);
    let partitions = [partition(payload.len())];
    let head = encode_frame(FrameKind::Request, 7, &request(&partitions), payload.len()).unwrap();
    let frame = [&head[..], &payload].concat();
    let limits = FrameLimits::default();
    bencher
        .with_inputs(|| BytesMut::from(&frame[..]))
        .bench_values(|mut buffer| {
            let frame = decode_frame(&mut buffer, &limits).unwrap().unwrap();
            let request = ProduceRequest::decode(&frame.metadata).unwrap();
            (request.partition_count(), frame)
        });
}

#[divan::bench]
fn decode_kafka_produce(bencher: Bencher<'_, '_>) {
    let records = batch(1024, 62);
    let request = KafkaProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "events",
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(&records),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let bytes = request.to_bytes(KAFKA_PRODUCE).unwrap();
    bencher.bench(|| {
        let request = KafkaProduceRequest::decode(black_box(&bytes), KAFKA_PRODUCE).unwrap();
        request.topic_data.len()
    });
}

fn partition(length: usize) -> ProducePartition {
    ProducePartition {
        topic_id: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex::ZERO,
        leader_epoch: None,
        length: u32::try_from(length).unwrap(),
    }
}

fn request(partitions: &[ProducePartition]) -> ProduceRequest<'_> {
    ProduceRequest {
        acks: Acks::All,
        timeout_ms: 30_000,
        transactional_id: None,
        partitions,
    }
}
