//! Deleted records are gone for good: for readers at once, over every restart, and their files soon.

use std::path::Path;
use std::time::Duration;

use corelog_client::{
    ClientConfig, Consumer, Offset as ClientOffset, PartitionIndex, SeekTo, TopicPartition,
};
use corelog_protocol::native::DeleteUntil;
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of, until};

const SETTINGS: &str = "
    log.retention.check.interval.ms = 20
    log.segment.delete.delay.ms = 0
";

/// Small segments: 20 batches of 1,000 bytes each.
fn small_segments(name: &str) -> NewTopicBuilder {
    NewTopicBuilder::new(name, 1)
        .config("segment.bytes", "20 KiB")
        .config("max.message.bytes", "20 KiB")
}

/// Appends records numbered by their offsets, each a batch of its own.
fn fill(connection: &mut Connection, topic: TopicId, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let text = format!("{offset} {}", "p".repeat(900));
        let answer = connection.produce(topic, 0, &batch_of([text.as_str()]));
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, Offset::new(offset));
    }
}

fn offsets_from_start(connection: &mut Connection, topic: TopicId) -> Vec<i64> {
    let read = connection.read_from_start(topic, 0);
    for (offset, value) in &read {
        assert!(value.starts_with(&format!("{offset} ")), "{offset}");
    }
    read.into_iter().map(|(offset, _)| offset.get()).collect()
}

fn segment_files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".log") || name.contains("index"))
        .collect();
    names.sort();
    names
}

fn until_offset(offset: i64) -> DeleteUntil {
    DeleteUntil::Offset(Offset::new(offset))
}

#[test]
fn the_log_starts_where_it_was_told_to_over_every_restart() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("short"));
    fill(&mut connection, topic, 0..100);

    let deleted = connection.delete_records(topic, 0, until_offset(33));
    assert_eq!(
        deleted.error,
        ErrorCode::None,
        "{:?}",
        deleted.error_message
    );
    assert_eq!(deleted.log_start_offset, Some(Offset::new(33)));
    assert_eq!(
        offsets_from_start(&mut connection, topic),
        Vec::from_iter(33..100)
    );
    // Back is no way, and no error: what should be gone is gone.
    let again = connection.delete_records(topic, 0, until_offset(5));
    assert_eq!(
        (again.error, again.log_start_offset),
        (ErrorCode::None, Some(Offset::new(33)))
    );
    let (below, _) = connection.fetch(topic, 0, Offset::new(32), Duration::ZERO);
    assert_eq!(below.error, ErrorCode::OffsetOutOfRange);
    let message = below.error_message.unwrap_or_default();
    assert!(message.contains("range 33 to 100"), "{message}");
    broker.kill();

    let broker = BrokerProcess::start_with(folder.path(), 2, SETTINGS);
    let mut connection = broker.connect();
    assert_eq!(
        offsets_from_start(&mut connection, topic),
        Vec::from_iter(33..100)
    );
    let all = connection.delete_records(topic, 0, DeleteUntil::HighWatermark);
    assert_eq!(all.log_start_offset, Some(Offset::new(100)));
    assert!(broker.stop().success());

    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    assert_eq!(connection.log_start(topic, 0), Offset::new(100));
    assert_eq!(offsets_from_start(&mut connection, topic), [] as [i64; 0]);
    fill(&mut connection, topic, 100..110);
    assert_eq!(
        offsets_from_start(&mut connection, topic),
        Vec::from_iter(100..110)
    );
    assert!(broker.stop().success());
}

#[test]
fn the_files_of_segments_below_the_start_are_removed_and_no_others() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("short"));
    fill(&mut connection, topic, 0..100);
    let partition = folder.path().join("data/data/short-0");
    let deleted = connection.delete_records(topic, 0, until_offset(50));
    assert_eq!(deleted.error, ErrorCode::None);
    // The segment that holds offset 50 begins at or before it.
    let oldest = || {
        let files = segment_files(&partition);
        let bases = files.iter().map(|name| name[..20].parse::<i64>().unwrap());
        bases.min().unwrap()
    };
    until(|| oldest() > 25);
    assert!(oldest() <= 50);
    assert_eq!(
        offsets_from_start(&mut connection, topic),
        Vec::from_iter(50..100)
    );
    assert!(broker.metrics().total("corelog_segments_deleted_total") >= 1.0);
    assert!(broker.stop().success());
}

