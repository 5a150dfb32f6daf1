//! What a consumer reads, by both ways of fetching, and what it says when it cannot.

use std::time::Duration;

use corelog_client::{
    ClientConfig, ConsumeError, Consumer, ConsumerRecord, ErrorCode, Offset, PartitionIndex,
    Producer, ProducerRecord, SeekTo, Timestamp, TopicPartition,
};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, pin_mut};

use crate::fake::{FakeBroker, State};

const LONG: Duration = Duration::from_secs(20);
const MODES: [&str; 2] = ["fetch", "subscribe"];

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("orders", PartitionIndex::new(index))
}

fn config(broker: &FakeBroker, mode: &str) -> ClientConfig {
    broker
        .config()
        .set("fetch.mode", mode)
        .set("fetch.max.wait.ms", 10)
        .set("auto.offset.reset", "earliest")
}

/// Writes `count` records, in batches of a few, each with its number as value and as time.
async fn fill(broker: &FakeBroker, index: i32, numbers: std::ops::Range<i64>) {
    let config = broker.config().set("batch.size", 400);
    let producer = Producer::new(&config).await.unwrap();
    let mut deliveries = Vec::new();
    for number in numbers {
        let value = number.to_string();
        let record = ProducerRecord::to("orders")
            .partition(PartitionIndex::new(index))
            .key("k")
            .value(&value)
            .timestamp(Timestamp::new(1000 + number));
        deliveries.push(producer.send(record).await.unwrap());
    }
    try_join_all(deliveries).await.unwrap();
}

async fn poll(consumer: &mut Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let polled = consumer.poll(LONG).await.unwrap();
        assert!(!polled.is_empty(), "{} of {count} came", records.len());
        records.extend(polled);
    }
    records
}

fn values(records: &[ConsumerRecord]) -> Vec<i64> {
    records
        .iter()
        .map(|record| {
            let value = record.value.clone().unwrap();
            std::str::from_utf8(&value).unwrap().parse().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn every_record_of_every_partition_comes_once_and_in_order() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 3)]).await;
        for index in 0..3 {
            fill(&broker, index, 0..300).await;
        }
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        let partitions: Vec<TopicPartition> = (0..3).map(partition).collect();
        consumer.assign(&partitions).await.unwrap();
        let records = poll(&mut consumer, 900).await;
        for index in 0..3 {
            let mine: Vec<ConsumerRecord> = records
                .iter()
                .filter(|record| record.partition.get() == index)
                .cloned()
                .collect();
            assert_eq!(values(&mine), (0..300).collect::<Vec<i64>>(), "{mode}");
            let offsets = mine.iter().map(|record| record.offset.get());
            assert!(offsets.eq(0..300), "{mode}");
            assert!(
                mine.iter()
                    .all(|record| record.key.as_deref() == Some(b"k"))
            );
            let position = consumer.position(&partition(index)).unwrap();
            assert_eq!(position, Some(Offset::new(300)), "{mode}");
        }
    }
}

