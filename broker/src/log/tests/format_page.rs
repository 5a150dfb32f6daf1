//! The page of the formats says what the code does, and files written by earlier versions are read.
//!
//! `CORELOG_WRITE_FIXTURES=1` writes the fixtures anew; a changed one is a changed format, which
//! needs a new version number and a reader of the old one.

use std::mem::offset_of;
use std::path::{Path, PathBuf};

use corelog_protocol::record::{BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, CRC_COVERS_FROM};
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::data_dir;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::checksums::{self, Checksums};
use crate::log::folder;
use crate::log::index::{OFFSET_ENTRY_BYTES, SegmentIndex, TIME_ENTRY_BYTES};
use crate::log::journal::format::{self, Entries, EntryHeader, EntryKind, GroupHeader};
use crate::log::producers::{BATCH_BYTES, PRODUCER_BYTES, REMEMBERED_BATCHES, example_producers};
use crate::log::recovery::PartitionStart;
use crate::log::segment::{LARGEST_SEGMENT, log_file_name};
use crate::log::{Generation, TopicPartition, begun_blocks};
use crate::runtime::BLOCK;

const PAGE: &str = include_str!("../../../docs/on_disk_format.md");

fn constants() -> Vec<(String, String)> {
    let mut constants: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| constants.push((name.to_owned(), value));
    let text = |magic: &[u8]| String::from_utf8(magic.to_vec()).unwrap();
    add(
        "data folder: format version",
        data_dir::FORMAT_VERSION.to_string(),
    );
    add("block: bytes", BLOCK.to_string());
    add("segment: name of offset 42", log_file_name(Offset::new(42)));
    add("segment: largest, bytes", LARGEST_SEGMENT.to_string());
    add("batch: header bytes", BATCH_HEADER_BYTES.to_string());
    add("batch: magic", BATCH_MAGIC.to_string());
    add("batch: CRC covers from byte", CRC_COVERS_FROM.to_string());
    for (field, at) in [
        ("base offset", offset_of!(BatchHeader, base_offset)),
        ("length", offset_of!(BatchHeader, batch_length)),
        (
            "leader epoch",
            offset_of!(BatchHeader, partition_leader_epoch),
        ),
        ("magic", offset_of!(BatchHeader, magic)),
        ("crc", offset_of!(BatchHeader, crc)),
        ("attributes", offset_of!(BatchHeader, attributes)),
        (
            "last offset delta",
            offset_of!(BatchHeader, last_offset_delta),
        ),
        ("base timestamp", offset_of!(BatchHeader, base_timestamp)),
        ("max timestamp", offset_of!(BatchHeader, max_timestamp)),
        ("producer id", offset_of!(BatchHeader, producer_id)),
        ("producer epoch", offset_of!(BatchHeader, producer_epoch)),
        ("base sequence", offset_of!(BatchHeader, base_sequence)),
        ("records count", offset_of!(BatchHeader, records_count)),
    ] {
        add(&format!("batch: {field} at byte"), at.to_string());
    }
    add(".index: entry bytes", OFFSET_ENTRY_BYTES.to_string());
    add(".timeindex: entry bytes", TIME_ENTRY_BYTES.to_string());
    add(".checksums: extension", checksums::EXTENSION.to_owned());
    add(".checksums: magic", text(&checksums::MAGIC));
    add(".checksums: version", checksums::FORMAT_VERSION.to_string());
    add(
        ".checksums: header bytes",
        checksums::HEADER_BYTES.to_string(),
    );
    add(
        ".checksums: piece entry bytes",
        checksums::PIECE_ENTRY_BYTES.to_string(),
    );
    add(
        ".checksums: piece bytes",
        checksums::PIECE_BYTES.to_string(),
    );
    add(
        "partition.metadata: name",
        folder::PARTITION_METADATA.to_owned(),
    );
    add(
        "leader-epoch-checkpoint: name",
        folder::EPOCH_CHECKPOINT.to_owned(),
    );
    add("journal: magic", text(&format::GROUP_MAGIC.to_le_bytes()));
    add("journal: version", format::FORMAT_VERSION.to_string());
    add(
        "journal: group header bytes",
        format::GROUP_HEADER_BYTES.to_string(),
    );
    add(
        "journal: entry header bytes",
        format::ENTRY_HEADER_BYTES.to_string(),
    );
    for (field, at) in format::field_positions() {
        add(&format!("journal: {field} at byte"), at.to_string());
    }
    for kind in (0..=u8::MAX).filter_map(EntryKind::from_byte) {
        add(
            &format!("journal: entry kind {}", kind as u8),
            kind.name().to_owned(),
        );
    }
    add("checkpoint: magic", text(&checkpoint::MAGIC));
    add(
        "checkpoint: version",
        checkpoint::FORMAT_VERSION.to_string(),
    );
    add(
        "checkpoint: header bytes",
        checkpoint::HEADER_BYTES.to_string(),
    );
    add(
        "checkpoint: longest reason, bytes",
        checkpoint::LARGEST_REASON.to_string(),
    );
    add("checkpoint: producer bytes", PRODUCER_BYTES.to_string());
    add(
        "checkpoint: bytes of a producer's batch",
        BATCH_BYTES.to_string(),
    );
    add(
        "checkpoint: most batches of a producer",
        REMEMBERED_BATCHES.to_string(),
    );
    add("saved blocks: magic", text(&begun_blocks::MAGIC));
    constants
}

