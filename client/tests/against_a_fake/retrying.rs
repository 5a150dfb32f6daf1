//! What a producer does when a batch is refused, or the broker is silent or gone.

use std::time::Duration;

use corelog_client::{ErrorCode, PartitionIndex, ProduceError, Producer, ProducerRecord};
use futures_util::future::try_join_all;

use crate::fake::FakeBroker;
use crate::producing::{numbered, offsets, send_all};

#[tokio::test]
async fn a_batch_refused_for_now_goes_again_and_order_is_kept() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    // The first five requests are all refused, so nothing overtakes the retried batches.
    broker.change(|state| {
        state.script.produce_errors = [ErrorCode::NotEnoughReplicas; 5].into();
    });
    let config = broker.config().set("batch.size", 300).set("linger.ms", 0);
    let producer = Producer::new(&config).await.unwrap();
    let values = numbered(300);
    let deliveries = send_all(&producer, "orders", &values).await;
    let acknowledged = try_join_all(deliveries).await.unwrap();
    assert_eq!(offsets(&acknowledged), (0..300).collect::<Vec<i64>>());
    assert_eq!(broker.values("orders", 0), values);
    assert!(producer.metrics().retries >= 5);
}

#[tokio::test]
async fn a_broker_that_goes_away_and_comes_back_gets_every_record() {
    let mut broker = FakeBroker::start(&[("orders", 2)]).await;
    let producer = Producer::new(&broker.config().set("linger.ms", 0))
        .await
        .unwrap();
    let first = send_all(&producer, "orders", &numbered(10)).await;
    try_join_all(first).await.unwrap();
    broker.stop().await;
    let values: Vec<String> = numbered(2000).split_off(10);
    let deliveries = send_all(&producer, "orders", &values).await;
    broker.listen().await;
    let acknowledged = try_join_all(deliveries).await.unwrap();
    assert_eq!(acknowledged.len(), values.len());
    assert_eq!(broker.values("orders", 0), numbered(2000));
}

#[tokio::test]
async fn without_idempotence_a_lost_answer_may_write_a_record_twice_but_never_loses_it() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.lose_after_append = 1);
    let config = broker.config().set("enable.idempotence", false);
    let producer = Producer::new(&config).await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(3)).await;
    let acknowledged = try_join_all(deliveries).await.unwrap();
    assert_eq!(offsets(&acknowledged), [3, 4, 5]);
    let twice = [numbered(3), numbered(3)].concat();
    assert_eq!(broker.values("orders", 0), twice);
}

#[tokio::test]
async fn a_batch_refused_for_good_fails_its_records_and_the_next_goes_on() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| {
        state.script.produce_errors = [ErrorCode::MessageTooLarge].into();
    });
    let producer = Producer::new(&broker.config()).await.unwrap();
    let refused = send_all(&producer, "orders", &numbered(1)).await;
    let error = try_join_all(refused).await.unwrap_err();
    assert!(
        matches!(&error, ProduceError::Broker { code, .. } if *code == ErrorCode::MessageTooLarge),
        "{error}"
    );
    let next = send_all(&producer, "orders", &numbered(1)).await;
    assert_eq!(offsets(&try_join_all(next).await.unwrap()), [0]);
    assert_eq!(producer.metrics().errors, 1);
}

#[tokio::test]
async fn a_batch_too_large_for_its_topic_is_split_and_later_ones_are_smaller() {
    for codec in ["none", "zstd"] {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        broker.change(|state| state.script.max_batch_bytes = Some(500));
        let config = broker
            .config()
            .set("compression.type", codec)
            .set("max.in.flight.requests.per.connection", 1);
        let producer = Producer::new(&config).await.unwrap();
        let values: Vec<String> = (0..1000)
            .map(|number| format!("value {number} {:x}", u64::MAX / (number + 1)))
            .collect();
        let deliveries = send_all(&producer, "orders", &values).await;
        producer.flush().await.unwrap();
        let acknowledged = try_join_all(deliveries).await.unwrap();
        assert_eq!(offsets(&acknowledged), (0..1000).collect::<Vec<i64>>());
        assert_eq!(broker.values("orders", 0), values, "{codec}");
        let refused = broker.state().seen.too_large;
        assert!(refused > 1);

        let more = send_all(&producer, "orders", &values).await;
        try_join_all(more).await.unwrap();
        assert_eq!(broker.state().seen.too_large, refused, "{codec}");
        assert_eq!(producer.metrics().buffered_bytes, 0);
    }
}