#[tokio::test]
async fn records_written_while_waiting_are_returned() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let (records, ()) = tokio::join!(poll(&mut consumer, 50), fill(&broker, 0, 0..50));
        assert_eq!(values(&records), (0..50).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn a_poll_returns_at_most_max_poll_records_and_the_next_goes_on() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..100).await;
        let config = config(&broker, mode).set("max.poll.records", 7);
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let first = consumer.poll(LONG).await.unwrap();
        assert_eq!(values(&first), (0..7).collect::<Vec<i64>>(), "{mode}");
        let position = consumer.position(&partition(0)).unwrap();
        assert_eq!(position, Some(Offset::new(7)));
        let rest = poll(&mut consumer, 93).await;
        assert_eq!(values(&rest), (7..100).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn seeking_goes_to_an_offset_a_time_the_start_and_the_end() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..100).await;
        broker.change(|state| {
            let topic = state.topics.get_mut("orders").unwrap();
            topic.partitions[0].cut_start(Offset::new(10));
        });
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        let it = partition(0);
        consumer.assign(std::slice::from_ref(&it)).await.unwrap();
        for (to, first) in [
            (SeekTo::Offset(Offset::new(42)), 42),
            (SeekTo::Beginning, 10),
            (SeekTo::Timestamp(Timestamp::new(1077)), 77),
            (SeekTo::Offset(Offset::new(20)), 20),
        ] {
            consumer.seek(&it, to).await.unwrap();
            let records = poll(&mut consumer, 1).await;
            assert_eq!(values(&records)[0], first, "{mode} {to:?}");
        }
        for to in [SeekTo::End, SeekTo::Timestamp(Timestamp::new(5000))] {
            consumer.seek(&it, to).await.unwrap();
            let none = consumer.poll(Duration::from_millis(60)).await.unwrap();
            assert_eq!(values(&none), Vec::<i64>::new(), "{mode} {to:?}");
        }
        fill(&broker, 0, 100..103).await;
        let records = poll(&mut consumer, 3).await;
        assert_eq!(values(&records), [100, 101, 102], "{mode}");
    }
}

#[tokio::test]
async fn a_position_outside_the_log_is_reset_or_reported() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..10).await;
        let it = partition(0);
        let beyond = SeekTo::Offset(Offset::new(500));
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        consumer.assign(std::slice::from_ref(&it)).await.unwrap();
        consumer.seek(&it, beyond).await.unwrap();
        assert_eq!(values(&poll(&mut consumer, 10).await)[0], 0, "{mode}");

        let config = config(&broker, mode).set("auto.offset.reset", "none");
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer.assign(std::slice::from_ref(&it)).await.unwrap();
        let error = consumer.poll(LONG).await.unwrap_err();
        assert!(matches!(error, ConsumeError::NoPosition { .. }), "{error}");
        consumer.seek(&it, beyond).await.unwrap();
        let error = consumer.poll(LONG).await.unwrap_err();
        assert!(
            matches!(&error, ConsumeError::OffsetOutOfRange { offset, .. } if offset.get() == 500),
            "{error}"
        );
        consumer.seek(&it, SeekTo::Beginning).await.unwrap();
        assert_eq!(poll(&mut consumer, 10).await.len(), 10);
    }
}

#[tokio::test]
async fn a_damaged_batch_is_an_error_and_never_a_record() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..10).await;
        broker.change(|state| state.script.damage_reads = true);
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        let it = partition(0);
        consumer.assign(std::slice::from_ref(&it)).await.unwrap();
        // The last byte of each answer is wrong: the last of its batches is damaged, those before it are sound.
        let mut seen = Vec::new();
        let error = loop {
            match consumer.poll(LONG).await {
                Ok(records) => seen.extend(values(&records)),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&error, ConsumeError::Corrupt { reason, .. } if reason.contains("CRC")),
            "{mode}: {error}"
        );
        assert!(seen.len() < 10);
        let position = consumer.position(&it).unwrap().unwrap();
        assert_eq!(usize::try_from(position.get()).unwrap(), seen.len());
        broker.change(|state| state.script.damage_reads = false);
        consumer.seek(&it, SeekTo::Offset(position)).await.unwrap();
        let rest = poll(&mut consumer, 10 - seen.len()).await;
        seen.extend(values(&rest));
        assert_eq!(seen, (0..10).collect::<Vec<i64>>());
    }
}

