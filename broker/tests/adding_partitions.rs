//! Clients that run while partitions are added go on, and find the new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelog_client::{
    Admin, ClientConfig, Consumer, ConsumerRecord, MorePartitions, PartitionIndex, Producer,
    ProducerRecord, RecordMetadata, SeekTo, TopicPartition,
};
use corelog_protocol::partition_for_key;
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder};

const TOPIC: &str = "grows";

fn config(broker: &BrokerProcess) -> ClientConfig {
    ClientConfig::new().set("bootstrap.servers", broker.native())
}

/// Looks at the metadata as often as it may.
fn curious(broker: &BrokerProcess) -> ClientConfig {
    config(broker).set("metadata.max.age.ms", 100)
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, PartitionIndex::new(index))
}

async fn grow(broker: &BrokerProcess, count: i32) {
    let admin = Admin::new(&config(broker)).await.unwrap();
    let wanted = MorePartitions {
        name: TOPIC.to_owned(),
        count,
    };
    let results = admin.create_partitions(&[wanted]).await.unwrap();
    results[0].as_ref().unwrap();
}

/// What was acknowledged: for each partition its records' values, by offset.
#[derive(Default)]
struct Ledger(BTreeMap<i32, BTreeMap<i64, String>>);

impl Ledger {
    fn note(&mut self, written: &RecordMetadata, value: &str) {
        let offset = written.offset.expect("acks=all tells the offset").get();
        let log = self.0.entry(written.partition.get()).or_default();
        assert_eq!(log.insert(offset, value.to_owned()), None);
    }

    fn read(records: &[ConsumerRecord]) -> Self {
        let mut ledger = Self::default();
        for record in records {
            let value = String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap();
            let log = ledger.0.entry(record.partition.get()).or_default();
            let last = log.last_key_value().map(|(offset, _)| *offset);
            assert!(
                last < Some(record.offset.get()),
                "within a partition in order"
            );
            log.insert(record.offset.get(), value);
        }
        ledger
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

async fn read_until(consumer: &mut Consumer, records: &mut Vec<ConsumerRecord>, count: usize) {
    while records.len() < count {
        records.extend(consumer.poll(Duration::from_secs(1)).await.unwrap());
    }
}

#[test]
fn producers_and_consumers_go_on_and_use_the_added_partitions() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let create = NewTopicBuilder::new(TOPIC, 2);
    broker.connect().create_topic(create);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let keyed = Producer::new(&curious(&broker)).await.unwrap();
        let in_turn = curious(&broker).set("partitioner", "round_robin");
        let in_turn = Producer::new(&in_turn).await.unwrap();
        let mut consumer = Consumer::new(&curious(&broker)).await.unwrap();
        let old = [partition(0), partition(1)];
        consumer.assign(&old).await.unwrap();
        for old in &old {
            consumer.seek(old, SeekTo::Beginning).await.unwrap();
        }
        // A key of a partition that stays, and one that moves to a new partition.
        let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
        let key_of = |wanted: i32| {
            let found = keys
                .iter()
                .find(|key| partition_for_key(key.as_bytes(), 4).get() == wanted);
            found.expect("a hundred keys meet every partition")
        };
        let mut written = Ledger::default();
        let mut count = 0;
        let mut send = async |producer: &Producer, key: Option<&str>| {
            let value = format!("value {count}");
            count += 1;
            let mut record = ProducerRecord::to(TOPIC).value(&value);
            if let Some(key) = key {
                record = record.key(key);
            }
            let sent = producer.send(record).await.unwrap().await.unwrap();
            written.note(&sent, &value);
            sent.partition.get()
        };
        for _ in 0..4 {
            for wanted in 0..4 {
                let key = key_of(wanted);
                let went = send(&keyed, Some(key)).await;
                assert_eq!(went, partition_for_key(key.as_bytes(), 2).get());
            }
            send(&in_turn, None).await;
        }

        grow(&broker, 4).await;
        // Nobody is told: each finds out when its metadata has grown old.
        let mut met = BTreeSet::new();
        while met.len() < 4 {
            met.insert(send(&in_turn, None).await);
        }
        for wanted in 0..4 {
            while send(&keyed, Some(key_of(wanted))).await != wanted {}
        }

        let mut records = Vec::new();
        let of_old = |written: &Ledger| written.0[&0].len() + written.0[&1].len();
        read_until(&mut consumer, &mut records, of_old(&written)).await;
        let all = [partition(0), partition(1), partition(2), partition(3)];
        consumer.assign(&all).await.unwrap();
        for new in &all[2..] {
            consumer.seek(new, SeekTo::Beginning).await.unwrap();
        }
        read_until(&mut consumer, &mut records, written.len()).await;
        assert_eq!(Ledger::read(&records).0, written.0);
    });
}

/// Their metadata is minutes from being looked at again.
#[test]
fn who_names_an_added_partition_need_not_wait_for_it() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let create = NewTopicBuilder::new(TOPIC, 1);
    broker.connect().create_topic(create);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let producer = Producer::new(&config(&broker)).await.unwrap();
        let mut consumer = Consumer::new(&config(&broker)).await.unwrap();
        let to = |index| {
            ProducerRecord::to(TOPIC)
                .partition(PartitionIndex::new(index))
                .value("v")
        };
        producer.send(to(0)).await.unwrap().await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        grow(&broker, 3).await;
        let sent = producer.send(to(2)).await.unwrap().await.unwrap();
        assert_eq!(sent.partition, PartitionIndex::new(2));
        consumer
            .assign(&[partition(0), partition(2)])
            .await
            .unwrap();
        consumer
            .seek(&partition(2), SeekTo::Beginning)
            .await
            .unwrap();
        let mut records = Vec::new();
        read_until(&mut consumer, &mut records, 1).await;
        assert_eq!(records[0].partition, PartitionIndex::new(2));
    });
}
