//! What of a log can be kept: its segments, read from front to back.

mod judge;

use std::fs::File;
use std::io;
use std::ops::Range;

use corelog_broker::log::inspect::IndexBuilder;
use corelog_protocol::{LeaderEpoch, Offset};

use self::judge::{Judge, Seen, Verdict};
use super::batch_search::{Search, find_batch, holds_batch};
use super::batch_stream::{Batch, BatchStream, Broken};
use super::headers::{HeaderCheck, Headers};
use super::place::SegmentFile;
use super::sequential::SequentialFile;
use super::verify::finding::Findings;
use super::verify::index::IndexCheck;

/// Kafka's default; what the topic says is not known here.
const INDEX_INTERVAL_BYTES: u64 = 4096;
/// Parts of one segment that are kept, and batches put right; what is behind them is given up.
const MOST_PARTS: usize = 1 << 16;

/// A log's segments, and where it stands behind them.
#[derive(Debug)]
pub(crate) struct LogSurvey {
    pub(crate) segments: Vec<Survey>,
    pub(crate) next_offset: Offset,
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
}

/// One segment, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Why the rest of it could not be read.
    pub(crate) unreadable: Option<io::Error>,
    /// Whole batches that fit the log, in order.
    pub(crate) parts: Vec<Range<u64>>,
    /// What is wrong in the header of some of those.
    pub(crate) fixes: Vec<Fix>,
    /// The index files say what is not so.
    pub(crate) index_is_wrong: bool,
    /// What the segment's checksums say.
    pub(crate) headers: Headers,
    /// What is kept ends before this offset.
    pub(crate) next_offset: Offset,
    /// The first bytes that are not kept, and what is wrong with them.
    first_problem: Option<(u64, String)>,
}

/// A header that is put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fix {
    /// Where the batch begins in its segment.
    pub(crate) position: u64,
    pub(crate) field: Field,
}

/// The fields that no CRC covers, with what they say and what they must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    BaseOffset { from: i64, to: i64 },
    LeaderEpoch { from: i32, to: i32 },
}

impl Survey {
    /// All that is kept stands at the front.
    pub(crate) fn is_cut(&self) -> bool {
        match &self.parts[..] {
            [] => true,
            [part] => part.start == 0,
            _ => false,
        }
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.end - part.start).sum()
    }

    pub(crate) fn first_lost(&self) -> u64 {
        match self.parts.first() {
            Some(part) if part.start == 0 => part.end,
            _ => 0,
        }
    }

    /// Nothing of these bytes is lost or put right.
    pub(crate) fn is_whole(&self, bytes: u64) -> bool {
        self.unreadable.is_none() && self.kept_bytes() == bytes && self.fixes.is_empty()
    }

    /// Something of it is lost or put right, which is what its checksums speak of.
    pub(crate) fn is_mended(&self) -> bool {
        self.first_problem.is_some() || !self.fixes.is_empty()
    }

    /// What is wrong with the first bytes that are not kept.
    pub(crate) fn problem(&self) -> &str {
        let problem = self.first_problem.as_ref();
        problem.map_or("", |(_, problem)| problem)
    }

    fn note(&mut self, position: u64, problem: String) {
        let is_first = self
            .first_problem
            .as_ref()
            .is_none_or(|first| position < first.0);
        if is_first {
            self.first_problem = Some((position, problem));
        }
    }

    fn is_full(&self) -> bool {
        self.parts.len().max(self.fixes.len()) >= MOST_PARTS
    }

    /// Keeps a batch, if there is room to remember it.
    fn keep(&mut self, seen: &Seen, base_offset: Offset, epoch: Option<LeaderEpoch>) -> bool {
        if self.is_full() {
            let problem = format!(
                "more than {MOST_PARTS} pieces, from byte {} on",
                seen.position
            );
            self.note(seen.position, problem);
            return false;
        }
        let mut fix = |field| {
            self.fixes.push(Fix {
                position: seen.position,
                field,
            });
        };
        if base_offset.get() != seen.base_offset {
            fix(Field::BaseOffset {
                from: seen.base_offset,
                to: base_offset.get(),
            });
        }
        if epoch != LeaderEpoch::from_sentinel(seen.epoch) {
            fix(Field::LeaderEpoch {
                from: seen.epoch,
                to: LeaderEpoch::to_sentinel(epoch),
            });
        }
        let end = seen.position + seen.size as u64;
        match self.parts.last_mut() {
            Some(last) if last.end == seen.position => last.end = end,
            _ => self.parts.push(seen.position..end),
        }
        let next = base_offset.get() + i64::from(seen.last_offset_delta) + 1;
        self.next_offset = Offset::new(next);
        true
    }
}