#[tokio::test]
async fn a_lost_connection_or_leader_does_not_lose_or_repeat_a_record() {
    for mode in MODES {
        let mut broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..100).await;
        let config = config(&broker, mode).set("max.poll.records", 10);
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let mut seen = values(&poll(&mut consumer, 10).await);
        broker.stop().await;
        broker.listen().await;
        broker.change(|state| {
            state.script.fetch_errors = [ErrorCode::NotLeaderOrFollower; 2].into();
        });
        fill(&broker, 0, 100..200).await;
        seen.extend(values(&poll(&mut consumer, 190).await));
        assert_eq!(seen, (0..200).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn a_paused_partition_keeps_its_place_until_it_is_resumed() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 2)]).await;
        fill(&broker, 0, 0..20).await;
        fill(&broker, 1, 0..20).await;
        let config = config(&broker, mode).set("max.poll.records", 5);
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer
            .assign(&[partition(0), partition(1)])
            .await
            .unwrap();
        let first = consumer.poll(LONG).await.unwrap();
        let index = first[0].partition.get();
        let (paused, other) = (partition(index), partition(1 - index));
        consumer.pause(&paused).unwrap();
        let before = consumer.position(&paused).unwrap();
        let mut others = Vec::new();
        while consumer.position(&other).unwrap() != Some(Offset::new(20)) {
            others.extend(consumer.poll(LONG).await.unwrap());
        }
        assert!(
            others
                .iter()
                .all(|record| record.partition == other.partition)
        );
        assert_eq!(consumer.position(&paused).unwrap(), before, "{mode}");
        consumer.resume(&paused).unwrap();
        let rest = poll(&mut consumer, 20 - first.len()).await;
        assert_eq!(rest.last().unwrap().offset, Offset::new(19), "{mode}");
    }
}

#[tokio::test]
async fn batches_are_returned_whole_and_decode_to_the_same_records() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..100).await;
        let mut consumer = Consumer::new(&config(&broker, mode)).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 100 {
            for batch in consumer.poll_batches(LONG, 3).await.unwrap() {
                let records = batch.records().unwrap();
                assert_eq!(records[0].offset, batch.view().base_offset());
                seen.extend(values(&records));
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn batches_polled_after_single_records_begin_with_the_rest_of_the_open_batch() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..100).await;
        let config = config(&broker, mode).set("max.poll.records", 1);
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let mut seen = Vec::new();
        let mut begun = 0;
        while seen.len() < 100 {
            let records = consumer.poll(LONG).await.unwrap();
            assert_eq!(values(&records), [seen.len() as i64], "{mode}");
            seen.extend(values(&records));
            if seen.len() == 100 {
                break;
            }
            let position = consumer.position(&partition(0)).unwrap();
            for batch in consumer.poll_batches(LONG, 1).await.unwrap() {
                assert_eq!(Some(batch.position), position, "{mode}");
                begun += usize::from(batch.view().base_offset() < batch.position);
                seen.extend(values(&batch.records().unwrap()));
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<i64>>(), "{mode}");
        assert!(begun > 0, "{mode}: no batch was split between the two");
        let position = consumer.position(&partition(0)).unwrap();
        assert_eq!(position, Some(Offset::new(100)), "{mode}");
    }
}

#[tokio::test]
async fn the_stream_yields_every_record() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    fill(&broker, 0, 0..100).await;
    let mut consumer = Consumer::new(&config(&broker, "subscribe")).await.unwrap();
    consumer.assign(&[partition(0)]).await.unwrap();
    let stream = consumer.into_stream().take(100);
    pin_mut!(stream);
    let mut expected = 0;
    while let Some(record) = stream.next().await {
        assert_eq!(record.unwrap().offset.get(), expected);
        expected += 1;
    }
    assert_eq!(expected, 100);
}

#[tokio::test]
async fn what_a_dropped_stream_has_not_returned_comes_with_the_next_poll() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    fill(&broker, 0, 0..100).await;
    let mut consumer = Consumer::new(&config(&broker, "subscribe")).await.unwrap();
    consumer.assign(&[partition(0)]).await.unwrap();
    let first: Vec<_> = consumer.stream().take(10).collect().await;
    assert_eq!(first.len(), 10);
    let position = consumer.position(&partition(0)).unwrap();
    assert_eq!(position, Some(Offset::new(10)));
    let records = consumer.poll(LONG).await.unwrap();
    assert_eq!(records[0].offset.get(), 10);
}

