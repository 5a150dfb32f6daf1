//! `corelog log verify` on folders that are well, and on folders with every kind of damage.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod log_folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corelog_protocol::Compression;
use harness::{BrokerProcess, Running};
use log_folder::{
    assert_damage, batch, batches, flip, log, positions, segment, verify, write_partition,
    write_segment,
};

fn partition() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join("events-0");
    write_partition(&partition);
    (folder, partition)
}

#[test]
fn a_folder_that_is_well_passes_with_its_totals() {
    let (folder, partition) = partition();
    // The folder of a broker that has several is found in the same way.
    for path in [&partition, folder.path()] {
        let (code, report) = verify(path);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["segments"], 3);
        assert_eq!(report["batches"], 300);
        assert_eq!(report["records"], 3000);
        assert_eq!(report["gaps"], 0);
        assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    }
    let output = log(&["verify"], &partition);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("All is well."), "{said}");
    assert!(output.stderr.is_empty(), "no progress where nobody looks");
}

#[test]
fn a_path_without_a_log_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        for command in ["verify", "dump"] {
            let output = log(&[command], &path);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{command} {}",
                path.display()
            );
        }
    }
    let stray = folder.path().join("notes.txt");
    fs::write(&stray, "hello").unwrap();
    assert_eq!(log(&["verify"], &stray).status.code(), Some(2));
}

#[test]
fn a_damaged_batch_is_named_with_its_place_and_what_mends_it() {
    let (_folder, partition) = partition();
    let second = batch(0, 10, 1, Compression::None).len();
    flip(&segment(&partition, 0), second + 100, 3);
    let (code, report) = verify(&partition);
    assert_eq!(code, 1);
    let finding = &report["findings"][0];
    assert_eq!(finding["position"], second);
    assert_eq!(finding["offset"], 10);
    let what = finding["what"].as_str().unwrap();
    assert!(
        what.contains("the CRC of the batch of offsets 10 to 19"),
        "{what}"
    );
    let mend = finding["mend"].as_str().unwrap();
    assert!(mend.starts_with("corelog log repair "), "{mend}");
    assert_eq!(report["batches"], 300, "the others were read");
}

/// Whatever bit turns, the command ends in order; and it is noticed, but for the fields that no
/// checksum covers and nothing contradicts.
#[test]
fn no_turned_bit_of_a_segment_goes_unnoticed() {
    let (_folder, partition) = partition();
    let path = segment(&partition, 1000);
    let length = fs::metadata(&path).unwrap().len() as usize;
    let first = batch(1000, 10, 1, Compression::None).len();
    let heads = 0..61;
    let spread = (61..length).step_by(length / 40);
    for position in heads.chain(spread).chain([length - 1, first + 3]) {
        flip(&path, position, 2);
        let (code, report) = verify(&partition);
        // The epoch may be higher without contradiction only where a higher one follows.
        let epoch = (12..16).contains(&position);
        assert!(
            code == 1 || epoch,
            "byte {position} turned, and nothing was said: {report:#}"
        );
        flip(&path, position, 2);
    }
    assert_eq!(verify(&partition).0, 0);
}

#[test]
fn cut_segments_are_told_apart_from_torn_ends() {
    let (_folder, partition) = partition();
    for (base, expected) in [(1000, "are no batch"), (2000, "bytes at its end are torn")] {
        let path = segment(&partition, base);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        assert_damage(&partition, &format!("{base:020}.log"), expected);
        fs::write(&path, &whole).unwrap();
    }
    // What was allocated ahead of the log's end is no damage.
    let path = segment(&partition, 2000);
    let mut ahead = fs::read(&path).unwrap();
    ahead.resize(ahead.len() + 100_000, 0);
    fs::write(&path, ahead).unwrap();
    let (code, report) = verify(&partition);
    assert_eq!((code, &report["notes"]), (0, &1.into()), "{report:#}");
}

#[test]
fn bytes_between_batches_hide_nothing_behind_them() {
    let (_folder, partition) = partition();
    let path = segment(&partition, 1000);
    let mut bytes = fs::read(&path).unwrap();
    let first = batch(1000, 10, 1, Compression::None).len();
    bytes[first..first + 61].fill(0xff);
    fs::write(&path, bytes).unwrap();
    assert_damage(&partition, "00000000000000001000.log", "bytes are no batch");
    let (_, report) = verify(&partition);
    assert_eq!(report["batches"], 299);
}

/// A length that would need all memory there is.
#[test]
fn a_length_that_the_bytes_claim_is_not_believed() {
    let (_folder, partition) = partition();
    let path = segment(&partition, 2000);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    assert_damage(
        &partition,
        "00000000000000002000.log",
        "needs 2147483659 bytes",
    );
}