/// Reads segments that follow each other.
pub(crate) fn survey<'a>(segments: impl Iterator<Item = &'a SegmentFile>) -> LogSurvey {
    let mut surveyor = Surveyor {
        judge: Judge::new(),
        log: LogSurvey {
            segments: Vec::new(),
            next_offset: Offset::ZERO,
            epochs: Vec::new(),
        },
        ended_at: None,
    };
    let mut last_base = Offset::ZERO;
    for segment in segments {
        last_base = segment.base_offset;
        surveyor.log.segments.push(Survey::default());
        let number = surveyor.log.segments.len() - 1;
        if let Err(error) = surveyor.segment(number, segment) {
            surveyor.log.segments[number].unreadable = Some(error);
        }
    }
    surveyor.judge.end();
    surveyor.settle();
    // The last segment may be empty.
    surveyor.log.next_offset = surveyor.log.next_offset.max(last_base);
    surveyor.log
}

struct Surveyor {
    judge: Judge,
    log: LogSurvey,
    /// The segment and the position at which the last whole batch ended; nothing if bytes behind it
    /// are lost.
    ended_at: Option<(usize, u64)>,
}

impl Surveyor {
    fn segment(&mut self, number: usize, segment: &SegmentFile) -> io::Result<()> {
        let mut findings = Findings::default();
        let mut check = IndexCheck::load(&segment.path, segment.base_offset, "", &mut findings);
        let mut headers = HeaderCheck::load(segment);
        let file = File::open(&segment.path)?;
        // Of whole batches: where the last one ends, and the least offset behind the last two.
        let mut end = 0;
        let mut ends = [segment.base_offset; 2];
        let mut start = 0;
        while start < segment.bytes && !self.log.segments[number].is_full() {
            let lost = self.stretch(number, segment, start, &file, |batch| {
                if !batch.is_out_of_range() {
                    check.observe(batch, &mut findings);
                }
                headers.observe(batch);
                end = batch.end();
                ends = [ends[1], batch.next_offset()];
            })?;
            let Some((position, problem)) = lost else {
                break;
            };
            self.log.segments[number].note(position, problem);
            self.ended_at = None;
            let behind = position + 1..segment.bytes;
            match find_batch(&segment.path, behind, ends[0].min(ends[1]))? {
                Search::Batch(position) => start = position,
                Search::Nothing | Search::GaveUp => break,
            }
        }
        if end == segment.bytes && (end == 0 || self.ended_at.is_some()) {
            // An empty segment is no break between its neighbours.
            self.ended_at = self.ended_at.map(|_| (number + 1, 0));
        } else {
            self.ended_at = None;
        }
        check.finish(end, &mut findings);
        self.log.segments[number].index_is_wrong = findings.damages > 0;
        self.log.segments[number].headers = headers.finish();
        Ok(())
    }

