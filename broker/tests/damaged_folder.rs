//! Whatever happened to the data folder between two runs: the broker starts, or says what to do; it
//! says which partition is suspect and why, and serves the others; the next start does the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corelog_protocol::record::split_batches;
use corelog_protocol::{ErrorCode, Offset, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder, batch_of};

const HARMED: i32 = 0;
const WHOLE: i32 = 1;
const RECORDS: usize = 200;

/// A data folder with a topic of two partitions, each of several segments, left by a clean stop.
struct DataFolder {
    folder: TempDir,
    topic: TopicId,
}

impl DataFolder {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let broker = BrokerProcess::start(folder.path(), 1);
        let mut connection = broker.connect();
        let topic = NewTopicBuilder::new("it", 2)
            .config("segment.bytes", "64 KiB")
            .config("max.message.bytes", "64 KiB");
        let topic = connection.create_topic(topic);
        for number in 0..RECORDS {
            for partition in [HARMED, WHOLE] {
                let answer = produce(&mut connection, topic, partition, number);
                assert_eq!(answer.0, ErrorCode::None, "{}", answer.1);
            }
        }
        assert!(broker.stop().success());
        Self { folder, topic }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn partition(&self, partition: i32) -> PathBuf {
        self.path().join(format!("data/it-{partition}"))
    }

    /// The harmed partition's `.log` files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<PathBuf> = fs::read_dir(self.partition(HARMED))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .collect();
        segments.sort();
        assert!(segments.len() >= 3, "{segments:?}");
        segments
    }

    /// Two starts in a row: the whole partition is served in full each time, the harmed one as
    /// `check` says.
    fn assert_served(&self, mut check: impl FnMut(&mut Connection, TopicId)) {
        for _ in 0..2 {
            let broker = BrokerProcess::start(self.path(), 1);
            let mut connection = broker.connect();
            check(&mut connection, self.topic);
            assert_holds_all(&mut connection, self.topic, WHOLE);
            let health = broker.health();
            assert_eq!(health.status, 200, "{}", health.body);
            assert!(broker.stop().success());
        }
    }

    /// As [`DataFolder::assert_served`], with the harmed partition refused for a reason that names
    /// these things.
    fn assert_one_refused(&self, named: &[&str]) {
        self.assert_served(|connection, topic| {
            let refused = produce(connection, topic, HARMED, 0);
            assert_eq!(refused.0, ErrorCode::KafkaStorageError, "{}", refused.1);
            for name in named {
                assert!(refused.1.contains(name), "no {name:?} in {:?}", refused.1);
            }
            let (read, _) = connection.fetch(topic, HARMED, Offset::ZERO, Duration::ZERO);
            assert_eq!(read.error, ErrorCode::KafkaStorageError);
        });
    }
}

fn text(number: usize) -> String {
    format!("{number} {}", "p".repeat(1500))
}

fn produce(
    connection: &mut Connection,
    topic: TopicId,
    partition: i32,
    number: usize,
) -> (ErrorCode, String) {
    let batch = batch_of([text(number).as_str()]);
    let answer = connection.produce(topic, partition, &batch);
    (answer.error, answer.error_message.unwrap_or_default())
}

fn assert_holds_all(connection: &mut Connection, topic: TopicId, partition: i32) {
    let read = connection.read_all(topic, partition);
    assert!(read.len() >= RECORDS, "{}", read.len());
    for (number, (offset, value)) in read.into_iter().take(RECORDS).enumerate() {
        assert_eq!(offset.get(), number as i64);
        assert_eq!(value, text(number));
    }
}

/// Reads until the damage, and says where that was and what it was told there.
fn read_up_to_the_damage(connection: &mut Connection, topic: TopicId) -> (i64, ErrorCode, String) {
    let mut offset = Offset::ZERO;
    loop {
        let (answer, payload) = connection.fetch(topic, HARMED, offset, Duration::ZERO);
        if answer.error != ErrorCode::None {
            let message = answer.error_message.unwrap_or_default();
            return (offset.get(), answer.error, message);
        }
        for (at, value) in crate::harness::values_in(&payload) {
            assert_eq!(value, text(usize::try_from(at.get()).unwrap()));
            offset = at.checked_add(1).unwrap();
        }
        assert!(offset < answer.high_watermark, "the damage was not noticed");
    }
}

