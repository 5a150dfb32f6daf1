//! Kills while logs are compacted.
//!
//! The story: a compaction replaces segments that hold acknowledged records by others, step by step,
//! and each step is a moment to die in. A source removed one sync too early is lost; a half-written
//! segment that counts brings nothing or too much; and a tombstone that goes before the values it
//! deletes lets one of them come back at the next start, when nobody looks any more. So: keyed
//! records and tombstones over many keys, some in every batch and some once in many rounds, segments
//! of the smallest size, compaction and retention without a pause; the broker dies at a random moment,
//! and what the next one holds is compared with all that was ever seen and promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use corelog_client::{
    Admin, ClientConfig, Consumer, ConsumerRecord, DeleteUntil, Delivery, Header, Offset,
    PartitionIndex, ProduceError, Producer, ProducerRecord, RecordMetadata, SeekTo, TopicPartition,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{PATIENCE, clients_runtime, new_topic, producer_config, rounds};
use crate::harness::BrokerProcess;

const PARTITIONS: i32 = 3;
/// Keys of a partition. The first come in every batch, the last once in several rounds.
const KEYS: u32 = 300;
/// Records that wait for their acknowledgement. Bounds what a round writes, and so its length.
const OUTSTANDING: usize = 60;
/// So many records lie between one DeleteRecords and the next, ...
const DELETE_EVERY: u64 = 100;
/// ... which spares so many before one that was acknowledged.
const DELETE_BEHIND: i64 = 300;
/// How long acknowledgements that came before the broker's death may take to be noticed; what takes
/// longer counts as not acknowledged.
const SETTLING: Duration = Duration::from_millis(50);
/// One wait for records; an empty batch at a log's end makes the reader wait it out.
const POLL: Duration = Duration::from_millis(20);
/// A reader that is slower than `delete.retention.ms`, which is 0, may meet a value and then not its
/// tombstone. What is still wrong after so many readings is wrong.
const READINGS: usize = 5;

const SETTINGS: &str = "
    journal.file.bytes = '4 MiB'
    journal.files = 2
    shard.memory.bytes = '16 MiB'
    socket.request.max.bytes = '4 MiB'
    fetch.max.bytes = '1 MiB'
    log.retention.check.interval.ms = 1
    log.cleaner.backoff.ms = 1
    log.cleaner.dedupe.buffer.size = '1 MiB'
    log.cleaner.io.buffer.size = '64 KiB'
    log.cleaner.io.max.bytes.per.second = -1
";

/// Everything at its smallest.
const CONFIGS: &[(&str, &str)] = &[
    ("segment.bytes", "16384"),
    ("max.message.bytes", "16384"),
    ("segment.ms", "40"),
    ("segment.jitter.ms", "20"),
    ("min.cleanable.dirty.ratio", "0"),
    ("min.compaction.lag.ms", "0"),
    // Closes segments, too: smaller, and a start goes over hundreds that are nearly empty.
    ("max.compaction.lag.ms", "30"),
    ("delete.retention.ms", "0"),
];

struct Topic {
    name: &'static str,
    configs: &'static [(&'static str, &'static str)],
    /// Records go by retention, too, and by DeleteRecords beside the load.
    deletes: bool,
}

static TOPICS: [Topic; 2] = [
    Topic {
        name: "compacted",
        configs: &[("cleanup.policy", "compact"), ("durability", "sync")],
        deletes: false,
    },
    Topic {
        name: "compacted-and-deleted",
        configs: &[
            ("cleanup.policy", "compact,delete"),
            ("durability", "written"),
            ("retention.bytes", "262144"),
            ("retention.ms", "20000"),
            ("file.delete.delay.ms", "0"),
        ],
        deletes: true,
    },
];