#[tokio::test]
async fn requests_and_batches_keep_to_what_the_broker_accepts_in_a_frame() {
    let broker = FakeBroker::start(&[("orders", 8)]).await;
    broker.change(|state| state.script.max_payload = Some(2000));
    let config = broker
        .config()
        .set("linger.ms", 1000)
        .set("request.timeout.ms", 500)
        .set("delivery.timeout.ms", 1500);
    let producer = Producer::new(&config).await.unwrap();
    // One batch fits a frame, those of all partitions do not; then one batch does not.
    for records in [10, 100] {
        let value = "x".repeat(90);
        let mut deliveries = Vec::new();
        for _ in 0..records {
            for partition in 0..8 {
                let record = ProducerRecord::to("orders")
                    .partition(PartitionIndex::new(partition))
                    .value(&value);
                deliveries.push(producer.send(record).await.unwrap());
            }
        }
        producer.flush().await.unwrap();
        try_join_all(deliveries).await.unwrap();
    }
    let largest = broker.state().seen.largest_produce;
    assert!((1000..=2000).contains(&largest), "{largest} bytes");
    for partition in 0..8 {
        assert_eq!(broker.values("orders", partition).len(), 110);
    }
}

#[tokio::test]
async fn a_record_larger_than_the_brokers_frames_fails_at_once() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.max_payload = Some(2000));
    let producer = Producer::new(&broker.config()).await.unwrap();
    let large = send_all(&producer, "orders", &["x".repeat(3000)]).await;
    let error = try_join_all(large).await.unwrap_err();
    assert!(
        matches!(&error, ProduceError::Unsendable { reason, .. } if reason.contains("accepts 2000")),
        "{error}"
    );
    assert_eq!(broker.state().seen.produce_requests, 0);
    let next = send_all(&producer, "orders", &numbered(1)).await;
    assert_eq!(offsets(&try_join_all(next).await.unwrap()), [0]);
    assert_eq!(producer.metrics().buffered_bytes, 0);
}

#[tokio::test]
async fn retries_end_at_their_number() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| {
        state.script.produce_errors = [ErrorCode::NotEnoughReplicas; 10].into();
    });
    let producer = Producer::new(&broker.config().set("retries", 2))
        .await
        .unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(1)).await;
    let error = try_join_all(deliveries).await.unwrap_err();
    assert!(matches!(error, ProduceError::Broker { .. }), "{error}");
    assert_eq!(broker.state().seen.produce_requests, 3);
}

#[tokio::test]
async fn delivery_ends_at_its_timeout_while_the_broker_is_away() {
    let mut broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker
        .config()
        .set("request.timeout.ms", 100)
        .set("delivery.timeout.ms", 300);
    let producer = Producer::new(&config).await.unwrap();
    producer.partitions_for("orders").await.unwrap();
    broker.stop().await;
    let deliveries = send_all(&producer, "orders", &numbered(1)).await;
    let error = try_join_all(deliveries).await.unwrap_err();
    assert!(
        matches!(&error, ProduceError::DeliveryTimeout { waited, .. } if *waited >= Duration::from_millis(300)),
        "{error}"
    );
    assert!(error.is_retriable());
    assert_eq!(producer.metrics().buffered_bytes, 0);
}

#[tokio::test]
async fn a_silent_broker_is_given_up_after_the_requests_time() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.hold_produce = true);
    let config = broker.config().set("request.timeout.ms", 50);
    let producer = Producer::new(&config).await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(1)).await;
    broker.until(|state| state.seen.produce_requests >= 2).await;
    broker.change(|state| state.script.hold_produce = false);
    try_join_all(deliveries).await.unwrap();
    assert!(producer.metrics().retries >= 1);
}