#[tokio::test]
async fn a_subscription_grants_credit_only_for_what_was_polled() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    fill(&broker, 0, 0..2000).await;
    let config = config(&broker, "subscribe")
        .set("fetch.max.bytes", 4096)
        .set("max.partition.fetch.bytes", 1024);
    let mut consumer = Consumer::new(&config).await.unwrap();
    consumer.assign(&[partition(0)]).await.unwrap();
    broker.until(|state| state.seen.pushed >= 4096).await;
    assert!(broker.state().seen.pushed < 4096 + 1024);
    assert_eq!(broker.state().seen.credit_granted, 4096);
    let records = poll(&mut consumer, 2000).await;
    assert_eq!(values(&records), (0..2000).collect::<Vec<i64>>());
    assert_eq!(broker.state().seen.subscribes, 1);
    assert!(broker.state().seen.credit_granted > 5 * 4096);
}

#[tokio::test]
async fn an_assignment_that_keeps_changing_does_not_fetch_more_than_its_window() {
    for mode in MODES {
        // Partitions 0 and 2 are led by the same shard.
        let broker = FakeBroker::start(&[("orders", 3)]).await;
        fill(&broker, 0, 0..2000).await;
        let config = config(&broker, mode)
            .set("fetch.max.bytes", 4096)
            .set("max.partition.fetch.bytes", 1024);
        let mut consumer = Consumer::new(&config).await.unwrap();
        let both = [partition(0), partition(2)];
        consumer.assign(&both).await.unwrap();
        broker.until(|state| state.seen.read >= 4096).await;
        // It may be on its way: the ends are asked for behind it.
        consumer.end_offsets(&both).await.unwrap();
        for _ in 0..4 {
            for change in [Consumer::pause, Consumer::resume] {
                change(&mut consumer, &both[1]).unwrap();
                let more = broker.until(|state| state.seen.read >= 3 * 4096);
                let more = tokio::time::timeout(Duration::from_millis(20), more).await;
                assert!(more.is_err(), "{mode}: nothing was polled");
            }
        }
        let records = poll(&mut consumer, 2000).await;
        assert_eq!(values(&records), (0..2000).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn a_paused_partition_does_not_keep_its_neighbours_from_being_fetched() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 3)]).await;
        fill(&broker, 0, 0..2000).await;
        let config = config(&broker, mode)
            .set("fetch.max.bytes", 4096)
            .set("max.partition.fetch.bytes", 1024)
            .set("max.poll.records", 5);
        let mut consumer = Consumer::new(&config).await.unwrap();
        let both = [partition(0), partition(2)];
        consumer.assign(&both).await.unwrap();
        broker.until(|state| state.seen.read >= 4096).await;
        let first = values(&poll(&mut consumer, 5).await);
        assert_eq!(first, [0, 1, 2, 3, 4]);
        consumer.pause(&both[0]).unwrap();
        fill(&broker, 2, 0..100).await;
        let others = poll(&mut consumer, 100).await;
        assert!(others.iter().all(|record| record.partition.get() == 2));
        // What was set aside comes in its order, also after a second pause in the middle of it.
        consumer.resume(&both[0]).unwrap();
        let mut rest = values(&poll(&mut consumer, 5).await);
        consumer.pause(&both[0]).unwrap();
        let none = consumer.poll(Duration::from_millis(20)).await.unwrap();
        assert!(none.is_empty());
        consumer.resume(&both[0]).unwrap();
        rest.extend(values(&poll(&mut consumer, 1990).await));
        assert_eq!(rest, (5..2000).collect::<Vec<i64>>(), "{mode}");
    }
}

