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
use corelog_protocol::record::split_batches;
use harness::{BrokerProcess, Running};
use log_folder::{
    batch, batches, flip, positions, segment, verify, write_partition, write_segment,
};

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
    let checksums = path.with_extension("checksums");
    fs::write(&checksums, "of the bytes as they were").unwrap();
    assert_mends(root.path(), "keep all of it but");
    let (_, report) = verify(root.path());
    assert_eq!(report["records"], 2990);
    assert_eq!(report["gaps"], 1, "the ten records of the batch");
    assert!(!checksums.exists(), "it speaks of other bytes");
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

/// The records that are served, in order.
fn records(partition: &Path) -> Vec<i64> {
    let mut paths: Vec<_> = fs::read_dir(partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    paths.sort();
    let mut offsets = Vec::new();
    for path in paths {
        let bytes = fs::read(path).unwrap();
        for batch in split_batches(&bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            offsets.extend(batch.base_offset().get()..batch.next_offset().get());
        }
    }
    offsets
}

/// The base offset and the leader epoch of a batch lie outside its CRC. One bit of one of them
/// turned, and repair took everything behind that batch for damaged and out of the log.
#[test]
fn a_turned_bit_in_a_header_is_turned_back() {
    let (root, partition) = foreign();
    let path = segment(&partition, 1000);
    let at = positions(&path)[50];
    let whole = fs::read(&path).unwrap();
    let all: Vec<i64> = (0..3000).collect();
    // Of the base offset the bits of 2^63, 2^62, 2^40, 2^10 and 1; of the epoch those of 2^31, 2^20, 1.
    let base_offset = [(0, 7), (0, 6), (2, 0), (6, 2), (7, 0)];
    let leader_epoch = [(12, 7), (13, 4), (15, 0)];
    for (byte, bit) in base_offset.into_iter().chain(leader_epoch) {
        flip(&path, at + byte, bit);
        let damaged = fs::read(&path).unwrap();
        let (_, report) = verify(root.path());
        let told = log_folder::damages(&report);
        let told: Vec<_> = told.iter().filter(|it| it.0.ends_with(".log")).collect();
        assert_eq!(told.len(), 1, "one wrong header is told once: {told:#?}");
        let field = match byte < 8 {
            true => "base offset",
            false => "leader epoch",
        };
        let what = format!("the batch at byte {at} has {field}");
        assert_mends(root.path(), &what);
        assert_eq!(fs::read(&path).unwrap(), whole, "byte {byte}, bit {bit}");
        assert_eq!(records(&partition), all);
        let kept = quarantined(root.path());
        assert_eq!(kept["00000000000000001000.log"], damaged);
        fs::remove_dir_all(root.path().join("quarantine")).unwrap();
    }
}

#[test]
fn a_batch_with_the_offsets_of_another_place_leaves_alone() {
    for claimed in [700_005, 1 << 40 | 5_i64, 17, -9, i64::MAX - 3] {
        let (root, partition) = foreign();
        let path = segment(&partition, 1000);
        let at = positions(&path)[50];
        let mut bytes = fs::read(&path).unwrap();
        bytes[at..at + 8].copy_from_slice(&claimed.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        assert_mends(root.path(), "keep all of it but");
        let expected: Vec<i64> = (0..1500).chain(1510..3000).collect();
        assert_eq!(records(&partition), expected, "{claimed}");
    }
}

/// A wrong base offset in the last batch of a segment contradicts only the next segment.
#[test]
fn a_turned_bit_at_the_end_of_a_segment_leaves_the_next_segment_alone() {
    let (root, partition) = foreign();
    let path = segment(&partition, 1000);
    let whole = fs::read(&path).unwrap();
    flip(&path, *positions(&path).last().unwrap() + 5, 6);
    assert_mends(
        root.path(),
        "has base offset 4196294 where those before and behind",
    );
    assert_eq!(fs::read(&path).unwrap(), whole);
}

/// The length lies outside the CRC as well: a batch seemed to hold all that follow it.
#[test]
fn a_length_that_swallows_other_batches_takes_none_of_them_along() {
    let (root, partition) = foreign();
    let path = segment(&partition, 1000);
    let positions = positions(&path);
    let length = positions[51] - positions[50] - 12;
    let mut bytes = fs::read(&path).unwrap();
    // A bit more, and it still ends inside the file.
    let swallowing = u32::try_from(length).unwrap() | 1 << 12;
    let at = positions[50] + 8;
    bytes[at..at + 4].copy_from_slice(&swallowing.to_be_bytes());
    assert!(positions[50] + (swallowing as usize) < bytes.len());
    fs::write(&path, bytes).unwrap();
    assert_mends(root.path(), "keep all of it but");
    let expected: Vec<i64> = (0..1500).chain(1510..3000).collect();
    assert_eq!(records(&partition), expected);
}

/// The checksums that our broker puts beside a closed segment: one piece, of the first 21 bytes of
/// all batches.
fn write_checksums(path: &Path, base: i64) {
    let bytes = fs::read(path).unwrap();
    let crc = positions(path)
        .into_iter()
        .fold(0, |crc, at| crc32c::crc32c_append(crc, &bytes[at..at + 21]));
    let mut covered = base.to_le_bytes().to_vec();
    covered.extend(
        [0, 1, u32::try_from(bytes.len()).unwrap(), crc]
            .map(u32::to_le_bytes)
            .concat(),
    );
    let mut file = b"CLSC\x01\0\0\0".to_vec();
    file.extend(crc32c::crc32c(&covered).to_le_bytes());
    file.extend(covered);
    fs::write(path.with_extension("checksums"), file).unwrap();
}

#[test]
fn a_header_that_is_not_what_was_written_and_may_be_right_is_left() {
    let (root, partition) = foreign();
    let path = segment(&partition, 2000);
    write_checksums(&path, 2000);
    assert_eq!(verify(root.path()).0, 0);
    // The last batch has epoch 5 instead of 4: nothing behind it says otherwise.
    flip(&path, *positions(&path).last().unwrap() + 15, 0);
    log_folder::assert_damage(
        root.path(),
        "00000000000000002000.log",
        "is not what was written",
    );
    let before = files_below(root.path());
    let (code, said) = repair(root.path(), &["--apply"]);
    assert_eq!(code, 1);
    assert!(said.contains("nothing tells which"), "{said}");
    assert!(files_below(root.path()) == before, "{said}");
}

#[test]
fn checksums_that_are_damaged_leave() {
    let (root, partition) = foreign();
    let path = segment(&partition, 1000);
    write_checksums(&path, 1000);
    let checksums = path.with_extension("checksums");
    flip(&checksums, 30, 2);
    let damaged = fs::read(&checksums).unwrap();
    assert_mends(root.path(), "its checksum is wrong");
    assert!(!checksums.exists());
    let kept = quarantined(root.path());
    assert_eq!(kept["00000000000000001000.checksums"], damaged);
}

/// What compaction writes to take the place of the first two segments.
fn write_swap(partition: &Path) -> PathBuf {
    let path = partition.join("00000000000000000000.log.swap");
    let mut bytes = batches(0, 300, 1);
    bytes.extend(batches(1700, 2000, 1));
    fs::write(&path, bytes).unwrap();
    path
}

fn remove_segment(partition: &Path, base: i64) {
    let path = segment(partition, base);
    for extension in ["log", "index", "timeindex"] {
        fs::remove_file(path.with_extension(extension)).unwrap();
    }
}

#[test]
fn a_swap_that_is_whole_is_left_to_the_next_start() {
    let (root, partition) = foreign();
    let swap = write_swap(&partition);
    remove_segment(&partition, 1000);
    let (code, report) = verify(root.path());
    assert_eq!((code, &report["notes"]), (0, &1.into()), "{report:#}");
    assert_eq!(report["records"], 1600, "the swap's, not the source's");
    let (code, said) = repair(root.path(), &["--apply"]);
    assert_eq!((code, said.trim()), (0, "Nothing is to be mended."));
    assert!(swap.exists());
}

#[test]
fn a_damaged_swap_whose_sources_are_there_leaves() {
    // Damage in its middle, and at its end.
    for from_end in [5000, 30] {
        let (root, partition) = foreign();
        let swap = write_swap(&partition);
        let length = fs::metadata(&swap).unwrap().len();
        flip(&swap, usize::try_from(length).unwrap() - from_end, 3);
        let damaged = fs::read(&swap).unwrap();
        log_folder::assert_damage(
            root.path(),
            "00000000000000000000.log.swap",
            "they are all there",
        );
        assert_mends(root.path(), "the segments it was to replace are all there");
        assert!(!swap.exists());
        assert_eq!(records(&partition), (0..3000).collect::<Vec<_>>());
        let kept = quarantined(root.path());
        assert_eq!(kept["00000000000000000000.log.swap"], damaged);
    }
}

#[test]
fn a_damaged_swap_whose_sources_are_gone_is_the_segment() {
    let (root, partition) = foreign();
    let swap = write_swap(&partition);
    let source = fs::read(segment(&partition, 0)).unwrap();
    flip(&swap, batch(0, 10, 1, Compression::None).len() + 90, 3);
    let damaged = fs::read(&swap).unwrap();
    remove_segment(&partition, 1000);
    log_folder::assert_damage(
        root.path(),
        "00000000000000000000.log.swap",
        "not all of them are there",
    );
    assert_mends(
        root.path(),
        "it takes the place of the segments it was to replace",
    );
    assert!(!swap.exists());
    let expected: Vec<i64> = (0..10).chain(20..300).chain(1700..3000).collect();
    assert_eq!(records(&partition), expected);
    let kept = quarantined(root.path());
    assert_eq!(kept["00000000000000000000.log.swap"], damaged);
    assert_eq!(kept["00000000000000000000.log"], source);
}

/// Created and written since the broker's last start, so that only the journal tells how far it
/// goes. What its segment holds is rewritten from there; a repair that cut it would take the bytes
/// of an extent along, which are nowhere else.
#[test]
fn a_partition_that_only_the_journal_knows_is_left_to_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "events", "--partitions", "1"]);
    produce(&broker, 0..100);
    broker.kill();
    let partition = folder.path().join("data/events-0");
    let mut torn = batch(0, 10, 0, Compression::None);
    torn.truncate(torn.len() - 5);
    fs::write(segment(&partition, 0), torn).unwrap();

    let (code, report) = verify(folder.path());
    assert_eq!(code, 0, "the replay decides: {report:#}");
    assert_ne!(report["notes"], 0);
    let before = files_below(&partition);
    for options in [
        &["--apply"][..],
        &["--partition", "events-0", "--accept", "--apply"],
    ] {
        let (code, said) = repair(folder.path(), options);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("left"), "{said}");
        assert!(said.to_lowercase().contains("start"), "{said}");
        assert!(files_below(&partition) == before, "{said}");
    }
    broker = BrokerProcess::start(folder.path());
    assert_eq!(consumed(&broker).len(), 100);
}

/// Compaction took the first batches of an epoch, or DeleteRecords those before the middle of a segment:
/// the file then says where the epoch began, and is right.
#[test]
fn an_epoch_file_that_knows_more_than_the_batches_is_left_alone() {
    let kept = |epochs: &str| {
        let (_root, partition) = foreign();
        let path = partition.join("leader-epoch-checkpoint");
        fs::write(&path, epochs).unwrap();
        let (_, text) = repair(&partition, &["--apply"]);
        assert_eq!(fs::read_to_string(path).unwrap(), epochs, "{text}");
    };
    kept("0\n3\n1 0\n3 2000\n4 2000\n");
    kept("0\n2\n1 500\n4 2000\n");
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
