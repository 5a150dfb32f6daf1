//! `corelog log repair` on damaged folders: what it says, what it does, and that no byte is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod log_folder;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use corelog_broker::log::inspect::{BLOCK, GROUP_HEADER_BYTES, JournalGroup};
use corelog_protocol::Compression;
use harness::{BrokerProcess, Running};
use log_folder::{batch, batches, flip, segment, verify, write_partition, write_segment};

/// A folder as Kafka has it: one partition, no journal.
fn foreign() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let partition = root.path().join("events-0");
    write_partition(&partition);
    (root, partition)
}

fn repair(path: &Path, options: &[&str]) -> (i32, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_corelog"))
        .args(["log", "repair"])
        .arg(path)
        .args(options)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Files that the repair took out of service, by name.
fn quarantined(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files_below(&root.join("quarantine")).into_iter();
    files
        .map(|(path, bytes)| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, bytes)
        })
        .collect()
}

/// It says what it would do and does nothing, then does it; afterwards all is well, and a second
/// time there is nothing to do.
#[track_caller]
fn assert_mends(root: &Path, what: &str) {
    let before = files_below(root);
    let (code, said) = repair(root, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("would") && said.contains(what), "{said}");
    assert!(files_below(root) == before, "files changed without --apply");
    let (code, said) = repair(root, &["--apply"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("done"), "{said}");
    let (code, report) = verify(root);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(repair(root, &["--apply"]).0, 0);
}

#[test]
fn a_folder_that_is_well_is_left_alone() {
    let (root, _) = foreign();
    let before = files_below(root.path());
    let (code, said) = repair(root.path(), &["--apply"]);
    assert_eq!((code, said.trim()), (0, "Nothing is to be mended."));
    assert!(files_below(root.path()) == before);
}

#[test]
fn a_torn_end_is_cut_and_kept() {
    let (root, partition) = foreign();
    let path = segment(&partition, 2000);
    let whole = fs::read(&path).unwrap();
    let tear = &batch(3000, 10, 4, Compression::None)[..77];
    fs::write(&path, [&whole, tear].concat()).unwrap();
    assert_mends(root.path(), "cut its last 77 bytes");
    assert_eq!(fs::read(&path).unwrap(), whole);
    let kept = quarantined(root.path());
    let name = format!("00000000000000002000.log.from-byte-{}", whole.len());
    assert_eq!(kept[&name], tear);
}

#[test]
fn a_damaged_batch_leaves_the_service_and_the_others_stay() {
    let (root, partition) = foreign();
    let path = segment(&partition, 1000);
    let first = batch(1000, 10, 1, Compression::None).len();
    flip(&path, first + 90, 5);
    let damaged = fs::read(&path).unwrap();
    assert_mends(root.path(), "keep all of it but");
    let (_, report) = verify(root.path());
    assert_eq!(report["records"], 2990);
    assert_eq!(report["gaps"], 1, "the ten records of the batch");
    assert_eq!(
        quarantined(root.path())["00000000000000001000.log"],
        damaged
    );
}

#[test]
fn segments_that_overlap_leave_the_service() {
    let (root, partition) = foreign();
    write_segment(&partition, 1500, &batches(1500, 1600, 1));
    let (code, said) = repair(root.path(), &["--apply"]);
    assert_eq!(code, 0, "{said}");
    let (code, report) = verify(root.path());
    assert_eq!((code, &report["records"]), (1, &3000.into()), "{report:#}");
}

#[test]
fn wrong_indexes_and_epochs_are_written_anew() {
    let (root, partition) = foreign();
    let index = segment(&partition, 1000).with_extension("index");
    let right = fs::read(&index).unwrap();
    flip(&index, 6, 1);
    fs::write(partition.join("leader-epoch-checkpoint"), "0\n1\n9 0\n").unwrap();
    assert_mends(root.path(), "write its indexes anew");
    assert_eq!(fs::read(&index).unwrap(), right);
    let epochs = fs::read_to_string(partition.join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(epochs, "0\n2\n1 0\n4 2000\n");
}

#[test]
fn mistakes_of_the_command_line_are_told() {
    let (root, partition) = foreign();
    let cases: [(&Path, &[&str]); 3] = [
        (&root.path().join("missing"), &[]),
        (root.path(), &["--partition", "events-7"]),
        (&segment(&partition, 0), &["--apply"]),
    ];
    for (path, options) in cases {
        let (code, said) = repair(path, options);
        assert_eq!(code, 2, "{said}");
    }
}

fn produce(broker: &BrokerProcess, lines: std::ops::Range<u32>) {
    let arguments = ["produce", "events", "--partition", "0"];
    let mut producing = Running::start(broker.corelog(&arguments));
    let text: String = lines.map(|n| format!("line {n}\n")).collect();
    producing.feed(text.as_bytes());
    producing.finish();
}

fn consumed(broker: &BrokerProcess) -> Vec<String> {
    let output = broker.run(&["consume", "events", "--exit-at-end"]);
    let text = String::from_utf8(output).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _broker = BrokerProcess::start(folder.path());
    let (code, said) = repair(folder.path(), &["--apply"]);
    assert_eq!(code, 1);
    assert!(said.contains("is in use by process"), "{said}");
}

/// The journal loses a group that was flushed, so the partition is suspect. The broker names the
/// command; after it the partition is served with what the segments hold, and goes on.
#[test]
fn a_suspect_partition_is_accepted_by_the_command_that_the_broker_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "events", "--partitions", "1"]);
    produce(&broker, 0..100);
    broker.terminate();
    broker = BrokerProcess::start(folder.path());
    assert_eq!(consumed(&broker).len(), 100);
    produce(&broker, 100..150);
    produce(&broker, 150..200);
    broker.kill();
    damage_first_group(folder.path());
    broker = BrokerProcess::start(folder.path());
    let refused = broker.output(&["consume", "events", "--exit-at-end"]);
    assert!(!refused.status.success());
    broker.terminate();

    let (_, report) = verify(folder.path());
    let mend = report["findings"][0]["mend"].as_str().unwrap().to_owned();
    let path = folder.path().canonicalize().unwrap();
    let command = format!(
        "corelog log repair {} --partition events-0 --accept --apply",
        path.display()
    );
    assert!(
        mend.ends_with("--partition events-0 --accept --apply"),
        "{mend}"
    );
    let (code, said) = repair(&path, &[]);
    assert_eq!(code, 1);
    assert!(said.contains(&command), "{said}");
    let options = ["--partition", "events-0", "--accept", "--apply"];
    let (code, said) = repair(&path, &options);
    assert_eq!(code, 0, "{said}");

    broker = BrokerProcess::start(folder.path());
    let lines = consumed(&broker);
    let expected: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    assert_eq!(lines[..100], expected, "what the segments held");
    produce(&broker, 500..510);
    broker.kill();
    broker = BrokerProcess::start(folder.path());
    let lines = consumed(&broker);
    assert_eq!(lines.last().unwrap(), "line 509", "it goes on, and lasts");
}

/// Turns a bit in the body of the first group of the last run.
fn damage_first_group(folder: &Path) {
    let mut found: Vec<(u64, u64, PathBuf, usize)> = Vec::new();
    for (path, bytes) in files_below(&folder.join("journal")) {
        if path.extension().is_none_or(|it| it != "journal") {
            continue;
        }
        for at in (0..bytes.len()).step_by(BLOCK) {
            if let Some(group) = JournalGroup::decode(&bytes[at..at + GROUP_HEADER_BYTES]) {
                found.push((group.generation(), group.sequence(), path.clone(), at));
            }
        }
    }
    let newest = found.iter().map(|it| it.0).max().unwrap();
    let first = found.into_iter().find(|it| (it.0, it.1) == (newest, 1));
    let (_, _, path, at) = first.unwrap();
    flip(&path, at + GROUP_HEADER_BYTES + 80, 0);
}
