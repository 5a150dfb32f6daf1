//! What of a segment can be kept.

use std::io;
use std::ops::Range;

use corelog_broker::log::inspect::IndexBuilder;
use corelog_protocol::{LeaderEpoch, Offset};

use crate::log::batch_search::{Search, find_batch};
use crate::log::batch_stream::{Batch, BatchStream};
use crate::log::place::SegmentFile;
use crate::log::sequential::SequentialFile;
use crate::log::verify::finding::Findings;
use crate::log::verify::index::IndexCheck;

/// Kafka's default; what the topic says is not known here.
const INDEX_INTERVAL_BYTES: u64 = 4096;
/// Parts of one segment that are kept; a segment in more pieces is given up as a whole.
const MOST_PARTS: usize = 1 << 16;

/// Where the log stands before a segment, and then behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) next_offset: Offset,
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
}

/// One segment, read to its end.
#[derive(Debug)]
pub(super) struct Survey {
    /// Whole batches that fit the log, in order.
    pub(super) parts: Vec<Range<u64>>,
    /// What is wrong with the first bytes that are not kept.
    pub(super) problem: Option<String>,
    /// The index files say what is not so.
    pub(super) index_is_wrong: bool,
    /// The indexes of the parts that are kept.
    pub(super) index: IndexBuilder,
}

impl Survey {
    /// All that is kept stands at the front.
    pub(super) fn is_cut(&self) -> bool {
        match &self.parts[..] {
            [] => true,
            [part] => part.start == 0,
            _ => false,
        }
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.end - part.start).sum()
    }

    pub(super) fn first_lost(&self) -> u64 {
        match self.parts.first() {
            Some(part) if part.start == 0 => part.end,
            _ => 0,
        }
    }
}

/// Reads a segment that follows what `standing` says, and brings that to its end.
pub(super) fn survey(segment: &SegmentFile, standing: &mut Standing) -> io::Result<Survey> {
    let base = segment.base_offset;
    standing.next_offset = standing.next_offset.max(base);
    let mut findings = Findings::default();
    let mut check = IndexCheck::load(&segment.path, base, "", &mut findings);
    let mut survey = Survey {
        parts: Vec::new(),
        problem: None,
        index_is_wrong: false,
        index: IndexBuilder::new(base, INDEX_INTERVAL_BYTES),
    };
    let mut start = 0;
    while start < segment.bytes && survey.parts.len() < MOST_PARTS {
        let mut file = SequentialFile::open(&segment.path, start..segment.bytes)?;
        let mut stream = BatchStream::new(start, segment.bytes);
        let mut ended = None;
        while let Some(piece) = file.next()? {
            let fed = stream.feed(&piece, |batch| {
                check.observe(batch, &mut findings);
                survey.take(base, batch, standing);
            });
            file.done(piece);
            if let Err(broken) = fed {
                ended = Some(broken);
                break;
            }
        }
        let Some(broken) = ended.or_else(|| stream.finish().err()) else {
            break;
        };
        survey.note(format!("{} at byte {}", broken.reason, broken.position));
        let behind = broken.position + 1..segment.bytes;
        match find_batch(&segment.path, behind, standing.next_offset)? {
            Search::Batch(position) => start = position,
            Search::Nothing | Search::GaveUp => break,
        }
    }
    check.finish(
        survey.parts.last().map_or(0, |part| part.end),
        &mut findings,
    );
    survey.index_is_wrong = findings.damages > 0;
    Ok(survey)
}

impl Survey {
    fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// Keeps a batch that is whole and that fits what was before it.
    fn take(&mut self, base: Offset, batch: &Batch, standing: &mut Standing) {
        let known = standing.epochs.last().map(|(epoch, _)| *epoch);
        let distance = batch.last_offset().get() - base.get();
        let problem = if !batch.is_intact() {
            "a wrong CRC"
        } else if batch.base_offset() < standing.next_offset {
            "offsets that were there before"
        } else if batch.epoch() < known {
            "a leader epoch that falls"
        } else if distance > i64::from(i32::MAX) {
            "offsets beyond what a segment can hold"
        } else {
            let position = u32::try_from(self.kept_bytes()).unwrap_or(u32::MAX);
            let time = batch.header.max_timestamp.get();
            self.index
                .observe(position, batch.size, batch.last_offset(), time);
            match self.parts.last_mut() {
                Some(last) if last.end == batch.position => last.end = batch.end(),
                _ => self.parts.push(batch.position..batch.end()),
            }
            if batch.epoch() > known {
                let began = batch.epoch().map(|epoch| (epoch, batch.base_offset()));
                standing.epochs.extend(began);
            }
            standing.next_offset = batch.next_offset();
            return;
        };
        self.note(format!("a batch with {problem} at byte {}", batch.position));
    }
}
