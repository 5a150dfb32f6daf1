//! What a producer does with records.

use std::time::Duration;

use corelog_client::{
    Delivery, DeliveryLatency, Offset, PartitionIndex, ProduceError, Producer, ProducerRecord,
    RecordMetadata, ShardId, Timestamp,
};
use corelog_protocol::partition_for_key;
use futures_util::future::try_join_all;

use crate::fake::FakeBroker;
use crate::log::Topic;

pub(crate) async fn send_all(producer: &Producer, topic: &str, values: &[String]) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for value in values {
        let record = ProducerRecord::to(topic)
            .partition(PartitionIndex::new(0))
            .value(value);
        deliveries.push(producer.send(record).await.unwrap());
    }
    deliveries
}

pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("value {number}")).collect()
}

pub(crate) fn offsets(acknowledged: &[RecordMetadata]) -> Vec<i64> {
    acknowledged
        .iter()
        .map(|record| record.offset.unwrap().get())
        .collect()
}

#[tokio::test]
async fn every_record_is_acknowledged_with_its_own_offset_and_in_order() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config().set("batch.size", 1000))
        .await
        .unwrap();
    let values = numbered(500);
    let deliveries = send_all(&producer, "orders", &values).await;
    let acknowledged = try_join_all(deliveries).await.unwrap();
    assert_eq!(offsets(&acknowledged), (0..500).collect::<Vec<i64>>());
    assert_eq!(broker.values("orders", 0), values);
    let metrics = producer.metrics();
    assert_eq!(
        (metrics.records, metrics.errors, metrics.retries),
        (500, 0, 0)
    );
    assert!(
        metrics.batches > 5,
        "batch.size ended {} batches",
        metrics.batches
    );
    assert_eq!(metrics.buffered_bytes, 0, "memory is given back");
}

#[tokio::test]
async fn records_of_one_key_go_to_kafkas_partition_over_the_owning_cores_connection() {
    let broker = FakeBroker::start(&[("orders", 8)]).await;
    let producer = Producer::new(&broker.config()).await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..200 {
        let key = format!("key {}", number % 20);
        let record = ProducerRecord::to("orders").key(&key).value("v");
        let delivery = producer.send(record).await.unwrap();
        assert_eq!(
            delivery.partition().partition,
            partition_for_key(key.as_bytes(), 8)
        );
        deliveries.push(delivery);
    }
    try_join_all(deliveries).await.unwrap();
    let state = broker.state();
    assert_eq!(state.seen.misrouted, 0);
    for shard in 0..2 {
        let dialled = state.seen.hellos.iter();
        let wanted = Some(ShardId::new(shard));
        assert_eq!(
            dialled.filter(|hello| **hello == wanted).count(),
            1,
            "one connection to shard {shard}"
        );
    }
}

#[tokio::test]
async fn records_without_a_key_stick_to_a_partition_per_batch_and_reach_all() {
    let broker = FakeBroker::start(&[("orders", 4)]).await;
    let producer = Producer::new(&broker.config().set("batch.size", 500))
        .await
        .unwrap();
    let mut deliveries = Vec::new();
    for value in numbered(2000) {
        let record = ProducerRecord::to("orders").value(&value);
        deliveries.push(producer.send(record).await.unwrap());
    }
    let changes = deliveries
        .windows(2)
        .filter(|pair| pair[0].partition() != pair[1].partition())
        .count();
    try_join_all(deliveries).await.unwrap();
    assert!(
        changes < 200,
        "{changes} changes of partition in 2000 records"
    );
    for partition in 0..4 {
        assert!(
            broker.values("orders", partition).len() > 100,
            "partition {partition} got {}",
            broker.values("orders", partition).len()
        );
    }
}

#[tokio::test]
async fn round_robin_spreads_single_records() {
    let broker = FakeBroker::start(&[("orders", 4)]).await;
    let producer = Producer::new(&broker.config().set("partitioner", "round_robin"))
        .await
        .unwrap();
    let mut deliveries = Vec::new();
    for value in numbered(40) {
        let record = ProducerRecord::to("orders").value(&value);
        deliveries.push(producer.send(record).await.unwrap());
    }
    try_join_all(deliveries).await.unwrap();
    for partition in 0..4 {
        assert_eq!(broker.values("orders", partition).len(), 10);
    }
}

