//! `corelog log verify`.

pub(crate) mod finding;
pub(crate) mod index;
pub(crate) mod journal;
mod partition;
mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{Checkpoint, DATA_FOLDER, JOURNAL_FOLDER};
use corelog_protocol::PartitionIndex;
use serde::Serialize;

use self::finding::{Finding, Findings, Severity};
use self::index::IndexCheck;
use self::journal::{JournalFolder, Known};
use self::partition::{PartitionCheck, Totals};
use self::progress::Progress;
use super::arguments::VerifyArguments;
use super::place::{DataFolder, NotALog, PartitionFolder, Place, segment_of, swap_of};
use super::small_file::{LARGEST_CHECKPOINT, LARGEST_TEXT, leader_epochs, read_bounded, topic_id};
use crate::args::Format;
use crate::output;

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    #[serde(flatten)]
    totals: Totals,
    seconds: f64,
    damages: u64,
    notes: u64,
    findings: Vec<Finding>,
    /// Findings beyond those listed.
    left_out: u64,
}

pub(super) fn run(arguments: &VerifyArguments, format: Format) -> anyhow::Result<ExitCode> {
    let place = Place::find(&arguments.path)?;
    let begun = Instant::now();
    let progress = Progress::new(bytes_of(&place));
    let mut verify = Verify {
        read_records: arguments.records,
        findings: Findings::default(),
        totals: Totals::default(),
        progress: &progress,
    };
    match &place {
        Place::Data(folder) => verify.data(folder),
        Place::Partition(folder) => {
            verify.partition(folder, Known::default(), &mend_of(&folder.path));
        }
        Place::File(path) => verify.file(path)?,
    }
    progress.finish();
    let mut findings = verify.findings;
    findings.list.sort_by(|a, b| {
        let key = |it: &Finding| (it.severity, it.file.clone(), it.position);
        key(a).cmp(&key(b))
    });
    let report = Report {
        path: arguments.path.clone(),
        totals: verify.totals,
        seconds: begun.elapsed().as_secs_f64(),
        damages: findings.damages,
        notes: findings.notes,
        left_out: findings.left_out(),
        findings: findings.list,
    };
    output::print(format, &report, |out| print(out, &report))?;
    Ok(ExitCode::from(u8::from(report.damages > 0)))
}

fn print(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    for finding in &report.findings {
        let kind = match finding.severity {
            Severity::Damage => "DAMAGE",
            Severity::Note => "note",
        };
        write!(out, "{kind:6} {}", finding.file.display())?;
        if let Some(position) = finding.position {
            write!(out, ", byte {position}")?;
        }
        if let Some(offset) = finding.offset {
            write!(out, ", offset {offset}")?;
        }
        writeln!(out, ": {}", finding.what)?;
        if let Some(mend) = &finding.mend {
            writeln!(out, "{:6} -> {mend}", "")?;
        }
    }
    if report.left_out > 0 {
        writeln!(out, "{} more findings are not listed.", report.left_out)?;
    }
    let Totals {
        partitions,
        segments,
        bytes,
        batches,
        records,
        gaps,
    } = report.totals;
    let megabytes = bytes as f64 / 1e6;
    writeln!(
        out,
        "{partitions} partitions, {segments} segments, {batches} batches, {records} records, {megabytes:.1} MB in {:.2} s \
         ({:.0} MB/s); {gaps} gaps between offsets.",
        report.seconds,
        megabytes / report.seconds.max(1e-9),
    )?;
    match (report.damages, report.notes) {
        (0, 0) => writeln!(out, "All is well."),
        (0, notes) => writeln!(out, "Nothing is damaged; {notes} notes."),
        (damages, notes) => writeln!(out, "{damages} damages, {notes} notes."),
    }
}

fn bytes_of(place: &Place) -> u64 {
    let length = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    match place {
        Place::Data(folder) => {
            let partitions = folder.partitions.iter().map(PartitionFolder::bytes);
            let journals = folder
                .journal
                .iter()
                .filter(|path| path.extension().is_some_and(|it| it == "journal"));
            partitions.sum::<u64>() + journals.map(length).sum::<u64>()
        }
        Place::Partition(folder) => folder.bytes(),
        Place::File(path) => length(path),
    }
}

