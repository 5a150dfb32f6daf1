//! Implementations that are not ours read our segments record for record, and we read theirs: the
//! crate `kafka-protocol`, and PyPI's kafka-python.
//!
//! Real brokers, real files. kafka-python is asked only where `CORELOG_TEST_KAFKA_PYTHON` names a
//! Python that has it: `run.sh` beside this file makes one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_protocol::record::{BatchBuilder, Header, split_batches};
use corelog_protocol::{Compression, ErrorCode, Offset, Timestamp};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use serde::Deserialize;
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder};

const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;
const BATCHES: usize = 60;
const RECORDS: usize = 9;
const LARGEST_BATCH: usize = 1 << 20;

/// A record as everyone tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Told {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the record with this offset holds: nulls, empty values, headers, much and little.
fn sample(offset: usize) -> Told {
    let all_headers = [
        ("origin".to_owned(), Some(hex(b"corelog"))),
        ("empty".to_owned(), Some(String::new())),
        ("none".to_owned(), None),
        ("caf\u{e9}".to_owned(), Some("00ff".to_owned())),
    ];
    let value = format!("value {offset} ").repeat(1 + offset % 400);
    Told {
        offset: offset as i64,
        timestamp: FIRST_TIMESTAMP + offset as i64 * 7 % 1000,
        key: [None, Some(String::new()), Some(hex(b"key"))][offset % 3].clone(),
        value: [Some(hex(value.as_bytes())), None, Some(String::new())][offset % 7 % 3].clone(),
        headers: all_headers[..offset % 5].to_vec(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn codec(batch: usize) -> Compression {
    Compression::ALL[batch % Compression::ALL.len()]
}

fn our_batch(first: usize, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression, 1024);
    for record in (first..first + RECORDS).map(sample) {
        let (key, value) = (
            record.key.as_deref().map(unhex),
            record.value.as_deref().map(unhex),
        );
        let headers: Vec<(String, Option<Vec<u8>>)> = record
            .headers
            .into_iter()
            .map(|(key, value)| (key, value.as_deref().map(unhex)))
            .collect();
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        let time = Timestamp::new(record.timestamp);
        builder
            .append(time, key.as_deref(), value.as_deref(), &headers)
            .unwrap();
    }
    builder.finish(None)
}

/// A clean broker's folder with the samples in many segments, of all codecs. Returns the folder of
/// the partition.
fn folder_of_ours(folder: &Path) -> PathBuf {
    let broker = BrokerProcess::start(folder, 1);
    let mut connection = broker.connect();
    let topic = NewTopicBuilder::new("ours", 1)
        .config("segment.bytes", "16384")
        .config("max.message.bytes", "16384");
    let topic = connection.create_topic(topic);
    for batch in 0..BATCHES {
        let bytes = our_batch(batch * RECORDS, codec(batch));
        let answer = connection.produce(topic, 0, &bytes);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    }
    assert!(broker.stop().success());
    folder.join("data/ours-0")
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut logs: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    logs.sort();
    logs
}

fn samples() -> Vec<Told> {
    (0..BATCHES * RECORDS).map(sample).collect()
}

#[track_caller]
fn assert_same(found: &[Told], expected: &[Told]) {
    assert_eq!(found.len(), expected.len(), "number of records");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn the_kafka_protocol_crate_reads_our_segments_record_for_record() {
    let folder = TempDir::new().unwrap();
    let partition = folder_of_ours(folder.path());
    let logs = segments(&partition);
    assert!(logs.len() > 5, "only {} segments", logs.len());
    let mut found = Vec::new();
    for log in logs {
        let mut bytes = Bytes::from(fs::read(&log).unwrap());
        for set in theirs::RecordBatchDecoder::decode_all(&mut bytes).unwrap() {
            for mut record in set.records {
                // Their headers are a map in order of insertion.
                let headers = std::mem::take(&mut record.headers);
                found.push(Told {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.as_deref().map(hex),
                    value: record.value.as_deref().map(hex),
                    headers: headers
                        .into_iter()
                        .map(|(key, value)| (key.to_string(), value.as_deref().map(hex)))
                        .collect(),
                });
            }
        }
    }
    assert_same(&found, &samples());
}

#[test]
fn batches_of_the_kafka_protocol_crate_are_adopted_record_for_record() {
    let folder = TempDir::new().unwrap();
    adopt(folder.path(), |partition| {
        fs::create_dir_all(partition).unwrap();
        let mut logs: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for batch in 0..BATCHES {
            let first = batch * RECORDS;
            let log = logs.entry(batch / 20 * 20 * RECORDS).or_default();
            log.extend(their_batch(first, codec(batch)));
        }
        for (base, bytes) in logs {
            fs::write(partition.join(format!("{base:020}.log")), bytes).unwrap();
        }
        samples()
    });
}

fn their_batch(first: usize, compression: Compression) -> BytesMut {
    let records: Vec<_> = (first..first + RECORDS)
        .map(|offset| {
            let told = sample(offset);
            let bytes = |text: Option<String>| text.as_deref().map(unhex).map(Bytes::from);
            theirs::Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: 5,
                producer_id: -1,
                producer_epoch: -1,
                timestamp_type: theirs::TimestampType::Creation,
                offset: told.offset,
                // Records whose sequences do not follow each other make a batch each.
                sequence: i32::try_from(offset - first).unwrap() - 1,
                timestamp: told.timestamp,
                key: bytes(told.key),
                value: bytes(told.value),
                headers: told
                    .headers
                    .into_iter()
                    .map(|(key, value)| (StrBytes::from_string(key), bytes(value)))
                    .collect(),
            }
        })
        .collect();
    let compression = match compression {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    };
    let options = theirs::RecordEncodeOptions {
        version: 2,
        compression,
    };
    let mut out = BytesMut::new();
    theirs::RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    out
}

/// Has `write` lay segments into a folder, and a broker take them over when their topic is created.
fn adopt(folder: &Path, write: impl FnOnce(&Path) -> Vec<Told>) {
    assert!(BrokerProcess::start(folder, 1).stop().success());
    let expected = write(&folder.join("data/theirs-0"));
    let broker = BrokerProcess::start(folder, 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("theirs", 1));
    assert_same(&read_all(&mut connection, topic, &expected), &expected);
    let next = expected.last().unwrap().offset + 1;
    let answer = connection.produce(topic, 0, &our_batch(0, Compression::None));
    assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    assert_eq!(
        answer.base_offset.get(),
        next,
        "the log goes on behind them"
    );
    // The next start finds it all, whatever it has to replay.
    broker.kill();
    let broker = BrokerProcess::start(folder, 1);
    let mut connection = broker.connect();
    let found = read_all(&mut connection, topic, &expected);
    assert_same(&found[..expected.len()], &expected);
    assert_eq!(found.len(), expected.len() + RECORDS);
}

fn read_all(
    connection: &mut Connection,
    topic: corelog_protocol::TopicId,
    expected: &[Told],
) -> Vec<Told> {
    let mut found = Vec::new();
    let mut at = Offset::new(expected[0].offset);
    loop {
        let (answer, bytes) = connection.fetch(topic, 0, at, Duration::ZERO);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        if bytes.is_empty() {
            return found;
        }
        for batch in split_batches(&bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, LARGEST_BATCH).unwrap() {
                let record = record.unwrap();
                found.push(Told {
                    offset: record.offset.get(),
                    timestamp: record.timestamp.get(),
                    key: record.key.map(hex),
                    value: record.value.map(hex),
                    headers: record
                        .headers
                        .map(|header| (header.key.to_owned(), header.value.map(hex)))
                        .collect(),
                });
            }
            at = batch.next_offset();
        }
    }
}

/// What `kafka_python.py` prints; `None` where there is no kafka-python.
fn kafka_python(command: &str, folder: &Path) -> Option<Vec<Told>> {
    let Some(python) = std::env::var_os("CORELOG_TEST_KAFKA_PYTHON") else {
        eprintln!("kafka-python was not asked: broker/tests/interop/run.sh does");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/kafka_python.py");
    let output = Command::new(python)
        .arg(script)
        .arg(command)
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "kafka-python could not {command}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    Some(
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

#[test]
fn kafka_python_reads_our_segments_record_for_record() {
    if std::env::var_os("CORELOG_TEST_KAFKA_PYTHON").is_none() {
        kafka_python("read", Path::new("nowhere"));
        return;
    }
    let folder = TempDir::new().unwrap();
    let partition = folder_of_ours(folder.path());
    let found = kafka_python("read", &partition).unwrap();
    assert_same(&found, &samples());
}

#[test]
fn kafka_python_s_batches_are_adopted_record_for_record() {
    if std::env::var_os("CORELOG_TEST_KAFKA_PYTHON").is_none() {
        kafka_python("write", Path::new("nowhere"));
        return;
    }
    let folder = TempDir::new().unwrap();
    adopt(folder.path(), |partition| {
        kafka_python("write", partition).unwrap()
    });
}
