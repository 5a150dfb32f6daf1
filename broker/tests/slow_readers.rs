//! Readers that ask for records and do not read them: what they hold of the broker's memory is
//! bounded, so producers keep their pace, and other readers get on.

use std::time::{Duration, Instant};

use corelog_protocol::native::{
    FetchPartition, FrameKind, Message, SubscribeRequest, SubscribeResponse,
};
use corelog_protocol::{ErrorCode, IsolationLevel, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of, until, values_in};

/// As little memory as holds a few such batches, so that a few readers could take all of it.
const SETTINGS: &str = "
shard.memory.bytes = \"32 MiB\"
socket.request.max.bytes = \"8 MiB\"
";
const BATCH_BYTES: usize = 512 << 10;
/// One for each reader that does not read: what they hold is not the same.
const PARTITIONS: i32 = 60;
/// Batches of one partition.
const BATCHES: usize = 6;
/// Far below the 10 s that the broker gives a produce, and the 30 s it gives a reader that is in
/// nobody's way; far above what an append takes beside other tests.
const A_MOMENT: Duration = Duration::from_secs(5);

fn value(number: usize) -> String {
    format!("{number:08}").repeat(BATCH_BYTES / 8)
}

fn subscribe(client: &mut Connection, topic_id: TopicId, partition: i32) -> u32 {
    let request = SubscribeRequest {
        credit_bytes: u64::MAX,
        max_push_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        partitions: vec![FetchPartition {
            topic_id,
            partition: PartitionIndex::new(partition),
            leader_epoch: None,
            last_fetched_epoch: None,
            fetch_offset: Offset::ZERO,
            max_bytes: 1 << 20,
        }],
    };
    let id = client.send(&request, &[]);
    let frame = client.receive().unwrap();
    assert_eq!(frame.header.kind, FrameKind::Response);
    SubscribeResponse::decode(&frame.metadata).unwrap();
    id
}

/// Appends a batch to each partition and returns how long the longest append took.
fn produce_round(broker: &BrokerProcess, topic_id: TopicId, round: usize) -> Duration {
    let mut producer = broker.connect();
    let batch = batch_of([value(round).as_str()]);
    let mut longest = Duration::ZERO;
    for partition in 0..PARTITIONS {
        let before = Instant::now();
        let answer = producer.produce(topic_id, partition, &batch);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        longest = longest.max(before.elapsed());
    }
    longest
}

/// What readers hold, and what they may hold.
fn lent(broker: &BrokerProcess) -> (f64, f64) {
    let metrics = broker.metrics();
    (
        metrics.total("corelog_memory_lent_bytes"),
        metrics.total("corelog_memory_lent_limit_bytes"),
    )
}

#[test]
fn subscribers_that_do_not_read_hold_up_no_producer() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let topic = NewTopicBuilder::new("ignored", PARTITIONS);
    let topic_id = broker.connect().create_topic(topic);
    let mut silent = Vec::new();
    for partition in 0..PARTITIONS {
        let mut reader = broker.connect();
        reader.buffer_little();
        subscribe(&mut reader, topic_id, partition);
        silent.push(reader);
    }
    // More than five times the shard's memory.
    for round in 0..BATCHES {
        let longest = produce_round(&broker, topic_id, round);
        assert!(longest < A_MOMENT, "an append took {longest:?}");
        let (lent, limit) = lent(&broker);
        assert!(lent <= limit, "{lent} bytes are lent, the bound is {limit}");
    }
    // Who reads gets everything, whoever else is in the way.
    let mut reader = broker.connect();
    let id = subscribe(&mut reader, topic_id, 0);
    let mut found = Vec::new();
    while found.len() < BATCHES {
        let push = reader.receive().expect("a reader that reads is not closed");
        assert_eq!(push.header.kind, FrameKind::Push);
        assert_eq!(push.header.correlation_id, id);
        found.extend(values_in(&push.payload));
    }
    for (round, (offset, text)) in found.iter().enumerate() {
        assert_eq!(offset.get(), round as i64);
        assert!(*text == value(round), "offset {offset}");
    }
    drop((reader, silent));
    until(|| lent(&broker).0 == 0.0);
    assert!(broker.stop().success());
}

/// The same by requests: replies that nobody takes.
#[test]
fn fetchers_that_do_not_read_hold_up_neither_producers_nor_other_fetchers() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("unread", PARTITIONS));
    produce_round(&broker, topic_id, 0);
    let mut silent = Vec::new();
    for partition in 0..PARTITIONS {
        let mut reader = broker.connect();
        reader.buffer_little();
        for _ in 0..8 {
            reader.send_fetch(topic_id, partition, Offset::ZERO, Duration::ZERO);
        }
        silent.push(reader);
    }
    for round in 1..BATCHES {
        let longest = produce_round(&broker, topic_id, round);
        assert!(longest < A_MOMENT, "an append took {longest:?}");
        let (held, limit) = lent(&broker);
        assert!(held <= limit, "{held} bytes are lent, the bound is {limit}");
    }
    assert_eq!(client.read_all(topic_id, 1).len(), BATCHES);
    drop(silent);
    until(|| lent(&broker).0 == 0.0);
    assert!(broker.stop().success());
}

/// All partitions of one fetch, more than readers may hold: it brings what there is room for, and
/// going on from there brings all of it.
#[test]
fn a_fetch_of_more_than_readers_may_hold_brings_a_part() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("wide", PARTITIONS));
    produce_round(&broker, topic_id, 0);
    client.send_fetch_all(topic_id, 0..PARTITIONS, Duration::ZERO);
    let frame = client.receive().unwrap();
    assert_eq!(frame.header.kind, FrameKind::Response);
    let count = values_in(&frame.payload).len();
    assert!((1..PARTITIONS as usize).contains(&count), "{count} batches");
    for partition in 0..PARTITIONS {
        assert_eq!(client.read_all(topic_id, partition).len(), 1);
    }
    assert!(broker.stop().success());
}