#[test]
fn kill_9_while_logs_are_compacted_loses_no_newest_record_and_brings_none_back() {
    let seed = 0x5eed_0004;
    println!("seed {seed:#x}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = TempDir::new().unwrap();
    let runtime = clients_runtime();
    let mut logs = Logs::new();
    let mut deaths_in_compactions = 0;
    let rounds = rounds();
    for round in 0..rounds {
        let context = format!("compacting, seed {seed:#x}, round {round}");
        let cores = random.random_range(1..=2);
        // In half of the rounds nearly every append goes past the journal.
        let bypass = ["4 KiB", "64 KiB"][random.random_range(0..2)];
        let settings = format!("{SETTINGS}\njournal.bypass.bytes = '{bypass}'");
        let broker = BrokerProcess::start_with(folder.path(), cores, &settings);
        let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
        let codecs = ["none", "lz4", "snappy", "zstd", "gzip"];
        let producer_config = producer_config(&config)
            .set("batch.size", ["2048", "12000"][random.random_range(0..2)])
            .set("compression.type", codecs[random.random_range(0..5)]);
        let (producer, admin) = runtime.block_on(async {
            if round == 0 {
                create_topics(&config).await;
            }
            logs.verify(&config, &context).await;
            (
                Producer::new(&producer_config).await.unwrap(),
                Admin::new(&config).await.unwrap(),
            )
        });
        let life = Duration::from_millis(random.random_range(50..350));
        let (kill, killed) = oneshot::channel();
        let mut load = runtime.spawn(Load::run(producer, admin, logs.sent, killed));
        let ended = runtime.block_on(async { tokio::time::timeout(life, &mut load).await });
        assert!(
            ended.is_err(),
            "{context}: the load ended before the broker did"
        );
        let metrics = broker.metrics();
        for bad in [
            "corelog_uncleanable_partitions",
            "corelog_compaction_failures_total",
        ] {
            assert_eq!(metrics.total(bad), 0.0, "{context}: {bad}");
        }
        broker.kill();
        drop(kill);
        deaths_in_compactions += u64::from(a_compaction_was_under_way(&folder.path().join("data")));
        logs.sent_and_acknowledged(runtime.block_on(load).unwrap(), &context);
    }
    let broker = BrokerProcess::start_with(folder.path(), 2, SETTINGS);
    let config = ClientConfig::new().set("bootstrap.servers", broker.native().to_string());
    runtime.block_on(logs.verify_until_compacted(&config));
    for topic in &TOPICS {
        let logs = || {
            logs.logs
                .iter()
                .filter(|log| &*log.partition.topic == topic.name)
        };
        let vanished: u64 = logs().map(|log| log.vanished).sum();
        println!("{}: compaction removed {vanished} records", topic.name);
        assert!(vanished > 0, "{}: nothing was compacted", topic.name);
        if topic.deletes {
            assert!(
                logs().all(|log| log.log_start > 0),
                "{}: nothing was deleted",
                topic.name
            );
        }
    }
    println!("{deaths_in_compactions} of {rounds} rounds ended in the midst of a compaction");
}

async fn create_topics(config: &ClientConfig) {
    let admin = Admin::new(config).await.unwrap();
    for topic in &TOPICS {
        let configs = [CONFIGS, topic.configs].concat();
        let topic = new_topic(topic.name, PARTITIONS, &configs);
        let created = admin.create_topics(&[topic]).await;
        created.unwrap().remove(0).unwrap();
    }
}

/// Whether there is a file that an exchange of segments left half done.
fn a_compaction_was_under_way(data: &Path) -> bool {
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".cleaned") || name.ends_with(".swap") {
                return true;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    false
}

/// A record that is sent; all of it follows from its number, which is in its header.
struct Sent {
    topic: &'static Topic,
    partition: i32,
    key: u32,
    value: Option<Vec<u8>>,
}

impl Sent {
    fn numbered(number: u64) -> Sent {
        let mut random = StdRng::seed_from_u64(number);
        let length = match random.random_bool(0.005) {
            true => 10_000,
            false => random.random_range(0..400),
        };
        let spread = random.random_range(0.0..f64::from(KEYS).ln());
        Sent {
            topic: &TOPICS[random.random_range(0..TOPICS.len())],
            partition: random.random_range(0..PARTITIONS),
            key: spread.exp() as u32,
            value: random.random_bool(0.8).then(|| {
                let mut value = vec![0; length];
                random.fill(&mut value[..]);
                value
            }),
        }
    }

    fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.name, PartitionIndex::new(self.partition))
    }

    fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }
}

/// What a round did.
struct Load {
    /// The number behind its last record.
    end: u64,
    /// Numbers of records, and the offsets that they got.
    acknowledged: Vec<(u64, i64)>,
    /// Where DeleteRecords was told that which log starts.
    deleted: Vec<(TopicPartition, i64)>,
}

