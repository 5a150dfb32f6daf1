//! Mending one partition's folder.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{BLOCK, PartitionPlace};
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex};

use super::checkpoints::Checkpoints;
use super::quarantine::{Quarantine, replace};
use super::survey::{Standing, Survey, survey};
use super::{Left, Step, segments_of};
use crate::log::place::{PartitionFolder, SegmentFile};
use crate::log::small_file::{LARGEST_TEXT, leader_epochs, read_bounded, topic_id};

const EPOCHS: &str = "leader-epoch-checkpoint";

pub(super) struct Repair<'a> {
    pub(super) root: &'a Path,
    pub(super) folder: &'a PartitionFolder,
    /// Of our data folders.
    pub(super) checkpoints: Option<&'a Checkpoints>,
    pub(super) accept: bool,
    pub(super) apply: bool,
    pub(super) steps: &'a mut Vec<Step>,
    pub(super) left: &'a mut Vec<Left>,
}

/// How far a segment may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freedom {
    /// Everything: nobody else says what it holds.
    Full,
    /// It is closed, and no checkpoint names a place in it.
    Closed,
    /// A checkpoint names a place in it, or it lies behind.
    IndexesOnly,
}

impl Repair<'_> {
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        let id = self.owner();
        let place = id.and_then(|id| self.checkpoints?.place(id)).cloned();
        let suspicion = id.and_then(|id| self.checkpoints?.suspicion(id));
        if let Some(reason) = suspicion
            && !self.accept
        {
            let why = format!(
                "it is suspect ({reason}): restore it from a backup, or serve what its {} hold: \
                 {}",
                segments_of(self.folder),
                self.accept_command()
            );
            self.leave(&self.folder.path.clone(), why);
            return Ok(());
        }
        if self.accept
            && suspicion.is_none()
            && place.is_some()
            && self.checkpoints.is_some_and(Checkpoints::are_behind)
        {
            let why = "the journals hold more than the segments: start the broker and stop it, so \
                       that they are replayed, and look again"
                .to_owned();
            self.leave(&self.folder.path.clone(), why);
            return Ok(());
        }
        if self.folder.segments.is_empty() && suspicion.is_none() {
            return Ok(());
        }
        let quarantine = Quarantine::new(self.root, &self.folder.name());
        let mut standing = Standing::default();
        let mut last = None;
        let freedom = |base: Offset| match &place {
            Some(place) if !self.accept && base >= place.segment_base => Freedom::IndexesOnly,
            Some(_) if !self.accept => Freedom::Closed,
            _ => Freedom::Full,
        };
        let segments: Vec<_> = self
            .folder
            .segments
            .iter()
            .map(|segment| (segment, freedom(segment.base_offset)))
            .collect();
        for (segment, freedom) in segments {
            if let Some(kept) = self.segment(segment, freedom, &mut standing, &quarantine)? {
                last = Some((segment.base_offset, kept));
            }
        }
        if place.is_none() || self.accept {
            self.epochs(&standing.epochs, &quarantine)?;
        }
        if self.accept
            && let (Some(id), Some(checkpoints)) = (id, self.checkpoints)
        {
            let known = (id, place.as_ref());
            self.accept(known, checkpoints, &standing, last, &quarantine)?;
        }
        Ok(())
    }

    fn leave(&mut self, file: &Path, why: String) {
        self.left.push(Left {
            file: file.to_owned(),
            why,
        });
    }

    fn step(&mut self, file: &Path, what: String) -> bool {
        self.steps.push(Step {
            file: file.to_owned(),
            what,
        });
        self.apply
    }

    fn accept_command(&self) -> String {
        format!(
            "corelog log repair {} --partition {} --accept --apply",
            self.root.display(),
            self.folder.name()
        )
    }

    fn owner(&self) -> Option<TopicPartition> {
        let name = self.folder.name();
        let partition = name.rsplit_once('-')?.1.parse::<i32>().ok()?;
        let metadata = self.folder.path.join("partition.metadata");
        Some(TopicPartition {
            topic_id: topic_id(&read_bounded(&metadata, LARGEST_TEXT).ok()?)?,
            partition: PartitionIndex::try_from(partition).ok()?,
        })
    }

    /// Mends one segment and returns its length afterwards; `None` when it is gone.
    fn segment(
        &mut self,
        segment: &SegmentFile,
        freedom: Freedom,
        standing: &mut Standing,
        quarantine: &Quarantine,
    ) -> anyhow::Result<Option<u64>> {
        let before = standing.clone();
        let found = match survey(segment, standing) {
            Ok(found) => found,
            Err(error) => {
                *standing = before;
                let why = format!("it cannot be read: {error}; copy what can be read elsewhere");
                self.leave(&segment.path, why);
                return Ok(Some(segment.bytes));
            }
        };
        if found.kept_bytes() == segment.bytes {
            if found.index_is_wrong {
                let what = "write its indexes anew".to_owned();
                if self.step(&segment.path, what) {
                    write_indexes(segment, &found, quarantine)?;
                }
            }
            return Ok(Some(segment.bytes));
        }
        let problem = found.problem.clone().unwrap_or_default();
        let lost = segment.bytes - found.kept_bytes();
        if freedom == Freedom::IndexesOnly {
            let why = format!(
                "{problem}: what a broker acknowledged there, its checkpoint and its journal know. \
                 Start it: it mends what it can, and names the partition if it cannot"
            );
            self.leave(&segment.path, why);
            return Ok(Some(segment.bytes));
        }
        if found.parts.is_empty() && freedom == Freedom::Closed {
            let what = format!("move it to {}: {problem}", quarantine.path().display());
            if self.step(&segment.path, what) {
                for extension in ["log", "index", "timeindex"] {
                    quarantine.take(&segment.path.with_extension(extension))?;
                }
            }
            return Ok(None);
        }
        if found.is_cut() && freedom == Freedom::Full {
            let what = format!(
                "cut its last {lost} bytes, from byte {} on, and keep them in {}: {problem}",
                found.first_lost(),
                quarantine.path().display()
            );
            if self.step(&segment.path, what) {
                quarantine.cut(&segment.path, found.first_lost())?;
                write_indexes(segment, &found, quarantine)?;
            }
        } else {
            let what = format!(
                "move it to {} and keep all of it but {lost} bytes: {problem}",
                quarantine.path().display()
            );
            if self.step(&segment.path, what) {
                quarantine.keep_parts(&segment.path, &found.parts)?;
                write_indexes(segment, &found, quarantine)?;
            }
        }
        Ok(Some(found.kept_bytes()))
    }

    /// A file of leader epochs that the batches contradict.
    fn epochs(
        &mut self,
        found: &[(LeaderEpoch, Offset)],
        quarantine: &Quarantine,
    ) -> anyhow::Result<()> {
        let path = self.folder.path.join(EPOCHS);
        let Ok(bytes) = read_bounded(&path, LARGEST_TEXT) else {
            return Ok(());
        };
        let known = leader_epochs(&bytes);
        let agrees = known.is_ok_and(|known| found.iter().all(|entry| known.contains(entry)));
        if !agrees && self.step(&path, "write it anew from the batches".to_owned()) {
            let mut text = format!("0\n{}\n", found.len());
            for (epoch, offset) in found {
                text.push_str(&format!("{epoch} {offset}\n"));
            }
            quarantine.take(&path)?;
            replace(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// Has the next start serve what the segments hold now.
    fn accept(
        &mut self,
        (id, known): (TopicPartition, Option<&PartitionPlace>),
        checkpoints: &Checkpoints,
        standing: &Standing,
        last: Option<(Offset, u64)>,
        quarantine: &Quarantine,
    ) -> anyhow::Result<()> {
        let (segment_base, position) = last.unwrap_or((Offset::ZERO, 0));
        if checkpoints.suspicion(id).is_none() {
            // Nobody knows of it: a broker takes over what is there. Or all is as it is known.
            let Some(known) = known else { return Ok(()) };
            let stands = (segment_base, position, standing.next_offset);
            if stands == (known.segment_base, known.position, known.next_offset) {
                return Ok(());
            }
        }
        let first = self.folder.segments.first();
        let first = first.map_or(Offset::ZERO, |segment| segment.base_offset);
        let log_start = known.map_or(first, |known| known.log_start.max(first));
        let log_start = log_start.min(standing.next_offset);
        let what = format!(
            "serve it with what its segments hold, offsets {log_start} up to, but not including, \
             {}",
            standing.next_offset
        );
        if !self.step(&self.folder.path.clone(), what) {
            return Ok(());
        }
        let segment = self
            .folder
            .path
            .join(format!("{:020}.log", segment_base.get()));
        let place = PartitionPlace {
            // No journal has a word in it any more.
            applied_sequence: u64::MAX,
            segment_base,
            position,
            next_offset: standing.next_offset,
            log_start,
            block_crc: begun_block_crc(&segment, position)?,
            epochs: standing.epochs.clone(),
        };
        checkpoints.accept(id, &place, quarantine)
    }
}

fn write_indexes(
    segment: &SegmentFile,
    found: &Survey,
    quarantine: &Quarantine,
) -> anyhow::Result<()> {
    let (offsets, times) = found.index.clone().finish();
    for (extension, bytes) in [("index", offsets), ("timeindex", times)] {
        let path = segment.path.with_extension(extension);
        quarantine.take(&path)?;
        replace(&path, &bytes)?;
    }
    Ok(())
}

/// The checksum by which a start knows the block that the log ends in.
fn begun_block_crc(segment: &Path, position: u64) -> anyhow::Result<u32> {
    let begun = usize::try_from(position % BLOCK as u64)?;
    if begun == 0 {
        return Ok(0);
    }
    let mut bytes = vec![0; begun];
    let read = File::open(segment)
        .and_then(|file| file.read_exact_at(&mut bytes, position - begun as u64));
    read.with_context(|| format!("cannot read {}", segment.display()))?;
    Ok(crc32c::crc32c(&bytes))
}
