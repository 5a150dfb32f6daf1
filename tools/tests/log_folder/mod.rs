//! Partition folders as a broker leaves them, written here, and `corelog log` run on them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use corelog_broker::log::inspect::IndexBuilder;
use corelog_protocol::record::{BatchBuilder, Header, patch_base_offset, split_batches};
use corelog_protocol::{Compression, LeaderEpoch, Offset, Timestamp};
use serde_json::Value;

/// One batch of `records` records from `base` on.
pub(crate) fn batch(base: i64, records: i64, epoch: i32, codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec, 1024);
    for offset in base..base + records {
        let value = format!("value of record {offset}");
        let header = Header {
            key: "trace",
            value: Some(b"on"),
        };
        let time = Timestamp::new(1_700_000_000_000 + offset);
        builder
            .append(time, Some(b"key"), Some(value.as_bytes()), &[header])
            .unwrap();
    }
    let mut bytes = builder.finish(None).to_vec();
    patch_base_offset(&mut bytes, Offset::new(base), LeaderEpoch::new(epoch));
    bytes
}

/// Batches of ten records that hold the offsets from `from` up to `to`.
pub(crate) fn batches(from: i64, to: i64, epoch: i32) -> Vec<u8> {
    let codecs = Compression::ALL;
    (from..to)
        .step_by(10)
        .enumerate()
        .flat_map(|(number, base)| batch(base, 10, epoch, codecs[number % codecs.len()]))
        .collect()
}

pub(crate) fn segment(folder: &Path, base: i64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

/// Writes a segment and its indexes.
pub(crate) fn write_segment(folder: &Path, base: i64, bytes: &[u8]) {
    let mut index = IndexBuilder::new(Offset::new(base), 4096);
    let mut position = 0;
    for batch in split_batches(bytes) {
        let batch = batch.unwrap();
        let size = batch.size_in_bytes();
        index.observe(
            position,
            size,
            batch.last_offset(),
            batch.max_timestamp().get(),
        );
        position += u32::try_from(size).unwrap();
    }
    let (offsets, times) = index.finish();
    let log = segment(folder, base);
    fs::write(log.with_extension("index"), offsets).unwrap();
    fs::write(log.with_extension("timeindex"), times).unwrap();
    fs::write(log, bytes).unwrap();
}

/// Offsets 0 to 2,999 in three segments, two leader epochs.
pub(crate) fn write_partition(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    write_segment(folder, 0, &batches(0, 1000, 1));
    write_segment(folder, 1000, &batches(1000, 2000, 1));
    write_segment(folder, 2000, &batches(2000, 3000, 4));
    fs::write(
        folder.join("leader-epoch-checkpoint"),
        "0\n2\n1 0\n4 2000\n",
    )
    .unwrap();
}

/// Where each batch of a segment begins.
pub(crate) fn positions(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let sizes = split_batches(&bytes).map(|batch| batch.unwrap().size_in_bytes());
    let ends = sizes.scan(0, |end, size| {
        let begin = *end;
        *end += size;
        Some(begin)
    });
    ends.collect()
}

/// Turns one bit of a file.
pub(crate) fn flip(path: &Path, position: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn log(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corelog"))
        .arg("log")
        .args(arguments)
        .arg(path)
        .output()
        .unwrap()
}

/// What `corelog log verify --format json` says, with its exit code.
pub(crate) fn verify(path: &Path) -> (i32, Value) {
    let output = log(&["verify", "--records", "--format", "json"], path);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code().unwrap(), report)
}

/// The damages of a report: file name, what.
pub(crate) fn damages(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["severity"] == "damage")
        .map(|finding| {
            let file = Path::new(finding["file"].as_str().unwrap());
            let name = file.file_name().unwrap().to_str().unwrap();
            (
                name.to_owned(),
                finding["what"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

/// The folder is damaged, and somewhere in this file this is said.
#[track_caller]
pub(crate) fn assert_damage(folder: &Path, file: &str, what: &str) {
    let (code, report) = verify(folder);
    assert_eq!(code, 1, "{report:#}");
    let found = damages(&report);
    assert!(
        found.iter().any(|it| it.0 == file && it.1.contains(what)),
        "{what:?} is not said of {file}: {found:#?}"
    );
}