impl Load {
    /// Sends until the broker is `killed`, and notes what it acknowledged until then.
    async fn run(
        producer: Producer,
        admin: Admin,
        first: u64,
        killed: oneshot::Receiver<()>,
    ) -> Load {
        let mut load = Load {
            end: first,
            acknowledged: Vec::new(),
            deleted: Vec::new(),
        };
        let mut waiting = VecDeque::new();
        tokio::select! {
            _ = killed => {}
            () = load.send(&producer, &admin, &mut waiting) => {}
        }
        // What the broker said before it died has come by now, or does soon.
        let soon = tokio::time::Instant::now() + SETTLING;
        for (number, delivery) in waiting {
            if let Ok(outcome) = tokio::time::timeout_at(soon, delivery).await {
                load.settle(number, outcome);
            }
        }
        load
    }

    /// Sends until a delivery fails.
    async fn send(
        &mut self,
        producer: &Producer,
        admin: &Admin,
        waiting: &mut VecDeque<(u64, Delivery)>,
    ) {
        while producer.metrics().errors == 0 {
            let number = self.end;
            let sent = Sent::numbered(number);
            let key = sent.key.to_string();
            let header = number.to_le_bytes();
            let headers = [Header {
                key: "number",
                value: Some(&header),
            }];
            let mut record = ProducerRecord::to(sent.topic.name)
                .partition(PartitionIndex::new(sent.partition))
                .key(&key)
                .headers(&headers);
            record.value = sent.value.as_deref();
            // It may be there whatever becomes of it from here on.
            self.end += 1;
            let Ok(delivery) = producer.send(record).await else {
                return;
            };
            waiting.push_back((number, delivery));
            if waiting.len() == OUTSTANDING {
                let (number, delivery) = waiting.front_mut().expect("some wait");
                let outcome = delivery.await;
                self.settle(*number, outcome);
                waiting.pop_front();
            }
            if number.is_multiple_of(DELETE_EVERY) && self.delete(admin).await.is_none() {
                return;
            }
        }
    }

    fn settle(&mut self, number: u64, outcome: Result<RecordMetadata, ProduceError>) {
        if let Ok(stored) = outcome {
            let offset = stored.offset.expect("acks=all names the offset");
            self.acknowledged.push((number, offset.get()));
        }
    }

    /// Deletes some records before one that was acknowledged; nothing when the broker is gone.
    async fn delete(&mut self, admin: &Admin) -> Option<()> {
        let last = self.acknowledged.iter().rev();
        let mut last = last.map(|(number, offset)| (Sent::numbered(*number), *offset));
        let Some((sent, offset)) = last.find(|(sent, _)| sent.topic.deletes) else {
            return Some(());
        };
        let partition = sent.partition();
        let until = Offset::new((offset - DELETE_BEHIND).max(0));
        let deletion = (partition.clone(), DeleteUntil::Offset(until));
        let mut deleted = admin.delete_records(&[deletion]).await;
        let start = deleted.remove(&partition)?.ok()?;
        self.deleted.push((partition, start.get()));
        Some(())
    }
}

/// The records of one log: the number at each offset.
type Records = BTreeMap<i64, u64>;

/// One reading of one log.
struct Reading {
    records: Records,
    /// Where the log started before it, and after it.
    starts: (i64, i64),
    end: i64,
}

/// What is known of one log.
struct Log {
    partition: TopicPartition,
    deletes: bool,
    /// What the last reading found. Below its end nothing else may ever be there.
    present: Records,
    end: i64,
    /// It starts here or further on: it was seen, or promised, to.
    log_start: i64,
    /// The offset and number of the newest record of each key, of those seen and those acknowledged.
    /// A key that was seen to be gone has none.
    newest: BTreeMap<u32, (i64, u64)>,
    /// Acknowledged since the last reading.
    acknowledged: Records,
    /// Sent since the last reading, and not acknowledged.
    in_doubt: BTreeSet<u64>,
    /// Records above the log's start that were there, and went.
    vanished: u64,
}

struct Logs {
    logs: Vec<Log>,
    /// The number behind the last record sent.
    sent: u64,
}

