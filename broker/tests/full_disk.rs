//! A disk that is full costs the produces that do not fit, and nothing else: no acknowledged record,
//! no read, no restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corelog_protocol::native::DeleteUntil;
use corelog_protocol::{ErrorCode, TopicId};

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, SmallDisk, batch_of, until};

const PARTITIONS: i32 = 4;
const VALUE_BYTES: usize = 20_000;

/// A small journal, so that checkpoints and their small files are under way all the time.
const SETTINGS: &str = "
    journal.file.bytes = '4 MiB'
    journal.files = 2
    log.retention.check.interval.ms = 50
    log.segment.delete.delay.ms = 0
";

fn topic() -> NewTopicBuilder {
    NewTopicBuilder::new("kept", PARTITIONS)
        .config("segment.bytes", "1 MiB")
        .config("max.message.bytes", "100 KiB")
}

fn start(disk: &SmallDisk) -> BrokerProcess {
    BrokerProcess::start_with(&disk.path(), 1, SETTINGS)
}

fn value(number: u64) -> String {
    let mut text = format!("{number:020}");
    text.extend(std::iter::repeat_n('v', VALUE_BYTES - text.len()));
    text
}

/// What was acknowledged: the number at each offset, by partition.
#[derive(Default)]
struct Acknowledged {
    partitions: [BTreeMap<i64, u64>; PARTITIONS as usize],
    next_number: u64,
}

impl Acknowledged {
    /// Sends one record; tells the refusal.
    fn produce(&mut self, connection: &mut Connection, topic: TopicId) -> Result<(), String> {
        let number = self.next_number;
        self.next_number += 1;
        let partition = (number % PARTITIONS as u64) as i32;
        let answer = connection.produce(topic, partition, &batch_of([value(number).as_str()]));
        if answer.error == ErrorCode::None {
            let before =
                self.partitions[partition as usize].insert(answer.base_offset.get(), number);
            assert_eq!(
                before, None,
                "offset {} was promised twice",
                answer.base_offset
            );
            return Ok(());
        }
        let message = answer.error_message.unwrap_or_default();
        if answer.error == ErrorCode::RequestTimedOut {
            // Appended a moment before the disk was full: it becomes durable when there is room.
            return Err(message);
        }
        assert_eq!(answer.error, ErrorCode::KafkaStorageError, "{message}");
        assert!(message.contains("no space left"), "{message}");
        Err(message)
    }

    /// Everything acknowledged can be read, from the log start on.
    fn assert_read(&self, connection: &mut Connection, topic: TopicId) {
        for (partition, acknowledged) in (0..).zip(&self.partitions) {
            let read: BTreeMap<i64, String> = connection
                .read_from_start(topic, partition)
                .into_iter()
                .map(|(offset, value)| (offset.get(), value))
                .collect();
            let start = connection.log_start(topic, partition).get();
            for (offset, number) in acknowledged.range(start..) {
                let found = read.get(offset).map(|value| &value[..20]);
                assert_eq!(
                    found,
                    Some(format!("{number:020}").as_str()),
                    "partition {partition}, offset {offset}"
                );
            }
        }
    }
}

fn produce_until_refused(
    acknowledged: &mut Acknowledged,
    connection: &mut Connection,
    topic: TopicId,
) {
    while acknowledged.produce(connection, topic).is_ok() {}
}

fn produce_until_accepted(
    acknowledged: &mut Acknowledged,
    connection: &mut Connection,
    topic: TopicId,
) {
    // Files are removed one after the other, so room comes back bit by bit.
    for _ in 0..20 {
        until(|| acknowledged.produce(connection, topic).is_ok());
    }
}

#[test]
fn a_full_disk_refuses_produces_serves_reads_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount(96) else {
        return;
    };
    let broker = start(&disk);
    let mut connection = broker.connect();
    let topic = connection.create_topic(topic());
    let mut acknowledged = Acknowledged::default();
    for _ in 0..40 {
        acknowledged.produce(&mut connection, topic).unwrap();
    }
    for kibibytes_left in [0, 100, 1000, 5000] {
        disk.fill_but(kibibytes_left);
        produce_until_refused(&mut acknowledged, &mut connection, topic);
        // Some partitions have room in their segments for a while; soon none has.
        for _ in 0..200 {
            let _refused = acknowledged.produce(&mut connection, topic);
        }
        acknowledged.assert_read(&mut connection, topic);
        let health = broker.health();
        assert_eq!(health.status, 200, "{}", health.body);
        disk.make_room();
        produce_until_accepted(&mut acknowledged, &mut connection, topic);
    }
    assert!(broker.stop().success());

    let broker = start(&disk);
    let mut connection = broker.connect();
    acknowledged.assert_read(&mut connection, topic);
    acknowledged.produce(&mut connection, topic).unwrap();
    assert!(broker.stop().success());
}

