//! The checkpoints of a data folder, as a repair reads and changes them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{Checkpoint, JOURNAL_FOLDER, PartitionPlace, START_CHECKPOINT};

use super::quarantine::{Quarantine, replace};
use crate::log::small_file::{LARGEST_CHECKPOINT, read_bounded};
use crate::log::verify::journal::{self, JournalFolder, Known};

/// `start.checkpoint` and the shards' of the same generation.
pub(super) struct Checkpoints {
    start: Checkpoint,
    files: Vec<(PathBuf, Vec<u8>, Checkpoint)>,
    journal: JournalFolder,
}

impl Checkpoints {
    pub(super) fn load(root: &Path, journal_files: &[PathBuf]) -> anyhow::Result<Checkpoints> {
        let path = root.join(JOURNAL_FOLDER).join(START_CHECKPOINT);
        let start = read(&path)?.2;
        let mut files = Vec::new();
        for path in journal_files {
            if path.extension().is_some_and(|it| it == "checkpoint") {
                let file = read(path)?;
                let generation = |it: &Checkpoint| (it.generation, it.salt);
                if generation(&file.2) == generation(&start) {
                    files.push(file);
                }
            }
        }
        let journal = journal::read(&root.join(JOURNAL_FOLDER), journal_files);
        Ok(Checkpoints {
            start,
            files,
            journal,
        })
    }

    /// The journals hold groups that no checkpoint covers.
    pub(super) fn are_behind(&self) -> bool {
        self.journal.has_uncovered_groups()
    }

    /// What checkpoints and journals say of a partition.
    pub(super) fn known(&self, id: TopicPartition) -> Known<'_> {
        self.journal.known(id)
    }

    pub(super) fn suspicion(&self, id: TopicPartition) -> Option<&str> {
        let mut suspects = self.start.suspects.iter();
        let found = suspects.find(|suspect| suspect.topic_partition == id);
        found.map(|suspect| suspect.reason.as_str())
    }

    /// Has the next start open the partition at `place`. Copies of what is changed are kept.
    pub(super) fn accept(
        &self,
        id: TopicPartition,
        place: &PartitionPlace,
        quarantine: &Quarantine,
    ) -> anyhow::Result<()> {
        for (path, ..) in &self.files {
            // As it is now: another partition may have been accepted before.
            let (_, bytes, checkpoint) = read(path)?;
            let is_start = path.file_name().is_some_and(|it| it == START_CHECKPOINT);
            if !is_start && !checkpoint.partitions.contains_key(&id) {
                continue;
            }
            let accepted = Checkpoint::accept(&bytes, id, place);
            let accepted =
                accepted.map_err(|problem| anyhow::anyhow!("{} is {problem}", path.display()))?;
            quarantine.keep(path)?;
            replace(path, &accepted)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<(PathBuf, Vec<u8>, Checkpoint)> {
    let bytes = read_bounded(path, LARGEST_CHECKPOINT)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let checkpoint = Checkpoint::decode(&bytes).map_err(|problem| {
        anyhow::anyhow!(
            "the checkpoint {} is {problem}; restore it from a backup of the data folder",
            path.display()
        )
    })?;
    Ok((path.to_owned(), bytes, checkpoint))
}