    /// Reads batches from `start` on, up to bytes that are none: then says where and why.
    fn stretch(
        &mut self,
        number: usize,
        segment: &SegmentFile,
        start: u64,
        file: &File,
        mut each: impl FnMut(&Batch),
    ) -> io::Result<Option<(u64, String)>> {
        let mut pieces = SequentialFile::open(&segment.path, start..segment.bytes)?;
        let mut stream = BatchStream::new(start, segment.bytes);
        let mut lost = None;
        while let Some(piece) = pieces.next()? {
            let fed = stream.feed(&piece, |batch| {
                if lost.is_some() {
                    return;
                }
                if batch.is_intact() {
                    self.hear(number, segment, batch);
                    each(batch);
                    return;
                }
                let problem = format!("a batch with a wrong CRC at byte {}", batch.position);
                let is_followed = batch.end() == segment.bytes
                    || holds_batch(file, batch.end(), segment.bytes).unwrap_or(false);
                if is_followed {
                    self.log.segments[number].note(batch.position, problem);
                    self.ended_at = None;
                } else {
                    // Its length may be what is damaged, and hide whole batches.
                    lost = Some((batch.position, problem));
                }
            });
            pieces.done(piece);
            self.settle();
            if lost.is_some() {
                return Ok(lost);
            }
            if let Err(broken) = fed {
                return Ok(Some(told(&broken)));
            }
        }
        Ok(stream.finish().err().as_ref().map(told))
    }

    fn hear(&mut self, number: usize, segment: &SegmentFile, batch: &Batch) {
        self.judge.hear(Seen {
            segment: number,
            segment_base: segment.base_offset,
            position: batch.position,
            size: batch.size,
            base_offset: batch.header.base_offset.get(),
            last_offset_delta: batch.header.last_offset_delta.get(),
            epoch: batch.header.partition_leader_epoch.get(),
            follows: self.ended_at == Some((number, batch.position)),
        });
        self.ended_at = Some((number, batch.end()));
    }

    /// Takes what was decided.
    fn settle(&mut self) {
        while let Some((seen, verdict)) = self.judge.next() {
            let survey = &mut self.log.segments[seen.segment];
            match verdict {
                Verdict::Stays { base_offset, epoch } => {
                    if !survey.keep(&seen, base_offset, epoch) {
                        continue;
                    }
                    self.log.next_offset = survey.next_offset;
                    if epoch > self.log.epochs.last().map(|(epoch, _)| *epoch) {
                        let began = epoch.map(|epoch| (epoch, base_offset));
                        self.log.epochs.extend(began);
                    }
                }
                Verdict::Goes(problem) => {
                    let problem = format!("a batch with {problem} at byte {}", seen.position);
                    survey.note(seen.position, problem);
                }
            }
        }
    }
}

fn told(broken: &Broken) -> (u64, String) {
    let problem = format!("{} at byte {}", broken.reason, broken.position);
    (broken.position, problem)
}

/// The bytes of `.index` and `.timeindex` of a segment whose batches are whole.
pub(crate) fn indexes_of(segment: &SegmentFile) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut index = IndexBuilder::new(segment.base_offset, INDEX_INTERVAL_BYTES);
    let mut pieces = SequentialFile::open(&segment.path, 0..segment.bytes)?;
    let mut stream = BatchStream::new(0, segment.bytes);
    while let Some(piece) = pieces.next()? {
        let fed = stream.feed(&piece, |batch| {
            let position = u32::try_from(batch.position).unwrap_or(u32::MAX);
            let time = batch.header.max_timestamp.get();
            index.observe(position, batch.size, batch.last_offset(), time);
        });
        pieces.done(piece);
        if fed.is_err() {
            break;
        }
    }
    Ok(index.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_segment_in_too_many_pieces_the_first_ones_are_kept() {
        let mut survey = Survey::default();
        let mut keep = |n: usize| {
            let seen = Seen {
                segment: 0,
                segment_base: Offset::ZERO,
                position: 200 * n as u64,
                size: 100,
                base_offset: n as i64,
                last_offset_delta: 0,
                epoch: -1,
                follows: false,
            };
            survey.keep(&seen, Offset::new(n as i64), None)
        };
        assert!((0..MOST_PARTS).all(&mut keep));
        assert!(!keep(MOST_PARTS));
        assert_eq!(survey.kept_bytes(), 100 * MOST_PARTS as u64);
        assert!(survey.problem().contains("more than 65536 pieces"));
    }
}