/// The disk fills up, and is emptied, at whatever moment of a checkpoint, of a segment's
/// preparation, of a small file's replacement the load brings about.
#[test]
fn a_disk_that_fills_up_again_and_again_under_load_loses_nothing() {
    let Some(disk) = SmallDisk::mount(96) else {
        return;
    };
    let broker = start(&disk);
    let mut admin = broker.connect();
    let topic = admin.create_topic(topic().config("retention.bytes", "4 MiB"));
    let (accepted, refused, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let acknowledged = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut connection = broker.connect();
            let mut acknowledged = Acknowledged::default();
            while !stop.load(Ordering::Relaxed) {
                let count = match acknowledged.produce(&mut connection, topic) {
                    Ok(()) => &accepted,
                    Err(_) => &refused,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        });
        let more = |count: &AtomicU64, more: u64| {
            let goal = count.load(Ordering::Relaxed) + more;
            until(|| count.load(Ordering::Relaxed) >= goal || load.is_finished());
        };
        for round in 0..12 {
            more(&accepted, 30);
            disk.fill_but(round * 37 % 400);
            // With retention the log itself makes room now and then, so both are seen.
            more(&refused, 10);
            disk.make_room();
        }
        more(&accepted, 30);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let health = broker.health();
    assert_eq!(health.status, 200, "{}", health.body);
    acknowledged.assert_read(&mut admin, topic);
    assert!(broker.stop().success());

    let broker = start(&disk);
    acknowledged.assert_read(&mut broker.connect(), topic);
    assert!(broker.stop().success());
}

#[test]
fn kill_9_on_a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::mount(96) else {
        return;
    };
    let mut acknowledged = Acknowledged::default();
    let broker = start(&disk);
    let mut connection = broker.connect();
    let topic = connection.create_topic(topic());
    for _ in 0..40 {
        acknowledged.produce(&mut connection, topic).unwrap();
    }
    disk.fill_but(0);
    produce_until_refused(&mut acknowledged, &mut connection, topic);
    broker.kill();

    // A start needs a little room for its own files.
    disk.make_room();
    let broker = start(&disk);
    let mut connection = broker.connect();
    acknowledged.assert_read(&mut connection, topic);
    produce_until_accepted(&mut acknowledged, &mut connection, topic);
    assert!(broker.stop().success());
}

/// The way out that needs no shell on the machine.
#[test]
fn deleting_records_makes_room_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount(64) else {
        return;
    };
    let broker = start(&disk);
    let mut connection = broker.connect();
    let topic = connection.create_topic(topic());
    let mut acknowledged = Acknowledged::default();
    produce_until_refused(&mut acknowledged, &mut connection, topic);
    for partition in 0..PARTITIONS {
        let deleted = connection.delete_records(topic, partition, DeleteUntil::HighWatermark);
        assert_eq!(
            deleted.error,
            ErrorCode::None,
            "{:?}",
            deleted.error_message
        );
    }
    produce_until_accepted(&mut acknowledged, &mut connection, topic);
    acknowledged.assert_read(&mut connection, topic);
    assert!(broker.stop().success());
}

/// A topic with `retention.bytes` within the disk's size never fills it.
#[test]
fn retention_keeps_a_disk_from_filling_up() {
    let Some(disk) = SmallDisk::mount(48) else {
        return;
    };
    let broker = start(&disk);
    let mut connection = broker.connect();
    let topic = connection.create_topic(topic().config("retention.bytes", "2 MiB"));
    let mut acknowledged = Acknowledged::default();
    let sent = || (60 << 20) / VALUE_BYTES as u64;
    while acknowledged.next_number < sent() {
        until(|| acknowledged.produce(&mut connection, topic).is_ok());
    }
    acknowledged.assert_read(&mut connection, topic);
    assert!(connection.log_start(topic, 0).get() > 0);
    assert!(broker.stop().success());
    let held: u64 = files_below(&disk.path().join("data/data"));
    assert!(held < 24 << 20, "{held} bytes are held");
}

fn files_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => files_below(&entry.path()),
                false => metadata.len(),
            }
        })
        .sum()
}
