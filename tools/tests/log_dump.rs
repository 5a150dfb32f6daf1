//! What `corelog log dump` prints.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_folder;

use std::fs;

use corelog_protocol::record::{BatchBuilder, patch_base_offset};
use corelog_protocol::{Compression, LeaderEpoch, Offset, Timestamp};
use log_folder::{batch, flip, log, segment, write_partition, write_segment};
use serde_json::Value;

fn lines(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

/// The end of a transaction, as Kafka's coordinator writes it.
fn commit_marker(base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    builder
        .append(
            Timestamp::new(5),
            Some(&[0, 0, 0, 1]),
            Some(&[0, 0, 0, 0, 0, 9]),
            &[],
        )
        .unwrap();
    let mut bytes = builder.finish(None).to_vec();
    patch_base_offset(&mut bytes, Offset::new(base), LeaderEpoch::new(1));
    bytes[22] |= 0b11_0000;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn batches_and_records_of_every_kind_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = BatchBuilder::new(Compression::Zstd, 1024);
    let time = Timestamp::new(77);
    builder.append(time, Some(b"gone"), None, &[]).unwrap();
    builder
        .append(time, None, Some(&[0xff, 0x00]), &[])
        .unwrap();
    builder.append(time, Some(b""), Some(b""), &[]).unwrap();
    let mut odd = builder.finish(None).to_vec();
    patch_base_offset(&mut odd, Offset::new(10), LeaderEpoch::new(1));
    let bytes = [batch(0, 10, 1, Compression::Gzip), odd, commit_marker(13)].concat();
    write_segment(folder.path(), 0, &bytes);
    let path = segment(folder.path(), 0);

    let output = log(&["dump", "--records", "--format", "json"], &path);
    assert_eq!(output.status.code(), Some(0));
    let all = lines(&output.stdout);
    let batches = of_kind(&all, "batch");
    assert_eq!(batches.len(), 3);
    assert_eq!(batches[0]["codec"], "gzip");
    assert_eq!(batches[0]["last_offset"], 9);
    assert_eq!(batches[2]["is_control"], true);
    assert_eq!(batches[2]["is_transactional"], true);
    let records = of_kind(&all, "record");
    assert_eq!(records.len(), 14);
    assert_eq!(records[3]["value"], "\"value of record 3\"");
    assert_eq!(records[3]["headers"][0][0], "trace");
    assert_eq!(records[10]["is_tombstone"], true);
    assert_eq!(records[11]["value"], "0xff00");
    assert_eq!(records[11]["key"], Value::Null);
    assert_eq!(records[12]["value"], "\"\"");
    assert_eq!(records[13]["control"], "commit");

    let text = log(&["dump", "--print-data-log"], &path);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "compresscodec: gzip",
        "(tombstone)",
        "(control: commit)",
        "value: null",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn part_of_a_segment_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    write_partition(folder.path());
    let path = segment(folder.path(), 1000);
    let arguments = ["dump", "--format", "json", "--from-offset", "1105"];
    let output = log(&[&arguments[..], &["--max-batches", "2"]].concat(), &path);
    let bases: Vec<_> = lines(&output.stdout)
        .iter()
        .map(|line| line["base_offset"].as_i64().unwrap())
        .collect();
    assert_eq!(bases, [1100, 1110]);
}

#[test]
fn a_whole_folder_is_shown_file_for_file() {
    let folder = tempfile::tempdir().unwrap();
    write_partition(folder.path());
    let output = log(&["dump", "--format", "json"], folder.path());
    let all = lines(&output.stdout);
    assert_eq!(of_kind(&all, "batch").len(), 300);
    assert!(!of_kind(&all, "offset_entry").is_empty());
    let times = of_kind(&all, "time_entry");
    assert_eq!(times.last().unwrap()["offset"], 2999);
    assert_eq!(of_kind(&all, "text").len(), 4, "the leader epochs");
}

#[test]
fn damage_is_shown_and_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    write_partition(folder.path());
    let path = segment(folder.path(), 0);
    flip(&path, 90, 1);
    let output = log(&["dump", "--records", "--format", "json"], &path);
    assert_eq!(output.status.code(), Some(1));
    let all = lines(&output.stdout);
    assert_eq!(of_kind(&all, "batch")[0]["is_valid"], false);
    assert_eq!(of_kind(&all, "batch")[1]["is_valid"], true);

    for garbage in [&b"CLCP\x02\x00"[..], b"", &[0xff; 100]] {
        let path = folder.path().join("start.checkpoint");
        fs::write(&path, garbage).unwrap();
        assert_eq!(log(&["dump"], &path).status.code(), Some(1));
        let path = folder.path().join("start.blocks");
        fs::write(&path, garbage).unwrap();
        assert_eq!(log(&["dump"], &path).status.code(), Some(1));
        let path = folder.path().join("shard-0-0.journal");
        fs::write(&path, garbage).unwrap();
        assert_eq!(
            log(&["dump"], &path).status.code(),
            Some(0),
            "it holds no group"
        );
    }
}
