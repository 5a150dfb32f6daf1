//! A repair that is interrupted after any of its steps: no byte is lost, what is in service is whole,
//! and the next repair comes to the same end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use corelog_protocol::record::{BatchBuilder, patch_base_offset};
use corelog_protocol::{Compression, Timestamp};

use super::*;
use crate::log::survey::indexes_of;

fn batch(base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    for n in 0..10 {
        let value = vec![u8::try_from(n).unwrap(); 700];
        let time = Timestamp::new(base + n);
        builder.append(time, None, Some(&value), &[]).unwrap();
    }
    let mut bytes = builder.finish(None).to_vec();
    patch_base_offset(&mut bytes, Offset::new(base), LeaderEpoch::new(1));
    bytes
}

fn batches(from: i64, to: i64) -> Vec<u8> {
    (from..to).step_by(10).flat_map(batch).collect()
}

struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    /// A folder as Kafka has it, with two segments and their indexes.
    fn new() -> Folder {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder { root };
        fs::create_dir_all(folder.partition()).unwrap();
        for (from, to) in [(0, 100), (100, 200)] {
            let path = folder.log(from);
            fs::write(&path, batches(from, to)).unwrap();
            let segment = SegmentFile {
                bytes: fs::metadata(&path).unwrap().len(),
                path,
                base_offset: Offset::new(from),
            };
            folder.quarantine().perform(&reindex(&segment)).unwrap();
        }
        folder
    }

    fn partition(&self) -> PathBuf {
        self.root.path().join("events-0")
    }

    fn log(&self, base: i64) -> PathBuf {
        self.partition().join(format!("{base:020}.log"))
    }

    fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.root.path(), "interrupted")
    }

    fn read(&self) -> PartitionFolder {
        PartitionFolder::read(&self.partition()).unwrap()
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// All steps that the folder needs.
    fn acts(&self, freedom: Freedom) -> Vec<Act> {
        let log = SettledLog::of(&self.read(), None).unwrap();
        let found = survey(log.segments.iter());
        let segments = log.segments.iter().zip(&found.segments);
        let damaged = segments.filter(|(segment, found)| !found.is_whole(segment.bytes));
        let acts: Vec<Act> = damaged
            .flat_map(|(segment, found)| mend(segment, found, freedom, Path::new("")).1)
            .collect();
        assert!(acts.len() > 2, "{acts:?}");
        acts
    }

    /// Repairs it and returns how many steps that took.
    fn repair(&self) -> usize {
        let (mut steps, mut left) = (Vec::new(), Vec::new());
        let mut repair = Repair {
            root: self.root.path(),
            folder: &self.read(),
            checkpoints: None,
            accept: false,
            apply: true,
            steps: &mut steps,
            left: &mut left,
        };
        repair.run().unwrap();
        assert!(left.is_empty(), "{left:?}");
        steps.len()
    }

    fn files(&self, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.root.path().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.root.path()).unwrap().to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// The batches in service.
    fn logs(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = self.files("events-0");
        files.retain(|name, _| name.extension().is_some_and(|it| it == "log"));
        files
    }
}

/// Every file that was there is somewhere, byte for byte; or its front and its end are.
#[track_caller]
fn assert_nothing_lost(before: &BTreeMap<PathBuf, Vec<u8>>, folder: &Folder, when: &str) {
    let now = folder.files("");
    for (name, bytes) in before {
        let is_whole = now.values().any(|found| found == bytes);
        let is_in_two = now.values().any(|front| {
            let end = bytes.strip_prefix(&front[..]);
            !front.is_empty() && end.is_some_and(|end| now.values().any(|found| found == end))
        });
        assert!(is_whole || is_in_two, "{} is lost {when}", name.display());
    }
}

fn assert_survives_interruptions(freedom: Freedom, damage: impl Fn(&Folder)) {
    let uninterrupted = Folder::new();
    damage(&uninterrupted);
    let acts = uninterrupted.acts(freedom).len();
    uninterrupted
        .quarantine()
        .perform(&uninterrupted.acts(freedom))
        .unwrap();
    let expected = uninterrupted.logs();
    for done in 0..=acts {
        let folder = Folder::new();
        damage(&folder);
        let before = folder.files("events-0");
        let planned = folder.acts(freedom);
        folder.quarantine().perform(&planned[..done]).unwrap();
        if let Some(Act::Replace { from, to, .. }) = planned.get(done) {
            // Interrupted in the middle of writing.
            let half = &fs::read(from).unwrap()[..5000];
            fs::write(format!("{}.tmp", to.display()), half).unwrap();
        }
        let when = format!("after {done} of {planned:#?}");
        assert_nothing_lost(&before, &folder, &when);
        folder.repair();
        assert_nothing_lost(&before, &folder, &when);
        assert!(folder.logs() == expected, "another end {when}");
        assert_eq!(folder.repair(), 0, "not finished {when}");
        let mut indexes = folder.files("events-0");
        indexes.retain(|name, _| name.extension().is_some_and(|it| it == "index"));
        for segment in folder.read().segments {
            let name = segment.path.strip_prefix(folder.root.path()).unwrap();
            if let Some(index) = indexes.get(&name.with_extension("index")) {
                assert!(*index == indexes_of(&segment).unwrap().0, "{when}");
            }
        }
    }
}

#[test]
fn a_repair_that_keeps_parts_of_a_segment_may_be_interrupted() {
    assert_survives_interruptions(Freedom::Full, |folder| {
        let size = batch(0).len();
        folder.change(&folder.log(0), |bytes| {
            bytes[3 * size + 500] ^= 1;
            bytes[6 * size + 2] ^= 1;
        });
    });
}

#[test]
fn a_repair_that_cuts_a_torn_end_may_be_interrupted() {
    assert_survives_interruptions(Freedom::Full, |folder| {
        folder.change(&folder.log(100), |bytes| bytes.truncate(bytes.len() - 9));
    });
}

#[test]
fn a_repair_that_takes_a_swap_for_the_segment_may_be_interrupted() {
    assert_survives_interruptions(Freedom::Full, |folder| {
        let swap = folder.log(0).with_extension("log.swap");
        let third = folder.log(200);
        fs::write(&third, batches(200, 300)).unwrap();
        fs::write(&swap, [batches(0, 60), batches(160, 200)].concat()).unwrap();
        folder.change(&swap, |bytes| bytes[batch(0).len() + 100] ^= 1);
        for extension in ["log", "index", "timeindex"] {
            fs::remove_file(folder.log(100).with_extension(extension)).unwrap();
        }
    });
}

#[test]
fn a_repair_that_takes_a_segment_out_may_be_interrupted() {
    let folder = Folder::new();
    folder.change(&folder.log(0), |bytes| bytes.fill(0xee));
    let before = folder.files("events-0");
    let acts = folder.acts(Freedom::Closed);
    for done in 0..acts.len() {
        folder.quarantine().perform(&acts[done..=done]).unwrap();
        assert_nothing_lost(&before, &folder, &format!("after {done}"));
        // The log is the last to go: until then a repair finds it.
        assert_eq!(folder.log(0).exists(), done + 1 < acts.len());
    }
}