#[test]
fn what_cannot_be_deleted_is_refused_with_the_valid_range_or_the_reason() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("short"));
    fill(&mut connection, topic, 0..10);
    assert_eq!(
        connection.delete_records(topic, 0, until_offset(4)).error,
        ErrorCode::None
    );
    let beyond = connection.delete_records(topic, 0, until_offset(11));
    assert_eq!(beyond.error, ErrorCode::OffsetOutOfRange);
    assert_eq!(beyond.log_start_offset, Some(Offset::new(4)));
    let message = beyond.error_message.unwrap_or_default();
    assert!(
        message.contains("from 4 up to the high watermark 10"),
        "{message}"
    );

    let compacted = NewTopicBuilder::new("compacted", 1).config("cleanup.policy", "compact");
    let compacted = connection.create_topic(compacted);
    let refused = connection.delete_records(compacted, 0, DeleteUntil::HighWatermark);
    assert_eq!(refused.error, ErrorCode::PolicyViolation);
    let message = refused.error_message.unwrap_or_default();
    assert!(message.contains("cleanup.policy"), "{message}");

    let missing = connection.delete_records(topic, 7, DeleteUntil::HighWatermark);
    assert_eq!(missing.error, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(missing.log_start_offset, None);
    let unknown = TopicId::from_bytes([7; 16]);
    let unknown = connection.delete_records(unknown, 0, DeleteUntil::HighWatermark);
    assert_eq!(unknown.error, ErrorCode::UnknownTopicId);
    assert!(broker.stop().success());
}

#[test]
fn a_leader_of_another_epoch_deletes_nothing() {
    use corelog_protocol::native::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse,
    };
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("short"));
    fill(&mut connection, topic, 0..10);
    let response: DeleteRecordsResponse = connection.ask(&DeleteRecordsRequest {
        timeout_ms: 10_000,
        partitions: vec![DeleteRecordsPartition {
            topic_id: topic,
            partition: PartitionIndex::new(0),
            leader_epoch: Some(LeaderEpoch::new(1000)),
            until: DeleteUntil::HighWatermark,
        }],
    });
    assert_eq!(response.partitions[0].error, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(connection.log_start(topic, 0), Offset::ZERO);
}

/// What `auto.offset.reset` is for: a reader whose place was deleted under it.
#[test]
fn a_consumer_below_the_start_goes_on_as_its_reset_says() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("short"));
    fill(&mut connection, topic, 0..30);
    let deleted = connection.delete_records(topic, 0, until_offset(20));
    assert_eq!(deleted.error, ErrorCode::None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let first_of = |reset: &str| {
        let config = ClientConfig::new()
            .set("bootstrap.servers", broker.native().to_string())
            .set("auto.offset.reset", reset);
        let partition = TopicPartition::new("short", PartitionIndex::new(0));
        runtime.block_on(async {
            let mut consumer = Consumer::new(&config).await.unwrap();
            consumer
                .assign(std::slice::from_ref(&partition))
                .await
                .unwrap();
            let deleted = SeekTo::Offset(ClientOffset::new(3));
            consumer.seek(&partition, deleted).await.unwrap();
            let records = consumer.poll(Duration::from_secs(20)).await?;
            Ok::<_, corelog_client::ConsumeError>(
                records.into_iter().next().map(|record| record.offset.get()),
            )
        })
    };
    assert_eq!(first_of("earliest").unwrap(), Some(20));
    let refused = first_of("none").unwrap_err().to_string();
    assert!(refused.contains('3'), "{refused}");
}
