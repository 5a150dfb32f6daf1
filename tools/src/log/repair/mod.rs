//! `corelog log repair`: says what would mend a folder, and does it with `--apply`.
//!
//! No byte is ever deleted: what leaves its place is in the quarantine before. Nothing that our
//! checkpoint calls durable is given up without `--accept`, and what lies behind a checkpoint is
//! left to the next start, which knows the journal.

mod checkpoints;
mod partition;
mod producers;
mod quarantine;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corelog_broker::data_dir::FolderLock;
use corelog_broker::log::inspect::{DATA_FOLDER, JOURNAL_FOLDER};
use serde::Serialize;

use self::checkpoints::Checkpoints;
use self::partition::Repair;
use super::arguments::RepairArguments;
use super::place::{NotALog, PartitionFolder, Place};
use crate::args::Format;
use crate::output;

/// What a repair does, or would do.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    applied: bool,
    steps: Vec<Step>,
    /// What it does not mend.
    left: Vec<Left>,
}

#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) file: PathBuf,
    pub(super) what: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

pub(super) fn run(arguments: &RepairArguments, format: Format) -> anyhow::Result<ExitCode> {
    let (root, journal, mut folders) = match Place::find(&arguments.path)? {
        Place::Data(data) => (data.root, data.journal, data.partitions),
        Place::Partition(folder) => match root_of(&folder.path) {
            Some(root) => match Place::find(&root)? {
                Place::Data(data) => (data.root, data.journal, vec![folder]),
                _ => return Err(NotALog::new(&root, "is no data folder").into()),
            },
            None => {
                let parent = folder.path.parent().unwrap_or(Path::new("."));
                (parent.to_owned(), Vec::new(), vec![folder])
            }
        },
        Place::File(path) => {
            let problem = "is a file: give the folder of its partition";
            return Err(NotALog::new(&path, problem).into());
        }
    };
    if !arguments.partition.is_empty() {
        for name in &arguments.partition {
            if !folders.iter().any(|folder| folder.name() == *name) {
                let path = root.join(DATA_FOLDER).join(name);
                return Err(NotALog::new(&path, "is no partition's folder").into());
            }
        }
        folders.retain(|folder| arguments.partition.contains(&folder.name()));
    }
    if arguments.accept && folders.len() != 1 {
        let problem = "has several partitions: --accept wants one, named with --partition";
        return Err(NotALog::new(&arguments.path, problem).into());
    }
    let is_ours = root.join(JOURNAL_FOLDER).is_dir();
    // Nobody may change what is looked at, nor start on what is half changed.
    let _lock = is_ours.then(|| FolderLock::take(&root)).transpose()?;
    let checkpoints = is_ours
        .then(|| Checkpoints::load(&root, &journal))
        .transpose()?;
    let mut report = Report {
        path: arguments.path.clone(),
        applied: arguments.apply,
        steps: Vec::new(),
        left: Vec::new(),
    };
    for folder in &folders {
        let mut repair = Repair {
            root: &root,
            folder,
            checkpoints: checkpoints.as_ref(),
            accept: arguments.accept,
            apply: arguments.apply,
            steps: &mut report.steps,
            left: &mut report.left,
        };
        repair.run()?;
    }
    output::print(format, &report, |out| {
        for step in &report.steps {
            let verb = if report.applied { "done" } else { "would" };
            writeln!(out, "{verb:5} {}: {}", step.file.display(), step.what)?;
        }
        for left in &report.left {
            writeln!(out, "left  {}: {}", left.file.display(), left.why)?;
        }
        match (report.steps.len(), report.left.len()) {
            (0, 0) => writeln!(out, "Nothing is to be mended."),
            (0, _) => writeln!(out, "Nothing was changed."),
            (_, _) if report.applied => writeln!(
                out,
                "What was taken out is in {}.",
                root.join("quarantine").display()
            ),
            (_, _) => writeln!(out, "Nothing was changed: --apply does it."),
        }
    })?;
    let is_mended = report.left.is_empty() && (report.applied || report.steps.is_empty());
    Ok(ExitCode::from(u8::from(!is_mended)))
}

/// The data folder of ours that a partition's folder lies in.
fn root_of(partition: &Path) -> Option<PathBuf> {
    let partition = partition.canonicalize().ok()?;
    let data = partition.parent()?;
    let root = data.parent()?;
    let is_ours = data.file_name().is_some_and(|name| name == DATA_FOLDER)
        && root.join(JOURNAL_FOLDER).is_dir();
    is_ours.then(|| root.to_owned())
}

pub(super) fn segments_of(folder: &PartitionFolder) -> String {
    match folder.segments.len() {
        1 => "1 segment".to_owned(),
        count => format!("{count} segments"),
    }
}
