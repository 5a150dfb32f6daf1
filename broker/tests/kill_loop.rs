//! The broker is killed with -9 under load, again and again, and loses nothing it acknowledged.
//!
//! The story: a broker that counts a write as done when it is only queued, that recycles a journal
//! file one group too early, or that opens a segment at the wrong length after the third crash in
//! a row, passes every test that restarts it once. So: producers send without pause, small and
//! large batches over many partitions; the broker dies at a random moment; the next one must hold
//! every acknowledged record at the offset that was promised, and nothing that was never sent.
//!
//! A second story: segments that are closed and deleted all the time, by size, by age and on demand.
//! Nothing above the log's start may be lost, nothing deleted come back, and the start never move
//! back. A third, of compaction, is told in `kill_loop/compacting.rs`.
//!
//! `CORELOG_TEST_KILL_ROUNDS` says how many rounds; `kill_loop.sh` runs many on a release build.

mod compacting;

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_client::{
    Admin, ClientConfig, Consumer, DeleteUntil, NewTopic, Offset, PartitionIndex, Producer,
    ProducerRecord, SeekTo, TopicPartition,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::BrokerProcess;

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 6;
/// Deliveries that a round keeps waiting for.
const PATIENCE: Duration = Duration::from_secs(10);
/// One wait for records.
const POLL: Duration = Duration::from_millis(500);

fn rounds() -> u64 {
    let asked = std::env::var("CORELOG_TEST_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    asked.unwrap_or(4)
}

#[test]
fn kill_9_under_load_loses_no_record_acknowledged_at_sync() {
    kill_again_and_again(&keeping("sync"), 0x5eed_0001);
}

#[test]
fn kill_9_under_load_loses_no_record_acknowledged_at_written() {
    kill_again_and_again(&keeping("written"), 0x5eed_0002);
}

#[test]
fn kill_9_while_segments_are_closed_and_deleted_loses_nothing_above_the_log_start() {
    let deleting = Mode {
        name: "deleting",
        // As small as the largest record of the load allows.
        topic: &[
            ("segment.bytes", "262144"),
            ("max.message.bytes", "262144"),
            ("segment.ms", "40"),
            ("segment.jitter.ms", "20"),
            ("retention.bytes", "1048576"),
            ("retention.ms", "2000"),
            ("file.delete.delay.ms", "0"),
        ],
        settings: "
            journal.file.bytes = '4 MiB'
            journal.files = 2
            log.retention.check.interval.ms = 10
        ",
        deletes: true,
    };
    kill_again_and_again(&deleting, 0x5eed_0003);
}

/// How the broker and the topic are set up.
struct Mode {
    name: &'static str,
    topic: &'static [(&'static str, &'static str)],
    settings: &'static str,
    /// Records go: by retention, and by DeleteRecords beside the load.
    deletes: bool,
}

fn keeping(durability: &'static str) -> Mode {
    Mode {
        name: durability,
        topic: match durability {
            "written" => &[("durability", "written"), ("segment.bytes", "2097152")],
            _ => &[("durability", "sync"), ("segment.bytes", "2097152")],
        },
        settings: "",
        deletes: false,
    }
}

/// What one partition must hold.
#[derive(Default)]
struct Expected {
    /// Values acknowledged, by offset.
    acknowledged: BTreeMap<i64, u64>,
    /// Everything below was read and found right in an earlier round.
    verified: i64,
    /// The log starts here or further on: it was seen, or promised, to.
    log_start: i64,
}

/// Where the clients of a load run.
fn clients_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn kill_again_and_again(mode: &Mode, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = TempDir::new().unwrap();
    let runtime = clients_runtime();
    let mut expected: Vec<Expected> = (0..PARTITIONS).map(|_| Expected::default()).collect();
    let mut next_value = 0;
    for round in 0..rounds() {
        let cores = random.random_range(1..=2);
        let broker = BrokerProcess::start_with(folder.path(), cores, mode.settings);
        let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
        let batch_size = if random.random_bool(0.5) {
            "4096"
        } else {
            "400000"
        };
        let producer_config = producer_config(&config).set("batch.size", batch_size);
        let context = format!("{}, seed {seed:#x}, round {round}", mode.name);
        runtime.block_on(async {
            if round == 0 {
                let topic = new_topic(TOPIC, PARTITIONS, mode.topic);
                let admin = Admin::new(&config).await.unwrap();
                admin
                    .create_topics(&[topic])
                    .await
                    .unwrap()
                    .remove(0)
                    .unwrap();
            }
            verify(&config, &mut expected, mode, &context).await;
        });
        let life = Duration::from_millis(random.random_range(50..700));
        let mut load = runtime.spawn(load(producer_config, random.random(), next_value));
        let deleting = mode
            .deletes
            .then(|| delete_now_and_then(config.clone(), TOPIC, PARTITIONS, random.random()))
            .map(|deleting| runtime.spawn(deleting));
        let ended = runtime.block_on(async { tokio::time::timeout(life, &mut load).await });
        assert!(
            ended.is_err(),
            "{context}: the load ended before the broker did"
        );
        broker.kill();
        let (acknowledged, sent) = runtime.block_on(load).unwrap();
        for (partition, start) in deleting
            .map(|deleting| runtime.block_on(deleting).unwrap())
            .unwrap_or_default()
        {
            let partition = &mut expected[usize::try_from(partition).unwrap()];
            partition.log_start = partition.log_start.max(start);
        }
        next_value += sent;
        for (partition, offset, value) in acknowledged {
            let partition = &mut expected[usize::try_from(partition).unwrap()];
            let before = partition.acknowledged.insert(offset, value);
            assert_eq!(
                before, None,
                "{context}: offset {offset} was promised twice"
            );
        }
    }
    let broker = BrokerProcess::start_with(folder.path(), 2, mode.settings);
    let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
    for partition in &mut expected {
        partition.verified = 0;
    }
    runtime.block_on(verify(
        &config,
        &mut expected,
        mode,
        &format!("{}, at the end", mode.name),
    ));
    if mode.deletes {
        assert!(
            expected.iter().all(|partition| partition.log_start > 0),
            "nothing was deleted"
        );
    }
    assert!(
        expected
            .iter()
            .any(|partition| !partition.acknowledged.is_empty())
    );
}

fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> NewTopic {
    let configs = configs.iter();
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: None,
        configs: configs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// Sends each record once, and gives up soon when the broker is gone.
fn producer_config(config: &ClientConfig) -> ClientConfig {
    config
        .clone()
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("retries", "0")
        .set("request.timeout.ms", "2000")
        .set("delivery.timeout.ms", "3000")
        .set("max.block.ms", "3000")
}

/// Sends until the broker is gone; returns what it acknowledged and how many records were sent.
async fn load(config: ClientConfig, seed: u64, first_value: u64) -> (Vec<(i32, i64, u64)>, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let Ok(producer) = Producer::new(&config).await else {
        return (Vec::new(), 0);
    };
    let mut deliveries = Vec::new();
    let mut value = first_value;
    loop {
        let partition = PartitionIndex::new(random.random_range(0..PARTITIONS));
        let length = if random.random_bool(0.01) {
            200_000
        } else {
            random.random_range(20..2000)
        };
        let bytes = value_bytes(value, length);
        let record = ProducerRecord::to(TOPIC).partition(partition).value(&bytes);
        let Ok(delivery) = producer.send(record).await else {
            break;
        };
        deliveries.push((partition, value, delivery));
        value += 1;
        if value.is_multiple_of(64) {
            tokio::task::yield_now().await;
            // The first failed delivery tells that the broker is gone.
            if producer.metrics().errors > 0 {
                break;
            }
        }
    }
    let mut acknowledged = Vec::new();
    for (partition, value, delivery) in deliveries {
        let outcome = tokio::time::timeout(PATIENCE, delivery).await;
        if let Ok(Ok(stored)) = outcome {
            let offset = stored.offset.expect("acks=all names the offset");
            acknowledged.push((partition.get(), offset.get(), value));
        }
    }
    (acknowledged, value - first_value)
}

/// Deletes records until the broker is gone; returns where it was told that which log starts.
async fn delete_now_and_then(
    config: ClientConfig,
    topic: &'static str,
    partitions: i32,
    seed: u64,
) -> Vec<(i32, i64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let config = config
        .set("request.timeout.ms", "1000")
        .set("default.api.timeout.ms", "1000");
    let mut starts = Vec::new();
    let (Ok(admin), Ok(consumer)) = (Admin::new(&config).await, Consumer::new(&config).await)
    else {
        return starts;
    };
    loop {
        let index = random.random_range(0..partitions);
        let partition = TopicPartition::new(topic, PartitionIndex::new(index));
        let one = std::slice::from_ref(&partition);
        let (Ok(begins), Ok(ends)) = (
            consumer.beginning_offsets(one).await,
            consumer.end_offsets(one).await,
        ) else {
            return starts;
        };
        let (start, end) = (begins[&partition].get(), ends[&partition].get());
        let until = match random.random_bool(0.1) {
            true => DeleteUntil::HighWatermark,
            false => {
                let least = start.min(end);
                let offset = random.random_range(least..=least + (end - least) / 4);
                DeleteUntil::Offset(Offset::new(offset))
            }
        };
        let mut deleted = admin.delete_records(&[(partition.clone(), until)]).await;
        match deleted.remove(&partition) {
            Some(Ok(start)) => starts.push((index, start.get())),
            _ => return starts,
        }
    }
}

/// A record's value: its number, then bytes that follow from it.
fn value_bytes(value: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(value).fill(&mut bytes[8..]);
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes
}

async fn verify(config: &ClientConfig, expected: &mut [Expected], mode: &Mode, context: &str) {
    let config = config.clone().set("auto.offset.reset", "earliest");
    let mut consumer = Consumer::new(&config).await.unwrap();
    for (index, expected) in (0..).zip(expected.iter_mut()) {
        let partition = TopicPartition::new(TOPIC, PartitionIndex::new(index));
        let ends = consumer
            .end_offsets(std::slice::from_ref(&partition))
            .await
            .unwrap();
        let end = ends[&partition].get();
        let promised = expected
            .acknowledged
            .last_key_value()
            .map_or(0, |(offset, _)| offset + 1);
        assert!(
            end >= promised,
            "{context}, partition {index}: {promised} promised, {end} there"
        );
        let begins = consumer
            .beginning_offsets(std::slice::from_ref(&partition))
            .await
            .unwrap();
        let begin = begins[&partition].get();
        assert!(
            begin >= expected.log_start,
            "{context}, partition {index}: the log started at {}, now at {begin}",
            expected.log_start
        );
        assert!(
            mode.deletes || begin == 0,
            "{context}, partition {index}: nothing asked for a start at {begin}"
        );
        expected.log_start = begin;
        expected.verified = expected.verified.max(begin);
        consumer
            .assign(std::slice::from_ref(&partition))
            .await
            .unwrap();
        let from = Offset::new(expected.verified);
        consumer
            .seek(&partition, SeekTo::Offset(from))
            .await
            .unwrap();
        let mut next = expected.verified;
        while next < end {
            let records = consumer.poll(POLL).await.unwrap();
            if mode.deletes && records.is_empty() {
                // Retention goes on while this reads, and may have left nothing to read.
                let begins = consumer
                    .beginning_offsets(std::slice::from_ref(&partition))
                    .await
                    .unwrap();
                next = next.max(begins[&partition].get());
            }
            for record in records {
                let offset = record.offset.get();
                if mode.deletes && offset > next {
                    // Retention goes on while this reads; the start tells whether it was that.
                    let begins = consumer
                        .beginning_offsets(std::slice::from_ref(&partition))
                        .await
                        .unwrap();
                    assert!(
                        begins[&partition].get() >= offset,
                        "{context}, partition {index}: a gap from {next} to {offset}"
                    );
                    next = offset;
                }
                assert_eq!(offset, next, "{context}, partition {index}: a gap");
                let bytes = record.value.expect("every record has a value");
                let value = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(
                    bytes[..] == value_bytes(value, bytes.len()),
                    "{context}, partition {index}, offset {offset}: wrong bytes"
                );
                if let Some(promised) = expected.acknowledged.get(&offset) {
                    assert_eq!(
                        value, *promised,
                        "{context}, partition {index}, offset {offset}"
                    );
                }
                next += 1;
            }
        }
        expected.verified = end;
    }
}
