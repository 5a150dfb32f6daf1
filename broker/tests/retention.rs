//! Old segments go by themselves: by age, by size, and never while somebody may still need them.

use std::path::Path;

use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{Compression, ErrorCode, Offset, Timestamp, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of, until};

const SETTINGS: &str = "
    log.retention.check.interval.ms = 20
    log.segment.delete.delay.ms = 0
";

fn small_segments(name: &str) -> NewTopicBuilder {
    NewTopicBuilder::new(name, 1)
        .config("segment.bytes", "20 KiB")
        .config("max.message.bytes", "20 KiB")
}

fn fill(connection: &mut Connection, topic: TopicId, count: usize) {
    for _ in 0..count {
        let answer = connection.produce(topic, 0, &batch_of(["p".repeat(1000).as_str()]));
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    }
}

/// One record of 1,000 bytes, so many milliseconds old.
fn fill_aged(connection: &mut Connection, topic: TopicId, count: usize, age_ms: i64) {
    for _ in 0..count {
        let mut builder = BatchBuilder::new(Compression::None, 2048);
        let time = Timestamp::new(Timestamp::now().get() - age_ms);
        builder
            .append(time, None, Some(&[b'p'; 1000]), &[])
            .unwrap();
        let answer = connection.produce(topic, 0, &builder.finish(None));
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
    }
}

/// Bytes of `.log` files, and whether any file waits to be removed.
fn log_files(folder: &Path) -> (u64, bool) {
    let mut bytes = 0;
    let mut waiting = false;
    for entry in std::fs::read_dir(folder).unwrap() {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name().into_string().unwrap();
        waiting |= name.ends_with(".deleted");
        if name.ends_with(".log")
            && let Ok(metadata) = entry.metadata()
        {
            bytes += metadata.len();
        }
    }
    (bytes, waiting)
}

#[test]
fn retention_bytes_keeps_the_newest_segments() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let topic = connection.create_topic(small_segments("sized").config("retention.bytes", "50000"));
    fill(&mut connection, topic, 300);
    // 50,000 bytes stay, and at most a segment more.
    until(|| connection.log_start(topic, 0) >= Offset::new(300 - 75));
    let start = connection.log_start(topic, 0);
    assert!(start <= Offset::new(300 - 45), "{start}");
    let read = connection.read_from_start(topic, 0);
    assert_eq!(read[0].0, start);
    assert_eq!(read.len() as i64, 300 - start.get());
    let partition = folder.path().join("data/data/sized-0");
    until(|| log_files(&partition) < (100_000, false));
    broker.kill();

    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    assert!(
        connection.log_start(topic, 0) >= start,
        "the start never moves back"
    );
    assert!(broker.stop().success());
}

#[test]
fn retention_ms_drops_what_is_old_and_an_idle_log_empties() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let hour = 3_600_000;
    let aged = small_segments("aged").config("retention.ms", &(2 * hour).to_string());
    let topic = connection.create_topic(aged);
    fill_aged(&mut connection, topic, 100, 3 * hour);
    fill_aged(&mut connection, topic, 50, hour);
    // The segment in which the first young record lies stays whole.
    until(|| connection.log_start(topic, 0) >= Offset::new(80));
    let start = connection.log_start(topic, 0);
    assert!(start <= Offset::new(100), "{start}");
    let read = connection.read_from_start(topic, 0);
    assert_eq!(read.len() as i64, 150 - start.get());

    // Nobody writes any more: the last segment is closed and goes as well, and the log goes on
    // behind it.
    let idle = connection
        .create_topic(small_segments("idle").config("retention.ms", &(2 * hour).to_string()));
    fill_aged(&mut connection, idle, 3, 3 * hour);
    until(|| connection.log_start(idle, 0) == Offset::new(3));
    fill_aged(&mut connection, idle, 1, 0);
    let read = connection.read_from_start(idle, 0);
    assert_eq!(read[0].0, Offset::new(3));
    let partition = folder.path().join("data/data/idle-0");
    until(|| log_files(&partition).0 < 100_000 && !log_files(&partition).1);
    assert!(broker.stop().success());
}

#[test]
fn a_changed_retention_counts_at_once_and_a_compacted_topic_has_none() {
    use corelog_protocol::native::{
        AlterTopic, AlterTopicConfigsRequest, AlterTopicConfigsResponse, ConfigChange,
    };
    let folder = TempDir::new().unwrap();
    let settings = format!("{SETTINGS}\n    log.retention.ms = 1");
    let broker = BrokerProcess::start_with(folder.path(), 1, &settings);
    let mut connection = broker.connect();
    let compacted = small_segments("compacted").config("cleanup.policy", "compact");
    let compacted = connection.create_topic(compacted);
    let keep = connection.create_topic(small_segments("keep").config("retention.ms", "-1"));
    for topic in [compacted, keep] {
        for _ in 0..50 {
            let mut builder = BatchBuilder::new(Compression::None, 2048);
            let old = Timestamp::new(1);
            builder
                .append(old, Some(b"key"), Some(&[b'p'; 1000]), &[])
                .unwrap();
            let answer = connection.produce(topic, 0, &builder.finish(None));
            assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        }
    }
    let checks = || broker.metrics().total("corelog_retention_checks_total");
    let seen = checks();
    until(|| checks() >= seen + 6.0);
    assert_eq!(connection.log_start(compacted, 0), Offset::ZERO);
    assert_eq!(connection.log_start(keep, 0), Offset::ZERO);
    let altered: AlterTopicConfigsResponse = connection.ask(&AlterTopicConfigsRequest {
        validate_only: false,
        topics: vec![AlterTopic {
            name: "keep".to_owned(),
            changes: vec![ConfigChange {
                name: "retention.ms".to_owned(),
                value: None,
            }],
        }],
    });
    assert_eq!(altered.topics[0].error, ErrorCode::None);
    until(|| connection.log_start(keep, 0) == Offset::new(50));
    assert_eq!(connection.log_start(compacted, 0), Offset::ZERO);
    assert!(broker.stop().success());
}

/// Kafka closes an idle segment only when the next record comes; here it is closed when its time is
/// up, which a crash does not undo: what comes afterwards goes to a new segment.
#[test]
fn an_idle_segment_is_closed_when_its_time_is_up() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let timed = NewTopicBuilder::new("timed", 1)
        .config("segment.ms", "50")
        .config("segment.jitter.ms", "20");
    let topic = connection.create_topic(timed);
    fill(&mut connection, topic, 3);
    // One look at it every 20 ms.
    let checks = || broker.metrics().total("corelog_retention_checks_total");
    let seen = checks();
    until(|| checks() >= seen + 10.0);
    broker.kill();

    let broker = BrokerProcess::start_with(folder.path(), 1, "");
    let mut connection = broker.connect();
    fill(&mut connection, topic, 1);
    assert_eq!(connection.read_all(topic, 0).len(), 4);
    assert!(broker.stop().success());
    let partition = folder.path().join("data/data/timed-0");
    assert!(partition.join("00000000000000000000.log").exists());
    assert!(partition.join("00000000000000000003.log").exists());
}
