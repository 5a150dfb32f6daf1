//! Every record once and in order, whatever is lost on the way: the fake checks sequences as a broker does.

use corelog_client::{ErrorCode, ProduceError, Producer};
use futures_util::future::{join_all, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fake::FakeBroker;
use crate::log::Topic;
use crate::producing::{numbered, offsets, send_all};

#[tokio::test]
async fn an_answer_lost_on_the_way_writes_no_record_twice() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.lose_after_append = 3);
    let producer = Producer::new(&broker.config()).await.unwrap();
    let deliveries = send_all(&producer, "orders", &numbered(3)).await;
    let acknowledged = try_join_all(deliveries).await.unwrap();
    assert_eq!(offsets(&acknowledged), [0, 1, 2]);
    assert_eq!(broker.values("orders", 0), numbered(3));
    assert_eq!(broker.state().seen.raised_epochs, 0);
}

#[tokio::test]
async fn a_batch_refused_for_good_leaves_those_behind_it_in_order() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    broker.change(|state| state.script.produce_errors = [ErrorCode::InvalidRecord].into());
    let config = broker.config().set("batch.size", 300).set("linger.ms", 0);
    let producer = Producer::new(&config).await.unwrap();
    let values = numbered(300);
    let deliveries = send_all(&producer, "orders", &values).await;
    let results = join_all(deliveries).await;
    let refused = results.iter().take_while(|result| result.is_err()).count();
    assert!((1..20).contains(&refused), "{refused} records were refused");
    assert!(results[refused..].iter().all(Result::is_ok));
    assert_eq!(broker.values("orders", 0), values[refused..]);
    assert_eq!(broker.state().seen.raised_epochs, 1);
}

#[tokio::test]
async fn a_single_batch_refused_for_good_needs_no_new_epoch() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let producer = Producer::new(&broker.config()).await.unwrap();
    for (round, is_refused) in [false, true, false].into_iter().enumerate() {
        if is_refused {
            broker.change(|state| state.script.produce_errors = [ErrorCode::InvalidRecord].into());
        }
        let values = vec![format!("round {round}")];
        let sent = try_join_all(send_all(&producer, "orders", &values).await).await;
        assert_eq!(sent.is_err(), is_refused);
    }
    assert_eq!(broker.values("orders", 0), ["round 0", "round 2"]);
    assert_eq!(broker.state().seen.raised_epochs, 0);
}

/// Requests are refused for now or for good, answers and connections are lost, batches turn out too large.
#[tokio::test]
async fn in_any_weather_each_record_is_written_once_and_in_order_or_reported() {
    for seed in 0..25 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        let config = broker
            .config()
            .set("batch.size", random.random_range(100..600))
            .set("linger.ms", random.random_range(0..3))
            .set("retry.backoff.ms", 1)
            .set("retry.backoff.max.ms", 5)
            .set("reconnect.backoff.ms", 1)
            .set("reconnect.backoff.max.ms", 5);
        let producer = Producer::new(&config).await.unwrap();
        let values = numbered(1000);
        let mut deliveries = Vec::new();
        for part in values.chunks(50) {
            deliveries.extend(send_all(&producer, "orders", part).await);
            broker.change(|state| match random.random_range(0..5) {
                0 => state.script.lose_after_append = random.random_range(1..4),
                1 => {
                    let code = ErrorCode::NotEnoughReplicas;
                    state.script.produce_errors.push_back(code);
                }
                2 => {
                    let code = ErrorCode::InvalidRecord;
                    state.script.produce_errors.push_back(code);
                }
                3 => {
                    let most = (random.random_ratio(1, 2)).then(|| random.random_range(150..600));
                    state.script.max_batch_bytes = most;
                }
                _ => {}
            });
            for _ in 0..random.random_range(0..50) {
                tokio::task::yield_now().await;
            }
        }
        let results = join_all(deliveries).await;
        let log = broker.values("orders", 0);
        let numbers: Vec<usize> = log
            .iter()
            .map(|found| values.iter().position(|value| value == found).unwrap())
            .collect();
        let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(in_order, "seed {seed}: {numbers:?}");
        let failed = results.iter().filter(|result| result.is_err()).count();
        assert!(failed < 500, "seed {seed}: {failed} records failed");
        for (number, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert!(numbers.contains(&number), "seed {seed}: {number} is lost"),
                // A record may be refused for good although an earlier attempt, of which nothing was heard, had
                // written it.
                Err(ProduceError::Broker { code, .. }) => {
                    let for_good = [ErrorCode::InvalidRecord, ErrorCode::MessageTooLarge];
                    assert!(for_good.contains(code), "seed {seed}: {code}");
                }
                Err(ProduceError::DeliveryTimeout { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
}

/// Its parts would be other batches to the broker.
#[tokio::test]
async fn a_batch_that_may_be_written_is_not_split() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker.config().set("linger.ms", 1_000);
    let producer = Producer::new(&config).await.unwrap();
    let values = numbered(10);
    let deliveries = send_all(&producer, "orders", &values).await;
    broker.change(|state| {
        state.script.lose_after_append = 1;
        state.script.max_batch_bytes_after_loss = Some(100);
    });
    producer.flush().await.unwrap();
    for result in join_all(deliveries).await {
        assert!(matches!(
            result,
            Err(ProduceError::Broker {
                code: ErrorCode::MessageTooLarge,
                ..
            })
        ));
    }
    assert_eq!(broker.values("orders", 0), values);
    broker.change(|state| state.script.max_batch_bytes = None);
    let more = send_all(&producer, "orders", &["next".to_owned()]).await;
    producer.flush().await.unwrap();
    join_all(more).await.pop().unwrap().unwrap();
    assert_eq!(broker.values("orders", 0).len(), 11);
}

/// It takes any first batch: a second one behind a first that it refused for now would be it.
#[tokio::test]
async fn a_topic_that_was_made_again_gets_its_first_batch_alone() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    let config = broker
        .config()
        .set("batch.size", 0)
        .set("linger.ms", 0)
        .set("metadata.max.age.ms", 100);
    let producer = Producer::new(&config).await.unwrap();
    join_all(send_all(&producer, "orders", &numbered(3)).await).await;
    broker.change(|state| {
        state.topics.insert("orders".to_owned(), Topic::new(1));
        state.script.hold_produce = true;
    });
    broker.until_metadata_is_fresh().await;
    let deliveries = send_all(&producer, "orders", &numbered(20)).await;
    broker.until(|state| state.seen.produce_waiting > 0).await;
    broker.until_metadata_is_fresh().await;
    assert_eq!(broker.state().seen.most_produce_waiting, 1);
    broker.change(|state| state.script.hold_produce = false);
    for delivery in join_all(deliveries).await {
        delivery.unwrap();
    }
    assert_eq!(broker.values("orders", 0), numbered(20));
}
