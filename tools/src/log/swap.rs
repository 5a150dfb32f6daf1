//! What a compaction leaves behind when a crash interrupts it: `<base>.log.swap`, which takes the
//! place of the segments it was cleaned from. `broker/docs/compaction.md` has the order of steps.
//!
//! A swap that is whole counts from the moment of its name, whatever is left of its sources. One
//! that is damaged counts only where a source is gone: the sources hold all of it and more. They
//! follow each other without a hole, so what is missing of them shows.

use std::io;

use corelog_protocol::{LeaderEpoch, Offset};

use super::batch_stream::BatchStream;
use super::place::{PartitionFolder, SegmentFile};
use super::sequential::SequentialFile;
use super::survey::survey;

/// What is to be made of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is whole: the next start puts it in the place of the segments below this offset.
    Completes { end: Offset },
    /// It is damaged, and everything it was made from is still there.
    IsNotNeeded { problem: String },
    /// It is damaged, and some of what it was made from is gone: it is the segment.
    IsTheSegment { problem: String },
}

/// One swap and what is to be made of it.
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) file: SegmentFile,
    pub(crate) fate: Fate,
}

/// A partition's log as the next start will have it.
#[derive(Debug)]
pub(crate) struct SettledLog {
    /// By base offset; some of them are swaps.
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) swaps: Vec<Swap>,
}

impl SettledLog {
    /// Reads the swaps of a folder. The closed segments lie below `closed_end`, if that is known.
    pub(crate) fn of(
        folder: &PartitionFolder,
        closed_end: Option<Offset>,
    ) -> io::Result<SettledLog> {
        let mut log = SettledLog {
            segments: folder.segments.clone(),
            swaps: Vec::new(),
        };
        for file in &folder.swaps {
            let fate = fate(folder, file, closed_end)?;
            let base = file.base_offset;
            match &fate {
                Fate::Completes { end } => {
                    let replaced = base..*end;
                    log.segments
                        .retain(|it| !replaced.contains(&it.base_offset));
                    log.segments.push(file.clone());
                }
                Fate::IsTheSegment { .. } => {
                    log.segments.retain(|it| it.base_offset != base);
                    log.segments.push(file.clone());
                }
                Fate::IsNotNeeded { .. } => {}
            }
            log.swaps.push(Swap {
                file: file.clone(),
                fate,
            });
        }
        log.segments.sort_by_key(|segment| segment.base_offset);
        Ok(log)
    }
}

fn fate(
    folder: &PartitionFolder,
    swap: &SegmentFile,
    closed_end: Option<Offset>,
) -> io::Result<Fate> {
    let problem = match walk(swap)? {
        Ok(end) if closed_end.is_none_or(|closed_end| end <= closed_end) => {
            return Ok(Fate::Completes { end });
        }
        Ok(end) => format!("it ends at offset {end}, behind the closed segments"),
        Err(problem) => problem,
    };
    let found = survey(std::iter::once(swap));
    let found = &found.segments[0];
    let has_its_end = found
        .parts
        .last()
        .is_some_and(|last| last.end == swap.bytes);
    // As far as its batches tell: the sources ended there, or behind it if its end is lost.
    let end = found.next_offset;
    let reached = reach_of_sources(folder, swap.base_offset, has_its_end.then_some(end))?;
    Ok(if reached.is_some_and(|reached| reached >= end) {
        Fate::IsNotNeeded { problem }
    } else {
        Fate::IsTheSegment { problem }
    })
}

/// Reads a swap as a start does: every batch whole and in order. Returns where it ends, or what is
/// wrong.
fn walk(swap: &SegmentFile) -> io::Result<Result<Offset, String>> {
    let mut next = swap.base_offset;
    let mut epoch: Option<LeaderEpoch> = None;
    let mut problem = (swap.bytes == 0).then(|| "it is empty".to_owned());
    let mut pieces = SequentialFile::open(&swap.path, 0..swap.bytes)?;
    let mut stream = BatchStream::new(0, swap.bytes);
    let mut broken = None;
    while let Some(piece) = pieces.next()? {
        let fed = stream.feed(&piece, |batch| {
            let fault = if !batch.is_intact() {
                "a batch with a wrong CRC"
            } else if batch.is_out_of_range() || batch.base_offset() < next {
                "a batch that does not follow the one before"
            } else if batch.epoch() < epoch {
                "a leader epoch that falls"
            } else {
                (next, epoch) = (batch.next_offset(), batch.epoch());
                return;
            };
            problem.get_or_insert_with(|| format!("{fault} at byte {}", batch.position));
        });
        pieces.done(piece);
        if let Err(error) = fed {
            broken = Some(error);
            break;
        }
    }
    if let Some(broken) = broken.or_else(|| stream.finish().err()) {
        problem.get_or_insert_with(|| format!("{} at byte {}", broken.reason, broken.position));
    }
    Ok(match problem {
        Some(problem) => Err(problem),
        None => Ok(next),
    })
}

/// How far the segments from `base` on follow each other without a hole; `None` if the first one is
/// missing. Without an `end` up to which that is asked, a hole anywhere behind may be one of the
/// sources that was removed, and nothing is said.
fn reach_of_sources(
    folder: &PartitionFolder,
    base: Offset,
    end: Option<Offset>,
) -> io::Result<Option<Offset>> {
    let mut reached = None;
    let sources = folder.segments.iter();
    for source in sources.filter(|it| it.base_offset >= base) {
        let expected = reached.unwrap_or(base);
        if end.is_some_and(|end| expected >= end && reached.is_some()) {
            break;
        }
        if source.base_offset != expected {
            return Ok(reached.filter(|_| end.is_some()));
        }
        let found = survey(std::iter::once(source));
        if let Some(error) = found.segments.into_iter().find_map(|it| it.unreadable) {
            return Err(error);
        }
        reached = Some(found.next_offset);
    }
    Ok(reached)
}
