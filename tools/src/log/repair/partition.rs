//! Mending one partition's folder.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use corelog_broker::log::TopicPartition;
use corelog_broker::log::inspect::{BLOCK, PartitionPlace};
use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex};

use super::checkpoints::Checkpoints;
use super::producers::remembered;
use super::quarantine::{Act, Quarantine, cut, keep_parts, reindex, replace, take_out};
use super::{Left, Step, segments_of};
use crate::log::headers::{self, Headers};
use crate::log::place::{PartitionFolder, SegmentFile};
use crate::log::small_file::{
    LARGEST_TEXT, epochs_contradicted, leader_epochs, read_bounded, topic_id,
};
use crate::log::survey::{Field, Fix, LogSurvey, Survey, survey};
use crate::log::swap::{Fate, SettledLog, Swap};

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
        let checkpoints = self.checkpoints;
        let known = id.and_then(|id| Some(checkpoints?.known(id)));
        let known = known.unwrap_or_default();
        let place = known.place;
        let suspicion = id.and_then(|id| checkpoints?.suspicion(id));
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
            && (place.is_some() || known.is_for_the_replay())
            && checkpoints.is_some_and(Checkpoints::are_behind)
        {
            let why = "the journals hold more than the segments: start the broker and stop it, so \
                       that they are replayed, and look again"
                .to_owned();
            self.leave(&self.folder.path.clone(), why);
            return Ok(());
        }
        let is_empty = self.folder.segments.is_empty() && self.folder.swaps.is_empty();
        if is_empty && suspicion.is_none() {
            return Ok(());
        }
        let log = SettledLog::of(self.folder, place.map(|place| place.segment_base));
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                let why = format!("what compaction left in it cannot be read: {error}");
                self.leave(&self.folder.path.clone(), why);
                return Ok(());
            }
        };
        let quarantine = Quarantine::new(self.root, &self.folder.name());
        for swap in &log.swaps {
            self.swap(swap, &quarantine)?;
        }
        let accept = self.accept;
        let freedom = |base: Offset| match place {
            _ if accept => Freedom::Full,
            Some(place) if base >= place.segment_base => Freedom::IndexesOnly,
            Some(_) => Freedom::Closed,
            None if known.is_for_the_replay() => Freedom::IndexesOnly,
            None => Freedom::Full,
        };
        let standing = survey(log.segments.iter());
        let mut last = None;
        for (segment, found) in log.segments.iter().zip(&standing.segments) {
            let freedom = freedom(segment.base_offset);
            if let Some(kept) = self.segment(segment, found, freedom, &quarantine)? {
                last = Some((segment.base_offset, kept));
            }
        }
        // Not from headers that are not what was written.
        let are_believed = standing
            .segments
            .iter()
            .all(|found| !matches!(found.headers, Headers::Changed { .. }) || found.is_mended());
        let are_ours_to_write = place.is_none() && !known.is_for_the_replay() && are_believed;
        if self.accept || are_ours_to_write {
            self.epochs((&standing.epochs, standing.next_offset), &quarantine)?;
        }
        if self.accept
            && let (Some(id), Some(checkpoints)) = (id, checkpoints)
        {
            let kept = log.segments.iter();
            let kept = kept.map(|segment| (segment.base_offset, segment.path.as_path()));
            let kept: Vec<_> = kept.filter(|(_, path)| path.exists()).collect();
            let standing = (&standing, &kept[..]);
            self.accept((id, place), checkpoints, standing, last, &quarantine)?;
        }
        Ok(())
    }

    /// What a compaction left to replace other segments.
    fn swap(&mut self, swap: &Swap, quarantine: &Quarantine) -> anyhow::Result<()> {
        let Fate::IsNotNeeded { problem } = &swap.fate else {
            return Ok(());
        };
        let what = format!(
            "move it to {}: {problem}, and the segments it was to replace are all there",
            quarantine.path().display()
        );
        if self.step(&swap.file.path, what) {
            quarantine.perform(&take_out(&swap.file))?;
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
        found: &Survey,
        freedom: Freedom,
        quarantine: &Quarantine,
    ) -> anyhow::Result<Option<u64>> {
        if let Some(error) = &found.unreadable {
            let why = format!("it cannot be read: {error}; copy what can be read elsewhere");
            self.leave(&segment.path, why);
            return Ok(Some(segment.bytes));
        }
        if found.is_whole(segment.bytes) {
            if found.index_is_wrong {
                let what = "write its indexes anew".to_owned();
                if self.step(&segment.path, what) {
                    quarantine.perform(&reindex(segment))?;
                }
            }
            self.headers(segment, &found.headers, quarantine)?;
            return Ok(Some(segment.bytes));
        }
        if freedom == Freedom::IndexesOnly {
            let why = format!(
                "{}: what a broker acknowledged there, its checkpoint and its journal know. \
                 Start it: it mends what it can, and names the partition if it cannot",
                problems(found)
            );
            self.leave(&segment.path, why);
            return Ok(Some(segment.bytes));
        }
        let (what, acts) = mend(segment, found, freedom, quarantine.path());
        if self.step(&segment.path, what) {
            quarantine.perform(&acts)?;
        }
        let is_gone = found.parts.is_empty() && freedom == Freedom::Closed;
        Ok((!is_gone).then(|| found.kept_bytes()))
    }

    /// The checksums of a segment in which nothing else is wrong.
    fn headers(
        &mut self,
        segment: &SegmentFile,
        headers: &Headers,
        quarantine: &Quarantine,
    ) -> anyhow::Result<()> {
        let checksums = headers::path_of(&segment.path);
        match headers {
            Headers::AsWritten => {}
            Headers::Unreadable(problem) => {
                let what = format!(
                    "move it to {}: it is {problem}",
                    quarantine.path().display()
                );
                if self.step(&checksums, what) {
                    quarantine.perform(&[Act::Take(checksums)])?;
                }
            }
            Headers::Changed { from, to } => {
                let why = format!(
                    "the base offset, the leader epoch or the length of a batch between bytes \
                     {from} and {to} is not what was written, and nothing tells which: restore it \
                     from a backup, or take what it says by moving {} elsewhere",
                    checksums.display()
                );
                self.leave(&segment.path, why);
            }
        }
        Ok(())
    }

    /// A file of leader epochs that the batches contradict.
    fn epochs(
        &mut self,
        (found, next_offset): (&[(LeaderEpoch, Offset)], Offset),
        quarantine: &Quarantine,
    ) -> anyhow::Result<()> {
        let path = self.folder.path.join(EPOCHS);
        let Ok(bytes) = read_bounded(&path, LARGEST_TEXT) else {
            return Ok(());
        };
        let known = leader_epochs(&bytes);
        let ends = found.iter().skip(1).map(|(_, first)| *first);
        let batches: Vec<_> = found
            .iter()
            .zip(ends.chain([next_offset]))
            .map(|(&(epoch, first), next)| (epoch, first, next))
            .collect();
        let agrees = known.is_ok_and(|known| epochs_contradicted(&known, &batches).is_none());
        if !agrees && self.step(&path, "write it anew from the batches".to_owned()) {
            let mut text = format!("0\n{}\n", found.len());
            for (epoch, offset) in found {
                text.push_str(&format!("{epoch} {offset}\n"));
            }
            quarantine.keep(&path)?;
            replace(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// Has the next start serve what the segments hold now.
    fn accept(
        &mut self,
        (id, known): (TopicPartition, Option<&PartitionPlace>),
        checkpoints: &Checkpoints,
        (standing, kept): (&LogSurvey, &[(Offset, &Path)]),
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
            producers: remembered(kept.iter().copied(), known, standing.next_offset)?,
        };
        checkpoints.accept(id, &place, quarantine)
    }
}

/// What is to be done with a segment that cannot stay as it is, in words and in steps.
fn mend(
    segment: &SegmentFile,
    found: &Survey,
    freedom: Freedom,
    quarantine: &Path,
) -> (String, Vec<Act>) {
    let lost = segment.bytes - found.kept_bytes();
    let quarantine = quarantine.display();
    let problem = found.problem();
    // A swap takes the name of the log that it was to replace.
    let is_swap = segment.path.extension().is_some_and(|it| it == "swap");
    let log = match is_swap {
        true => segment.path.with_extension(""),
        false => segment.path.clone(),
    };
    if found.parts.is_empty() && (is_swap || freedom == Freedom::Closed) {
        let what = format!("move it to {quarantine}: {problem}");
        return (what, take_out(segment));
    }
    if found.is_cut() && found.fixes.is_empty() && freedom == Freedom::Full && !is_swap {
        let position = found.first_lost();
        let what = format!(
            "cut its last {lost} bytes, from byte {position} on, and keep them in {quarantine}: \
             {problem}"
        );
        return (what, cut(segment, position));
    }
    let mut what = format!("move it to {quarantine} and keep ");
    what.push_str(&match lost {
        0 => "all of it".to_owned(),
        _ => format!("all of it but {lost} bytes: {problem}"),
    });
    if is_swap {
        what.push_str("; it takes the place of the segments it was to replace");
    }
    if !found.fixes.is_empty() {
        what.push_str("; ");
        what.push_str(&fixes(&found.fixes));
    }
    (what, keep_parts(segment, &log, &found.parts, &found.fixes))
}

fn problems(found: &Survey) -> String {
    match found.problem() {
        "" => fixes(&found.fixes),
        problem => problem.to_owned(),
    }
}

/// What is put right in headers, the first ones word for word.
fn fixes(fixes: &[Fix]) -> String {
    const MOST: usize = 5;
    let mut told: Vec<String> = fixes.iter().take(MOST).map(fix).collect();
    if let more @ 1.. = fixes.len().saturating_sub(MOST) {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

fn fix(fix: &Fix) -> String {
    let (field, from, to) = match fix.field {
        Field::BaseOffset { from, to } => ("base offset", from, to),
        Field::LeaderEpoch { from, to } => ("leader epoch", from.into(), to.into()),
    };
    format!(
        "the batch at byte {} has {field} {from} where those before and behind it leave only {to}: \
         one bit of it is wrong",
        fix.position
    )
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

#[cfg(test)]
mod tests;
