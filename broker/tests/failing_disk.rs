//! After a write or a sync that failed nobody knows what the disk holds: the log directory takes no
//! more writes and says so everywhere, and the broker goes on serving reads until it is restarted.

use std::time::Duration;

use corelog_protocol::{ErrorCode, Offset, TopicId};

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, SmallDisk, batch_of, until};

const SETTINGS: &str = "
    journal.file.bytes = '4 MiB'
    journal.files = 2
";

/// Sends numbered records of 50 kB until one is refused; returns how many were acknowledged, and
/// the refusal.
fn produce_until_refused(connection: &mut Connection, topic: TopicId) -> (i64, String) {
    let padding = "p".repeat(50_000);
    for number in 0.. {
        let text = format!("{number} {padding}");
        let answer = connection.produce(topic, 0, &batch_of([text.as_str()]));
        if answer.error != ErrorCode::None {
            let message = answer.error_message.unwrap_or_default();
            assert_eq!(answer.error, ErrorCode::KafkaStorageError, "{message}");
            return (number, message);
        }
        assert_eq!(answer.base_offset, Offset::new(number));
    }
    unreachable!("the disk fails")
}

fn assert_holds(connection: &mut Connection, topic: TopicId, acknowledged: i64) {
    let read = connection.read_all(topic, 0);
    assert!(i64::try_from(read.len()).unwrap() >= acknowledged);
    for (offset, value) in read {
        assert!(value.starts_with(&format!("{offset} ")), "{offset}");
    }
}

fn assert_stopped(broker: &BrokerProcess, topic: TopicId, acknowledged: i64, message: &str) {
    assert!(
        message.contains("accepts no writes until the broker is restarted"),
        "{message}"
    );
    let health = broker.health();
    assert_eq!(health.status, 503, "{}", health.body);
    assert!(
        health.body.contains("the log directory refuses writes"),
        "{}",
        health.body
    );
    // Any other connection gets the same answer, at once.
    let mut connection = broker.connect();
    let refused = connection.produce(topic, 0, &batch_of(["late"]));
    assert_eq!(refused.error, ErrorCode::KafkaStorageError);
    assert_eq!(refused.error_message.as_deref(), Some(message));
    assert_holds(&mut connection, topic, acknowledged);
    let (at_end, _) = connection.fetch(
        topic,
        0,
        Offset::new(acknowledged),
        Duration::from_millis(50),
    );
    assert_eq!(at_end.error, ErrorCode::None, "{:?}", at_end.error_message);
}

#[test]
fn a_file_system_that_turns_read_only_stops_the_log_and_not_the_broker() {
    let Some(disk) = SmallDisk::mount(128) else {
        return;
    };
    let broker = BrokerProcess::start_with(&disk.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("kept", 1));
    let (acknowledged, message) = std::thread::scope(|scope| {
        let load = scope.spawn(|| produce_until_refused(&mut connection, topic));
        let written = || broker.metrics().total("corelog_produce_records_total");
        until(|| written() >= 50.0 || load.is_finished());
        disk.turn_read_only();
        load.join().unwrap()
    });
    assert!(message.contains("Read-only file system"), "{message}");
    assert_stopped(&broker, topic, acknowledged, &message);
    let status = broker.stop();
    assert!(status.code().is_some(), "it ends by itself: {status}");
}

/// The device under the file system fails: here it is thin, its blocks lie on a disk that is full.
#[test]
fn a_device_that_fails_stops_the_log_and_the_next_start_finds_what_was_acknowledged() {
    let Some(thin) = SmallDisk::mount(160) else {
        return;
    };
    let disk = SmallDisk::mount_on(&thin, 512).expect("one could be mounted");
    let broker = BrokerProcess::start_with(&disk.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    let topic = connection.create_topic(NewTopicBuilder::new("kept", 1));
    thin.fill_but(8 << 10);
    let (acknowledged, message) = produce_until_refused(&mut connection, topic);
    assert!(acknowledged > 0);
    assert_stopped(&broker, topic, acknowledged, &message);
    broker.kill();

    thin.make_room();
    let broker = BrokerProcess::start_with(&disk.path(), 1, SETTINGS);
    let mut connection = broker.connect();
    assert_holds(&mut connection, topic, acknowledged);
    assert!(broker.stop().code().is_some());
}
