//! A damaged journal costs the partitions that it damages, and no others; nobody is told that lost
//! records were never there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use corelog_protocol::{ErrorCode, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of};

const HARMED: i32 = 0;
const WHOLE: i32 = 1;

fn journal_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "journal"))
        .collect()
}

/// Flips a bit of the first place where a journal file holds `text`.
fn damage(folder: &Path, text: &str) {
    for path in journal_files(folder) {
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("no journal holds {text:?}");
}

fn produce(connection: &mut Connection, topic: TopicId, partition: i32, value: &str) -> ErrorCode {
    connection
        .produce(topic, partition, &batch_of([value]))
        .error
}

fn assert_only_one_is_refused(broker: &BrokerProcess, topic: TopicId, expected: &mut Vec<String>) {
    let mut connection = broker.connect();
    let refused = connection.produce(topic, HARMED, &batch_of(["more"]));
    assert_eq!(refused.error, ErrorCode::KafkaStorageError);
    let message = refused.error_message.unwrap_or_default();
    assert!(message.contains("group 1 at byte 0"), "{message}");
    assert!(message.contains("journal/set-aside-1"), "{message}");
    assert!(message.contains("restore it from a backup"), "{message}");
    let (refused, _) = connection.fetch(topic, HARMED, Offset::ZERO, Duration::ZERO);
    assert_eq!(refused.error, ErrorCode::KafkaStorageError);
    assert!((broker.metrics().total("corelog_partitions_unusable") - 1.0).abs() < 0.1);

    let value = format!("record {}", expected.len());
    assert_eq!(
        produce(&mut connection, topic, WHOLE, &value),
        ErrorCode::None
    );
    expected.push(value);
    let read = connection.read_all(topic, WHOLE);
    let read: Vec<String> = read.into_iter().map(|(_, value)| value).collect();
    assert_eq!(&read, expected);
}

#[test]
fn a_damaged_group_refuses_its_partition_until_its_topic_is_deleted() {
    let folder = TempDir::new().unwrap();
    let journals = folder.path().join("journal");
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("harmed", 2));
    assert_eq!(
        produce(&mut connection, topic, HARMED, "the only record of its log"),
        ErrorCode::None
    );
    let mut expected = Vec::new();
    for index in 0..5 {
        let value = format!("record {index}");
        assert_eq!(
            produce(&mut connection, topic, WHOLE, &value),
            ErrorCode::None
        );
        expected.push(value);
    }
    broker.kill();
    damage(&journals, "the only record of its log");

    let broker = BrokerProcess::start(folder.path(), 1);
    assert_only_one_is_refused(&broker, topic, &mut expected);
    let kept = journal_files(&journals.join("set-aside-1"));
    assert!(!kept.is_empty(), "what was damaged is kept");
    assert!(broker.stop().success());

    let broker = BrokerProcess::start(folder.path(), 1);
    assert_only_one_is_refused(&broker, topic, &mut expected);
    assert!(
        !journals.join("set-aside-2").exists(),
        "there was nothing new to tell"
    );
    let mut connection = broker.connect();
    connection.delete_topic("harmed");
    let topic = connection.create_topic(NewTopicBuilder::new("harmed", 2));
    for partition in [HARMED, WHOLE] {
        assert_eq!(
            produce(&mut connection, topic, partition, "anew"),
            ErrorCode::None
        );
    }
    assert!((broker.metrics().total("corelog_partitions_unusable")).abs() < 0.1);
    assert!(broker.stop().success());

    let broker = BrokerProcess::start(folder.path(), 1);
    let read = broker.connect().read_all(topic, HARMED);
    assert_eq!(read, [(Offset::ZERO, "anew".to_owned())]);
    assert!(broker.stop().success());
}