#[tokio::test]
async fn a_custom_partitioner_places_what_names_no_partition() {
    let broker = FakeBroker::start(&[("orders", 4)]).await;
    let producer = Producer::with_partitioner(&broker.config(), |record, partitions| {
        assert_eq!(partitions, 4);
        let key = std::str::from_utf8(record.key.unwrap()).unwrap();
        PartitionIndex::new(key.parse().unwrap())
    })
    .await
    .unwrap();
    for (key, partition) in [("3", 3), ("0", 0)] {
        let record = ProducerRecord::to("orders").key(key).value(key);
        producer.send(record).await.unwrap().await.unwrap();
        assert_eq!(broker.values("orders", partition), [key]);
    }
    let named = ProducerRecord::to("orders")
        .partition(PartitionIndex::new(1))
        .value("named");
    producer.send(named).await.unwrap().await.unwrap();
    assert_eq!(broker.values("orders", 1), ["named"]);
    let beyond = producer.send(ProducerRecord::to("orders").key("4")).await;
    assert!(matches!(
        beyond,
        Err(ProduceError::NoSuchPartition { partitions: 4, .. })
    ));
}

#[tokio::test]
async fn latencies_are_those_of_what_was_acknowledged() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker.config().set("linger.ms", 20);
    let producer = Producer::new(&config).await.unwrap();
    assert_eq!(producer.metrics().latency, DeliveryLatency::default());
    let start = std::time::Instant::now();
    let record = ProducerRecord::to("orders").value("v");
    producer.send(record).await.unwrap().await.unwrap();
    let latency = producer.metrics().latency;
    assert!(latency.p50 >= Duration::from_millis(19), "{latency}");
    assert!(latency.max <= start.elapsed() * 2, "{latency}");
}

#[tokio::test]
async fn a_full_memory_makes_send_wait_and_then_fail() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.hold_produce = true);
    let config = broker
        .config()
        .set("buffer.memory", 32 << 10)
        .set("batch.size", 8 << 10)
        .set("max.block.ms", 50);
    let producer = Producer::new(&config).await.unwrap();
    let value = "x".repeat(7 << 10);
    let record = ProducerRecord::to("orders").value(&value);
    let mut deliveries = Vec::new();
    let error = loop {
        match producer.send(record).await {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, ProduceError::BufferFull { limit: 32768, .. }),
        "{error}"
    );
    assert!(deliveries.len() >= 2, "{} records fitted", deliveries.len());
    broker.change(|state| state.script.hold_produce = false);
    let sent = deliveries.len();
    assert_eq!(try_join_all(deliveries).await.unwrap().len(), sent);
    producer.send(record).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker
        .config()
        .set("max.in.flight.requests.per.connection", 3)
        .set("batch.size", 200);
    let producer = Producer::new(&config).await.unwrap();
    // Behind the first batch of all none is sent before the answer.
    let first = send_all(&producer, "orders", &numbered(1)).await;
    try_join_all(first).await.unwrap();
    broker.change(|state| state.script.hold_produce = true);
    let values = numbered(200);
    let deliveries = send_all(&producer, "orders", &values).await;
    broker.until(|state| state.seen.produce_waiting >= 3).await;
    broker.change(|state| state.script.hold_produce = false);
    try_join_all(deliveries).await.unwrap();
    assert_eq!(broker.state().seen.most_produce_waiting, 3);
}

#[tokio::test]
async fn a_record_that_can_never_be_sent_is_refused_at_once() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config().set("max.request.size", 2000))
        .await
        .unwrap();
    let value = "x".repeat(2000);
    let error = producer
        .send(ProducerRecord::to("orders").value(&value))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProduceError::RecordTooLarge { setting: "max.request.size", limit: 2000, size } if size > 2000),
        "{error}"
    );
    let record = ProducerRecord::to("orders").partition(PartitionIndex::new(1));
    let error = producer.send(record).await.unwrap_err();
    assert!(
        matches!(error, ProduceError::NoSuchPartition { partitions: 1, .. }),
        "{error}"
    );
}