#[test]
fn the_page_names_every_constant_of_the_formats() {
    let (_, table) = PAGE.split_once("## Constants").unwrap();
    let written: Vec<(String, String)> = table
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
            let (name, value) = line.split_once(" | ")?;
            Some((name.to_owned(), value.trim_matches('`').to_owned()))
        })
        .filter(|(name, _)| name != "constant")
        .collect();
    let expected = constants();
    let rows: Vec<String> = expected
        .iter()
        .map(|(name, value)| format!("| {name} | `{value}` |"))
        .collect();
    let wrong: Vec<_> = expected.iter().filter(|it| !written.contains(it)).collect();
    assert!(
        written == expected,
        "broker/docs/on_disk_format.md is wrong about {wrong:?}; its table should be\n{}",
        rows.join("\n")
    );
}

fn fixture_path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/log/tests/fixtures");
    folder.join(name)
}

/// These bytes are those of the committed file.
#[track_caller]
fn assert_fixture(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = fixture_path(name);
    if std::env::var_os("CORELOG_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let committed = std::fs::read(&path).unwrap();
    assert!(
        committed == bytes,
        "{name} is written differently than it was"
    );
    committed
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId::from_bytes(*b"a topic's number"),
        partition: PartitionIndex::new(partition),
    }
}

const GENERATION: Generation = Generation {
    number: 3,
    salt: 0x0102_0304_0506_0708,
};

#[test]
fn a_checkpoint_is_what_it_was() {
    let start = PartitionStart {
        applied_sequence: 12,
        segment_base: Offset::new(100),
        position: 8191,
        next_offset: Offset::new(190),
        log_start: Offset::new(50),
        block_crc: 99,
        epochs: vec![
            (LeaderEpoch::new(1), Offset::new(50)),
            (LeaderEpoch::new(4), Offset::new(150)),
        ],
        producers: example_producers(),
    };
    let mut checkpoint = Checkpoint {
        generation: GENERATION,
        covered_sequence: 11,
        flushed_sequence: 12,
        partitions: [(id(0), start)].into(),
        suspects: [(id(2), "group 9 is damaged".to_owned())].into(),
    };
    let committed = assert_fixture("start.checkpoint", &checkpoint.encode());
    assert_eq!(Checkpoint::decode(&committed), Ok(checkpoint.clone()));

    // Version 2 knew no producers.
    let earlier = std::fs::read(fixture_path("start-version-2.checkpoint")).unwrap();
    for start in checkpoint.partitions.values_mut() {
        start.producers = bytes::Bytes::new();
    }
    assert_eq!(Checkpoint::decode(&earlier), Ok(checkpoint));
}