#[test]
fn swapped_overlapping_and_missing_segments_are_found() {
    let (_folder, swapped) = partition();
    let (a, b, c) = (
        segment(&swapped, 0),
        segment(&swapped, 1000),
        swapped.join("x"),
    );
    fs::rename(&a, &c).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&c, &b).unwrap();
    assert_damage(
        &swapped,
        "00000000000000001000.log",
        "a batch begins at offset 0",
    );

    let (_folder, overlapping) = partition();
    write_segment(&overlapping, 1500, &batches(1500, 1600, 1));
    assert_damage(
        &overlapping,
        "00000000000000001500.log",
        "it begins at offset 1500, and the one before ends at 2000",
    );

    // Of another broker's log nobody knows whether compaction left the gap.
    let (_folder, missing) = partition();
    fs::remove_file(segment(&missing, 1000)).unwrap();
    let (code, report) = verify(&missing);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["gaps"], 1);
    assert_eq!(report["notes"], 3, "the hole, and its indexes are left");
    let findings = report["findings"].as_array().unwrap().iter();
    let hole = findings.filter(|it| it["offset"] == 1000).count();
    assert_eq!(hole, 1, "{report:#}");
}

/// A broker's folder in which the log has several segments, written and read again at a start.
fn with_segments(folder: &Path) -> BrokerProcess {
    let mut broker = BrokerProcess::start(folder);
    broker.run(&[
        "topic",
        "create",
        "events",
        "--partitions",
        "1",
        "--config",
        "max.message.bytes=65536",
        "--config",
        "segment.bytes=65600",
    ]);
    for round in 0..6 {
        let produce = ["produce", "events", "--partition", "0"];
        let mut producing = Running::start(broker.corelog(&produce));
        let lines: String = (0..60)
            .map(|n| format!("round {round} line {n} {}\n", "x".repeat(1000)))
            .collect();
        producing.feed(lines.as_bytes());
        assert_eq!(producing.finish().len(), 60);
    }
    broker.terminate();
    BrokerProcess::start(folder)
}

fn bases(partition: &Path) -> Vec<i64> {
    let files = fs::read_dir(partition).unwrap();
    let mut bases: Vec<i64> = files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".log")?.parse().ok()
        })
        .collect();
    bases.sort_unstable();
    bases
}

#[test]
fn a_closed_segment_of_ours_that_is_missing_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = with_segments(folder.path());
    broker.terminate();
    let (code, report) = verify(folder.path());
    assert_eq!((code, &report["notes"]), (0, &0.into()), "{report:#}");
    let partition = folder.path().join("data/events-0");
    let bases = bases(&partition);
    assert!(bases.len() >= 4, "{bases:?}");
    let path = segment(&partition, bases[1]);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (from, to) = (bases[1], bases[2]);
    assert_damage(
        folder.path(),
        &format!("{to:020}.log"),
        &format!("the offsets from {from} up to {to} are missing before it"),
    );
    let (_, report) = verify(folder.path());
    assert_eq!(report["damages"], 1, "{report:#}");
    fs::write(path, whole).unwrap();
    assert_eq!(verify(folder.path()).0, 0);
}

/// The last batch of a segment says that it was written by a later leader. Nothing in the segment says
/// otherwise, but the checksums beside it do.
#[test]
fn a_header_that_is_not_what_was_written_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = with_segments(folder.path());
    broker.terminate();
    let partition = folder.path().join("data/events-0");
    let bases = bases(&partition);
    let path = segment(&partition, bases[bases.len() - 2]);
    let last = *positions(&path).last().unwrap();
    let checksums = path.with_extension("checksums");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(verify(folder.path()).0, 0);
    flip(&path, last + 13, 0);
    assert_damage(folder.path(), &name(&path), "is not what was written");
    flip(&path, last + 13, 0);

    flip(&checksums, 30, 0);
    assert_damage(folder.path(), &name(&checksums), "its checksum is wrong");
}

/// Records were deleted, the segments that held them went, and the broker was killed before the next
/// checkpoint: only the journal knows where the log begins.
#[test]
fn a_log_start_that_only_the_journal_knows_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = with_segments(folder.path());
    let partition = folder.path().join("data/events-0");
    let before = bases(&partition);
    assert!(before.len() >= 4, "{before:?}");
    let middle = before[2].to_string();
    broker.run(&["topic", "delete-records", "events", "--before", &middle]);
    let asked = Instant::now();
    while bases(&partition) != before[2..] {
        assert!(asked.elapsed() < Duration::from_secs(60), "they go");
        std::thread::yield_now();
    }
    broker.kill();
    let (code, report) = verify(folder.path());
    assert_eq!(code, 0, "{report:#}");

    // One more segment is gone, of which the journal says nothing.
    fs::remove_file(segment(&partition, before[2])).unwrap();
    let what = format!("and the log at {middle}");
    assert_damage(folder.path(), "events-0", &what);
}