/// Reads everything; says how many batches have a wrong checksum and where the reading ended.
fn read_past_bad_checksums(connection: &mut Connection, topic: TopicId) -> (usize, i64) {
    let mut offset = Offset::ZERO;
    let mut bad = 0;
    loop {
        let (answer, payload) = connection.fetch(topic, HARMED, offset, Duration::ZERO);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        if offset == answer.high_watermark {
            return (bad, offset.get());
        }
        for batch in split_batches(&payload) {
            let batch = batch.unwrap();
            bad += usize::from(batch.verify_crc().is_err());
            offset = batch.next_offset();
        }
    }
}

/// Like Kafka's, this broker serves the bytes of a batch as they are; its checksum goes with it, and
/// who reads it checks that. A header that leads astray is noticed here.
#[test]
fn a_flipped_bit_in_a_closed_segment_is_noticed_by_whoever_reads_it() {
    let data = DataFolder::new();
    let segment = data.segments()[1].clone();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&segment, bytes).unwrap();
    data.assert_served(|connection, topic| {
        assert_eq!(
            read_past_bad_checksums(connection, topic),
            (1, RECORDS as i64)
        );
    });
}

#[test]
fn a_damaged_header_in_a_closed_segment_is_told_to_whoever_reads_it() {
    let data = DataFolder::new();
    let segment = data.segments()[1].clone();
    let mut bytes = fs::read(&segment).unwrap();
    let first_batch = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    // The magic of the second batch.
    bytes[first_batch + 16] = 7;
    fs::write(&segment, bytes).unwrap();
    let stem = segment.file_stem().unwrap().to_str().unwrap();
    let base: i64 = stem.parse().unwrap();
    data.assert_served(|connection, topic| {
        let (offset, error, message) = read_up_to_the_damage(connection, topic);
        assert!(offset > base, "what lies before the damage is served");
        assert_eq!(error, ErrorCode::CorruptMessage);
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(
            message.contains(name) && message.contains("corrupt at byte"),
            "{message}"
        );
        // What lies behind the damage is served as well.
        let (behind, _) = connection.fetch(topic, HARMED, Offset::new(199), Duration::ZERO);
        assert_eq!(behind.error, ErrorCode::None, "{:?}", behind.error_message);
    });
}

/// The begun block has a copy beside the checkpoint.
#[test]
fn a_flipped_bit_in_the_last_block_is_mended() {
    let data = DataFolder::new();
    let segment = data.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 4;
    fs::write(&segment, bytes).unwrap();
    data.assert_served(|connection, topic| assert_holds_all(connection, topic, HARMED));
}

#[test]
fn a_cut_segment_is_noticed() {
    let data = DataFolder::new();
    let segment = data.segments().pop().unwrap();
    let length = fs::metadata(&segment).unwrap().len();
    // More than the last block, of which there is a copy.
    fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap()
        .set_len(length - 9000)
        .unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    data.assert_one_refused(&[&name, &(length - 9000).to_string(), &length.to_string()]);

    let data = DataFolder::new();
    let closed = data.segments()[1].clone();
    let length = fs::metadata(&closed).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&closed)
        .unwrap()
        .set_len(length - 2000)
        .unwrap();
    data.assert_served(|connection, topic| {
        let (offset, error, message) = read_up_to_the_damage(connection, topic);
        assert!(offset > 0);
        assert_eq!(error, ErrorCode::CorruptMessage, "{message}");
    });
}

#[test]
fn swapped_segment_files_are_noticed() {
    let data = DataFolder::new();
    let segments = data.segments();
    let aside = data.path().join("aside");
    fs::rename(&segments[0], &aside).unwrap();
    fs::rename(&segments[1], &segments[0]).unwrap();
    fs::rename(&aside, &segments[1]).unwrap();
    data.assert_served(|connection, topic| {
        let (offset, error, message) = read_up_to_the_damage(connection, topic);
        assert_eq!(offset, 0, "no record of another offset is served");
        assert_eq!(error, ErrorCode::CorruptMessage, "{message}");
    });
}

