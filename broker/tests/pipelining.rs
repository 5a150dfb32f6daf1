//! Requests are sent without waiting for replies. Replies may overtake each other across
//! partitions, never within one, and there is a bound to what is carried out at a time.

use std::time::Duration;

use corelog_protocol::native::{FetchResponse, Message, MetadataRequest, ProduceResponse};
use corelog_protocol::{Acks, ErrorCode, Offset};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, batch_of, values_in};

/// Longer than any test: a fetch that waits this long waits for records.
const LONG: Duration = Duration::from_secs(25);

#[test]
fn produces_of_one_partition_are_appended_and_answered_in_the_order_sent() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("ordered", 2));
    let mut sent = Vec::new();
    // One of the two partitions is forwarded to the other core.
    for number in 0..200 {
        for partition in 0..2 {
            let batch = batch_of([format!("{partition}/{number}").as_str()]);
            let id = client.send_produce(Acks::All, topic_id, partition, &batch);
            sent.push((id, partition, number));
        }
    }
    let mut answered = [Vec::new(), Vec::new()];
    for _ in 0..sent.len() {
        let frame = client.receive().expect("every request is answered");
        let answer = ProduceResponse::decode(&frame.metadata).unwrap();
        let answer = &answer.partitions[0];
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        let partition = answer.partition.get() as usize;
        answered[partition].push((frame.header.correlation_id, answer.base_offset.get()));
    }
    for partition in 0..2 {
        let expected: Vec<(u32, i64)> = sent
            .iter()
            .filter(|it| it.1 == partition)
            .map(|&(id, _, number)| (id, number))
            .collect();
        assert_eq!(answered[partition as usize], expected);
        let read = client.read_all(topic_id, partition);
        let values: Vec<_> = read.into_iter().map(|(_, value)| value).collect();
        let expected: Vec<_> = (0..200)
            .map(|number| format!("{partition}/{number}"))
            .collect();
        assert_eq!(values, expected);
    }
}

#[test]
fn a_reply_does_not_wait_for_another_partitions() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("overtaken", 2));
    let waiting = client.send_fetch(topic_id, 0, Offset::ZERO, LONG);
    // Both overtake the fetch of partition 0, which has nothing to give.
    let produced = client.produce(topic_id, 1, &batch_of(["first"]));
    assert_eq!(produced.error, ErrorCode::None);
    let (fetched, payload) = client.fetch(topic_id, 1, Offset::ZERO, LONG);
    assert_eq!(fetched.error, ErrorCode::None);
    assert_eq!(values_in(&payload).len(), 1);

    let produced = client.send_produce(Acks::All, topic_id, 0, &batch_of(["awaited"]));
    let mut answered = [client.receive().unwrap(), client.receive().unwrap()]
        .map(|frame| frame.header.correlation_id);
    answered.sort_unstable();
    assert_eq!(answered, [waiting, produced]);
}

#[test]
fn a_fetch_does_not_overtake_an_earlier_one_of_its_partition() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("in-line", 1));
    client.produce(topic_id, 0, &batch_of(["there"]));
    let waiting = client.send_fetch(topic_id, 0, Offset::new(1), LONG);
    let ready = client.send_fetch(topic_id, 0, Offset::ZERO, LONG);
    // A request without a partition is answered while both wait.
    client.metadata(None);
    let mut other = broker.connect();
    other.produce(topic_id, 0, &batch_of(["awaited"]));
    for (id, value) in [(waiting, "awaited"), (ready, "there")] {
        let frame = client.receive().unwrap();
        assert_eq!(frame.header.correlation_id, id);
        let answer = FetchResponse::decode(&frame.metadata).unwrap();
        assert_eq!(answer.partitions[0].error, ErrorCode::None);
        assert_eq!(values_in(&frame.payload)[0].1, value);
    }
}

#[test]
fn at_the_bound_of_requests_in_flight_the_connection_is_read_no_further() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connection.requests.max = 2\n");
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("bounded", 2));
    let waiting =
        [0, 1].map(|partition| client.send_fetch(topic_id, partition, Offset::ZERO, LONG));
    let third = client.send(&MetadataRequest { topics: None }, &[]);
    let mut other = broker.connect();
    other.produce(topic_id, 1, &batch_of(["room"]));
    // Metadata needs no waiting, yet it comes after the fetch that made room for it.
    let order = [client.receive().unwrap(), client.receive().unwrap()]
        .map(|frame| frame.header.correlation_id);
    assert_eq!(order, [waiting[1], third]);
}

#[test]
fn at_the_bound_of_bytes_in_flight_the_connection_is_read_no_further() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connection.memory.bytes = 65536\n");
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("bounded", 1));
    // What the fetch may be answered with counts from its start.
    let waiting = client.send_fetch(topic_id, 0, Offset::ZERO, LONG);
    let second = client.send(&MetadataRequest { topics: None }, &[]);
    let mut other = broker.connect();
    other.produce(topic_id, 0, &batch_of(["room"]));
    let order = [client.receive().unwrap(), client.receive().unwrap()]
        .map(|frame| frame.header.correlation_id);
    assert_eq!(order, [waiting, second]);
}

#[test]
fn more_requests_than_the_bound_are_all_answered() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(
        folder.path(),
        1,
        "connection.requests.max = 3\npartition.mailbox.commands = 2\n",
    );
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("patient", 1));
    for number in 0..500 {
        let batch = batch_of([format!("{number}").as_str()]);
        client.send_produce(Acks::Leader, topic_id, 0, &batch);
    }
    for number in 0..500 {
        let frame = client.receive().unwrap();
        let answer = ProduceResponse::decode(&frame.metadata).unwrap();
        assert_eq!(answer.partitions[0].base_offset, Offset::new(number));
    }
}

#[test]
fn requests_sent_before_the_end_of_the_stream_are_answered() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("half-closed", 1));
    for _ in 0..20 {
        client.send_produce(Acks::All, topic_id, 0, &batch_of(["last words"]));
    }
    client.finish();
    for number in 0..20 {
        let frame = client
            .receive()
            .expect("answered although the client sends no more");
        let answer = ProduceResponse::decode(&frame.metadata).unwrap();
        assert_eq!(answer.partitions[0].base_offset, Offset::new(number));
    }
    assert!(client.receive().is_none());
}

#[test]
fn a_fetch_of_several_partitions_waits_for_any_and_gives_what_each_has() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("several", 4));
    let waiting = client.send_fetch_all(topic_id, 0..4, LONG);
    let mut other = broker.connect();
    other.produce(topic_id, 2, &batch_of(["two"]));
    let frame = client.receive().unwrap();
    assert_eq!(frame.header.correlation_id, waiting);
    let answer = FetchResponse::decode(&frame.metadata).unwrap();
    let lengths: Vec<_> = answer.partitions.iter().map(|it| it.length > 0).collect();
    assert_eq!(lengths, [false, false, true, false]);
    assert_eq!(values_in(&frame.payload)[0].1, "two");

    other.produce(topic_id, 0, &batch_of(["zero"]));
    client.send_fetch_all(topic_id, 0..4, LONG);
    let frame = client.receive().unwrap();
    let answer = FetchResponse::decode(&frame.metadata).unwrap();
    let parts = answer.split_payload(&frame.payload).unwrap();
    let values: Vec<Vec<(Offset, String)>> = parts.map(|(_, it)| values_in(&it)).collect();
    let one = |value: &str| vec![(Offset::ZERO, value.to_owned())];
    assert_eq!(values, [one("zero"), vec![], one("two"), vec![]]);
}