#[test]
fn leader_epochs_must_not_fall_and_their_file_must_agree() {
    let (_folder, falling) = partition();
    write_segment(&falling, 2000, &batches(2000, 3000, 0));
    assert_damage(
        &falling,
        "00000000000000002000.log",
        "leader epoch 0 follows epoch 1",
    );

    let (_folder, partition) = partition();
    let path = partition.join("leader-epoch-checkpoint");
    for (text, what) in [
        (
            "0\n2\n1 0\n4 2500\n",
            "epoch 4 begins at offset 2500, and a batch of it at 2000",
        ),
        ("0\n2\n1 0\n4 1500\n", "and epoch 1 goes on to 2000"),
        ("0\n3\n1 0\n4 2000\n", "says \"3\" entries"),
        ("not a checkpoint", "version"),
    ] {
        fs::write(&path, text).unwrap();
        assert_damage(&partition, "leader-epoch-checkpoint", what);
    }
}

#[test]
fn an_index_must_tell_the_truth() {
    let (_folder, partition) = partition();
    let index = segment(&partition, 1000).with_extension("index");
    let times = segment(&partition, 1000).with_extension("timeindex");
    type Change = fn(&mut Vec<u8>);
    let cases: [(&PathBuf, Change, &str); 8] = [
        (&index, |it| it[7] ^= 4, "where no batch begins"),
        (&index, |it| it[3] ^= 1, "is wrong"),
        (&index, |it| it.truncate(11), "are no whole entry"),
        (
            &index,
            |it| it.extend([0, 0, 0, 1, 0, 0, 0, 1]),
            "does not ascend",
        ),
        (
            &index,
            |it| it.extend([0, 1, 0, 0, 0, 9, 0, 0]),
            "whose batches end at",
        ),
        (&times, |it| it[7] ^= 1, "is wrong"),
        (&times, |it| it.truncate(5), "are no whole entry"),
        (
            &times,
            |it| it.extend([0; 11].iter().chain(&[1])),
            "does not ascend",
        ),
    ];
    for (path, change, what) in cases {
        let whole = fs::read(path).unwrap();
        let mut changed = whole.clone();
        change(&mut changed);
        fs::write(path, changed).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_damage(&partition, name, what);
        fs::write(path, whole).unwrap();
    }
    // Kafka gives the indexes of an active segment their full length.
    let mut padded = fs::read(&index).unwrap();
    padded.resize(10_000, 0);
    fs::write(&index, padded).unwrap();
    fs::remove_file(&times).unwrap();
    assert_eq!(
        verify(&partition).0,
        0,
        "missing indexes are made when needed"
    );
}

#[test]
fn foreign_files_are_noted_and_are_no_damage() {
    let (_folder, partition) = partition();
    for name in [
        "00000000000000001000.txnindex",
        "00000000000000003000.snapshot",
        "leftover.txt",
        "00000000000000000500.log.deleted",
    ] {
        fs::write(partition.join(name), b"whatever").unwrap();
    }
    let (code, report) = verify(&partition);
    assert_eq!(code, 0, "{report:#}");
    let noted: Vec<_> = report["findings"].as_array().unwrap().iter().collect();
    assert_eq!(noted.len(), 2, "{report:#}");
}

/// A broker's folder after a clean stop is well; then its journal folder is damaged.
#[test]
fn a_brokers_folder_is_checked_with_its_journals_and_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "events", "--partitions", "2"]);
    for round in 0..2 {
        let produce = ["produce", "events", "--partition", "0"];
        let mut producing = Running::start(broker.corelog(&produce));
        let lines: String = (0..500)
            .map(|n| format!("round {round} line {n}\n"))
            .collect();
        producing.feed(lines.as_bytes());
        assert_eq!(producing.finish().len(), 500);
    }

    broker.kill();
    let (code, report) = verify(folder.path());
    assert_eq!(
        code, 0,
        "the journal holds what the segments lack: {report:#}"
    );

    let journal = folder.path().join("journal");
    let dumped = log(
        &["dump", "--format", "json"],
        &journal.join("start.checkpoint"),
    );
    assert_eq!(dumped.status.code(), Some(0));
    let start = journal.join("start.checkpoint");
    let whole = fs::read(&start).unwrap();
    fs::write(&start, &whole[..whole.len() / 2]).unwrap();
    assert_damage(folder.path(), "start.checkpoint", "damaged");
    fs::remove_file(&start).unwrap();
    assert_damage(folder.path(), "start.checkpoint", "missing");
    fs::write(&start, whole).unwrap();

    let journals = [0, 1].map(|shard| journal.join(format!("shard-{shard}-0.journal")));
    let used = journals.iter().find(|path| {
        let dumped = log(&["dump", "--format", "json"], path);
        assert_eq!(dumped.status.code(), Some(0));
        let text = String::from_utf8(dumped.stdout).unwrap();
        text.contains(r#""kind":"group""#) && text.contains(r#""entry":"append""#)
    });
    // The second round's groups were written when the first one's had been flushed.
    flip(used.unwrap(), 70, 1);
    assert_damage(
        folder.path(),
        used.unwrap().file_name().unwrap().to_str().unwrap(),
        "group 1 is damaged, although flushed",
    );
}