#[test]
fn a_journal_group_is_what_it_was() {
    let entry = EntryHeader {
        kind: EntryKind::Append,
        topic_partition: id(5),
        leader_epoch: LeaderEpoch::new(2),
        segment_base: Offset::new(100),
        position: 4096,
        length: 5,
        base_offset: Offset::new(140),
        next_offset: Offset::new(150),
        log_start: Offset::new(20),
        data_crc: 77,
    };
    let mut group = GroupHeader {
        shard: 1,
        generation: GENERATION.number,
        sequence: 41,
        flushed_sequence: 39,
        salt: GENERATION.salt,
        body_length: 0,
        entry_count: 1,
        body_crc: 0,
    };
    let mut body = vec![0; format::ENTRY_HEADER_BYTES];
    entry.encode(group.entry_seal(), &mut body);
    body.extend_from_slice(b"bytes");
    group.body_length = u32::try_from(body.len()).unwrap();
    group.body_crc = crc32c::crc32c(&body);
    let mut bytes = vec![0; format::GROUP_HEADER_BYTES];
    group.encode(&mut bytes);
    bytes.extend_from_slice(&body);
    let committed = assert_fixture("group.journal", &bytes);
    let (header, body) = committed.split_at(format::GROUP_HEADER_BYTES);
    assert_eq!(GroupHeader::decode(header), Some(group));
    let entries: Vec<_> = Entries::new(&group, body).map(Result::unwrap).collect();
    assert_eq!(entries, [(entry, &b"bytes"[..])]);
}

#[test]
fn saved_blocks_are_what_they_were() {
    let blocks = begun_blocks::BegunBlocks::from([(id(2), b"old bytes".to_vec())]);
    let bytes = begun_blocks::encode(GENERATION, &blocks);
    let committed = assert_fixture("start.blocks", &bytes);
    assert_eq!(begun_blocks::read(&committed), Some((GENERATION, blocks)));
}

#[test]
fn checksums_are_what_they_were() {
    let mut checksums = Checksums::new(4000);
    for batch in 0..5_u8 {
        let end = 4000 + 300_000 * (u64::from(batch) + 1);
        checksums.observe(end, &[batch; BATCH_HEADER_BYTES]);
    }
    let base = Offset::new(1000);
    let name = format!("00000000000000001000.{}", checksums::EXTENSION);
    let committed = assert_fixture(&name, &checksums.encode(base));
    let read = Checksums::decode(&committed, base).unwrap();
    assert_eq!(read.first_difference(&checksums), None);
    assert_eq!(read.covered_to(), 1_504_000);
}

#[test]
fn indexes_are_what_they_were() {
    let mut index = SegmentIndex::new(Offset::new(1000), 4096);
    for batch in 0..10_u32 {
        let last_offset = Offset::new(1004 + i64::from(batch) * 5);
        let time = 1_700_000_000_000 + i64::from(batch) * 10;
        index.observe(u64::from(batch) * 3000, 3000, last_offset, time);
    }
    index.close();
    let offsets = assert_fixture("00000000000000001000.index", &index.encode_offsets());
    let times = assert_fixture("00000000000000001000.timeindex", &index.encode_times());
    let read = SegmentIndex::decode(Offset::new(1000), 4096, 30_000, &offsets, &times).unwrap();
    assert_eq!(read.encode_offsets(), offsets);
    assert_eq!(read.encode_times(), times);
}

#[test]
fn the_small_text_files_are_what_they_were() {
    let epochs = [
        (LeaderEpoch::new(0), Offset::new(0)),
        (LeaderEpoch::new(3), Offset::new(42)),
    ];
    let text = folder::encode_epochs(&epochs);
    assert_fixture("leader-epoch-checkpoint", text.as_bytes());
    let text = folder::partition_metadata(id(0).topic_id);
    assert_fixture("partition.metadata", text.as_bytes());
}
