//! Subscribe: the broker pushes batches as they become readable, within the credit that the
//! client grants and within its own bounds.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::native::{
    FetchPartition, FetchResponse, Frame, FrameKind, Message, SubscribeCreditRequest,
    SubscribeRequest, SubscribeResponse, UnsubscribeRequest, UnsubscribeResponse,
};
use corelog_protocol::record::BatchView;
use corelog_protocol::{ErrorCode, IsolationLevel, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of, until, values_in};

fn position(topic_id: TopicId, partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic_id,
        partition: PartitionIndex::new(partition),
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset: Offset::new(offset),
        max_bytes: 1 << 20,
    }
}

fn subscribe(client: &mut Connection, credit: u64, partitions: Vec<FetchPartition>) -> u32 {
    let request = SubscribeRequest {
        credit_bytes: credit,
        max_push_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        partitions,
    };
    let id = client.send(&request, &[]);
    let frame = client.receive().unwrap();
    assert_eq!(frame.header.kind, FrameKind::Response);
    assert_eq!(frame.header.correlation_id, id);
    SubscribeResponse::decode(&frame.metadata).unwrap();
    id
}

/// The next push of a subscription, which must be about one partition.
fn push(client: &mut Connection, subscription: u32) -> (FetchResponse, Bytes) {
    let Frame {
        header,
        metadata,
        payload,
    } = client.receive().expect("a push");
    assert_eq!(header.kind, FrameKind::Push);
    assert_eq!(header.correlation_id, subscription);
    let push = FetchResponse::decode(&metadata).unwrap();
    assert_eq!(push.partitions.len(), 1);
    assert_eq!(push.partitions[0].length as usize, payload.len());
    (push, payload)
}

/// Reads pushes until this many records have come.
fn values(client: &mut Connection, subscription: u32, count: usize) -> Vec<(Offset, String)> {
    let mut values = Vec::new();
    while values.len() < count {
        let (push, payload) = push(client, subscription);
        let partition = &push.partitions[0];
        assert_eq!(
            partition.error,
            ErrorCode::None,
            "{:?}",
            partition.error_message
        );
        values.extend(values_in(&payload));
        let (last, _) = values.last().expect("a push has records");
        assert!(*last < partition.high_watermark, "above the high watermark");
    }
    values
}

/// Passes when no push comes before the answers to a few questions: by then whatever an earlier
/// append had set off has run its course.
fn assert_no_push(client: &mut Connection) {
    for _ in 0..20 {
        client.metadata(None);
    }
}

#[test]
fn what_is_there_is_pushed_and_then_what_comes() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("pushed", 2));
    // One of the partitions is forwarded from the other core.
    for partition in 0..2 {
        producer.produce(topic_id, partition, &batch_of(["zero", "one"]));
        let mut reader = broker.connect();
        let id = subscribe(
            &mut reader,
            u64::MAX,
            vec![position(topic_id, partition, 0)],
        );
        let mut found = values(&mut reader, id, 2);
        for value in ["two", "three"] {
            producer.produce(topic_id, partition, &batch_of([value]));
            found.extend(values(&mut reader, id, 1));
        }
        let expected = (0..)
            .map(Offset::new)
            .zip(["zero", "one", "two", "three"].map(String::from));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_subscription_goes_on_behind_the_epoch_that_it_began_in() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("pushed", 1));
    for value in ["zero", "one"] {
        producer.produce(topic_id, 0, &batch_of([value]));
    }
    assert!(broker.stop().success());
    // Every start begins an epoch.
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    producer.produce(topic_id, 0, &batch_of(["two"]));
    let mut reader = broker.connect();
    let (_, payload) = reader.fetch(topic_id, 0, Offset::ZERO, Duration::ZERO);
    let (first, _) = BatchView::parse(&payload).unwrap();
    let from = FetchPartition {
        last_fetched_epoch: first.partition_leader_epoch(),
        ..position(topic_id, 0, 1)
    };
    let id = subscribe(&mut reader, u64::MAX, vec![from]);
    let mut found = values(&mut reader, id, 2);
    producer.produce(topic_id, 0, &batch_of(["three"]));
    found.extend(values(&mut reader, id, 1));
    let values: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["one", "two", "three"]);
}

#[test]
fn many_partitions_share_a_subscription() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("many", 16));
    let mut reader = broker.connect();
    let partitions = (0..16)
        .map(|partition| position(topic_id, partition, 0))
        .collect();
    let id = subscribe(&mut reader, u64::MAX, partitions);
    for round in 0..3 {
        for partition in 0..16 {
            producer.produce(
                topic_id,
                partition,
                &batch_of([format!("{round}").as_str()]),
            );
        }
    }
    let mut next = [0; 16];
    while next.iter().sum::<i64>() < 48 {
        let (push, payload) = push(&mut reader, id);
        let partition = push.partitions[0].partition.get() as usize;
        for (offset, value) in values_in(&payload) {
            assert_eq!(offset, Offset::new(next[partition]));
            assert_eq!(value, next[partition].to_string());
            next[partition] += 1;
        }
    }
    assert_eq!(next, [3; 16]);
}