fn mend_of(path: &Path) -> String {
    format!("corelog log repair {} --apply", path.display())
}

struct Verify<'a> {
    read_records: bool,
    findings: Findings,
    totals: Totals,
    progress: &'a Progress,
}

impl Verify<'_> {
    fn data(&mut self, folder: &DataFolder) {
        for path in &folder.strangers {
            let what = "no broker puts this here";
            self.findings.add(Finding::note(path, what));
        }
        let is_ours = folder.root.join(JOURNAL_FOLDER).is_dir();
        let journal = if is_ours {
            let path = folder.root.join(JOURNAL_FOLDER);
            journal::check(&path, &folder.journal, &mut self.findings, self.progress)
        } else {
            JournalFolder::default()
        };
        let mut owners: BTreeMap<TopicPartition, &PartitionFolder> = BTreeMap::new();
        for partition in &folder.partitions {
            let owner = self.owner(partition, is_ours);
            if let Some(owner) = owner
                && let Some(other) = owners.insert(owner, partition)
            {
                let what = format!("it is the same partition as {}", other.path.display());
                self.findings.add(Finding::damage(&partition.path, what));
            }
            let mend = format!(
                "corelog log repair {} --partition {} --apply",
                folder.root.display(),
                partition.name()
            );
            let known = owner.map(|owner| journal.known(owner)).unwrap_or_default();
            self.partition(partition, known, &mend);
        }
        self.suspects(folder, &journal, &owners);
        for (id, place) in &journal.places {
            let held_records = place.next_offset > place.log_start;
            if !owners.contains_key(id) && held_records && !journal.has_emptied(*id, place) {
                let what = format!(
                    "the checkpoint says that partition {id} ends at offset {}, and no folder is \
                     its",
                    place.next_offset
                );
                let path = folder.root.join(DATA_FOLDER);
                self.findings.add(Finding::damage(&path, what));
            }
        }
    }

    fn suspects(
        &mut self,
        folder: &DataFolder,
        journal: &JournalFolder,
        owners: &BTreeMap<TopicPartition, &PartitionFolder>,
    ) {
        let suspects = journal.start.iter().flat_map(|start| &start.suspects);
        for suspect in suspects {
            let owner = owners.get(&suspect.topic_partition);
            let (path, mend) = match owner {
                Some(owner) => {
                    let mend = format!(
                        "corelog log repair {} --partition {} --accept --apply",
                        folder.root.display(),
                        owner.name()
                    );
                    (owner.path.clone(), Some(mend))
                }
                None => (folder.root.join(DATA_FOLDER), None),
            };
            let what = format!(
                "partition {} is suspect and not served: {}",
                suspect.topic_partition, suspect.reason
            );
            let finding = Finding::damage(&path, what);
            self.findings.add(match mend {
                Some(mend) => finding.mended_by(&mend),
                None => finding,
            });
        }
    }

    /// Whose a folder is, by its name and its `partition.metadata`.
    fn owner(&mut self, folder: &PartitionFolder, is_ours: bool) -> Option<TopicPartition> {
        let name = folder.name();
        let partition = name.rsplit_once('-').and_then(|(_, number)| {
            let number: i32 = number.parse().ok()?;
            PartitionIndex::try_from(number).ok()
        });
        let Some(partition) = partition else {
            let what = "its name is no topic and partition";
            self.findings.add(Finding::note(&folder.path, what));
            return None;
        };
        let path = folder.path.join("partition.metadata");
        match read_bounded(&path, LARGEST_TEXT) {
            Ok(bytes) => match topic_id(&bytes) {
                Some(topic_id) => Some(TopicPartition {
                    topic_id,
                    partition,
                }),
                None => {
                    let what = "it names no topic id: the folder is refused";
                    self.findings.add(Finding::damage(&path, what));
                    None
                }
            },
            Err(_) if is_ours => {
                let what = "it is missing: a broker takes the folder for one of another broker";
                self.findings.add(Finding::note(&path, what));
                None
            }
            Err(_) => None,
        }
    }

    fn partition(&mut self, folder: &PartitionFolder, known: Known<'_>, mend: &str) {
        self.others(folder);
        self.check(known, mend, true).run(folder);
    }

    fn check<'b>(
        &'b mut self,
        known: Known<'b>,
        mend: &str,
        is_whole_log: bool,
    ) -> PartitionCheck<'b> {
        PartitionCheck {
            known,
            mend: mend.to_owned(),
            is_whole_log,
            read_records: self.read_records,
            findings: &mut self.findings,
            totals: &mut self.totals,
            progress: self.progress,
            next_offset: None,
            epoch: None,
            epochs: Vec::new(),
            end_is_lost: false,
            told: 0,
            is_compacted: false,
            is_compacted_by_us: false,
        }
    }

    /// Files of a partition that are no segments.
    fn others(&mut self, folder: &PartitionFolder) {
        /// Names of Kafka's and our files.
        const KNOWN: [&str; 4] = [
            "partition.metadata",
            "leader-epoch-checkpoint",
            "cleaner-offset-checkpoint",
            ".kafka_cleanshutdown",
        ];
        /// Left by an operation that was cut short; a start removes or finishes it.
        const TRANSIENT: [&str; 4] = ["deleted", "cleaned", "swap", "tmp"];
        let bases: BTreeSet<String> = folder
            .segments
            .iter()
            .map(|segment| format!("{:020}", segment.base_offset.get()))
            .collect();
        for path in &folder.others {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
            let last = extension.rsplit('.').next().unwrap_or_default();
            let what = if KNOWN.contains(&&*name) || extension == "snapshot" {
                continue;
            } else if TRANSIENT.contains(&last) {
                "an operation that was cut short left it; the next start takes care of it"
            } else if ["index", "timeindex", "txnindex", "checksums"].contains(&extension) {
                if bases.contains(stem) {
                    continue;
                }
                "there is no segment that it belongs to"
            } else {
                "no broker puts this file here"
            };
            self.findings.add(Finding::note(path, what));
        }
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mend = mend_of(path.parent().unwrap_or(path));
        if let Some(segment) = segment_of(path)?.or(swap_of(path)?) {
            self.check(Known::default(), &mend, false)
                .segment(&segment, true);
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match &*extension {
            "index" | "timeindex" => {
                let log = path.with_extension("log");
                match segment_of(&log)? {
                    Some(segment) => self
                        .check(Known::default(), &mend, false)
                        .segment(&segment, true),
                    None => self.lone_index(path, &mend),
                }
            }
            "checkpoint" => self.lone_checkpoint(path)?,
            _ if name == "leader-epoch-checkpoint" => {
                let bytes = read_bounded(path, LARGEST_TEXT)?;
                if let Err(problem) = leader_epochs(&bytes) {
                    self.findings.add(Finding::damage(path, problem));
                }
            }
            _ if name == "partition.metadata" => {
                if topic_id(&read_bounded(path, LARGEST_TEXT)?).is_none() {
                    let what = "it names no topic id";
                    self.findings.add(Finding::damage(path, what));
                }
            }
            _ => {
                return Err(NotALog::new(path, "is no file that can be checked alone").into());
            }
        }
        Ok(())
    }

    fn lone_index(&mut self, path: &Path, mend: &str) {
        let log = path.with_extension("log");
        let check = IndexCheck::load(
            &log,
            corelog_protocol::Offset::ZERO,
            mend,
            &mut self.findings,
        );
        drop(check);
        let what = "its segment is not there to compare it with";
        self.findings.add(Finding::note(path, what));
    }

    fn lone_checkpoint(&mut self, path: &Path) -> anyhow::Result<()> {
        let bytes = read_bounded(path, LARGEST_CHECKPOINT)?;
        if let Err(problem) = Checkpoint::decode(&bytes) {
            let what = format!("the checkpoint is {problem}");
            self.findings.add(Finding::damage(path, what));
        }
        Ok(())
    }
}
