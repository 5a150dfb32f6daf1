//! What an idempotent producer sends stands in the log once, however often it is sent and however the
//! broker ended in between.

use bytes::Bytes;
use corelog_protocol::native::{
    InitProducerIdRequest, InitProducerIdResponse, ProducePartitionResponse,
};
use corelog_protocol::record::{BatchBuilder, ProducerStamp};
use corelog_protocol::{
    Compression, ErrorCode, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder};

/// A producer and its epoch.
type Identity = (ProducerId, ProducerEpoch);

fn init(connection: &mut Connection, current: Option<Identity>) -> InitProducerIdResponse {
    connection.ask(&InitProducerIdRequest { current })
}

fn new_identity(connection: &mut Connection) -> Identity {
    let given = init(connection, None);
    assert_eq!(given.error, ErrorCode::None, "{:?}", given.error_message);
    assert_eq!(given.producer_epoch, ProducerEpoch::ZERO);
    (given.producer_id, given.producer_epoch)
}

fn batch((id, epoch): Identity, sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 4096);
    for value in values {
        builder
            .append(Timestamp::now(), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.finish(Some(ProducerStamp {
        id,
        epoch,
        base_sequence: Sequence::new(sequence),
        transactional: false,
    }))
}

fn offsets(response: &ProducePartitionResponse) -> (i64, i64) {
    let message = &response.error_message;
    assert_eq!(response.error, ErrorCode::None, "{message:?}");
    (response.base_offset.get(), response.last_offset.get())
}

fn values(connection: &mut Connection, topic: TopicId) -> Vec<String> {
    let records = connection.read_all(topic, 0).into_iter();
    records.map(|(_, value)| value).collect()
}

/// The broker dies with every batch in its journal; then it is stopped, so that a checkpoint is all
/// there is; and each time with another number of cores. Whatever the start reads them from, it knows
/// them.
#[test]
fn a_batch_sent_again_after_kill_9_is_there_once_and_where_it_was() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("once", 1));
    let producer = new_identity(&mut connection);
    let batches = [
        batch(producer, 0, &["a", "b"]),
        batch(producer, 2, &["c"]),
        batch(producer, 3, &["d", "e", "f"]),
    ];
    for (batch, expected) in batches.iter().zip([(0, 1), (2, 2), (3, 5)]) {
        let first = connection.produce(topic, 0, batch);
        assert_eq!(offsets(&first), expected);
        let second = connection.produce(topic, 0, batch);
        assert_eq!(offsets(&second), expected);
    }
    broker.kill();

    for (cores, stops_clean) in [(2, false), (1, true), (2, true), (1, false)] {
        let broker = BrokerProcess::start(folder.path(), cores);
        let mut connection = broker.connect();
        for (batch, expected) in batches.iter().zip([(0, 1), (2, 2), (3, 5)]) {
            let again = connection.produce(topic, 0, batch);
            assert_eq!(offsets(&again), expected);
        }
        let gap = connection.produce(topic, 0, &batch(producer, 7, &["lost"]));
        assert_eq!(gap.error, ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(
            values(&mut connection, topic),
            ["a", "b", "c", "d", "e", "f"]
        );
        match stops_clean {
            true => assert!(broker.stop().success()),
            false => broker.kill(),
        }
    }

    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let next = connection.produce(topic, 0, &batch(producer, 6, &["g"]));
    assert_eq!(offsets(&next), (6, 6));
}

/// A topic that promises little loses its last batches with the machine's memory, and with them what
/// it remembers of their producers: here only the process dies, so what was written is there.
#[test]
fn at_durability_written_a_killed_broker_remembers_what_it_wrote() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = NewTopicBuilder::new("once", 1).config("durability", "written");
    let topic = connection.create_topic(topic);
    let producer = new_identity(&mut connection);
    let batches: Vec<Bytes> = (0..20).map(|n| batch(producer, n, &["v"])).collect();
    for batch in &batches {
        connection.produce(topic, 0, batch);
    }
    broker.kill();

    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    for (offset, batch) in (0..).zip(&batches).skip(15) {
        let again = connection.produce(topic, 0, batch);
        assert_eq!(offsets(&again), (offset, offset));
    }
    assert_eq!(values(&mut connection, topic).len(), 20);
}

#[test]
fn no_producer_id_is_given_out_twice() {
    let folder = TempDir::new().unwrap();
    let mut given = Vec::new();
    for cores in [1, 2, 2] {
        let broker = BrokerProcess::start(folder.path(), cores);
        for shard in 0..cores {
            let mut connection = broker.connect_to_shard(shard as u16);
            given.extend((0..10).map(|_| new_identity(&mut connection).0));
        }
        broker.kill();
    }
    // More than a block's.
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    given.extend((0..1001).map(|_| new_identity(&mut connection).0));
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count);
}

#[test]
fn the_next_epoch_of_a_producer_fences_the_one_before() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("fenced", 1));
    let producer = new_identity(&mut connection);
    connection.produce(topic, 0, &batch(producer, 0, &["a"]));

    let raised = init(&mut connection, Some(producer));
    assert_eq!(raised.error, ErrorCode::None);
    assert_eq!(raised.producer_id, producer.0);
    assert_eq!(raised.producer_epoch, ProducerEpoch::new(1));
    let raised = (raised.producer_id, raised.producer_epoch);
    let next = connection.produce(topic, 0, &batch(raised, 0, &["b"]));
    assert_eq!(offsets(&next), (1, 1));
    let over = connection.produce(topic, 0, &batch(producer, 1, &["zombie"]));
    assert_eq!(over.error, ErrorCode::InvalidProducerEpoch);
    let message = over.error_message.unwrap();
    assert!(message.contains("epoch 0 of producer"), "{message}");

    // The epochs of an id are used up one day: then it is another id.
    let last = (producer.0, ProducerEpoch::new(i16::MAX - 1));
    let other = init(&mut connection, Some(last));
    assert_ne!(other.producer_id, producer.0);
    assert_eq!(other.producer_epoch, ProducerEpoch::ZERO);

    let stranger = (ProducerId::new(1_000_000), ProducerEpoch::ZERO);
    let unknown = init(&mut connection, Some(stranger));
    assert_eq!(unknown.error, ErrorCode::UnknownProducerId);
    let message = unknown.error_message.unwrap();
    assert!(message.contains("1000000: ask for a new one"), "{message}");
}
