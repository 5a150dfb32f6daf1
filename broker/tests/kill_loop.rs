//! The broker is killed with -9 under load, again and again, and loses nothing it acknowledged.
//!
//! The story: a broker that counts a write as done when it is only queued, that recycles a journal
//! file one group too early, or that opens a segment at the wrong length after the third crash in
//! a row, passes every test that restarts it once. So: producers send without pause, small and
//! large batches over many partitions; the broker dies at a random moment; the next one must hold
//! every acknowledged record at the offset that was promised, and nothing that was never sent.
//!
//! `CORELOG_TEST_KILL_ROUNDS` says how many rounds; `kill_loop.sh` runs many on a release build.

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_client::{
    Admin, ClientConfig, Consumer, NewTopic, Offset, PartitionIndex, Producer, ProducerRecord,
    SeekTo, TopicPartition,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::harness::BrokerProcess;

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 6;
/// Deliveries that a round keeps waiting for.
const PATIENCE: Duration = Duration::from_secs(10);

fn rounds() -> u64 {
    let asked = std::env::var("CORELOG_TEST_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    asked.unwrap_or(4)
}

#[test]
fn kill_9_under_load_loses_no_record_acknowledged_at_sync() {
    kill_again_and_again("sync", 0x5eed_0001);
}

#[test]
fn kill_9_under_load_loses_no_record_acknowledged_at_written() {
    kill_again_and_again("written", 0x5eed_0002);
}

/// What one partition must hold.
#[derive(Default)]
struct Expected {
    /// Values acknowledged, by offset.
    acknowledged: BTreeMap<i64, u64>,
    /// Everything below was read and found right in an earlier round.
    verified: i64,
}

fn kill_again_and_again(durability: &str, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut expected: Vec<Expected> = (0..PARTITIONS).map(|_| Expected::default()).collect();
    let mut next_value = 0;
    for round in 0..rounds() {
        let cores = random.random_range(1..=2);
        let broker = BrokerProcess::start(folder.path(), cores);
        let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
        let batch_size = if random.random_bool(0.5) {
            "4096"
        } else {
            "400000"
        };
        let producer_config = config
            .clone()
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("batch.size", batch_size)
            .set("retries", "0")
            .set("request.timeout.ms", "2000")
            .set("delivery.timeout.ms", "3000")
            .set("max.block.ms", "3000");
        let context = format!("{durability}, seed {seed:#x}, round {round}");
        runtime.block_on(async {
            if round == 0 {
                let topic = NewTopic {
                    name: TOPIC.to_owned(),
                    partitions: Some(PARTITIONS),
                    replication_factor: None,
                    configs: vec![
                        ("durability".to_owned(), durability.to_owned()),
                        ("segment.bytes".to_owned(), "2097152".to_owned()),
                    ],
                };
                let admin = Admin::new(&config).await.unwrap();
                admin
                    .create_topics(&[topic])
                    .await
                    .unwrap()
                    .remove(0)
                    .unwrap();
            }
            verify(&config, &mut expected, &context).await;
        });
        let life = Duration::from_millis(random.random_range(50..700));
        let mut load = runtime.spawn(load(producer_config, random.random(), next_value));
        let ended = runtime.block_on(async { tokio::time::timeout(life, &mut load).await });
        assert!(
            ended.is_err(),
            "{context}: the load ended before the broker did"
        );
        broker.kill();
        let (acknowledged, sent) = runtime.block_on(load).unwrap();
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
    let broker = BrokerProcess::start(folder.path(), 2);
    let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
    for partition in &mut expected {
        partition.verified = 0;
    }
    runtime.block_on(verify(
        &config,
        &mut expected,
        &format!("{durability}, at the end"),
    ));
    assert!(
        expected
            .iter()
            .any(|partition| !partition.acknowledged.is_empty())
    );
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

/// A record's value: its number, then bytes that follow from it.
fn value_bytes(value: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(value).fill(&mut bytes[8..]);
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes
}

async fn verify(config: &ClientConfig, expected: &mut [Expected], context: &str) {
    let mut consumer = Consumer::new(config).await.unwrap();
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
            for record in consumer.poll(PATIENCE).await.unwrap() {
                let offset = record.offset.get();
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
