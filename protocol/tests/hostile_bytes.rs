//! Thousands of damaged messages, frames and batches: no decoder panics, and none takes more
//! memory than its input, or the limit it was given, can justify.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting_allocator;
mod samples;

use bytes::{Bytes, BytesMut};
use corelog_protocol::native::*;
use corelog_protocol::record::*;
use corelog_protocol::{Compression, ProducerEpoch, ProducerId, Sequence, Timestamp};
use counting_allocator::measure;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The structs that a table turns into are larger than the table: the largest is 144 bytes, the
/// smallest table 8, and bytes may be counted sixteen times before the verifier refuses.
const MESSAGE_FACTOR: usize = 48;
/// Error texts and the like.
const MESSAGE_SLACK: usize = 4 * 1024;
/// Output doubles while it grows.
const DECOMPRESSION_FACTOR: usize = 3;
/// The state of a codec: inflate has 44 KiB, and zstd's first output is 64 KiB.
const DECOMPRESSION_SLACK: usize = 192 * 1024;

fn seeded() -> StdRng {
    let seed = match std::env::var("CORELOG_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 0x5eed,
    };
    println!("CORELOG_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Damages `bytes` in one to four ways.
fn damage(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..7) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 => bytes.truncate(at),
            3 => bytes.extend((0..random.random_range(0..64)).map(|_| random.random::<u8>())),
            4 => {
                let value = [0, 1, 8, i32::MAX, i32::MIN, -1, -2][random.random_range(0..7)];
                let word = if random.random() {
                    value.to_le_bytes()
                } else {
                    value.to_be_bytes()
                };
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            5 => {
                let from = random.random_range(0..bytes.len());
                let length = random.random_range(0..=bytes.len() - at.max(from)).min(32);
                bytes.copy_within(from..from + length, at);
            }
            _ => drop(bytes.drain(at..bytes.len().min(at + random.random_range(0..16)))),
        }
    }
    bytes
}

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

fn batches() -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for &compression in Compression::ALL {
        for records in [1, 50] {
            let mut builder = BatchBuilder::new(compression, 1024);
            for i in 0..records {
                let headers = [Header {
                    key: "trace",
                    value: Some(b"0123456789"),
                }];
                let value = vec![i as u8; 37 * i];
                builder
                    .append(Timestamp::new(1_000), Some(b"key"), Some(&value), &headers)
                    .unwrap();
            }
            let stamp = ProducerStamp {
                id: ProducerId::new(1),
                epoch: ProducerEpoch::new(2),
                base_sequence: Sequence::new(3),
                transactional: false,
            };
            batches.push(builder.finish(Some(stamp)).to_vec());
        }
    }
    batches
}

/// Reads a batch in every way there is.
fn read_batch(bytes: &[u8], limit: usize) {
    let allowed = DECOMPRESSION_FACTOR * limit + DECOMPRESSION_SLACK;
    let mut scratch = Vec::new();
    let (_, taken) = measure(|| {
        for batch in split_batches(bytes) {
            let Ok(batch) = batch else { continue };
            let _ = batch.validate();
            assert!(batch.next_offset() > batch.last_offset());
            if let Ok(records) = batch.records(&mut scratch, limit) {
                let mut count = 0;
                for record in records {
                    let Ok(record) = record else { break };
                    assert!(record.offset >= batch.base_offset());
                    assert!(record.offset <= batch.last_offset());
                    assert_eq!(record.headers.len(), record.headers.count());
                    count += 1;
                }
                assert!(count <= batch.record_count());
            }
        }
    });
    assert!(taken.peak_bytes <= allowed, "{taken:?} with limit {limit}");

    let shared = Bytes::copy_from_slice(bytes);
    let ((), taken) = measure(|| {
        for batch in DecodedBatch::decode_all(shared, limit) {
            let Ok(batch) = batch else { break };
            for record in batch.records() {
                let Ok(record) = record else { break };
                assert!(record.offset <= batch.last_offset());
                assert_eq!(record.headers().len(), record.headers().count());
            }
        }
    });
    assert!(taken.peak_bytes <= allowed, "{taken:?} with limit {limit}");
}

#[test]
fn damaged_batches_harm_no_reader() {
    let mut random = seeded();
    let batches = batches();
    for batch in &batches {
        read_batch(batch, 1024 * 1024);
        for round in 0..1_500 {
            let mut damaged = damage(batch, &mut random);
            // A valid length and CRC lead the reader past its first checks.
            if round % 3 != 0 && damaged.len() >= BATCH_HEADER_BYTES {
                let length = (damaged.len() - BATCH_PREFIX_BYTES) as i32;
                damaged[LENGTH_POSITION..LENGTH_POSITION + 4]
                    .copy_from_slice(&length.to_be_bytes());
                damaged[MAGIC_POSITION] = 2;
                let crc = crc32c::crc32c(&damaged[CRC_COVERS_FROM..]);
                damaged[CRC_COVERS_FROM - 4..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
            }
            read_batch(&damaged, random.random_range(0..64 * 1024));
        }
    }
}

#[test]
fn damaged_compressed_bytes_harm_no_codec() {
    let mut random = seeded();
    let mut out = Vec::new();
    for batch in batches() {
        let (view, _) = BatchView::parse(&batch).unwrap();
        for _ in 0..1_500 {
            let damaged = damage(view.records_bytes(), &mut random);
            let limit = random.random_range(0..64 * 1024);
            for &codec in Compression::ALL {
                let (result, taken) = measure(|| {
                    out = Vec::new();
                    decompress(codec, &damaged, limit, &mut out)
                });
                assert!(
                    taken.peak_bytes <= DECOMPRESSION_FACTOR * limit + DECOMPRESSION_SLACK,
                    "{codec}: {taken:?} with limit {limit}"
                );
                if result.is_ok() {
                    assert!(out.len() <= limit);
                }
            }
        }
    }
}

/// A few bytes that claim a gigabyte, within a limit that would allow it.
#[test]
fn a_claimed_size_takes_no_memory() {
    const GIB: usize = 1 << 30;
    let snappy_block = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x41];
    let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07".to_vec();
    xerial.extend_from_slice(&snappy_block);
    // Version 1, content size present; blocks of up to 4 MiB; 1 GiB of content; then a block that
    // is said to be 4 MiB long and is not there.
    let mut lz4 = vec![0x04, 0x22, 0x4d, 0x18, 0b0110_1000, 0x70];
    lz4.extend_from_slice(&(GIB as u64).to_le_bytes());
    lz4.extend_from_slice(&[0x00, 0x00, 0x00, 0x40, 0x00, 0x01]);
    // A content size of 4 bytes, single segment: the window is the content.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    zstd.extend_from_slice(&(GIB as u32).to_le_bytes());
    zstd.extend_from_slice(&[0x09, 0x00, 0x00, 0x41]);
    for (codec, bytes) in [
        (Compression::Snappy, &snappy_block[..]),
        (Compression::Snappy, &xerial),
        (Compression::Lz4, &lz4),
        (Compression::Zstd, &zstd),
        (
            Compression::Gzip,
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00",
        ),
    ] {
        let mut out = Vec::new();
        let (result, taken) = measure(|| decompress(codec, bytes, 2 * GIB, &mut out));
        assert!(result.is_err(), "{codec}");
        assert!(taken.peak_bytes < DECOMPRESSION_SLACK, "{codec}: {taken:?}");
    }
}