#[test]
fn a_missing_active_segment_makes_the_partition_suspect() {
    let data = DataFolder::new();
    let segment = data.segments().pop().unwrap();
    fs::remove_file(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    data.assert_one_refused(&[&name, "missing"]);
}

#[test]
fn a_folder_in_the_place_of_a_segment_costs_that_partition_only() {
    let data = DataFolder::new();
    let segment = data.segments().pop().unwrap();
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    data.assert_one_refused(&[&name]);
}

#[test]
fn a_file_in_the_place_of_a_partitions_folder_costs_that_partition_only() {
    let data = DataFolder::new();
    fs::remove_dir_all(data.partition(HARMED)).unwrap();
    fs::write(data.partition(HARMED), "what is this").unwrap();
    data.assert_one_refused(&["it-0"]);
}

#[test]
fn a_missing_partition_folder_is_not_taken_for_an_empty_log() {
    let data = DataFolder::new();
    fs::remove_dir_all(data.partition(HARMED)).unwrap();
    data.assert_one_refused(&["missing"]);
}

#[test]
fn another_topics_folder_is_not_taken_for_ones_own() {
    let data = DataFolder::new();
    let metadata = data.partition(HARMED).join("partition.metadata");
    let other = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABQ";
    fs::write(metadata, other).unwrap();
    data.assert_one_refused(&["AAAAAAAAAAAAAAAAAAAABQ", "belongs to topic id"]);
}

#[test]
fn caches_that_are_lost_or_full_of_noise_cost_nothing() {
    let data = DataFolder::new();
    for entry in fs::read_dir(data.partition(HARMED)).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|it| it.to_str()) {
            Some("index") => fs::remove_file(path).unwrap(),
            Some("timeindex") => fs::write(path, vec![0xA5; 1200]).unwrap(),
            _ => {}
        }
    }
    fs::write(
        data.partition(HARMED).join("leader-epoch-checkpoint"),
        "noise",
    )
    .unwrap();
    data.assert_served(|connection, topic| assert_holds_all(connection, topic, HARMED));
}

#[test]
fn files_of_strangers_are_left_alone() {
    let data = DataFolder::new();
    let strangers = [
        data.path().join("notes.txt"),
        data.path().join("data/lost+found"),
        data.path().join("data/not-a-topic.txt"),
        data.partition(HARMED).join("00000000000000000000.snapshot"),
        data.partition(HARMED).join("12.log"),
        data.partition(HARMED).join("README"),
        data.path().join("journal/notes.txt"),
    ];
    for stranger in &strangers {
        fs::write(stranger, "mine").unwrap();
    }
    data.assert_served(|connection, topic| assert_holds_all(connection, topic, HARMED));
    for stranger in &strangers {
        assert_eq!(
            fs::read(stranger).unwrap(),
            b"mine",
            "{}",
            stranger.display()
        );
    }
}

/// Without the checkpoint nobody knows what was acknowledged: an empty log would be a lie.
#[test]
fn a_missing_or_damaged_checkpoint_is_refused_with_what_to_do() {
    for noise in [None, Some("noise")] {
        let data = DataFolder::new();
        let checkpoints: Vec<PathBuf> = fs::read_dir(data.path().join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "checkpoint"))
            .collect();
        assert!(!checkpoints.is_empty());
        for checkpoint in &checkpoints {
            match noise {
                None => fs::remove_file(checkpoint).unwrap(),
                Some(noise) => fs::write(checkpoint, noise).unwrap(),
            }
        }
        for _ in 0..2 {
            let refused = BrokerProcess::try_start(data.path(), 1, &[]).err().unwrap();
            assert_eq!(refused.status.code(), Some(1), "{}", refused.errors);
            let said = &refused.errors;
            assert!(said.contains("checkpoint"), "{said}");
            assert!(said.contains("restore it from a backup"), "{said}");
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}