/// The metadata at hand is young, and lacks what was added since.
#[tokio::test]
async fn a_partition_that_was_just_added_is_sent_to_at_once() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config()).await.unwrap();
    let to = |partition| ProducerRecord::to("orders").partition(PartitionIndex::new(partition));
    producer.send(to(0)).await.unwrap().await.unwrap();
    broker.change(|state| assert!(state.topics.get_mut("orders").unwrap().grow(3)));
    let sent = producer.send(to(2)).await.unwrap().await.unwrap();
    assert_eq!(sent.partition, PartitionIndex::new(2));
    let error = producer.send(to(3)).await.unwrap_err();
    assert!(
        matches!(error, ProduceError::NoSuchPartition { partitions: 3, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_topic_is_waited_for_and_then_named() {
    let broker = FakeBroker::start(&[]).await;
    let producer = Producer::new(&broker.config().set("max.block.ms", 60))
        .await
        .unwrap();
    let error = producer
        .send(ProducerRecord::to("orders").value("v"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ProduceError::NoMetadata { topic, reason, .. }
            if topic == "orders" && reason.contains("UNKNOWN_TOPIC_OR_PARTITION")),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_shard_is_left_after_the_first_hint() {
    let broker = FakeBroker::start(&[("orders", 2)]).await;
    broker.change(|state| state.script.all_on_shard_0 = true);
    let producer = Producer::new(&broker.config()).await.unwrap();
    let record = ProducerRecord::to("orders")
        .partition(PartitionIndex::new(1))
        .value("v");
    producer.send(record).await.unwrap().await.unwrap();
    broker.change(|state| {
        assert_eq!(state.seen.misrouted, 1);
        state.script.all_on_shard_0 = false;
    });
    producer.send(record).await.unwrap().await.unwrap();
    assert_eq!(broker.state().seen.misrouted, 1);
}

#[tokio::test]
async fn acks_0_resolves_without_an_offset() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config().set("acks", 0))
        .await
        .unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(3)).await;
    let sent = try_join_all(deliveries).await.unwrap();
    assert!(sent.iter().all(|record| record.offset.is_none()));
    broker
        .until(|state| state.topics["orders"].partitions[0].end == Offset::new(3))
        .await;
}

#[tokio::test]
async fn every_codec_is_read_back() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        let producer = Producer::new(&broker.config().set("compression.type", codec))
            .await
            .unwrap();
        let deliveries = send_all(&producer, "orders", &numbered(100)).await;
        try_join_all(deliveries).await.unwrap();
        assert_eq!(broker.values("orders", 0), numbered(100), "{codec}");
    }
}

#[tokio::test]
async fn flush_does_not_wait_for_the_linger_and_close_refuses_what_comes_later() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker
        .config()
        .set("linger.ms", 600_000)
        .set("delivery.timeout.ms", 900_000);
    let producer = Producer::new(&config).await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(10)).await;
    producer.flush().await.unwrap();
    assert_eq!(broker.values("orders", 0).len(), 10);
    try_join_all(deliveries).await.unwrap();
    let late = send_all(&producer, "orders", &numbered(1)).await;
    producer.close(Duration::from_secs(10)).await.unwrap();
    try_join_all(late).await.unwrap();
    let error = producer
        .send(ProducerRecord::to("orders").value("v"))
        .await
        .unwrap_err();
    assert!(matches!(error, ProduceError::Closed), "{error}");
}

#[tokio::test]
async fn close_fails_what_is_not_acknowledged_in_time() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.hold_produce = true);
    let producer = Producer::new(&broker.config()).await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(1)).await;
    let error = producer.close(Duration::from_millis(30)).await.unwrap_err();
    assert!(
        matches!(error, ProduceError::FlushTimeout { batches: 1, .. }),
        "{error}"
    );
    let error = try_join_all(deliveries).await.unwrap_err();
    assert!(matches!(error, ProduceError::Closed), "{error}");
}

#[tokio::test]
async fn a_records_own_time_is_kept() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config()).await.unwrap();
    let record = ProducerRecord::to("orders").value("v");
    let record = record.timestamp(Timestamp::new(1234));
    let acknowledged = producer.send(record).await.unwrap().await.unwrap();
    assert_eq!(acknowledged.timestamp, Timestamp::new(1234));
    let state = broker.state();
    let records = state.topics["orders"].partitions[0].records();
    assert_eq!(records[0].1, Timestamp::new(1234));
}

#[tokio::test]
async fn a_caller_whose_runtime_ends_takes_none_of_the_producers_tasks_with_it() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker.config().set("request.timeout.ms", 500);
    let config = config.set("delivery.timeout.ms", 2000);
    let producer = Producer::new(&config).await.unwrap();
    let caller = {
        let producer = producer.clone();
        // The first to send starts the task of the partition's node.
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            drop(runtime.block_on(send_all(&producer, "orders", &numbered(1))));
        })
    };
    caller.await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(1)).await;
    try_join_all(deliveries).await.unwrap();
    assert_eq!(broker.values("orders", 0).len(), 2);
}

