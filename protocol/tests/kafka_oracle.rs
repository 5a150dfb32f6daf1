//! Record batches against an encoder and a decoder that are not ours: the `kafka-protocol` crate.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use corelog_protocol::record::*;
use corelog_protocol::{Compression, ProducerEpoch, ProducerId, Sequence, Timestamp};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};
use proptest::prelude::*;

const LIMIT: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        4 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        // Enough to cross the blocks of snappy and lz4.
        1 => (any::<u8>(), 0..150_000_usize).prop_map(|(byte, length)| Some(vec![byte; length])),
    ]
}

prop_compose! {
    fn plain()(
        timestamp in 0..4_000_000_000_000_i64,
        key in bytes(),
        value in bytes(),
        // Their headers are a map: keys must differ.
        headers in proptest::collection::btree_map("[a-zé]{0,8}", bytes(), 0..4),
    ) -> Plain {
        Plain { timestamp, key, value, headers: headers.into_iter().collect() }
    }
}

fn their_compression(compression: Compression) -> TheirCompression {
    match compression {
        Compression::None => TheirCompression::None,
        Compression::Gzip => TheirCompression::Gzip,
        Compression::Snappy => TheirCompression::Snappy,
        Compression::Lz4 => TheirCompression::Lz4,
        Compression::Zstd => TheirCompression::Zstd,
    }
}

fn encode_theirs(records: &[Plain], compression: Compression, producer: ProducerStamp) -> Bytes {
    let records: Vec<_> = records
        .iter()
        .zip(0..)
        .map(|(record, index)| TheirRecord {
            transactional: producer.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.id.get(),
            producer_epoch: producer.epoch.get(),
            timestamp_type: TheirTimestampType::Creation,
            offset: i64::from(index),
            sequence: producer.base_sequence.get() + index,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| {
                    (
                        StrBytes::from_string(key.clone()),
                        value.clone().map(Bytes::from),
                    )
                })
                .collect(),
        })
        .collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: their_compression(compression),
    };
    RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    out.freeze()
}

fn encode_ours(records: &[Plain], compression: Compression, producer: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(compression, 1024);
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        builder
            .append(
                Timestamp::new(record.timestamp),
                record.key.as_deref(),
                record.value.as_deref(),
                &headers,
            )
            .unwrap();
    }
    builder.finish(Some(producer))
}

fn stamp(transactional: bool) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(4_711),
        epoch: ProducerEpoch::new(2),
        base_sequence: Sequence::new(10),
        transactional,
    }
}

fn assert_ours_reads(batch: &Bytes, records: &[Plain], transactional: bool) {
    let (view, rest) = BatchView::parse(batch).unwrap();
    assert!(rest.is_empty());
    view.validate().unwrap();
    assert_eq!(view.record_count() as usize, records.len());
    assert_eq!(view.producer_id(), Some(stamp(transactional).id));
    assert_eq!(view.producer_epoch(), Some(stamp(transactional).epoch));
    assert_eq!(
        view.base_sequence(),
        Some(stamp(transactional).base_sequence)
    );
    assert_eq!(view.is_transactional(), transactional);
    let decoded = DecodedBatch::decode(batch, LIMIT).unwrap();
    let mut read = decoded.records();
    for (record, offset) in records.iter().zip(0..) {
        let found = read.next().unwrap().unwrap();
        assert_eq!(found.offset.get(), offset);
        assert_eq!(found.timestamp.get(), record.timestamp);
        assert_eq!(found.key.as_deref(), record.key.as_deref());
        assert_eq!(found.value.as_deref(), record.value.as_deref());
        let headers = record.headers.iter().map(|(key, value)| Header {
            key,
            value: value.as_deref(),
        });
        assert!(found.headers().eq(headers));
    }
    assert!(read.next().is_none());
}

fn assert_theirs_reads(mut batch: Bytes, records: &[Plain], transactional: bool) {
    let set = RecordBatchDecoder::decode(&mut batch).unwrap();
    assert_eq!(set.records.len(), records.len());
    for ((found, record), index) in set.records.iter().zip(records).zip(0..) {
        assert_eq!(found.offset, i64::from(index));
        assert_eq!(found.sequence, 10 + index);
        assert_eq!(found.producer_id, 4_711);
        assert_eq!(found.producer_epoch, 2);
        assert_eq!(found.transactional, transactional);
        assert_eq!(found.timestamp, record.timestamp);
        assert_eq!(found.key.as_deref(), record.key.as_deref());
        assert_eq!(found.value.as_deref(), record.value.as_deref());
        let headers = found
            .headers
            .iter()
            .map(|(key, value)| (key.to_string(), value.as_ref().map(|value| value.to_vec())));
        assert!(headers.eq(record.headers.iter().cloned()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn we_read_what_they_write(
        records in proptest::collection::vec(plain(), 1..12),
        transactional: bool,
    ) {
        for &compression in Compression::ALL {
            let batch = encode_theirs(&records, compression, stamp(transactional));
            assert_ours_reads(&batch, &records, transactional);
        }
    }

    #[test]
    fn they_read_what_we_write(
        records in proptest::collection::vec(plain(), 1..12),
        transactional: bool,
    ) {
        for &compression in Compression::ALL {
            let batch = encode_ours(&records, compression, stamp(transactional));
            assert_ours_reads(&batch, &records, transactional);
            assert_theirs_reads(batch, &records, transactional);
        }
    }

    /// Their base timestamp is the least of the batch, ours the first record's as in Kafka's own
    /// producer: with ascending timestamps these are one, and then so are all the bytes.
    #[test]
    fn uncompressed_batches_have_the_same_bytes(
        mut records in proptest::collection::vec(plain(), 1..12),
        transactional: bool,
    ) {
        records.sort_by_key(|record| record.timestamp);
        let ours = encode_ours(&records, Compression::None, stamp(transactional));
        let theirs = encode_theirs(&records, Compression::None, stamp(transactional));
        prop_assert_eq!(ours, theirs);
    }
}