#[tokio::test]
async fn a_reset_waits_for_the_unread_records_of_a_paused_partition() {
    for mode in MODES {
        let broker = FakeBroker::start(&[("orders", 1)]).await;
        fill(&broker, 0, 0..20).await;
        let config = config(&broker, mode).set("max.poll.records", 5);
        let mut consumer = Consumer::new(&config).await.unwrap();
        consumer.assign(&[partition(0)]).await.unwrap();
        let first = values(&poll(&mut consumer, 5).await);
        assert_eq!(first, (0..5).collect::<Vec<i64>>());
        broker.change(|state| state.script.fetch_errors = [ErrorCode::OffsetOutOfRange].into());
        broker
            .until(|state| state.script.fetch_errors.is_empty())
            .await;
        // The answer is on its way: the ends are asked for behind it.
        consumer.end_offsets(&[partition(0)]).await.unwrap();
        consumer.pause(&partition(0)).unwrap();
        let none = consumer.poll(Duration::from_millis(50)).await.unwrap();
        assert!(none.is_empty(), "{mode}");
        consumer.resume(&partition(0)).unwrap();
        let rest = values(&poll(&mut consumer, 20).await);
        assert_eq!(rest[..15], (5..20).collect::<Vec<i64>>(), "{mode}");
        assert_eq!(rest[15], 0, "{mode}: the reset comes after them");
    }
}

#[tokio::test]
async fn a_broker_that_pushes_beyond_its_credit_is_left() {
    let broker = FakeBroker::start(&[("orders", 1)]).await;
    fill(&broker, 0, 0..2000).await;
    broker.change(|state| state.script.ignore_credit = true);
    let config = config(&broker, "subscribe")
        .set("fetch.max.bytes", 4096)
        .set("max.partition.fetch.bytes", 1024);
    let to_shards = |state: &State| state.seen.hellos.iter().flatten().count();
    let before = to_shards(&broker.state());
    let mut consumer = Consumer::new(&config).await.unwrap();
    consumer.assign(&[partition(0)]).await.unwrap();
    // The second connection comes at once; it is used when there is room again.
    broker.until(|state| to_shards(state) >= before + 2).await;
    broker.change(|state| state.script.ignore_credit = false);
    let records = poll(&mut consumer, 2000).await;
    assert_eq!(values(&records), (0..2000).collect::<Vec<i64>>());
    assert!(broker.state().seen.subscribes >= 2);
}

#[tokio::test]
async fn offsets_are_told_and_what_does_not_exist_is_named() {
    let broker = FakeBroker::start(&[("orders", 2)]).await;
    fill(&broker, 1, 0..30).await;
    broker.change(|state| {
        let topic = state.topics.get_mut("orders").unwrap();
        topic.partitions[1].cut_start(Offset::new(10));
    });
    let mut consumer = Consumer::new(&config(&broker, "fetch")).await.unwrap();
    let both = [partition(0), partition(1)];
    let ends = consumer.end_offsets(&both).await.unwrap();
    assert_eq!(ends[&both[0]], Offset::ZERO);
    assert_eq!(ends[&both[1]], Offset::new(30));
    let starts = consumer.beginning_offsets(&both).await.unwrap();
    assert_eq!(starts[&both[1]], Offset::new(10));
    for missing in [
        partition(2),
        TopicPartition::new("absent", PartitionIndex::new(0)),
    ] {
        let missing = [missing];
        let error = consumer.end_offsets(&missing).await.unwrap_err();
        assert!(
            matches!(error, ConsumeError::NoSuchPartition { .. }),
            "{error}"
        );
        let error = consumer.assign(&missing).await.unwrap_err();
        assert!(
            matches!(error, ConsumeError::NoSuchPartition { .. }),
            "{error}"
        );
        let error = consumer.pause(&missing[0]).unwrap_err();
        assert!(matches!(error, ConsumeError::NotAssigned { .. }), "{error}");
    }
}

/// The metadata at hand is young, and lacks what was added since.
#[tokio::test]
async fn a_partition_that_was_just_added_can_be_assigned_at_once() {
    let broker = FakeBroker::start(&[("orders", 2)]).await;
    let mut consumer = Consumer::new(&config(&broker, "fetch")).await.unwrap();
    consumer.assign(&[partition(0)]).await.unwrap();
    broker.change(|state| assert!(state.topics.get_mut("orders").unwrap().grow(3)));
    consumer
        .assign(&[partition(0), partition(2)])
        .await
        .unwrap();
    assert_eq!(consumer.assignment(), [partition(0), partition(2)]);
}