#[tokio::test]
async fn a_topic_that_was_made_again_with_fewer_partitions_has_no_others() {
    // What is under way is refused, or would go in two.
    for max_batch_bytes in [None, Some(100)] {
        loses_partitions(max_batch_bytes).await;
    }
}

async fn loses_partitions(max_batch_bytes: Option<usize>) {
    let broker = FakeBroker::start(&[("orders", 4)]).await;
    let config = broker.config().set("metadata.max.age.ms", 100);
    let producer = Producer::new(&config).await.unwrap();
    let to = |partition| {
        ProducerRecord::to("orders")
            .partition(PartitionIndex::new(partition))
            .value("v")
    };
    producer.send(to(3)).await.unwrap().await.unwrap();
    broker.change(|state| state.script.hold_produce = true);
    let under_way = [
        producer.send(to(3)).await.unwrap(),
        producer.send(to(3)).await.unwrap(),
    ];
    broker.until(|state| state.seen.produce_waiting == 1).await;
    broker.change(|state| {
        state.topics.insert("orders".to_owned(), Topic::new(2));
    });
    broker.until_metadata_is_fresh().await;
    broker.change(|state| {
        state.script.hold_produce = false;
        state.script.max_batch_bytes = max_batch_bytes;
    });
    let has_gone = |error: ProduceError| {
        matches!(
            error,
            ProduceError::NoSuchPartition { partitions: 2, partition, .. } if partition.get() == 3
        )
    };
    for delivery in under_way {
        assert!(has_gone(delivery.await.unwrap_err()));
    }
    broker.change(|state| state.script.max_batch_bytes = None);
    assert!(has_gone(producer.send(to(3)).await.unwrap_err()));
    producer.send(to(1)).await.unwrap().await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(producer.metrics().buffered_bytes, 0);
    // Keys go where other producers send them.
    for key in ["a", "b", "c", "d", "e", "f"] {
        let record = ProducerRecord::to("orders").key(key).value(key);
        let written = producer.send(record).await.unwrap().await.unwrap();
        assert_eq!(written.partition, partition_for_key(key.as_bytes(), 2));
    }
}

#[tokio::test]
async fn nothing_overtakes_what_went_to_the_partitions_last_leader() {
    let broker = FakeBroker::start(&[("orders", 2)]).await;
    let config = broker
        .config()
        .set("enable.idempotence", false)
        .set("max.in.flight.requests.per.connection", 1)
        .set("linger.ms", 0)
        .set("metadata.max.age.ms", 100);
    broker.change(|state| {
        state.script.all_on_shard_0 = true;
        state.script.hold_produce = true;
    });
    let producer = Producer::new(&config).await.unwrap();
    let second = |value| {
        ProducerRecord::to("orders")
            .partition(PartitionIndex::new(1))
            .value(value)
    };
    let one = producer.send(second("one")).await.unwrap();
    broker.until(|state| state.seen.produce_waiting == 1).await;
    broker.change(|state| state.script.all_on_shard_0 = false);
    broker.until_metadata_is_fresh().await;
    let two = producer.send(second("two")).await.unwrap();
    broker.until_metadata_is_fresh().await;
    assert_eq!(broker.state().seen.most_produce_waiting, 1);
    broker.change(|state| state.script.hold_produce = false);
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(broker.values("orders", 1), ["one", "two"]);
}

#[tokio::test]
async fn a_topic_that_is_deleted_holds_up_no_other() {
    let broker = FakeBroker::start(&[("orders", 1), ("payments", 1)]).await;
    let config = broker
        .config()
        .set("linger.ms", 0)
        .set("request.timeout.ms", 200)
        .set("delivery.timeout.ms", 400);
    let producer = Producer::new(&config).await.unwrap();
    let order = ProducerRecord::to("orders").value("apples");
    let payment = ProducerRecord::to("payments").value("2");
    producer.send(order).await.unwrap().await.unwrap();
    broker.change(|state| {
        state.topics.remove("orders");
    });
    let lost = producer.send(order).await.unwrap();
    broker.until_metadata_is_fresh().await;
    let going_on = async {
        producer.send(payment).await.unwrap().await.unwrap();
        lost.await.unwrap_err()
    };
    let error = tokio::time::timeout(Duration::from_secs(20), going_on)
        .await
        .unwrap();
    assert!(
        matches!(error, ProduceError::DeliveryTimeout { .. }),
        "{error}"
    );
    // It may come back.
    broker.change(|state| {
        state.topics.insert("orders".to_owned(), Topic::new(1));
    });
    producer.send(order).await.unwrap().await.unwrap();
}