impl Logs {
    fn new() -> Logs {
        let of = |topic: &'static Topic| {
            (0..PARTITIONS).map(|index| Log {
                partition: TopicPartition::new(topic.name, PartitionIndex::new(index)),
                deletes: topic.deletes,
                present: Records::new(),
                end: 0,
                log_start: 0,
                newest: BTreeMap::new(),
                acknowledged: Records::new(),
                in_doubt: BTreeSet::new(),
                vanished: 0,
            })
        };
        Logs {
            logs: TOPICS.iter().flat_map(of).collect(),
            sent: 0,
        }
    }

    fn of(&mut self, partition: &TopicPartition) -> &mut Log {
        let found = self.logs.iter_mut().find(|log| log.partition == *partition);
        found.expect("a log for each partition")
    }

    fn sent_and_acknowledged(&mut self, load: Load, context: &str) {
        for number in self.sent..load.end {
            let sent = Sent::numbered(number);
            let log = self.of(&sent.partition());
            log.in_doubt.insert(number);
        }
        self.sent = load.end;
        for (number, offset) in load.acknowledged {
            let sent = Sent::numbered(number);
            let log = self.of(&sent.partition());
            let name = &log.partition;
            assert!(
                log.in_doubt.remove(&number),
                "{context}: {number} came from elsewhere"
            );
            assert!(
                offset >= log.end,
                "{context}, {name}: offset {offset} was promised, and the log ended at {} before",
                log.end
            );
            let before = log.acknowledged.insert(offset, number);
            assert_eq!(
                before, None,
                "{context}, {name}: offset {offset} was promised twice"
            );
            let newest = log.newest.entry(sent.key).or_insert((offset, number));
            *newest = (*newest).max((offset, number));
        }
        for (partition, start) in load.deleted {
            let log = self.of(&partition);
            log.log_start = log.log_start.max(start);
        }
    }

    /// Reads all logs and compares them with what is known.
    async fn verify(&mut self, config: &ClientConfig, context: &str) {
        let mut readings = read_all(config, &self.logs, context).await;
        for (log, reading) in self.logs.iter_mut().zip(&mut readings) {
            let context = format!("{context}, {}", log.partition);
            for left in (0..READINGS).rev() {
                log.check_reading(reading, self.sent, &context);
                match log.check_keys(reading) {
                    Ok(()) => break,
                    Err(wrong) if left == 0 => panic!("{context}: {wrong}"),
                    Err(_) => {
                        let mut again = read_all(config, std::slice::from_ref(log), &context).await;
                        *reading = again.remove(0);
                    }
                }
            }
            log.learn(reading);
        }
    }

    /// Verifies again and again until no key has two records: compaction has come to its end.
    async fn verify_until_compacted(&mut self, config: &ClientConfig) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.verify(config, "compacting, at the end").await;
            if self.logs.iter().all(Log::is_compacted) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "compaction does not come to its end"
            );
        }
    }
}

impl Log {
    /// What holds of each record by itself.
    fn check_reading(&self, reading: &Reading, sent: u64, context: &str) {
        let promised = self
            .acknowledged
            .last_key_value()
            .map_or(0, |(at, _)| at + 1);
        let least = promised.max(self.end);
        assert!(
            reading.end >= least,
            "{context}: it ended at {least}, and now at {}",
            reading.end
        );
        let start = reading.starts.0;
        assert!(
            start >= self.log_start,
            "{context}: it started at {}, and now at {start}",
            self.log_start
        );
        assert!(
            self.deletes || start == 0,
            "{context}: nothing asked for a start at {start}"
        );
        let mut numbers = BTreeSet::new();
        for (&offset, &number) in &reading.records {
            assert!(
                number < sent,
                "{context}: {number} at {offset} was never sent"
            );
            assert!(
                numbers.insert(number),
                "{context}: {number} is there twice, at {offset} too"
            );
            assert!(
                offset >= start,
                "{context}: a record at {offset}, before the start {start}"
            );
            if offset < self.end {
                assert_eq!(
                    self.present.get(&offset),
                    Some(&number),
                    "{context}: the record at {offset} is back, or another"
                );
            } else if let Some(promised) = self.acknowledged.get(&offset) {
                assert_eq!(number, *promised, "{context}: another record at {offset}");
            } else {
                assert!(
                    self.in_doubt.contains(&number),
                    "{context}: {number} at {offset} belongs elsewhere"
                );
            }
        }
    }