#[test]
fn pushes_stop_at_the_credit_and_go_on_when_more_is_granted() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("credit", 1));
    let value = "x".repeat(1000);
    let batch = batch_of([value.as_str()]);
    for _ in 0..20 {
        producer.produce(topic_id, 0, &batch);
    }
    let mut reader = broker.connect();
    // Room for two batches and a half.
    let size = batch.len() as u64;
    let id = subscribe(&mut reader, size * 5 / 2, vec![position(topic_id, 0, 0)]);
    // Two fit. The third does not, but it cannot be cut and there is credit left: it goes out and
    // overdraws by half a batch.
    let mut found = values(&mut reader, id, 3);
    assert_eq!(found.len(), 3);
    assert_no_push(&mut reader);

    // Half a batch to be even, half a batch of credit: one more.
    reader.send(
        &SubscribeCreditRequest {
            subscription: id,
            bytes: size,
        },
        &[],
    );
    found.extend(values(&mut reader, id, 1));
    assert_eq!(found.len(), 4);
    assert_no_push(&mut reader);

    reader.send(
        &SubscribeCreditRequest {
            subscription: id,
            bytes: 100 * size,
        },
        &[],
    );
    found.extend(values(&mut reader, id, 16));
    let offsets: Vec<_> = found.iter().map(|(offset, _)| offset.get()).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
}

#[test]
fn partitions_of_a_subscription_share_its_credit() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("shared", 8));
    let value = "x".repeat(1000);
    let batch = batch_of([value.as_str()]);
    for partition in 0..8 {
        producer.produce(topic_id, partition, &batch);
    }
    let mut reader = broker.connect();
    let partitions = (0..8)
        .map(|partition| position(topic_id, partition, 0))
        .collect();
    let id = subscribe(&mut reader, batch.len() as u64 * 3, partitions);
    assert_eq!(values(&mut reader, id, 3).len(), 3);
    assert_no_push(&mut reader);
    let bytes = batch.len() as u64 * 5;
    reader.send(
        &SubscribeCreditRequest {
            subscription: id,
            bytes,
        },
        &[],
    );
    assert_eq!(values(&mut reader, id, 5).len(), 5);
}

#[test]
fn nothing_is_pushed_without_credit() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("penniless", 1));
    producer.produce(topic_id, 0, &batch_of(["there"]));
    let mut reader = broker.connect();
    subscribe(&mut reader, 0, vec![position(topic_id, 0, 0)]);
    producer.produce(topic_id, 0, &batch_of(["more"]));
    assert_no_push(&mut reader);
}

#[test]
fn nothing_is_pushed_after_unsubscribe() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("left", 1));
    let mut reader = broker.connect();
    let id = subscribe(&mut reader, u64::MAX, vec![position(topic_id, 0, 0)]);
    producer.produce(topic_id, 0, &batch_of(["heard"]));
    assert_eq!(values(&mut reader, id, 1).len(), 1);
    assert_eq!(broker.metrics().total("corelog_subscriptions"), 1.0);
    let _: UnsubscribeResponse = reader.ask(&UnsubscribeRequest { subscription: id });
    producer.produce(topic_id, 0, &batch_of(["unheard"]));
    assert_no_push(&mut reader);
    assert_eq!(broker.metrics().total("corelog_subscriptions"), 0.0);
    // Neither of these is an error: they may have crossed the end.
    reader.send(
        &SubscribeCreditRequest {
            subscription: id,
            bytes: 1,
        },
        &[],
    );
    let _: UnsubscribeResponse = reader.ask(&UnsubscribeRequest { subscription: id });
    // The id is free again, and the reader goes on where it was.
    let id = subscribe(&mut reader, u64::MAX, vec![position(topic_id, 0, 1)]);
    assert_eq!(values(&mut reader, id, 1)[0].1, "unheard");
}

#[test]
fn a_partitions_error_is_pushed_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("half", 2));
    let mut reader = broker.connect();
    let partitions = vec![
        position(TopicId::random(), 0, 0),
        position(topic_id, 0, 55),
        position(topic_id, 1, 0),
    ];
    let id = subscribe(&mut reader, u64::MAX, partitions);
    let mut errors = [0; 2].map(|_| push(&mut reader, id).0.partitions[0].error);
    errors.sort_unstable();
    let mut expected = [ErrorCode::UnknownTopicId, ErrorCode::OffsetOutOfRange];
    expected.sort_unstable();
    assert_eq!(errors, expected);
    producer.produce(topic_id, 0, &batch_of(["nobody listens"]));
    producer.produce(topic_id, 1, &batch_of(["still on"]));
    assert_eq!(values(&mut reader, id, 1)[0].1, "still on");
    assert_no_push(&mut reader);
}

#[test]
fn a_subscription_ends_with_its_topic() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut admin = broker.connect();
    let topic_id = admin.create_topic(NewTopicBuilder::new("doomed", 1));
    let mut reader = broker.connect();
    let id = subscribe(&mut reader, u64::MAX, vec![position(topic_id, 0, 0)]);
    assert_no_push(&mut reader);
    admin.delete_topic("doomed");
    let (push, _) = push(&mut reader, id);
    assert_ne!(push.partitions[0].error, ErrorCode::None);
}

#[test]
fn a_reader_that_grants_credit_and_does_not_read_holds_little_and_is_dropped() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, "connection.stall.timeout.ms = 300\n");
    let mut producer = broker.connect();
    let topic_id = producer.create_topic(NewTopicBuilder::new("flood", 1));
    let value = "x".repeat(1_000_000);
    let batch = batch_of([value.as_str()]);
    const BATCHES: usize = 64;
    for _ in 0..BATCHES {
        producer.produce(topic_id, 0, &batch);
    }
    let before = broker.metrics().total("corelog_fetch_bytes_total");
    let mut reader = broker.connect();
    subscribe(&mut reader, u64::MAX, vec![position(topic_id, 0, 0)]);
    until(|| broker.metrics().total("corelog_subscriptions") == 0.0);
    // The sockets' buffers, 4 MiB that wait to be sent and a push or two on the way.
    let read = broker.metrics().total("corelog_fetch_bytes_total") - before;
    assert!(
        read < 0.5 * (BATCHES * batch.len()) as f64,
        "{read} bytes were read ahead"
    );
    assert_eq!(producer.produce(topic_id, 0, &batch).error, ErrorCode::None);
    assert!(broker.stop().success());
}