    /// The newest record of each key is there, or what deleted it.
    fn check_keys(&self, reading: &Reading) -> Result<(), String> {
        let found = newest_by_key(&reading.records);
        let deleted_in_doubt: BTreeSet<u32> = self
            .in_doubt
            .iter()
            .map(|number| Sent::numbered(*number))
            .filter(Sent::is_tombstone)
            .map(|sent| sent.key)
            .collect();
        for (key, &(newest, number)) in &self.newest {
            let is_gone_rightly = || {
                newest < reading.starts.1
                    || Sent::numbered(number).is_tombstone()
                    || deleted_in_doubt.contains(key)
            };
            match found.get(key) {
                Some((offset, _)) if *offset >= newest => {}
                None if is_gone_rightly() => {}
                Some((older, _)) => {
                    return Err(format!(
                        "key {key} has a record at {older}, and its newest was at {newest}"
                    ));
                }
                None => return Err(format!("key {key} lost its newest record, at {newest}")),
            }
        }
        Ok(())
    }

    fn learn(&mut self, reading: &Reading) {
        let known = self.present.keys().chain(self.acknowledged.keys());
        let vanished = known
            .filter(|at| **at >= reading.starts.1 && !reading.records.contains_key(at))
            .count();
        self.vanished += vanished as u64;
        self.newest = newest_by_key(&reading.records);
        self.present.clone_from(&reading.records);
        self.end = reading.end;
        self.log_start = reading.starts.1;
        self.acknowledged.clear();
        self.in_doubt.clear();
    }

    fn is_compacted(&self) -> bool {
        self.newest.len() == self.present.len()
    }
}

fn newest_by_key(records: &Records) -> BTreeMap<u32, (i64, u64)> {
    let newest = records
        .iter()
        .map(|(&offset, &number)| (Sent::numbered(number).key, (offset, number)));
    // In order of offsets: the last of a key stays.
    newest.collect()
}

/// Reads these logs from their starts to their ends, in one go.
async fn read_all(config: &ClientConfig, logs: &[Log], context: &str) -> Vec<Reading> {
    let partitions: Vec<_> = logs.iter().map(|log| log.partition.clone()).collect();
    let config = config.clone().set("auto.offset.reset", "earliest");
    let mut consumer = Consumer::new(&config).await.unwrap();
    let starts = consumer.beginning_offsets(&partitions).await.unwrap();
    let ends = consumer.end_offsets(&partitions).await.unwrap();
    consumer.assign(&partitions).await.unwrap();
    for partition in &partitions {
        let from = SeekTo::Offset(starts[partition]);
        consumer.seek(partition, from).await.unwrap();
    }
    let mut records = BTreeMap::<TopicPartition, Records>::new();
    let is_behind = |consumer: &Consumer, partition| {
        let position = consumer.position(partition).unwrap();
        position.is_none_or(|at| at < ends[partition])
    };
    let deadline = Instant::now() + PATIENCE;
    while partitions
        .iter()
        .any(|partition| is_behind(&consumer, partition))
    {
        for record in consumer.poll(POLL).await.unwrap() {
            let partition = TopicPartition::new(record.topic.clone(), record.partition);
            let context = format!("{context}, {partition}, offset {}", record.offset);
            let number = number_of(&record, &context);
            let log = records.entry(partition).or_default();
            let last = log.last_key_value().map_or(-1, |(offset, _)| *offset);
            assert!(
                record.offset.get() > last,
                "{context}: behind offset {last}"
            );
            log.insert(record.offset.get(), number);
        }
        assert!(Instant::now() < deadline, "{context}: not read to the end");
    }
    let later = consumer.beginning_offsets(&partitions).await.unwrap();
    let reading = |partition: TopicPartition| Reading {
        starts: (starts[&partition].get(), later[&partition].get()),
        end: ends[&partition].get(),
        records: records.remove(&partition).unwrap_or_default(),
    };
    partitions.into_iter().map(reading).collect()
}

/// The number of a record, which must be in all parts the one that was sent under it.
fn number_of(record: &ConsumerRecord, context: &str) -> u64 {
    let [header] = &record.headers[..] else {
        panic!("{context}: {} headers", record.headers.len());
    };
    let bytes = header.value.as_deref().expect("the header has a value");
    let number = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let sent = Sent::numbered(number);
    let key = sent.key.to_string();
    assert!(
        *record.topic == *sent.topic.name && record.partition.get() == sent.partition,
        "{context}: {number} was sent to {}",
        sent.partition()
    );
    assert_eq!(record.key.as_deref(), Some(key.as_bytes()), "{context}");
    assert!(
        record.value.as_deref() == sent.value.as_deref(),
        "{context}: wrong bytes"
    );
    number
}
